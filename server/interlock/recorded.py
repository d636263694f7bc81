"""What the record says of a call, as the answer its caller gets. It reads one row, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from interlock.records import CallRow, Life
from interlock_tools.envelope import Envelope, envelope_from_json
from interlock_tools.errors import ApprovalRequired, Cancelled, CommandFailed, OutcomeUnknown, Refusal, State


def of_row(row: CallRow) -> Envelope:
    """The call's stored answer, or where it stands without one."""
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
