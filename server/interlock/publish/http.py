"""HTTP: the routes, served on a socket of their own until somebody stops them. It knows nothing of what they do."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator

import anyio
import uvicorn
from starlette.applications import Starlette

from interlock.ports import Front
from interlock.publish.doors import ServeFault
from interlock.publish.routes import HttpBounds, http_app
from interlock.publish.server import Options
from interlock.settings import HttpSettings

__all__ = ["HttpBounds", "ServeFault", "http_app", "new_event_loop", "serve_http"]

STOP_SLACK_SECONDS = 5.0


async def serve_http(
    front: Front,
    http: HttpSettings,
    *,
    default_principal: str = "",
    options: Options | None = None,
    bounds: HttpBounds | None = None,
    on_listening: Callable[[str], None] | None = None,
) -> None:
    """Serve until cancelled; then running requests get `stop_seconds`, and the rest is cut.

    `on_listening` gets the base URL (with the real port where 0 was asked for). Signals are left to the caller. Raises
    `ServeFault` where it may not or cannot listen so.
    """
    bounded = bounds or HttpBounds()
    app = http_app(front, http, default_principal=default_principal, options=options, bounds=bounded)
    server = _Uvicorn(_config(app, http, bounded), on_listening)
    done = anyio.Event()
    running = anyio.CancelScope(shield=True)

    with _listening(http) as listener:

        async def run() -> None:
            with running:
                await server.serve([listener])
            done.set()

        async with anyio.create_task_group() as group:
            group.start_soon(run)
            try:
                await done.wait()
            finally:
                server.should_exit = True
                running.deadline = anyio.current_time() + bounded.stop_seconds + STOP_SLACK_SECONDS


def new_event_loop() -> asyncio.AbstractEventLoop:
    """The fastest loop there is here: uvloop where it is installed. For `asyncio.Runner(loop_factory=…)`."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


@contextlib.contextmanager
def _listening(http: HttpSettings) -> Iterator[socket.socket]:
    address = http.listen.strip("[]")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        listener = socket.create_server((address, http.port), family=family, backlog=1_024)
    except OSError as fault:
        raise ServeFault(
            f"Cannot listen on {http.listen} port {http.port}: {fault.strerror or fault}.",
            "Choose another http.port, or end what holds this one.",
        ) from fault
    with listener:
        # Accepted connections inherit it; without it every answer of two writes waits 40 ms for the peer's delayed ACK.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield listener


def _config(app: Starlette, http: HttpSettings, bounds: HttpBounds) -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=bounds.connections_max,
        timeout_graceful_shutdown=bounds.stop_seconds,
        ssl_certfile=http.tls_certificate,
        ssl_keyfile=http.tls_key,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as fault:
        raise ServeFault(
            f"The TLS certificate or key cannot be used: {fault.strerror or type(fault).__name__}.",
            "Set http.tls_certificate and http.tls_key to a PEM pair that this user can read.",
        ) from fault
    return config


class _Uvicorn(uvicorn.Server):
    """uvicorn, without its signal handlers, saying where it listens."""

    def __init__(self, config: uvicorn.Config, on_listening: Callable[[str], None] | None) -> None:
        super().__init__(config)
        self._on_listening = on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._on_listening and sockets and self.started:
            host, port = sockets[0].getsockname()[:2]
            scheme = "https" if self.config.is_ssl else "http"
            self._on_listening(f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}")

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to who composed the process."""
        yield
