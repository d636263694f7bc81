"""Landing: what becomes of a measured change. It is decided as it was measured; then it lands, is held, or neither.

nothing waits                 → verify and settle
preview                       → held, as it was asked for
undeclared                    → held, EFFECT_UNDECLARED says what it would have done
the command failed            → held, nothing lands by itself
policy asks                   → held, a human decides on the measured change
policy denies                 → discarded
policy allows                 → landed, exactly these bytes
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

from interlock.authorize import Authority
from interlock.entry import Entry
from interlock.guard import Guard
from interlock.held import COMMIT, changes_of
from interlock.ports import Executed, Hosts, Measured, Run, Store
from interlock.records import LAYER_CHANGES_CHARS_MAX, LayerRow, LayerState
from interlock.settings import Limits
from interlock.ticket import Ticket
from interlock.trail import Step
from interlock_policies.facts import Decision, Level, Situation, Verdict
from interlock_policies.measured import inverse_changes, measured_effects, undeclared_changes
from interlock_policies.redact import Redactor
from interlock_policies.severity import side_effects_score
from interlock_tools.call import Json, Mode
from interlock_tools.changes import Change, Weighed
from interlock_tools.effects import Effects
from interlock_tools.errors import (
    ApprovalRequired,
    CommandFailed,
    EffectUndeclared,
    HostFault,
    OutcomeUnknown,
    PolicyDenied,
    Recovery,
    Refusal,
    State,
)
from interlock_tools.plan import CommitLayer

SECONDS_AN_HOUR = 3_600.0
NOT_WHOLE = "the record does not hold every path of this change"


@dataclass(frozen=True)
class Outcome:
    """A call that was carried out, with what was decided on its measured change.

    `hold`: the change waits on the host, with `ask` where a human decides on it. `undeclared`: what nobody declared.
    """

    executed: Executed
    undeclared: tuple[Change, ...] = ()
    decision: Decision | None = None
    hold: bool = False
    ask: bool = False
    state: State | None = None  # where the error alone does not say it
    side_effects: float | None = None
    layer: LayerRow | None = None  # what goes on record of the layer, as it is now
    advice: Recovery | None = None  # what to do where it did not reach what was asked for

    @property
    def measured(self) -> Measured:
        """What the host saw."""
        return self.executed.measured


@dataclass(frozen=True)
class Landing:
    """Decides on measured changes and lands them. It holds no state."""

    entry: Entry
    guard: Guard
    store: Store
    hosts: Hosts
    authority: Authority
    redactor: Redactor
    limits: Limits
    clock: Callable[[], float]

    async def conclude(self, ticket: Ticket, executed: Executed) -> Outcome:
        """What becomes of what this call changed."""
        if ticket.held is not None:
            return self._of_held(ticket, ticket.held, executed)
        measured = executed.measured
        weighed = measured.weighed or Weighed(
            undeclared_changes(ticket.effects.declared, measured.changes), self._score(ticket, measured)
        )
        beyond = weighed.undeclared
        outcome = Outcome(executed, beyond, side_effects=weighed.side_effects)
        if ticket.landing is not None:  # its landing had begun: on the host it is one and the same
            return await self.land(ticket, replace(outcome, layer=ticket.landing))
        if not measured.layer:
            return self._told(outcome)
        with ticket.trail.step(Step.LAND) as seen:
            concluded = await self._weighed(ticket, outcome)
            seen.update(
                changes=len(measured.changes), undeclared=len(beyond), landed=concluded.measured.landed,
                held=concluded.hold,
            )  # fmt: skip
        return concluded

    def _of_held(self, ticket: Ticket, held: LayerRow, executed: Executed) -> Outcome:
        """The end of a call that landed or undid what another one changed: its change is what the record says."""
        changes = changes_of(held)
        if ticket.call.tool != COMMIT:
            changes = inverse_changes(changes)
        if executed.refusal is not None:
            return Outcome(executed)
        measured = replace(executed.measured, changes=changes, landed=True)
        layer = self.landed_row(held, ticket.call.call_id, measured) if ticket.call.tool == COMMIT else None
        return Outcome(replace(executed, measured=measured), side_effects=self._score(ticket, measured), layer=layer)

    def _told(self, outcome: Outcome) -> Outcome:
        """What landed without a layer: it cannot be taken back here, but it is not called a success."""
        if not outcome.undeclared or outcome.executed.refusal is not None:
            return outcome
        if outcome.measured.observed == "scanned":  # what changed during a run need not have changed by it
            said = (*outcome.measured.notes, "undeclared changes were seen during the run; another may have made them")
            return replace(outcome, executed=replace(outcome.executed, measured=replace(outcome.measured, notes=said)))
        refusal = EffectUndeclared(reason=f"it did {sentence(outcome.undeclared)}, which it had not declared")
        return replace(outcome, executed=replace(outcome.executed, refusal=refusal), state=State.FAILED)

    async def _weighed(self, ticket: Ticket, outcome: Outcome) -> Outcome:
        refusal = outcome.executed.refusal
        if refusal is not None and not isinstance(refusal, CommandFailed):
            return await self._discarded(ticket, outcome, refusal)
        effects = measured_effects(ticket.effects, outcome.measured.changes)
        decision = self.decide(ticket, effects, ticket.granted)
        outcome = replace(outcome, decision=decision)
        if outcome.measured.truncated:
            reason = f"it changed more than {self.limits.layer_changes_max} paths, more than can be decided at once"
            return await self._discarded(ticket, outcome, PolicyDenied(reason=f"{reason}; nothing landed"))
        if outcome.undeclared:
            return await self._undeclared(ticket, outcome, effects, decision)
        if decision.verdict is Verdict.DENY:
            denied = PolicyDenied(reason=self.guard.why(decision), rules=decision.rule_ids)
            return await self._discarded(ticket, outcome, denied)
        if isinstance(refusal, CommandFailed):
            kept = replace(refusal, reason=f"{refusal.reason}; what it changed is held, nothing of it has landed")
            return self._held(ticket, replace(outcome, executed=replace(outcome.executed, refusal=kept)), State.FAILED)
        if ticket.call.mode is Mode.PREVIEW:
            return self._held(ticket, outcome)
        if decision.verdict is Verdict.ASK:
            return self._asked(ticket, outcome, decision)
        row = self.layer_row(ticket, outcome, LayerState.LANDING)
        if not await self.store.begin_landing(row, self.clock()):
            return self._held(ticket, outcome)  # found after a restart: it is on record as unknown, and may be held
        return await self.land(ticket, replace(outcome, layer=row))

    def _asked(self, ticket: Ticket, outcome: Outcome, decision: Decision) -> Outcome:
        """Held for a human; where policy only wants it shown first, for the caller's own second look."""
        if not any(name.startswith("approval:") for name in decision.obligations):
            return self._held(ticket, outcome)
        asked = ApprovalRequired(reason="it waits for a human", rules=decision.rule_ids, call_id=ticket.call.call_id)
        executed = replace(outcome.executed, refusal=asked)
        return self._held(ticket, replace(outcome, executed=executed, ask=True))

    def _held(self, ticket: Ticket, outcome: Outcome, state: State = State.HELD) -> Outcome:
        row = self.layer_row(ticket, outcome, LayerState.HELD)
        return replace(outcome, hold=True, state=state, layer=row)

    async def _undeclared(self, ticket: Ticket, outcome: Outcome, effects: Effects, decision: Decision) -> Outcome:
        reason = f"it would {sentence(outcome.undeclared)}, which it does not declare; nothing landed"
        refusal = EffectUndeclared(reason=reason, rules=decision.rule_ids)
        recovery = await self.guard.beyond_measure(ticket, effects, outcome.measured.changes, decision)
        refused = refusal.with_recovery(recovery)
        if decision.verdict is Verdict.DENY:
            return await self._discarded(ticket, outcome, refused)
        return self._held(ticket, replace(outcome, executed=replace(outcome.executed, refusal=refused)))

    async def _discarded(self, ticket: Ticket, outcome: Outcome, refusal: Refusal) -> Outcome:
        """Nothing lands, and nothing is kept. A layer that could not be thrown away expires on its host."""
        await self.hosts.discard(ticket.call.host, ticket.call.call_id)
        gone = replace(outcome.measured, layer="", undo_why="nothing landed")
        return replace(outcome, executed=replace(outcome.executed, refusal=refusal, measured=gone))

    def decide(self, ticket: Ticket, effects: Effects, granted: frozenset[str]) -> Decision:
        """Policy on what was measured: it is contained, it was shown, and it is about to land."""
        situation: Situation = replace(
            self.entry.situation(),
            approvals=granted,
            containment=Level.STAGED.value,
            previewed=ticket.held is not None,
        )
        return self.guard.engine.decide(ticket.principal, ticket.facts, ticket.call, effects, situation, measured=True)

    async def land(self, ticket: Ticket, outcome: Outcome) -> Outcome:
        """Land the outcome's layer, which is claimed for this call, under an authorization of its own."""
        call, row = ticket.call, outcome.layer
        if row is None:
            raise ValueError("there is no layer to land")
        plan = CommitLayer(row.run_id, row.digest)
        leave = self.authority.issue(
            call,
            plan,
            host=call.host,
            policy_version=self.guard.engine.version,
            lifetime_seconds=self.limits.execute_within_seconds,
        )
        run = Run(call.call_id, call.digest, call.host, plan, call.timeout_seconds)
        landed = await self.hosts.execute(leave, run)
        if landed.refusal is None:
            now = self.landed_row(row, call.call_id, landed.measured)
            done = replace(outcome.measured, layer="", landed=True, undo_why=now.reason)
            return replace(outcome, executed=replace(outcome.executed, measured=done), layer=now)
        if isinstance(landed.refusal, OutcomeUnknown):
            unknown = replace(outcome.executed, refusal=landed.refusal)
            return replace(outcome, executed=unknown, layer=None)  # it stays claimed: its host is asked again
        if isinstance(landed.refusal, HostFault):  # nothing of it began, and the layer is there still
            refused = replace(outcome, executed=replace(outcome.executed, refusal=landed.refusal))
            return self._held(ticket, refused)
        lost = replace(row, state=LayerState.DISCARDED, reason=landed.refusal.message[:500])
        return replace(await self._discarded(ticket, outcome, landed.refusal), layer=lost)

    def _score(self, ticket: Ticket, measured: Measured) -> float | None:
        if measured.observed == "scanned":  # a scan cannot tell this call's changes from anybody else's
            return None
        effects = ticket.effects
        complete = not (effects.opaque or effects.unknown_programs)
        return side_effects_score(
            effects.declared, effects.inferred, measured.changes, measured.observed, ticket.facts, complete=complete
        )

    # ── the layer as it is recorded ──────────────────────────────────────────────────────────────────────────────────

    def layer_row(self, ticket: Ticket, outcome: Outcome, state: LayerState) -> LayerRow:
        """What goes on record of a layer that waits. Redaction must not have changed a path: then it is not whole."""
        measured, call, now = outcome.measured, ticket.call, self.clock()
        changes = [_recorded(change) for change in measured.changes]
        shown = self.redactor.json(changes)
        whole = shown == changes and len(json.dumps(shown)) <= LAYER_CHANGES_CHARS_MAX
        return LayerRow(
            run_id=call.call_id,
            host=call.host,
            principal=call.principal,
            call_digest=call.digest,
            digest=measured.layer,
            changes=tuple(shown),
            truncated=measured.truncated or not whole,
            bytes=measured.bytes,
            state=state,
            created=now,
            expires=now + self.limits.layer_hours_max * SECONDS_AN_HOUR,
            landed_by=call.call_id if state is LayerState.LANDING else "",
        )

    def landed_row(self, row: LayerRow, by: str, measured: Measured) -> LayerRow:
        """The layer once it landed: until when it can be undone, or why it cannot."""
        now = self.clock()
        why = measured.undo_why or (NOT_WHOLE if row.truncated else "")
        until = None if why else now + self.limits.undo_hours_max * SECONDS_AN_HOUR
        return replace(
            row, state=LayerState.LANDED, landed=now, landed_by=by, undo_until=until, reason=why,
            bytes=measured.bytes or row.bytes,
        )  # fmt: skip


def _recorded(change: Change) -> dict[str, Json]:
    """A change as it is kept: what a decision or a reader needs. What the host compares with, the host keeps itself."""
    kept = {name: value for name, value in change.to_json().items() if value}
    return kept | {"was": {"kind": str(change.was.get("kind", ""))} if change.was is not None else None}


CHANGES_SAID_MAX = 5


def sentence(changes: tuple[Change, ...]) -> str:
    """The first few changes in words, and how many more there are."""
    said = ", ".join(f"{change.op.value} {change.path}" for change in changes[:CHANGES_SAID_MAX])
    more = len(changes) - CHANGES_SAID_MAX
    return said + (f" and {more} more" if more > 0 else "")
