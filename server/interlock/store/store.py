"""The SQLite store: gives the line its record. What each transaction does stands in its own file; opening too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

import anyio

from interlock.records import (
    Admission,
    AdmissionResult,
    Admitted,
    ApprovalRow,
    CallRow,
    Intent,
    LayerRow,
    NotAdmitted,
    Settlement,
    Span,
)
from interlock.store import admission as admitting
from interlock.store import approving, claiming, holding, layers, retention, settling
from interlock.store.chain import Checkpoint
from interlock.store.connection import OwnedConnection, Tx
from interlock.store.deployments import Deployments
from interlock.store.files import StoreFiles
from interlock.store.rows import call_row
from interlock.store.sql import load_blocks
from interlock.store.verify import Verification, checkpoint_of, verify_files
from interlock.store.writer import GroupWriter
from interlock_tools.errors import State

CLOSE_SECONDS_MAX = 30.0


class SqliteStore(Deployments):
    """The record of one Interlock. Every method that writes returns only after its transaction is durable."""

    def __init__(
        self,
        files: StoreFiles,
        writer: GroupWriter,
        reader: OwnedConnection,
        clock: Callable[[], float],
        closing: AsyncExitStack,
    ) -> None:
        self.files = files
        self._writer = writer
        self._reader = reader
        self._clock = clock
        self._queries = load_blocks("queries.sql")
        self._closing = closing

    # ── the line ──

    async def admit(self, admission: Admission) -> AdmissionResult:
        """Decide one admission and make it durable. A caller that is cancelled meanwhile leaves a cancelled call."""
        values, digest = admitting.prepare(admission)
        return await self._writer.submit(lambda tx: admitting.admit(tx, admission, values, digest), self._abandon)

    async def refuse(self, intent: Intent, settlement: Settlement) -> None:
        """Put a call on record that was never admitted, with the answer it got."""
        await self._writer.submit(lambda tx: settling.refuse(tx, intent, settlement))

    async def settle(
        self, settlement: Settlement, layer: LayerRow | None = None, held: Settlement | None = None
    ) -> bool:
        """Write down how a call ended; False where it had ended before, and keeps its first outcome.

        `layer`: what it landed, took back or gave up, as it is now. `held`: how the held call ends whose layer it was.
        """
        values = layers.layer_values(layer) if layer else None
        return await self._writer.submit(lambda tx: holding.settle(tx, settlement, values, held))

    async def dispatch(self, call_id: str, approval_id: str, now: float) -> ApprovalRow | NotAdmitted | str:
        """Consume an approval and mark its call dispatched, atomically; a sentence where it cannot be consumed."""
        return await self._writer.submit(lambda tx: approving.dispatch(tx, call_id, approval_id, now), self._abandon)

    def _abandon(self, tx: Tx, done: AdmissionResult | ApprovalRow | str) -> None:
        if isinstance(done, Admitted | ApprovalRow):
            now = self._clock()
            if not claiming.put_back(tx, done.call_id, now):
                settling.abandon(tx, done.call_id, now)

    async def lose_dispatched(self, now: float) -> list[CallRow]:
        """At start: every dispatched call without an outcome becomes unknown, its budget kept, its lease ended."""
        return [call_row(row) for row in await self._writer.submit(lambda tx: settling.lose(tx, now))]

    async def reconcile(
        self, call_id: str, state: State, by: str, reason: str, now: float, refund_units: int = 0
    ) -> CallRow | str:
        """Write down what an unknown call turned out to be; a sentence where it is not unknown."""
        row = await self._writer.submit(
            lambda tx: settling.reconcile(tx, call_id, state, by, reason, now, refund_units)
        )
        return row if isinstance(row, str) else call_row(row)

    async def add_span(self, call_id: str, span: Span) -> None:
        """Add a span to a recorded call; at most 64 beside those of its settlement."""
        now = self._clock()
        await self._writer.submit(lambda tx: settling.add_span(tx, call_id, span, now))

    async def decide_approval(
        self, approval_id: str, approve: bool, by: str, reason: str, now: float
    ) -> ApprovalRow | str:
        """Decide a pending approval once; a sentence where it is not pending any more."""
        return await self._writer.submit(lambda tx: approving.decide(tx, approval_id, approve, by, reason, now))

    async def expire_approvals(self, now: float) -> list[ApprovalRow]:
        """Expire what was not decided, or not used, in time (at most 500 at once); those just expired."""
        return await self._writer.submit(lambda tx: approving.expire(tx, now))

    async def withdraw_approval(self, call_id: str, now: float) -> None:
        """Take back a call's approval where it is still live."""
        await self._writer.submit(lambda tx: approving.withdraw(tx, call_id, now))

    async def prune(self, before: float) -> int:
        """Delete every ended call older than `before`, in steps of 200; how many. Audit records stay."""
        total, now = 0, self._clock()
        while step := await self._writer.submit(lambda tx: retention.prune(tx, before, now)):
            total += step
        await self._writer.submit(lambda tx: retention.sweep(tx, before))
        return total

    # ── the audit chain ──

    async def head(self) -> Checkpoint:
        """The signed head of the chain: worth keeping off this machine."""
        row = (await self._read("head_of"))[0]
        return checkpoint_of(row)

    async def verify_chain(self, kept: tuple[Checkpoint, ...] = ()) -> Verification:
        """Walk the whole chain on a connection of its own. `kept`: heads that were kept off this machine."""
        return await asyncio.to_thread(verify_files, self.files, kept)

    async def close(self) -> None:
        """Write what is queued, keep the signed head, give the store up. Idempotent; takes 30 seconds at most."""
        with anyio.move_on_after(CLOSE_SECONDS_MAX, shield=True):
            await self._closing.aclose()
