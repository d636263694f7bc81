"""Attempts: one piece of work on one host, repeated only while nothing of it began or it only reads; each is listed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

import asyncssh

from interlock.hosts.breaker import Breakers, Kind
from interlock.hosts.faults import Faulted, busy, describe
from interlock.hosts.link import Link, Live
from interlock.hosts.roads import Roads
from interlock.settings import Limits
from interlock_tools.envelope import Attempt
from interlock_tools.errors import HostBusy

PAUSE_SECONDS = 0.05
PAUSE_SECONDS_MAX = 2.0
SESSION_TRIES_MAX = 10  # a server frees its sessions late; the failure comes before anything is run
Result = TypeVar("Result")
Work = Callable[[Link, Live], Awaitable[Result]]


class Attempts:
    """Runs work on a host's link, with the host's breakers around it."""

    def __init__(self, roads: Roads, breakers: Breakers, limits: Limits, clock: Callable[[], float]) -> None:
        self._roads = roads
        self._breakers = breakers
        self._limits = limits
        self._clock = clock

    async def run(
        self,
        host: str,
        kind: Kind,
        work: Work[Result],
        *,
        reads: bool,
        listed: list[Attempt],
        outcome: Callable[[Result], tuple[str, bool]] = lambda _: ("succeeded", False),
    ) -> Result:
        """The work's result. Raises Faulted after the last try.

        `outcome` says how a result reads in the list of attempts, and whether it counts as a failure of the host (an
        unknown outcome does). What began and does not only read is never tried again.
        """
        loop = asyncio.get_running_loop()
        first, tries = loop.time(), 0
        while True:
            tries += 1
            stale = self._roads.is_up(host)
            started, begun_at = self._clock(), loop.time()
            try:
                result = await self._once(host, kind, work, outcome)
            except Faulted as fault:
                listed.append(_attempt(host, started, loop.time() - begun_at, fault.refusal.code))
                if not self._again(fault, reads, tries, 0.0 if stale else loop.time() - first):
                    raise
            else:
                listed.append(_attempt(host, started, loop.time() - begun_at, outcome(result)[0]))
                return result
            await asyncio.sleep(_pause_seconds(tries))

    def _again(self, fault: Faulted, reads: bool, tries: int, seconds: float) -> bool:
        if fault.began and not reads:
            return False
        if isinstance(fault, NoSession):
            return tries < SESSION_TRIES_MAX
        if isinstance(fault.refusal, HostBusy) or not fault.counts:
            return False
        # A connection that went bad is replaced; a new one that was silent for all of its time is not given it again.
        return tries < self._limits.attempts_max and seconds < self._limits.connect_timeout_seconds

    async def _once(
        self, host: str, kind: Kind, work: Work[Result], outcome: Callable[[Result], tuple[str, bool]]
    ) -> Result:
        link = self._roads.link(host)
        live = await self._guarded(host, Kind.CONNECT, link.live, lambda _: ("", False))

        async def begin() -> Result:
            try:
                return await work(link, live)
            except asyncssh.ChannelOpenError as fault:
                raise NoSession(fault) from None

        return await self._guarded(host, kind, begin, outcome)

    async def _guarded(
        self,
        host: str,
        kind: Kind,
        work: Callable[[], Awaitable[Result]],
        outcome: Callable[[Result], tuple[str, bool]],
    ) -> Result:
        await self._breakers.enter(host, kind)
        try:
            result = await work()
        except Faulted as fault:
            if fault.counts:
                await self._breakers.failed(host, kind)
            raise
        else:
            if outcome(result)[1]:
                await self._breakers.failed(host, kind)
            else:
                await self._breakers.succeeded(host, kind)
            return result
        finally:
            self._breakers.left(host, kind)


class NoSession(Faulted):
    """The host opens no further session for now; nothing was sent."""

    def __init__(self, fault: asyncssh.ChannelOpenError) -> None:
        base = busy(f"the host opens no further session: {describe(fault)}", 1)
        super().__init__(base.refusal, counts=False)


def _attempt(host: str, started: float, seconds: float, outcome: str) -> Attempt:
    when = datetime.fromtimestamp(started, UTC).isoformat(timespec="milliseconds")
    return Attempt(host, when, round(seconds, 3), outcome)


def _pause_seconds(tries: int) -> float:
    ceiling = min(PAUSE_SECONDS_MAX, PAUSE_SECONDS * 2**tries)
    return random.uniform(ceiling / 2, ceiling)  # noqa: S311 - spreads tries apart; nothing secret
