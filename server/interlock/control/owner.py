"""The owner's side of the local socket: it lets in only our own user, and hands each connection to who serves it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interlock.control.address import SOCKET_NAME, is_descendant, is_ours, listen, login_name
from interlock.control.faults import ControlFault

log = logging.getLogger("interlock.control")

CONNECTIONS_MAX = 64
LINE_BYTES_MAX = 16 * 1024 * 1024
HELLO_SECONDS = 10.0
IDLE_SECONDS = 900.0
REQUEST_SECONDS = 900.0
SEND_SECONDS = 60.0
CLOSE_SECONDS = 40.0
PROTOCOLS = ("auto", "legacy")

ServeMcp = Callable[[str, str, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""principal ("" = the default), protocol, and the client's streams."""
Check = Callable[[str], str | None]
"""What is wrong with a principal's name, or None."""
Administer = Callable[[str, Mapping[str, Any], str], Awaitable[Any]]
"""method, params, who asks; gives a JSON value, raises ControlFault."""


@dataclass(frozen=True, slots=True)
class Services:
    """What the socket offers: MCP for a further client, and the operations of the command line."""

    serve_mcp: ServeMcp
    administer: Administer
    check_principal: Check


class Owner:
    """The listening socket. `drained` waits until no forwarded client is left."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._connections: set[asyncio.Task[None]] = set()
        self._clients = 0
        self._gone = asyncio.Condition()

    async def drained(self) -> None:
        """Return once no client is served through the socket."""
        async with self._gone:
            await self._gone.wait_for(lambda: self._clients == 0)

    async def close(self) -> None:
        """End every connection; one that does not heed it is left behind after `CLOSE_SECONDS`."""
        for task in tuple(self._connections):
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections, timeout=CLOSE_SECONDS)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its first line to its end; it never raises."""
        task = asyncio.current_task()
        if task is not None:
            self._connections.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError):
            log.debug("a connection ended early")
        except asyncio.CancelledError:
            log.debug("a connection was ended")
        except Exception:
            log.exception("a connection failed")
        finally:
            if task is not None:
                self._connections.discard(task)
            await _closed(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Read before anything is refused: a connection closed on unread bytes would lose the reason with them.
        async with asyncio.timeout(HELLO_SECONDS):
            hello = await _object(reader)
        want = hello.get("want")
        principal, protocol = str(hello.get("principal", "")), str(hello.get("protocol", "auto"))
        fault = self._door(writer) or self._hello_fault(want, principal, protocol)
        if fault is not None:
            await _send(writer, {"ok": False, "error": fault.to_json()})
        elif want == "mcp":
            await _send(writer, {"ok": True})
            await self._client(principal, protocol, reader, writer)
        else:
            await _send(writer, {"ok": True})
            await self._requests(reader, writer)

    def _door(self, writer: asyncio.StreamWriter) -> ControlFault | None:
        connected = writer.get_extra_info("socket")
        if not is_ours(connected):
            return ControlFault("FORBIDDEN", "only the owner's own user may connect")
        if is_descendant(connected):
            return ControlFault("FORBIDDEN", "a command that runs inside Interlock may not reach Interlock")
        if len(self._connections) > CONNECTIONS_MAX:
            return ControlFault("BUSY", f"more than {CONNECTIONS_MAX} connections", "close some, then try again")
        return None

    def _hello_fault(self, want: object, principal: str, protocol: str) -> ControlFault | None:
        if want == "admin":
            return None
        if want != "mcp" or protocol not in PROTOCOLS:
            return ControlFault("BAD_REQUEST", "the first line says neither mcp nor admin as it should")
        wrong = self._services.check_principal(principal)
        return ControlFault("PRINCIPAL_UNKNOWN", wrong, "see [principals] in the configuration") if wrong else None

    async def _client(
        self, principal: str, protocol: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._clients += 1
        try:
            await self._services.serve_mcp(principal, protocol, reader, writer)
        finally:
            self._clients -= 1
            async with self._gone:
                self._gone.notify_all()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer requests, one after the other, until the other side ends or is silent for too long."""
        by = f"local:{login_name()}"
        while not reader.at_eof():
            async with asyncio.timeout(IDLE_SECONDS):
                request = await _object(reader)
            if not request:
                return
            await _send(writer, {"id": request.get("id"), **await self._answer(request, by)})

    async def _answer(self, request: Mapping[str, Any], by: str) -> dict[str, Any]:
        method, params = request.get("method"), request.get("params", {})
        if not isinstance(method, str) or not isinstance(params, dict):
            return {"error": ControlFault("BAD_REQUEST", "a request has a method and params").to_json()}
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                return {"result": await self._services.administer(method, params, by)}
        except ControlFault as fault:
            return {"error": fault.to_json()}
        except TimeoutError:
            return {"error": ControlFault("TIMED_OUT", f"{method} took too long").to_json()}
        except Exception:
            log.exception("%s failed", method)
            hint = "the server's log has the details"
            return {"error": ControlFault("INTERNAL", f"{method} failed inside Interlock", hint).to_json()}


@asynccontextmanager
async def open_socket(state_dir: Path, services: Services) -> AsyncIterator[Owner]:
    """Listen on the owner's socket until the context ends. Only the process that owns the store may call it."""
    owner = Owner(services)
    listening = listen(state_dir, CONNECTIONS_MAX)
    server = await asyncio.start_unix_server(owner.accept, sock=listening, limit=LINE_BYTES_MAX)
    try:
        yield owner
    finally:
        server.close()
        await owner.close()
        (state_dir / SOCKET_NAME).unlink(missing_ok=True)


async def _object(reader: asyncio.StreamReader) -> dict[str, Any]:
    """One line as a JSON object; empty at the end. ValueError for anything else or an endless line."""
    line = await reader.readline()
    if not line.strip():
        return {}
    value = json.loads(line)
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004 - the same fault as no JSON at all
    return value


async def _send(writer: asyncio.StreamWriter, value: Mapping[str, Any]) -> None:
    writer.write(json.dumps(value, ensure_ascii=True).encode() + b"\n")
    async with asyncio.timeout(SEND_SECONDS):
        await writer.drain()


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError, TimeoutError, asyncio.CancelledError):
        async with asyncio.timeout(SEND_SECONDS):
            await writer.wait_closed()
