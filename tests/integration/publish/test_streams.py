"""One client over a local socket: lines in, lines out; what is not a message is answered and nothing breaks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from front_double import FrontDouble
from interlock.publish.server import Options
from interlock.publish.streams import serve_streams
from published import WAIT_SECONDS

pytestmark = pytest.mark.anyio
LINE_BYTES_MAX = 10_000


@asynccontextmanager
async def connected(
    folder: Path, front: FrontDouble, options: Options | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A client of the socket as a second stdio server would be."""
    path = str(folder / "s")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve_streams(front, "bob", reader, writer, options=options)

    with anyio.fail_after(WAIT_SECONDS):
        async with await asyncio.start_unix_server(serve, path, limit=LINE_BYTES_MAX):
            reader, writer = await asyncio.open_unix_connection(path, limit=1_000_000)
            try:
                yield reader, writer
            finally:
                writer.close()
                await reader.read()  # until the server has closed its side too
                await writer.wait_closed()


async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: object) -> dict:
    writer.write(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n")
    await writer.drain()
    return json.loads(await reader.readline())


INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}


async def test_the_sockets_principal_is_served(tmp_path: Path) -> None:
    async with connected(tmp_path, FrontDouble()) as (reader, writer):
        hello = await say(reader, writer, INITIALIZE)
        listed = await say(reader, writer, {"jsonrpc": "2.0", "id": 2, "method": "tools/list"})
    assert hello["result"]["capabilities"]["tools"]["listChanged"] is True
    assert listed["result"]["tools"][0]["inputSchema"]["properties"]["host"]["enum"] == ["db-1"]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"not json\n", -32700),
        (b"\xff\xfe\n", -32700),
        (b'{"jsonrpc":"2.0"}\n', -32700),
        (b"[" * 5_000 + b"\n", -32700),
        (b'{"x":"' + b"y" * 50_000 + b'"}\n', -32600),
    ],
)
async def test_what_is_not_a_message_is_answered_and_the_next_one_served(
    tmp_path: Path, line: bytes, code: int
) -> None:
    async with connected(tmp_path, FrontDouble()) as (reader, writer):
        refused = await say(reader, writer, line)
        hello = await say(reader, writer, INITIALIZE)
    assert refused["error"]["code"] == code
    assert refused["id"] is None
    assert hello["id"] == 1


async def test_a_client_that_leaves_ends_its_running_call(tmp_path: Path) -> None:
    front = FrontDouble()
    call = {"name": "shell_run", "arguments": {"host": "db-1", "command": "hang"}}
    async with connected(tmp_path, front) as (reader, writer):
        await say(reader, writer, INITIALIZE)
        writer.write(json.dumps({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call}).encode() + b"\n")
        await front.hanging.wait()
    await front.stopped.wait()
    assert front.cancelled == ["call-1"]


async def test_changed_tools_are_announced_to_who_is_there_and_forgotten_with_who_left(tmp_path: Path) -> None:
    options = Options()
    async with connected(tmp_path, FrontDouble(), options) as (reader, writer):
        await say(reader, writer, INITIALIZE)
        ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        writer.write(json.dumps(ready).encode() + b"\n")
        await say(reader, writer, {"jsonrpc": "2.0", "id": 2, "method": "ping"})
        await options.changes.announce()
        told = json.loads(await reader.readline())
    assert told["method"] == "notifications/tools/list_changed"
    await options.changes.announce()


async def test_a_request_carries_its_trace_and_a_session_of_its_own(tmp_path: Path) -> None:
    front = FrontDouble()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with connected(tmp_path, front) as (reader, writer):
        await say(reader, writer, INITIALIZE)
        for number, meta in enumerate(({"traceparent": trace}, {"traceparent": "rubbish"}, {}), start=2):
            call = {"name": "shell_run", "arguments": {"host": "db-1", "command": "uptime"}, "_meta": meta}
            await say(reader, writer, {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": call})
    assert [request.traceparent for request in front.requests] == [trace, "", ""]
    assert {request.principal for request in front.requests} == {"bob"}
    assert len({request.session for request in front.requests}) == 1
