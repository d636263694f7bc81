"""How a command reaches Interlock: through the owner's socket where one lives, else as the owner for a moment."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from interlock.control.address import connect
from interlock.control.faults import ControlFault, fault_from_json
from interlock.control.owner import HELLO_SECONDS, LINE_BYTES_MAX, REQUEST_SECONDS
from interlock.settings import Settings

# An owner that just started holds the store before it listens; one that ends, a moment longer than its socket.
OWNER_TRIES_MAX = 50
OWNER_PAUSE_SECONDS = 0.1


class Caller(Protocol):
    """Whoever carries out an operation of the command line."""

    async def call(self, method: str, **params: Any) -> Any:
        """A JSON value. Raises ControlFault."""
        ...


@asynccontextmanager
async def reach(settings: Settings) -> AsyncIterator[Caller]:
    """A caller, through the owner or as the owner. Raises ControlFault, and what opening the store raises."""
    from interlock.control.local import LocalCaller
    from interlock.store import StoreOwned

    for attempt in range(OWNER_TRIES_MAX):
        caller = await connected(settings.state_dir)
        if caller is not None:
            try:
                yield caller
            finally:
                await caller.close()
            return
        local = LocalCaller(settings)
        try:
            await local.open()
        except StoreOwned as fault:
            if attempt + 1 == OWNER_TRIES_MAX:
                raise ControlFault("OWNER_SILENT", str(fault), "wait for it, or end it") from None
            await asyncio.sleep(OWNER_PAUSE_SECONDS)
            continue
        try:
            yield local
        finally:
            await local.close()
        return


async def connected(state_dir: Path) -> SocketCaller | None:
    """A caller through the owner's socket; None where no owner lives. Raises ControlFault where it refuses."""
    found = await asyncio.to_thread(connect, state_dir, HELLO_SECONDS)
    if found is None:
        return None
    found.setblocking(False)
    reader, writer = await asyncio.open_unix_connection(sock=found, limit=LINE_BYTES_MAX)
    caller = SocketCaller(reader, writer)
    try:
        await caller.greet()
    except BaseException:
        await caller.close()
        raise
    return caller


class SocketCaller:
    """Requests over the owner's socket, one after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._ids = itertools.count(1)

    async def greet(self) -> None:
        """Say that this is a command; raises ControlFault where the owner does not want one."""
        answer = await self._exchange({"want": "admin"}, HELLO_SECONDS)
        if not answer.get("ok"):
            raise fault_from_json(answer.get("error"))

    async def call(self, method: str, **params: Any) -> Any:
        """Ask the owner; its JSON value. Raises ControlFault."""
        request = {"id": next(self._ids), "method": method, "params": params}
        answer = await self._exchange(request, REQUEST_SECONDS)
        if answer.get("error") is not None:
            raise fault_from_json(answer["error"])
        return answer.get("result")

    async def _exchange(self, message: dict[str, Any], seconds: float) -> dict[str, Any]:
        try:
            self._writer.write(json.dumps(message).encode() + b"\n")
            async with asyncio.timeout(seconds):
                await self._writer.drain()
                line = await self._reader.readline()
            answer = json.loads(line)
        except (OSError, TimeoutError, ValueError):
            raise ControlFault("OWNER_SILENT", "the owner of the store stopped answering", "try again") from None
        return answer if isinstance(answer, dict) else {}

    async def close(self) -> None:
        """Close the connection."""
        self._writer.close()
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            return
