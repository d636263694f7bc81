"""Routes: Streamable HTTP at /mcp, SSE at /sse and /messages, /healthz. Who calls is what the token says, no more."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

import mcp_types as types
from mcp.server.auth.middleware.auth_context import AuthContextMiddleware
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser, BearerAuthBackend, RequireAuthMiddleware
from mcp.server.sse import SseServerTransport
from mcp.server.streamable_http_manager import StreamableHTTPASGIApp, StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.exceptions import MCPError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from interlock.ports import Front
from interlock.publish.callers import Caller, Context
from interlock.publish.doors import Door, FrontTokens, demand_safe, transport_security
from interlock.publish.idle import IdleEnd
from interlock.publish.incidents import Incidents
from interlock.publish.server import Options, build_server
from interlock.publish.streams import run_connection
from interlock.settings import HttpSettings

SESSION_HEADER = "mcp-session-id"


@dataclass(frozen=True, slots=True)
class HttpBounds:
    """Every limit of the HTTP side; the unit stands last."""

    sessions_max: int = 2_000
    session_idle_seconds: float = 1_800.0
    sse_connections_max: int = 500
    connections_max: int = 4_000
    body_bytes_max: int = 16 * 1024 * 1024
    body_seconds: float = 30.0
    stop_seconds: int = 5


def http_app(
    front: Front,
    http: HttpSettings,
    *,
    default_principal: str = "",
    options: Options | None = None,
    bounds: HttpBounds | None = None,
) -> Starlette:
    """The application. With `http.tokens` every route but /healthz demands a bearer token.

    Without, and only on loopback, everybody is `default_principal`. Raises `ServeFault` where that lets strangers in.
    """
    demand_safe(http, default_principal)
    chosen, bounded = options or Options(), bounds or HttpBounds()
    security = transport_security(http)
    who = _Who(default="" if http.tokens else default_principal)
    manager = StreamableHTTPSessionManager(
        build_server(front, who.of_request, chosen),
        security_settings=security,
        max_request_body_size=bounded.body_bytes_max,
        session_idle_timeout=bounded.session_idle_seconds,
        max_sessions=bounded.sessions_max,
    )
    sse = SseServerTransport("/messages", security, bounded.body_bytes_max)

    def kept(app: ASGIApp) -> ASGIApp:
        return RequireAuthMiddleware(app, []) if http.tokens else app

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with manager.run():
            yield

    routes = [
        Route("/healthz", _healthz, methods=["GET"]),
        Route("/mcp", kept(StreamableHTTPASGIApp(manager))),
        Route("/sse", kept(_Sse(front, sse, who, chosen, bounded)), methods=["GET"]),
        Route("/messages", kept(_SsePosts(sse))),
    ]
    doors = _doors(front, security, Incidents(chosen.redact), bounded)
    return Starlette(routes=routes, middleware=doors, lifespan=lifespan)


def _doors(
    front: Front, security: TransportSecuritySettings, incidents: Incidents, bounds: HttpBounds
) -> list[Middleware]:
    return [
        Middleware(Door, security=security, incidents=incidents, body_seconds=bounds.body_seconds),
        Middleware(AuthenticationMiddleware, backend=BearerAuthBackend(FrontTokens(front, incidents))),
        Middleware(AuthContextMiddleware),
    ]


async def _healthz(_request: Request) -> Response:
    return JSONResponse({"ok": True})


@dataclass(frozen=True, slots=True)
class _Who:
    """Names the caller of a request: its token's principal, or the default where tokens are off."""

    default: str

    def principal(self, scope: Scope) -> str:
        """Raises `MCPError` for a request that stands for nobody; the doors let none of them in."""
        user = scope.get("user")
        name = user.username if isinstance(user, AuthenticatedUser) else self.default
        if not name:
            raise MCPError(types.INVALID_REQUEST, "This request carries no identity.")
        return name

    def of_request(self, ctx: Context) -> Caller:
        """The caller, and its session as a digest: the session's id is a key that no record should hold."""
        if not isinstance(ctx.request, Request):
            raise MCPError(types.INVALID_REQUEST, "This request carries no identity.")
        session = ctx.request.headers.get(SESSION_HEADER, "")
        shown = hashlib.sha256(session.encode()).hexdigest()[:16] if session else "stateless"
        return Caller(self.principal(ctx.request.scope), f"http-{shown}")


class _Sse:
    """The long half of SSE: one server a connection, bound to who opened it; so many at once, ended when idle."""

    def __init__(
        self, front: Front, transport: SseServerTransport, who: _Who, options: Options, bounds: HttpBounds
    ) -> None:
        self._front = front
        self._transport = transport
        self._who = who
        self._options = options
        self._bounds = bounds
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._open >= self._bounds.sse_connections_max:
            full = JSONResponse({"error": "Too many SSE connections."}, 503, {"Retry-After": "30"})
            await full(scope, receive, send)
            return
        caller = Caller(self._who.principal(scope), f"sse-{secrets.token_hex(8)}")
        server = build_server(self._front, lambda _ctx: caller, self._options)
        self._open += 1
        try:
            async with self._transport.connect_sse(scope, receive, send) as (read, write):
                await run_connection(server, IdleEnd(read, self._bounds.session_idle_seconds), write, "auto")
        finally:
            self._open -= 1
            self._options.changes.leave(caller.session)


class _SsePosts:
    """The short half of SSE: an object, because Starlette takes a plain function for something else."""

    def __init__(self, transport: SseServerTransport) -> None:
        self._transport = transport

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._transport.handle_post_message(scope, receive, send)
