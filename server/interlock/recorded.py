"""What the record says of a call, as the answer its caller gets. It reads its row and its layer's, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from interlock.records import CallRow, LayerRow, LayerState, Life
from interlock_tools.envelope import Envelope, envelope_from_json
from interlock_tools.errors import ApprovalRequired, Cancelled, CommandFailed, OutcomeUnknown, Refusal, State


def of_row(row: CallRow, layer: LayerRow | None = None, now: float = 0.0) -> Envelope:
    """The call's stored answer, or where it stands without one; with its `layer`, what became of that until `now`."""
    envelope = _of_call(row)
    return envelope if layer is None else _with_layer(envelope, layer, now)


def _with_layer(envelope: Envelope, layer: LayerRow, now: float) -> Envelope:
    """The answer with the undo that is left of it now, and with what became of its change since."""
    until = layer.undo_until if layer.can_be_undone(now) else None
    since = {
        LayerState.LANDING: f"its change is being landed by {layer.landed_by}",
        LayerState.UNDOING: f"its change is being taken back by {layer.undone_by}",
        LayerState.UNDONE: f"its change was taken back by {layer.undone_by}",
        LayerState.LOST: f"its change is lost: {layer.reason or 'the host does not know it any more'}",
    }.get(layer.state)
    return replace(
        envelope,
        undo_available=until is not None,
        undo_until=None if until is None else datetime.fromtimestamp(until, UTC).isoformat(timespec="seconds"),
        notices=(*envelope.notices, since) if since else envelope.notices,
    )


def _of_call(row: CallRow) -> Envelope:
    if row.envelope is not None:
        return envelope_from_json(row.envelope)
    if row.life is Life.AWAITING:
        return awaiting(row.call_id, row.approval_id, row.rules)
    if row.life is Life.UNKNOWN:
        lost = OutcomeUnknown(reason="the server stopped while it ran", call_id=row.call_id)
        return Envelope(row.call_id, State.UNKNOWN, error=lost)
    if row.life is Life.RECONCILED:
        return _reconciled(row)
    return Envelope(row.call_id, State.RUNNING)


def awaiting(call_id: str, approval_id: str, rules: Sequence[str]) -> Envelope:
    """The answer of a call that waits for a human."""
    asked = ApprovalRequired(reason=f"approval {approval_id} is pending", rules=tuple(rules), call_id=call_id)
    return Envelope(call_id, State.AWAITING_APPROVAL, result={"approval_id": approval_id}, error=asked)


def _reconciled(row: CallRow) -> Envelope:
    """A call whose outcome was lost, and then looked up on the host by a human."""
    looked = "a human looked at the host: "
    refusals: dict[State, Refusal] = {
        State.FAILED: CommandFailed(reason=looked + "it failed"),
        State.CANCELLED: Cancelled(reason=looked + "it did not run to its end"),
    }
    notices = ("its outcome was lost, and was then reconciled by a human",)
    return Envelope(row.call_id, row.state, notices=notices, error=refusals.get(row.state))
