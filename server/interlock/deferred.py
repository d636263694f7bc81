"""A front that answers what needs no host at once, and opens the house behind it meanwhile: a client lists tools first.

Parsing policies, loading SSH and opening the store take longer than a client likes to wait for a list of tools.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from interlock.catalogs import Catalogs
from interlock.ports import Front, PendingForm, Progress, Request, Resource
from interlock.settings import Settings
from interlock_tools.catalog import Contract
from interlock_tools.envelope import Envelope

HEAD_START_SECONDS = 0.5


@dataclass
class DeferredFront:
    """Fulfils `ports.Front`. Every call waits for the real front; contracts are the same with or without it."""

    settings: Settings
    _asked: asyncio.Event = field(default_factory=asyncio.Event)
    _front: asyncio.Future[Front] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def __post_init__(self) -> None:
        self._catalogs = Catalogs(self.settings)

    async def open_with(self, opening: Callable[[], Awaitable[Front]]) -> None:
        """Open the real front once somebody needs it, or after half a second; what it raises, every call raises."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HEAD_START_SECONDS):
                await self._asked.wait()
        try:
            self._front.set_result(await opening())
        except BaseException as fault:
            if not self._front.done():
                self._front.set_exception(fault)
                self._front.exception()  # it is looked at here; whoever opened it hears of it by the raise below
            raise

    async def _ready(self) -> Front:
        self._asked.set()
        return await asyncio.shield(self._front)

    def contracts(self, principal: str) -> Sequence[Contract]:
        return self._catalogs.catalog(principal).contracts()

    async def call(self, request: Request, progress: Progress | None = None) -> Envelope:
        return await (await self._ready()).call(request, progress)

    def resources(self, principal: str) -> Sequence[Resource]:
        if self._front.done() and not self._front.exception():
            return self._front.result().resources(principal)
        from interlock.resources import listed

        return listed(self._catalogs.hosts(principal))

    async def read_resource(self, principal: str, uri: str) -> str | None:
        return await (await self._ready()).read_resource(principal, uri)

    async def form_for(self, principal: str, call_id: str) -> PendingForm | None:
        return await (await self._ready()).form_for(principal, call_id)

    async def answer_form(self, principal: str, approval_id: str, *, approve: bool, reason: str) -> None:
        await (await self._ready()).answer_form(principal, approval_id, approve=approve, reason=reason)

    async def token_principal(self, token: str) -> str | None:
        return await (await self._ready()).token_principal(token)
