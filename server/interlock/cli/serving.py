"""`interlock serve`: one process owns the store and serves; a further one over stdio passes its client on to it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import click

from interlock.cli.asking import settings_of, with_config
from interlock.cli.ending import OWNER, UNKNOWN, Ending, typed

if TYPE_CHECKING:
    from interlock.app import App
    from interlock.control.owner import Owner
    from interlock.deferred import DeferredFront
    from interlock.ports import Front
    from interlock.publish.server import Options
    from interlock.settings import Settings

Protocol = Literal["auto", "legacy"]

# A client that starts two servers at once: the second may look before the first listens.
START_TRIES_MAX = 50
START_PAUSE_SECONDS = 0.1


@click.command()
@click.option(
    "--transport",
    type=click.Choice(["stdio", "http"]),
    default="stdio",
    show_default=True,
    help="http serves Streamable HTTP and SSE.",
)
@click.option("--principal", default="", help="Who the local client is; else server.principal.")
@click.option(
    "--protocol",
    type=click.Choice(["auto", "legacy"]),
    default="auto",
    show_default=True,
    help="legacy: for clients that probe first and then do the older handshake.",
)
@click.option("--listen", default=None, help="Instead of http.listen.")
@click.option("--port", type=click.IntRange(0, 65_535), default=None, help="Instead of http.port; 0: any free one.")
@with_config
def serve(
    transport: str, principal: str, protocol: str, listen: str | None, port: int | None, config: Path | None
) -> None:
    """Serve MCP: over stdin and stdout, or over HTTP (Streamable HTTP at /mcp, SSE at /sse)."""
    settings = settings_of(config)
    caller = _caller(settings, principal, demanded=transport == "stdio")
    if transport == "http":
        _serve_http(settings, caller, listen, port)
    else:
        _serve_stdio(settings, caller, cast("Protocol", protocol))


def _caller(settings: Settings, principal: str, *, demanded: bool) -> str:
    """The principal the local client is; it must be one that is configured."""
    name = principal or settings.default_principal
    if name not in settings.principals and (principal or demanded):
        if name:
            from interlock.config.faults import did_you_mean

            near = did_you_mean(name, list(settings.principals)) or f"there are: {', '.join(settings.principals)}"
            raise Ending(UNKNOWN, typed("PRINCIPAL_UNKNOWN", f"there is no principal `{name}`", near))
        hint = f"--principal or server.principal, one of: {', '.join(settings.principals)}"
        raise Ending(UNKNOWN, typed("PRINCIPAL_UNKNOWN", "it is not said who the local client is", hint))
    return name


def _serve_stdio(settings: Settings, principal: str, protocol: Protocol) -> None:
    from interlock.control.forward import find_owner, forward_stdio
    from interlock.control.place import claim

    for _ in range(START_TRIES_MAX):
        owner = find_owner(settings.state_dir, principal, protocol)
        if owner is not None:
            if not forward_stdio(owner):
                raise Ending(OWNER, typed("OWNER_GONE", "the server that owns the store ended", "start this one anew"))
            return
        with claim(settings.state_dir) as is_ours:
            if is_ours:
                _load()
                asyncio.run(_own_stdio(settings, principal, protocol))
                return
        time.sleep(START_PAUSE_SECONDS)  # another server starts right now; it will listen in a moment
    raise Ending(OWNER, typed("OWNER_SILENT", "another server starts and does not listen", "end it"))


def _load() -> None:
    """Import what serves a client at once, without looking for garbage: what loading makes, stays."""
    gc.disable()
    import interlock.deferred
    import interlock.publish.stdio  # noqa: F401 - loaded here for those who import it later

    gc.freeze()
    gc.enable()


async def _own_stdio(settings: Settings, principal: str, protocol: Protocol) -> None:
    """Serve the client from the first moment; the house opens behind it, and its faults end the server."""
    from interlock.deferred import DeferredFront
    from interlock.publish.stdio import serve_stdio
    from interlock.telemetry.provider import protocol_spans

    front, house = DeferredFront(settings), _House()
    with _ended_by_signals(), protocol_spans(settings.otlp_endpoint):
        try:
            async with asyncio.TaskGroup() as group:
                keeping = group.create_task(house.keep(front, settings, principal))
                await serve_stdio(front, principal, protocol, _options(settings))
                # Our own client has gone; others that came through our socket are still served.
                await house.drained()
                keeping.cancel()
        except BaseExceptionGroup as faults:
            raise faults.exceptions[0] from None


class _House:
    """The opened app and its socket, behind a front that serves already."""

    def __init__(self) -> None:
        self._owner: Owner | None = None

    async def keep(self, front: DeferredFront, settings: Settings, principal: str) -> None:
        """Open the house when it is wanted, and keep it open until cancelled."""
        async with contextlib.AsyncExitStack() as stack:

            async def opening() -> Front:
                await asyncio.to_thread(importlib.import_module, "interlock.admin")
                app = await _opened(stack, settings)
                self._owner = await stack.enter_async_context(_control(app, principal))
                return app.front

            await front.open_with(opening)
            await asyncio.get_running_loop().create_future()  # until cancelled

    async def drained(self) -> None:
        """Return once no client is served through the socket."""
        if self._owner is not None:
            await self._owner.drained()


async def _opened(stack: contextlib.AsyncExitStack, settings: Settings) -> App:
    """The app; a command of the moment may own the store just now, and will be gone in a moment."""
    from interlock.app import open_app
    from interlock.store import StoreOwned

    for _ in range(START_TRIES_MAX):
        try:
            return await stack.enter_async_context(open_app(settings))
        except StoreOwned:
            await asyncio.sleep(START_PAUSE_SECONDS)
    return await stack.enter_async_context(open_app(settings))


def _options(settings: Settings) -> Options:
    """How publishing logs: redacted with the configured values too."""
    from interlock.config.references import secret_values
    from interlock.publish.server import Options
    from interlock_policies.redact import Redactor

    return Options(redact=Redactor(secret_values(settings)).text)


def _serve_http(settings: Settings, principal: str, listen: str | None, port: int | None) -> None:
    from dataclasses import replace

    from interlock.publish.http import new_event_loop

    http = settings.http
    http = replace(http, listen=listen or http.listen, port=http.port if port is None else port)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_own_http(replace(settings, http=http), principal))


async def _own_http(settings: Settings, principal: str) -> None:
    from interlock.app import open_app
    from interlock.publish.http import serve_http
    from interlock.telemetry.provider import protocol_spans

    def listening(url: str) -> None:
        click.echo(f"interlock: serving {url}/mcp and {url}/sse", err=True)

    with _ended_by_signals(), protocol_spans(settings.otlp_endpoint):
        async with open_app(settings) as app, _control(app, principal):
            await serve_http(
                app.front,
                settings.http,
                default_principal=principal,
                options=_options(settings),
                on_listening=listening,
            )


@contextlib.asynccontextmanager
async def _control(app: App, principal: str) -> AsyncIterator[Owner]:
    """The owner's socket: further clients and the command line come through it. What was left approved goes on."""
    from interlock.admin import Admin
    from interlock.app import background
    from interlock.control.owner import Services, open_socket
    from interlock.publish.streams import serve_streams

    async def serve_mcp(name: str, protocol: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve_streams(app.front, name or principal, reader, writer, cast("Protocol", protocol))

    def wrong_principal(name: str) -> str | None:
        known = (name or principal) in app.settings.principals
        return None if known else "the running server knows no such principal"

    services = Services(serve_mcp, Admin(app).call, wrong_principal)
    async with open_socket(app.settings.state_dir, services) as owner, background(app.approvals.take_up()):
        yield owner


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGINT end what runs inside, in good order; that is no failure."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    ended: list[int] = []

    def end(number: int) -> None:
        ended.append(number)
        if task is not None:
            task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    try:
        yield
    except asyncio.CancelledError:
        if not ended:
            raise
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
