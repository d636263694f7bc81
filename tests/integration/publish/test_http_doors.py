"""The doors of the HTTP side: tokens on every route, Host and Origin, sessions bound to their principal, limits."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx2
import pytest

from front_double import SECRET, FrontDouble
from interlock.publish.doors import ServeFault, demand_safe, is_loopback
from interlock.publish.http import HttpBounds, http_app, new_event_loop, serve_http
from interlock.publish.server import Options
from interlock.settings import HttpSettings
from published import WAIT_SECONDS, client_of, served

pytestmark = pytest.mark.anyio

KEPT = HttpSettings(port=0, tokens=True)
OPEN = HttpSettings(port=0, tokens=False)
JSON = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
ROUTES = [("POST", "/mcp"), ("GET", "/mcp"), ("DELETE", "/mcp"), ("GET", "/sse"), ("POST", "/messages?session_id=0")]


@asynccontextmanager
async def plain(
    front: FrontDouble, http: HttpSettings, bounds: HttpBounds | None = None, **more: object
) -> AsyncIterator:
    with anyio.fail_after(WAIT_SECONDS):
        async with (
            served(front, http, bounds=bounds) as url,
            httpx2.AsyncClient(base_url=url, timeout=WAIT_SECONDS, **more) as client,
        ):
            yield client


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Bearer", "Basic dG9rZW4=", f"Bearer {'x' * 5000}"])
async def test_without_a_good_token_every_route_answers_401(method: str, path: str, authorization: str | None) -> None:
    headers = {**JSON, **({"Authorization": authorization} if authorization else {})}
    async with plain(FrontDouble(), KEPT) as client:
        answer = await client.request(method, path, headers=headers, json=INITIALIZE)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer ")


@pytest.mark.parametrize("transport", ["http", "sse"])
@pytest.mark.parametrize("era", ["legacy", "auto"])
async def test_a_token_decides_who_calls(transport: str, era: str) -> None:
    front = FrontDouble()
    with anyio.fail_after(WAIT_SECONDS):
        async with served(front, KEPT) as url:
            for token, host in (("token-of-alice", "web-1"), ("token-of-bob", "db-1")):
                async with client_of(url, transport, era, token) as client:
                    result = await client.call_tool("shell_run", {"host": host, "command": "uptime"})
                    assert result.is_error is False
    assert [request.principal for request in front.requests] == ["alice", "bob"]
    assert all("token" not in request.session for request in front.requests)


async def test_a_token_that_cannot_be_checked_is_refused_and_its_fault_stays_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(FrontDouble):
        async def token_principal(self, token: str) -> str | None:
            raise RuntimeError(SECRET)

    with caplog.at_level(logging.DEBUG):
        async with plain(Broken(), KEPT) as client:
            answer = await client.post(
                "/mcp", json=INITIALIZE, headers={**JSON, "Authorization": "Bearer token-of-alice"}
            )
    assert answer.status_code == 401
    assert SECRET not in answer.text + caplog.text
    assert "RuntimeError" in caplog.text


async def test_a_session_belongs_to_the_principal_that_opened_it() -> None:
    async with plain(FrontDouble(), KEPT) as client:
        alice, bob = ({**JSON, "Authorization": f"Bearer token-of-{name}"} for name in ("alice", "bob"))
        opened = await client.post("/mcp", json=INITIALIZE, headers=alice)
        session = {"mcp-session-id": opened.headers["mcp-session-id"]}
        listing = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
        stolen = await client.post("/mcp", json=listing, headers=bob | session)
        own = await client.post("/mcp", json=listing, headers=alice | session)
        async with client.stream("GET", "/sse", headers=alice) as stream:
            where = await _endpoint(stream.aiter_lines())
            taken = await client.post(where, json=INITIALIZE, headers=bob)
            given = await client.post(where, json=INITIALIZE, headers=alice)
    assert (stolen.status_code, own.status_code) == (404, 200)
    assert (taken.status_code, given.status_code) == (404, 202)


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "localhost.evil.example:80"}, 421),
        ({"Origin": "http://evil.example"}, 403),
    ],
)
async def test_a_foreign_host_or_origin_is_refused_before_anything_else(
    method: str, path: str, headers: dict, status: int
) -> None:
    async with plain(FrontDouble(), OPEN) as client:
        answer = await client.request(method, path, headers={**JSON, **headers}, json=INITIALIZE)
    assert answer.status_code == status


async def test_configured_names_and_origins_are_served() -> None:
    settings = HttpSettings(port=0, tokens=False, hosts=("ops.example",), origins=("https://ops.example",))
    async with plain(FrontDouble(), settings) as client:
        answer = await client.post(
            "/mcp", json=INITIALIZE, headers={**JSON, "Host": "ops.example:8808", "Origin": "https://ops.example"}
        )
    assert answer.status_code == 200


async def test_no_oauth_metadata_is_offered_because_cursor_would_then_ignore_its_token() -> None:
    async with plain(FrontDouble(), KEPT) as client:
        found = await client.get("/.well-known/oauth-protected-resource")
        refused = await client.post("/mcp", json=INITIALIZE, headers=JSON)
        health = await client.get("/healthz")
    assert found.status_code == 404
    assert "resource_metadata" not in refused.headers["www-authenticate"]
    assert health.json() == {"ok": True}


async def test_no_answer_waits_for_the_peers_delayed_acknowledgement() -> None:
    seconds = []
    async with plain(FrontDouble(), OPEN) as client:
        opened = await client.post("/mcp", json=INITIALIZE, headers=JSON)
        session = {**JSON, "mcp-session-id": opened.headers["mcp-session-id"]}
        for number in range(2, 22):
            began = time.perf_counter()
            await client.post("/mcp", json={"jsonrpc": "2.0", "id": number, "method": "ping"}, headers=session)
            seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.03, "each answer took the 40 ms of Nagle's algorithm against a delayed ACK"


async def test_a_body_that_is_too_large_or_too_slow_is_refused() -> None:
    bounds = HttpBounds(body_bytes_max=1_000, body_seconds=0.3, stop_seconds=1)
    async with plain(FrontDouble(), OPEN, bounds) as client:
        large = await client.post("/mcp", content=b"x" * 2_000, headers=JSON)
        head = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
        async with await anyio.connect_tcp("127.0.0.1", client.base_url.port) as slow:
            await slow.send(head.encode())
            answer = await slow.receive()
    assert large.status_code == 413
    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_sessions_and_sse_connections_are_counted_and_idle_ones_are_ended() -> None:
    bounds = HttpBounds(sessions_max=1, sse_connections_max=1, session_idle_seconds=0.5, stop_seconds=1)
    async with plain(FrontDouble(), OPEN, bounds) as client:
        first = await client.post("/mcp", json=INITIALIZE, headers=JSON)
        second = await client.post("/mcp", json=INITIALIZE, headers=JSON)
        async with client.stream("GET", "/sse") as stream:
            lines = stream.aiter_lines()
            await _endpoint(lines)
            refused = await client.get("/sse")
            async for _ in lines:  # the idle connection is ended by the server, so this ends
                pass
        status = 0
        while status != 200:  # the place is free as soon as the server has tidied up
            async with client.stream("GET", "/sse") as stream:
                status = stream.status_code
    assert (first.status_code, second.status_code, refused.status_code) == (200, 503, 503)


async def test_more_calls_at_once_than_the_limit_are_told_to_wait() -> None:
    front = FrontDouble()
    with anyio.fail_after(WAIT_SECONDS):
        async with (
            served(front, options=Options(calls_max=1)) as url,
            client_of(url, "http", "legacy") as client,
            anyio.create_task_group() as group,
        ):
            group.start_soon(client.call_tool, "shell_run", {"host": "web-1", "command": "hang"})
            await front.hanging.wait()
            refused = await client.call_tool("shell_run", {"host": "web-1", "command": "uptime"})
            group.cancel_scope.cancel()
    assert refused.structured_content["error"]["code"] == "CONCURRENCY_LIMITED"
    assert refused.structured_content["error"]["retry_after_seconds"] == 1
    assert len(front.requests) == 1


@pytest.mark.parametrize(
    ("settings", "principal", "needle"),
    [
        (HttpSettings(listen="0.0.0.0", tokens=False), "alice", "http.tokens = true"),
        (HttpSettings(listen="0.0.0.0", tokens=True), "alice", "http.tls_certificate"),
        (HttpSettings(listen="build-host", tokens=True), "", "http.tls_certificate"),
        (HttpSettings(tokens=False), "", "name the principal"),
        (HttpSettings(tls_certificate=Path("c.pem")), "alice", "http.tls_key"),
    ],
)
async def test_it_refuses_to_start_where_strangers_could_call(settings, principal: str, needle: str) -> None:
    for start in (http_app, serve_http):
        with pytest.raises(ServeFault) as caught:
            started = start(FrontDouble(), settings, default_principal=principal)
            await started
        assert needle in caught.value.hint


async def test_a_port_that_is_taken_is_said_plainly() -> None:
    with anyio.fail_after(WAIT_SECONDS):
        async with served(FrontDouble()) as url:
            taken = int(url.rpartition(":")[2])
            with pytest.raises(ServeFault, match=str(taken)):
                await serve_http(FrontDouble(), HttpSettings(port=taken, tokens=False), default_principal="alice")


async def test_a_certificate_that_cannot_be_read_is_said_plainly(tmp_path: Path) -> None:
    settings = HttpSettings(port=0, tls_certificate=tmp_path / "none.pem", tls_key=tmp_path / "none.key")
    with pytest.raises(ServeFault, match="PEM pair"):
        await serve_http(FrontDouble(), settings)


async def test_with_tokens_and_tls_other_machines_may_be_served() -> None:
    settings = HttpSettings(listen="0.0.0.0", tls_certificate=Path("c.pem"), tls_key=Path("k.pem"))
    demand_safe(settings, "")
    assert [is_loopback(name) for name in ("127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost")] == [True] * 5
    assert [is_loopback(name) for name in ("0.0.0.0", "::", "10.0.0.1", "localhost.example", "")] == [False] * 5


async def _endpoint(lines: AsyncIterator[str]) -> str:
    """The address that an SSE stream says messages go to."""
    async for line in lines:
        if line.startswith("data: "):
            return line.removeprefix("data: ")
    raise AssertionError("the stream ended")


def test_there_is_always_an_event_loop() -> None:
    loop = new_event_loop()
    loop.close()
