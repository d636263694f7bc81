"""Closing: an admitted call's end on record: settled, held, or landing what another call held. It decides nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from interlock.entry import Entry, new_approval_id
from interlock.held import COMMIT
from interlock.landing import Landing, Outcome
from interlock.ports import Hosts, Store
from interlock.records import CallRow, HoldLimits, LayerRow, LayerState, Life, NotAdmitted, Settlement
from interlock.settings import Limits
from interlock.settlements import envelope_of, iso, settlement_of
from interlock.summary import held_summary
from interlock.ticket import Ticket
from interlock_policies.redact import Redactor
from interlock_tools.call import Json
from interlock_tools.envelope import Envelope, Verified, envelope_from_json
from interlock_tools.errors import OutcomeUnknown, Recovery, Refusal, StaleState, State, UndoUnavailable

DIFF_CHARS_MAX = 8_000


@dataclass(frozen=True)
class Closing:
    """Writes ends down. What is answered is what is on record: redacted."""

    entry: Entry
    store: Store
    hosts: Hosts
    landing: Landing
    redactor: Redactor
    limits: Limits
    clock: Callable[[], float]

    async def claim(self, ticket: Ticket) -> Refusal | None:
        """Take the layer that this call lands or undoes for itself; a refusal where somebody else was first."""
        held = ticket.held
        if held is None:
            return None
        commits = ticket.call.tool == COMMIT
        before, after = (LayerState.HELD, LayerState.LANDING) if commits else (LayerState.LANDED, LayerState.UNDOING)
        by = ticket.call.call_id
        if await self.store.move_layer(held.run_id, (before,), after, by=by, now=self.clock()):
            return None
        look = Recovery.use("call_status", {"call_id": held.run_id}, "This shows what became of it.")
        kind = StaleState if commits else UndoUnavailable
        return kind(path="call_id", reason=f"it is not {before.value} any more", recovery=look)

    async def close(self, ticket: Ticket, outcome: Outcome, verified: tuple[Verified, ...]) -> Envelope:
        """Settle or hold the call, durably, and give its answer."""
        envelope = envelope_of(ticket, outcome, verified)
        if outcome.layer is not None and outcome.hold:
            return await self._hold(ticket, outcome, envelope, outcome.layer)
        settlement = self._settlement(ticket, envelope)
        if not outcome.executed.started:  # nothing ran: it costs nothing, and its idempotency key is free again
            settlement = replace(settlement, releases_key=True, refund_units=ticket.cost_units)
        if ticket.held is not None:
            await self._with_other(ticket, ticket.held, outcome, settlement)
        else:
            await self._settled(settlement, outcome.layer)
        return envelope_from_json(settlement.envelope)

    async def _settled(self, settlement: Settlement, layer: LayerRow | None, held: Settlement | None = None) -> None:
        """Settle it; a call that had become unknown meanwhile is resolved with what is known now."""
        if not await self.store.settle(settlement, layer, held):
            row = await self.store.call(settlement.call_id)
            if row is not None and row.life is Life.UNKNOWN and settlement.state is not State.UNKNOWN:
                await self.store.resolve_unknown(settlement, "its host", layer, held)

    def _settlement(self, ticket: Ticket, envelope: Envelope) -> Settlement:
        return settlement_of(envelope, ticket.trail.snapshot(), self.redactor, self.clock())

    async def _hold(self, ticket: Ticket, outcome: Outcome, envelope: Envelope, layer: LayerRow) -> Envelope:
        shown = await self.hosts.diff(ticket.call.host, layer.run_id, DIFF_CHARS_MAX)
        diff = shown if isinstance(shown, str) else ""
        envelope = replace(envelope, result={**envelope.result, "diff": diff})
        settlement = self._settlement(ticket, envelope)
        ask = None
        if outcome.ask:
            text = held_summary(ticket, outcome.measured.changes, diff, self.redactor)
            ask = self.entry.ask(ticket, self.clock(), text, outcome.decision)
            ask = replace(ask, approval_id=new_approval_id())
            stored = {**settlement.envelope["result"], "approval_id": ask.approval_id}
            settlement = replace(settlement, envelope={**settlement.envelope, "result": stored})
        limits = HoldLimits(
            self.limits.layers_held_max,
            self.limits.runs_bytes_max,
            self.limits.approvals_pending_max,
            self.limits.host_calls_max,
            self.limits.principal_calls_max,
        )
        held = await self.store.hold(settlement, layer, ask, limits)
        if isinstance(held, NotAdmitted):
            return await self._full(ticket, outcome, held)
        return envelope_from_json(settlement.envelope)

    async def _full(self, ticket: Ticket, outcome: Outcome, why: NotAdmitted) -> Envelope:
        """No room for another held change: it is thrown away, and the answer says so."""
        await self.hosts.discard(ticket.call.host, ticket.call.call_id)
        refused = replace(outcome.executed, refusal=self.entry.not_admitted(why))
        return await self.close(ticket, replace(outcome, executed=refused, hold=False, ask=False, state=None), ())

    async def _with_other(self, ticket: Ticket, held: LayerRow, outcome: Outcome, settlement: Settlement) -> None:
        """The end of a call_commit or call_undo, and with it of the layer, and of the call that held it: at once."""
        refusal, by, now = outcome.executed.refusal, ticket.call.call_id, self.clock()
        commits = ticket.call.tool == COMMIT
        layer: LayerRow | None = None
        ending: Settlement | None = None
        row = await self.store.call(held.run_id)
        waits = row if commits and row is not None and row.life is Life.HELD else None
        if refusal is None and commits:
            layer = outcome.layer or self.landing.landed_row(held, by, outcome.measured)
            ending = self._ended(waits, _landed_envelope(waits, by, layer)) if waits else None
        elif refusal is None:
            layer = replace(held, state=LayerState.UNDONE, undone=now, undone_by=by)
        elif not await self._claims(ticket, held):
            layer = None  # somebody else was first
        elif commits and isinstance(refusal, StaleState):
            layer = replace(held, state=LayerState.DISCARDED, reason=refusal.message[:500])
            ending = self._ended(waits, _stale_envelope(waits, refusal)) if waits else None
        elif not isinstance(refusal, OutcomeUnknown):
            layer = held  # given back as it was
        await self._settled(settlement, layer, ending)
        if layer is not None and layer.state is LayerState.DISCARDED:
            await self.hosts.discard(held.host, held.run_id)

    async def _claims(self, ticket: Ticket, held: LayerRow) -> bool:
        """Whether the layer is this call's to move now."""
        now, by = await self.store.layer(held.run_id), ticket.call.call_id
        if now is None:
            return False
        return (now.state, now.landed_by) == (LayerState.LANDING, by) or (now.state, now.undone_by) == (
            LayerState.UNDOING,
            by,
        )

    def _ended(self, row: CallRow, envelope: Envelope) -> Settlement:
        return settlement_of(envelope, row.spans, self.redactor, self.clock())

    async def drop(self, row: CallRow, layer: LayerRow, why: Refusal, state: State = State.DISCARDED) -> Envelope:
        """End a held call without landing it: cancelled, denied, expired."""
        stored = envelope_from_json(row.envelope) if row.envelope is not None else Envelope(row.call_id, state)
        ended = replace(stored, state=state, error=why, error_json=None)
        settlement = settlement_of(ended, (), self.redactor, self.clock())
        gone = replace(layer, state=LayerState.DISCARDED, reason=why.message[:500])
        if await self.store.finish_held(layer.run_id, settlement, gone):
            await self.hosts.discard(layer.host, layer.run_id)
        return envelope_from_json(settlement.envelope)


def _stale_envelope(row: CallRow, refusal: Refusal) -> Envelope:
    """The held call's own answer where its change could not land any more."""
    stored = envelope_from_json(row.envelope) if row.envelope else Envelope(row.call_id, State.DISCARDED)
    return replace(stored, state=State.DISCARDED, error=refusal, error_json=None)


_OF_HOLDING = ("held", "diff", "approval_id")


def own_result(row: CallRow | None) -> dict[str, Json]:
    """The tool's own result in the answer of a call that was held: without what was said of its being held."""
    stored = row.envelope["result"] if row is not None and row.envelope is not None else {}
    return {name: value for name, value in stored.items() if name not in _OF_HOLDING}


def _landed_envelope(row: CallRow, by: str, layer: LayerRow) -> Envelope:
    """The held call's own answer once its change landed."""
    stored = envelope_from_json(row.envelope) if row.envelope else Envelope(row.call_id, State.SUCCEEDED)
    notices = (*(entry for entry in stored.notices if "call_commit" not in entry), f"its change was landed by {by}")
    scores = replace(stored.scores, success=1.0)
    return replace(
        stored,
        state=State.SUCCEEDED,
        result=own_result(row),
        scores=scores,
        undo_available=layer.undo_until is not None,
        undo_until=iso(layer.undo_until) if layer.undo_until is not None else None,
        notices=notices,
        error_json=None,
    )
