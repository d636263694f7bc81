"""Standard input and output: one client, the one that started this process. Nothing but protocol reaches its stdout."""

from __future__ import annotations

import asyncio
import os
import secrets
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
from mcp.server.stdio import stdio_server

from interlock.ports import Front
from interlock.publish.callers import Caller
from interlock.publish.server import Options, build_server
from interlock.publish.streams import LINE_BYTES_MAX, Protocol, run_connection, serve_streams

FLUSH_SECONDS = 5.0


async def serve_stdio(
    front: Front, principal: str, protocol: Protocol = "auto", options: Options | None = None
) -> None:
    """Serve the client on stdin and stdout until it closes stdin; its running calls are then ended.

    From then on descriptor 0 is the null device and 1 is stderr: what anything prints cannot reach the client. So a
    process does this once, last.
    """
    if _is_pollable(0) and _is_pollable(1):
        async with _opened(*_claimed()) as (reader, writer):
            await serve_streams(front, principal, reader, writer, protocol, options=options)
        return
    await _serve_files(front, principal, protocol, options or Options())


async def _serve_files(front: Front, principal: str, protocol: Protocol, options: Options) -> None:
    """Where stdin or stdout is a file or a terminal no event loop can watch it; the library's threads can."""
    caller = Caller(principal, f"stdio-{secrets.token_hex(8)}")
    server = build_server(front, lambda _ctx: caller, options)
    try:
        async with stdio_server() as (read, write):
            try:
                await run_connection(server, read, write, protocol)
            finally:
                sys.stdout.flush()
    finally:
        os.dup2(2, 1, inheritable=True)  # what is printed from here on is not for the client either
        options.changes.leave(caller.session)


def _is_pollable(fd: int) -> bool:
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _claimed() -> tuple[int, int]:
    """Private duplicates of descriptors 0 and 1, which from now on are the null device and stderr, for good."""
    input_fd, output_fd = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0, inheritable=True)
    os.dup2(2, 1, inheritable=True)
    os.close(nothing)
    return input_fd, output_fd


@asynccontextmanager
async def _opened(input_fd: int, output_fd: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """The two descriptors as an asyncio stream pair; flushed within `FLUSH_SECONDS` and blocking again at the end."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    read_transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(input_fd, "rb", buffering=0, closefd=False)
    )
    write_transport, write_protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()),
        os.fdopen(output_fd, "wb", buffering=0, closefd=False),
    )
    writer = asyncio.StreamWriter(write_transport, write_protocol, None, loop)
    try:
        yield reader, writer
    finally:
        read_transport.close()
        writer.close()
        with anyio.move_on_after(FLUSH_SECONDS, shield=True) as flushing:
            with suppress(ConnectionError):  # the client is gone; there is nobody to flush to
                await writer.wait_closed()
        if flushing.cancelled_caught:
            write_transport.abort()
        for fd in (input_fd, output_fd):
            os.set_blocking(fd, True)
            os.close(fd)
