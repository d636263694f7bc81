"""Held changes and undo: which recorded layer a call means, whose it is, what it asks of the host. It lands nothing."""

from __future__ import annotations

from dataclasses import replace

from interlock.ports import Store
from interlock.records import LayerRow, LayerState
from interlock_policies.facts import Principal, PrincipalKind
from interlock_policies.measured import inverse_effects, measured_effects
from interlock_tools.call import Call
from interlock_tools.changes import Change, change_from_json
from interlock_tools.effects import Declaration, EffectKind, Effects
from interlock_tools.errors import CallUnknown, PolicyDenied, Recovery, Refusal, StaleState, UndoUnavailable
from interlock_tools.plan import CommitLayer, Plan, UndoRun

COMMIT, UNDO = "call_commit", "call_undo"
_OVER = {
    LayerState.LANDED: "it has landed already",
    LayerState.UNDONE: "it was landed and undone since",
    LayerState.DISCARDED: "it was discarded",
    LayerState.LOST: "its host lost it",
}
_NO_UNDO = {
    LayerState.HELD: "it has not landed; call_cancel discards it",
    LayerState.UNDONE: "it was undone already",
    LayerState.DISCARDED: "nothing of it landed, or its before-images have expired",
    LayerState.LOST: "its host lost the before-images",
}


async def held_by(store: Store, call: Call, principal: Principal) -> LayerRow | Refusal | None:
    """The layer that this call lands or undoes; None for every other tool; a refusal where there is no such."""
    if call.tool not in (COMMIT, UNDO):
        return None
    row = await store.layer(str(call.arguments["call_id"]))
    if row is None or (row.principal != call.principal and principal.kind is not PrincipalKind.HUMAN):
        step = Recovery.give_up("Only the principal that made a call can land or undo it, by the id its envelope gave.")
        return CallUnknown(
            path="call_id", reason="no call of this principal has held or undoable changes", recovery=step
        )
    look = Recovery.use("call_status", {"call_id": row.run_id}, "This shows what became of it.")
    if call.tool == COMMIT and row.state is not LayerState.HELD:
        return StaleState(path="call_id", reason=_OVER[row.state], recovery=look)
    if call.tool == UNDO and row.state is not LayerState.LANDED:
        return UndoUnavailable(path="call_id", reason=_NO_UNDO[row.state], recovery=look)
    if row.truncated:
        because = "A person looks at the host: what would be decided on is not all that would land."
        return PolicyDenied(
            path="call_id",
            reason="the record does not hold every path of this change, so it cannot be decided on",
            recovery=Recovery.ask(because),
        )
    return row


def changes_of(row: LayerRow) -> tuple[Change, ...]:
    """The measured changes of a layer."""
    return tuple(change_from_json(change) for change in row.changes)


def placed(call: Call, row: LayerRow) -> Call:
    """The call on the layer's host. An undo declares what it puts back by itself."""
    if call.tool == COMMIT:
        return replace(call, host=row.host)
    back = inverse_effects(changes_of(row))
    declared = Declaration(
        tuple(dict.fromkeys(effect.target for effect in back if effect.kind is EffectKind.WRITE)),
        tuple(dict.fromkeys(effect.target for effect in back if effect.kind is EffectKind.DELETE)),
    )
    return replace(call, host=row.host, declaration=declared)


def effects_of(call: Call, row: LayerRow) -> Effects:
    """What landing or undoing it means, path by path as it was measured."""
    if call.tool == COMMIT:
        return measured_effects(Effects(declared=call.declaration), changes_of(row))
    return Effects(declared=call.declaration, inferred=inverse_effects(changes_of(row)))


def plan_of(call: Call, row: LayerRow, keep: str) -> Plan:
    """What is asked of the host. `keep`: which side wins where something changed since; a person's word only."""
    if call.tool == COMMIT:
        return CommitLayer(row.run_id, row.digest)
    return UndoRun(row.run_id, keep)
