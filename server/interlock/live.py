"""The calls that are alive in this process: running ones, and those that wait for a human. It decides nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, field

from interlock.ports import LEFT, SHUTDOWN, Progress
from interlock.ticket import Ticket
from interlock_tools.envelope import Envelope
from interlock_tools.errors import State

log = logging.getLogger("interlock")

CANCEL_WAIT_SECONDS = 30.0
PENDING_MAX = 1_000


@dataclass
class Live:
    """A call that runs now. `watchers` are the progress callbacks of those who wait for it.

    `found`: another process started it, this one only asks its host what became of it.
    """

    ticket: Ticket
    task: asyncio.Task[Envelope]
    found: bool = False
    watchers: list[Progress] = field(default_factory=list)

    async def report(self, sentence: str, output_bytes: int) -> None:
        """Pass progress on to everybody who waits; a watcher that fails is dropped."""
        for watcher in tuple(self.watchers):
            try:
                await watcher(sentence, output_bytes)
            except Exception:  # noqa: BLE001 - a client that went away must not disturb the call
                self.watchers.remove(watcher)


class LiveCalls:
    """Running calls each have a task of their own, so that they outlive whoever waits for them."""

    def __init__(self) -> None:
        self._running: dict[str, Live] = {}
        self._waiting: dict[str, Ticket] = {}
        self._changed = asyncio.Condition()

    # ── running ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self, ticket: Ticket, work: Coroutine[None, None, Envelope], *, found: bool = False) -> Live:
        """Run an admitted call's work in a task of its own, or follow one that was `found` running on its host."""
        call_id = ticket.call.call_id

        async def run() -> Envelope:
            try:
                return await work
            finally:
                self._running.pop(call_id, None)
                await self.notify()

        task = asyncio.create_task(run(), name=f"call {call_id}")
        task.add_done_callback(_look_at_result)
        live = self._running[call_id] = Live(ticket, task, found)
        return live

    async def report(self, call_id: str, sentence: str, output_bytes: int) -> None:
        """Progress of a running call."""
        live = self._running.get(call_id)
        if live:
            await live.report(sentence, output_bytes)

    async def follow(
        self, live: Live, wait_seconds: float, progress: Progress | None, *, owns: bool = False
    ) -> Envelope:
        """Wait for a running call; a handle where it takes longer. An owner that goes away cancels it."""
        if progress:
            live.watchers.append(progress)
        try:
            done, _ = await asyncio.wait({live.task}, timeout=wait_seconds)
        except asyncio.CancelledError:
            if owns:
                await asyncio.shield(self._end(live, "its caller went away"))
            raise
        finally:
            if progress and progress in live.watchers:
                live.watchers.remove(progress)
        if done:
            return live.task.result()
        notice = "it goes on running; call_status follows it"
        return Envelope(live.ticket.call.call_id, State.RUNNING, notices=(notice,))

    async def wait(self, call_id: str, wait_seconds: float, progress: Progress | None = None) -> Envelope | None:
        """Follow a call that runs here; None where it does not (any more)."""
        live = self._running.get(call_id)
        return await self.follow(live, wait_seconds, progress) if live else None

    def running(self) -> tuple[str, ...]:
        """The ids of the calls that run in this process now."""
        return tuple(self._running)

    async def end(self, call_id: str, by: str) -> bool:
        """End a running call with its remote process group; False where it does not run here."""
        live = self._running.get(call_id)
        if live is None:
            return False
        await self._end(live, by)
        return True

    async def _end(self, live: Live, by: str) -> None:
        live.task.cancel(by)
        await asyncio.wait({live.task}, timeout=CANCEL_WAIT_SECONDS)

    async def close(self) -> None:
        """End every running call; what was only found goes on, and those that wait for a human stay on record."""
        running = tuple(self._running.values())
        for live in running:
            live.task.cancel(LEFT if live.found else SHUTDOWN)
        if running:
            await asyncio.wait({live.task for live in running}, timeout=CANCEL_WAIT_SECONDS)

    # ── waiting for a human ──────────────────────────────────────────────────────────────────────────────────────────

    def hold(self, ticket: Ticket) -> None:
        """Keep a ticket until a human decided; over the limit the record alone keeps it."""
        if len(self._waiting) < PENDING_MAX:
            self._waiting[ticket.call.call_id] = ticket

    def held(self, call_id: str) -> Ticket | None:
        """The ticket of a call that waits, still held."""
        return self._waiting.get(call_id)

    def release(self, call_id: str) -> Ticket | None:
        """Take a ticket out: only one caller ever gets it."""
        return self._waiting.pop(call_id, None)

    async def wait_for_decision(self, call_id: str, wait_seconds: float) -> None:
        """Return once the call no longer waits for a human, or after the wait."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_seconds), self._changed:
                await self._changed.wait_for(lambda: call_id not in self._waiting)

    async def notify(self) -> None:
        """Wake everybody who waits for a change."""
        async with self._changed:
            self._changed.notify_all()


def _look_at_result(task: asyncio.Task[Envelope]) -> None:
    """A failure that nobody waits for is logged here instead of never."""
    if not task.cancelled() and task.exception() is not None:
        log.error("%s ended with %s", task.get_name(), type(task.exception()).__name__)
