"""500 Streamable HTTP sessions at once on one server: errors, calls a second and p99, by the protocol's own client."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from benchmarks.harness import BENCH_HOST, ground, guarded_http
from benchmarks.table import Row, at_most, percentile, run_alone

SESSIONS = 500
CALLS_EACH = 4
CALL_SECONDS = 120.0
WHOLE_SECONDS = 240.0
OPEN_FILES = 8_192
CALL = ("call_check", {"tool": "file_read", "arguments": {"host": BENCH_HOST, "path": "/etc/hostname"}})


def raise_open_files() -> None:
    """A session is up to two sockets here, and as many in the server, which inherits the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def open_sessions(url: str, stack: AsyncExitStack, count: int) -> list[Client]:
    """This many sessions of the era that has sessions, all open at the end."""
    limits = httpx2.Limits(max_connections=4 * count, max_keepalive_connections=4 * count)
    http = await stack.enter_async_context(httpx2.AsyncClient(limits=limits, timeout=CALL_SECONDS))
    clients = []
    for _ in range(count):
        transport = streamable_http_client(url, http_client=http)
        client = Client(transport, mode="legacy", read_timeout_seconds=CALL_SECONDS)
        clients.append(await stack.enter_async_context(client))
    return clients


async def call_from_all(
    clients: Sequence[Client], call: Callable[[Client], Awaitable[bool]]
) -> tuple[list[float], int]:
    """Milliseconds of every call, each session sending its next when it has the last; and how many went wrong."""
    took: list[float] = []
    errors = 0

    async def one(client: Client) -> None:
        nonlocal errors
        for _ in range(CALLS_EACH):
            began = time.perf_counter()
            try:
                well = await call(client)
            except Exception:  # noqa: BLE001 - whatever a call ends with but an answer is what is counted here
                well = False
            took.append((time.perf_counter() - began) * 1_000)
            errors += not well

    await asyncio.gather(*(one(client) for client in clients))
    return took, errors


async def call_check(client: Client) -> bool:
    """One call that is validated, analysed and decided, and that touches no host."""
    name, arguments = CALL
    return not (await client.call_tool(name, arguments)).is_error


async def _measure() -> list[Row]:
    with ground() as here, guarded_http(here) as url:
        async with asyncio.timeout(WHOLE_SECONDS), AsyncExitStack() as stack:
            began = time.perf_counter()
            clients = await open_sessions(url, stack, SESSIONS)
            opened = time.perf_counter() - began
            began = time.perf_counter()
            took, errors = await call_from_all(clients, call_check)
            elapsed = time.perf_counter() - began
    return [
        at_most("sessions", f"{SESSIONS} HTTP sessions, {len(took)} calls", errors, 0, "errors"),
        Row("sessions", "all sessions opened, one after the other", f"{opened:.1f} s"),
        Row("sessions", "calls from all of them at once", f"{len(took) / elapsed:,.0f} calls/s"),
        Row("sessions", "p50 and p99", f"{percentile(took, 50):,.0f} and {percentile(took, 99):,.0f} ms"),
    ]


def measure() -> Sequence[Row]:
    """Errors, calls a second, p50 and p99 of 500 sessions at once."""
    raise_open_files()
    return asyncio.run(_measure())


if __name__ == "__main__":
    run_alone(measure)
