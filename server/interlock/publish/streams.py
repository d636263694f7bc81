"""Streams: newline-delimited JSON-RPC over an asyncio reader and writer, as MCP's stream pair. No meaning is read."""

from __future__ import annotations

import asyncio
import logging
import secrets
from types import TracebackType
from typing import Any, Literal, Self

import anyio
import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.runner import serve_loop
from mcp.shared.message import SessionMessage

from interlock.ports import Front
from interlock.publish.callers import Caller
from interlock.publish.server import Options, build_server

LINE_BYTES_MAX = 16 * 1024 * 1024
SEND_SECONDS_MAX = 300.0

Protocol = Literal["auto", "legacy"]

_log = logging.getLogger("interlock.publish")


async def serve_streams(
    front: Front,
    principal: str,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    protocol: Protocol = "auto",
    *,
    options: Options | None = None,
) -> None:
    """Serve one client until it closes its side; its running calls are then cancelled and waited for.

    `reader` should be made with `limit=LINE_BYTES_MAX`. `protocol`: "legacy" takes the handshake only (for clients that
    probe with `server/discover` and then initialize); "auto" lets the first request choose the era. Closes the writer.
    """
    chosen = options or Options()
    caller = Caller(principal, f"stream-{secrets.token_hex(8)}")
    server = build_server(front, lambda _ctx: caller, chosen)
    output = LineWriter(writer)
    try:
        await run_connection(server, LineReader(reader, output), output, protocol)
    finally:
        chosen.changes.leave(caller.session)
        await output.aclose()


async def run_connection(server: Server[Any], read: Any, write: Any, protocol: Protocol) -> None:
    """Drive a server over a stream pair, in the era that `protocol` says, until the read side ends."""
    try:
        if protocol == "legacy":
            async with server.lifespan(server) as state:
                await serve_loop(
                    server, read, write, lifespan_state=state, init_options=server.create_initialization_options()
                )
        else:
            await server.run(read, write, server.create_initialization_options())
    except* (anyio.BrokenResourceError, ConnectionError):
        _log.debug("a client left while it was being answered")


class LineReader:
    """MCP's read side: one message a line. What is not a message is answered here and goes no further."""

    def __init__(self, reader: asyncio.StreamReader, output: LineWriter) -> None:
        self._reader = reader
        self._output = output
        self._closed = False

    async def receive(self) -> SessionMessage | Exception:
        """The next message. Raises `anyio.EndOfStream` where the client closed its side."""
        while not self._closed:
            line = await self._line()
            if line is None:
                break
            if not line.strip():
                continue
            try:
                return SessionMessage(types.jsonrpc_message_adapter.validate_json(line, by_name=False))
            except ValueError:
                await self._refuse(types.PARSE_ERROR, "This line is not a JSON-RPC message.")
        raise anyio.EndOfStream

    async def _line(self) -> bytes | None:
        """The next line, or None at the end; a line over the limit is read away and answered with an error."""
        too_long = False
        while True:
            try:
                line = await self._reader.readuntil(b"\n")
            except asyncio.LimitOverrunError as over:
                await self._reader.readexactly(max(over.consumed, 1))
                too_long = True
                continue
            except asyncio.IncompleteReadError as ended:
                return None if too_long or not ended.partial else ended.partial
            except ConnectionError:
                return None
            if not too_long:
                return line
            too_long = False
            await self._refuse(types.INVALID_REQUEST, "This line is longer than the limit.")

    async def _refuse(self, code: int, message: str) -> None:
        error = types.JSONRPCError(jsonrpc="2.0", id=None, error=types.ErrorData(code=code, message=message))
        await self._output.send(SessionMessage(error))

    async def aclose(self) -> None:
        self._closed = True

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class LineWriter:
    """MCP's write side. Waits for a slow client at most `SEND_SECONDS_MAX`, then gives it up."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    async def send(self, item: SessionMessage, /) -> None:
        """Write one message as one line. Raises `anyio.BrokenResourceError` where the client is gone or stuck."""
        if self._writer.is_closing():
            raise anyio.BrokenResourceError
        self._writer.write(item.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
        try:
            with anyio.fail_after(SEND_SECONDS_MAX):
                await self._writer.drain()
        except (ConnectionError, TimeoutError) as fault:
            raise anyio.BrokenResourceError from fault

    async def aclose(self) -> None:
        """Close the writer; what is buffered is still sent while the client takes it."""
        self._writer.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
