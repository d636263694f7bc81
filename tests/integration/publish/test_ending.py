"""Ways in which a call ends early: the client cancels it, leaves, or closes stdin. The house always hears of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import anyio
import pytest
from mcp.client.client import Client
from mcp_types import CallToolRequestParams

from front_double import FrontDouble
from published import ERAS, WAIT_SECONDS, client_of, over_stdio, served

pytestmark = pytest.mark.anyio
HANG = {"host": "web-1", "command": "hang"}


async def start_and_cancel(client: Client, hanging: anyio.Event) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(client.call_tool, "shell_run", HANG)
        await hanging.wait()
        group.cancel_scope.cancel()


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("transport", ["sse", "http"])
async def test_a_client_that_cancels_ends_the_running_call_and_only_that(transport: str, era: str) -> None:
    front = FrontDouble()
    with anyio.fail_after(WAIT_SECONDS):
        async with served(front) as url, client_of(url, transport, era) as client:
            await start_and_cancel(client, front.hanging)
            await front.stopped.wait()
            after = await client.call_tool("shell_run", {"host": "web-1", "command": "uptime"})
    assert front.cancelled == ["call-1"]
    assert after.structured_content["ok"] is True


@pytest.mark.parametrize("era", ERAS)
async def test_a_client_that_cancels_on_stdio_ends_the_running_call(tmp_path: Path, era: str) -> None:
    report = tmp_path / "report.json"
    started = anyio.Event()

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        started.set()

    with anyio.fail_after(WAIT_SECONDS):
        async with Client(over_stdio("alice", "auto", report), mode=era) as client:
            async with anyio.create_task_group() as group:

                async def hang() -> None:
                    await client.call_tool("shell_run", HANG, progress_callback=on_progress)

                group.start_soon(hang)
                await started.wait()
                group.cancel_scope.cancel()
            after = await client.call_tool("shell_run", {"host": "web-1", "command": "uptime"})
    assert after.structured_content["ok"] is True
    assert json.loads(report.read_text())["cancelled"] == ["call-1"]


async def test_a_dropped_sse_connection_ends_its_calls(caplog: pytest.LogCaptureFixture) -> None:
    front = FrontDouble()
    with anyio.fail_after(WAIT_SECONDS):
        async with served(front) as url:
            async with client_of(url, "sse", "legacy") as client, anyio.create_task_group() as group:
                group.start_soon(client.call_tool, "shell_run", HANG)
                await front.hanging.wait()
                group.cancel_scope.cancel()
            await front.stopped.wait()
    assert front.cancelled == ["call-1"]
    assert "incident" not in caplog.text


async def test_stopping_the_http_server_ends_running_calls_within_its_bound() -> None:
    front = FrontDouble()
    with anyio.fail_after(WAIT_SECONDS):
        async with anyio.create_task_group() as group:
            async with served(front) as url:

                async def call() -> None:
                    async with client_of(url, "http", "2026-07-28") as client:
                        await client.call_tool("shell_run", HANG)

                group.start_soon(_without_complaint, call)
                await front.hanging.wait()
            assert front.cancelled == ["call-1"]
            group.cancel_scope.cancel()


async def _without_complaint(call) -> None:
    with suppress(Exception):  # the server goes away under it; that is the point
        await call()


@pytest.mark.parametrize("protocol", ["auto", "legacy"])
async def test_closing_stdin_ends_running_calls_and_the_process(tmp_path: Path, protocol: str) -> None:
    report = tmp_path / "report.json"
    server = over_stdio("alice", protocol, report)
    process = await anyio.open_process([server.command, *server.args])
    with anyio.fail_after(WAIT_SECONDS):
        async with process:
            await process.stdin.send(_lines(_initialize(), _call("slow"), _call("hang", progress=7)))
            seen = b""
            while b'"id":"slow"' not in seen:  # answered, so the call sent behind it has been taken up too
                seen += await process.stdout.receive()
            await process.stdin.aclose()
            assert await process.wait() == 0
    told = json.loads(report.read_text())
    assert told["calls"] == ["shell_run", "shell_run"]
    assert told["cancelled"] == ["call-2"]


async def test_a_terminated_stdio_server_does_not_wait_for_its_client(tmp_path: Path) -> None:
    process = await anyio.open_process([over_stdio().command, *over_stdio().args])
    with anyio.fail_after(WAIT_SECONDS):
        async with process:
            await process.stdin.send(_lines(_initialize()))
            await process.stdout.receive()
            os.kill(process.pid, signal.SIGINT)
            await process.wait()


async def test_a_client_that_probes_and_then_shakes_hands_is_served_with_the_legacy_protocol() -> None:
    discover = {"jsonrpc": "2.0", "id": "probe", "method": "server/discover", "params": {"_meta": _envelope_meta()}}
    process = await anyio.open_process([over_stdio().command, *over_stdio("alice", "legacy").args])
    with anyio.fail_after(WAIT_SECONDS):
        async with process:
            await process.stdin.send(_lines(discover, _initialize(), _call("uptime")))
            seen = b""
            while b'"id":"uptime"' not in seen:
                seen += await process.stdout.receive()
            await process.stdin.aclose()
            await process.wait()
    answers = {message["id"]: message for message in map(json.loads, seen.splitlines())}
    assert answers["probe"]["error"]["code"] == -32601
    assert answers["uptime"]["result"]["isError"] is False


def test_requests_from_a_file_are_served_too(tmp_path: Path) -> None:
    requests = tmp_path / "requests.jsonl"
    requests.write_bytes(_lines(_initialize()))
    server = over_stdio()
    with requests.open() as stdin:
        done = subprocess.run(
            [server.command, *server.args], stdin=stdin, capture_output=True, timeout=WAIT_SECONDS, check=True
        )
    assert json.loads(done.stdout)["result"]["serverInfo"]["name"] == "interlock"
    assert sys.executable == server.command


def _lines(*messages: dict) -> bytes:
    return "".join(json.dumps(message) + "\n" for message in messages).encode()


def _initialize() -> dict:
    info = {"name": "test", "version": "1"}
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info}
    return {"jsonrpc": "2.0", "id": "init", "method": "initialize", "params": params}


def _call(command: str, progress: int | None = None) -> dict:
    params = CallToolRequestParams(name="shell_run", arguments={"host": "web-1", "command": command})
    plain = params.model_dump(by_alias=True, exclude_none=True)
    return {"jsonrpc": "2.0", "id": command, "method": "tools/call", "params": plain}


def _envelope_meta() -> dict:
    return {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
