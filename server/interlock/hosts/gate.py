"""The gate: how many sessions one host may have from us at once, and how many may wait. It opens nothing itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from interlock.hosts.faults import busy

FULL_RETRY_SECONDS = 5


class SessionGate:
    """Holds sessions below the host's own limit. A server frees its slots late, so stay well below it."""

    def __init__(self, sessions_max: int, queue_max: int, wait_seconds: float) -> None:
        self._free = asyncio.Semaphore(max(1, sessions_max))
        self._queue_max = queue_max
        self._wait_seconds = wait_seconds
        self._waiting = 0

    @asynccontextmanager
    async def enter(self) -> AsyncIterator[None]:
        """One session's place. Raises Faulted(HostBusy) where the queue is full or the wait too long."""
        await self._take()
        try:
            yield
        finally:
            self._free.release()

    async def _take(self) -> None:
        if not self._free.locked():
            await self._free.acquire()
            return
        if self._waiting >= self._queue_max:
            raise busy(f"{self._waiting} calls wait for a session already", FULL_RETRY_SECONDS)
        self._waiting += 1
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._free.acquire()
        except TimeoutError:
            raise busy(f"no session became free in {self._wait_seconds:g} s", FULL_RETRY_SECONDS) from None
        finally:
            self._waiting -= 1
