"""Ways to reach the publishing code as real clients do: a subprocess on stdio, an HTTP server on a free port."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx2
from mcp.client.client import Client
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from front_double import FrontDouble
from interlock.publish.http import HttpBounds, serve_http
from interlock.publish.server import Options
from interlock.settings import HttpSettings

WAIT_SECONDS = 20.0
ERAS = ("legacy", "auto")  # the handshake, and discovery, which finds the stateless era


def over_stdio(principal: str = "alice", protocol: str = "auto", report: Path | None = None) -> StdioServerParameters:
    """How to start the double on stdio."""
    program = str(Path(__file__).with_name("serve_double.py"))
    words = [program, "stdio", principal, protocol, *([str(report)] if report else [])]
    return StdioServerParameters(command=sys.executable, args=words)


@asynccontextmanager
async def served(
    front: FrontDouble,
    http: HttpSettings | None = None,
    *,
    default_principal: str = "alice",
    options: Options | None = None,
    bounds: HttpBounds | None = None,
) -> AsyncIterator[str]:
    """Serve over HTTP on a free loopback port (tokens off unless `http` says so); yields the base URL."""
    chosen = http or HttpSettings(port=0, tokens=False)
    ready: list[str] = []
    listening = anyio.Event()

    def on_listening(url: str) -> None:
        ready.append(url)
        listening.set()

    async def run() -> None:
        await serve_http(
            front,
            chosen,
            default_principal=default_principal,
            options=options,
            bounds=bounds or HttpBounds(stop_seconds=1),
            on_listening=on_listening,
        )

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        with anyio.fail_after(WAIT_SECONDS):
            await listening.wait()
        yield ready[0]
        group.cancel_scope.cancel()


@asynccontextmanager
async def client_of(url: str, transport: str, era: str, token: str = "", **more: object) -> AsyncIterator[Client]:
    """A real client over `transport`: http or sse, with a bearer token where one is given."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx2.AsyncClient(headers=headers, timeout=WAIT_SECONDS) as http_client:
        road = (
            streamable_http_client(f"{url}/mcp", http_client=http_client)
            if transport == "http"
            else sse_client(f"{url}/sse", headers=headers)
        )
        async with Client(road, mode=era, **more) as client:
            yield client
