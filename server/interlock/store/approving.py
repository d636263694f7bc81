"""Approvals: decided once, used once, for exactly one call, before they expire. It asks nobody, it keeps the record."""

from __future__ import annotations

import sqlite3

from interlock.records import ApprovalRow, ApprovalState, LayerState, Life, NotAdmitted
from interlock.store import layers
from interlock.store.admission import stopped_by_human
from interlock.store.connection import Tx
from interlock.store.rows import APPROVAL_COLUMNS, Values, approval_row, digest_of_columns, storable
from interlock_tools.call import digest_of

LAPSED_MAX = 500
ROOM_RETRY_SECONDS = 1
_LIVE = (ApprovalState.PENDING, ApprovalState.APPROVED)
_EVENTS = {
    ApprovalState.APPROVED: "approved",
    ApprovalState.DENIED: "denied",
    ApprovalState.EXPIRED: "expired",
    ApprovalState.USED: "used",
    ApprovalState.WITHDRAWN: "withdrawn",
}


def decide(tx: Tx, approval_id: str, approve: bool, by: str, reason: str, now: float) -> ApprovalRow | str:
    """Approve or deny a pending approval; a sentence where it is not pending any more, or its time is over."""
    row = tx.one("approval_of", {"approval_id": approval_id})
    if row is None:
        return f"there is no approval {approval_id}"
    if row["state"] != ApprovalState.PENDING:
        return f"the approval {approval_id} {_past(row)}"
    if now >= row["approve_by"]:
        return f"the approval {approval_id} expired before it was decided"
    decision: Values = {"decided_by": storable(by), "decided": float(now), "reason": storable(reason)}
    if not approve:
        return move_approval(tx, row, ApprovalState.DENIED, now, decision)
    decision["execute_by"] = float(now + row["execute_within_seconds"])
    return move_approval(tx, row, ApprovalState.APPROVED, now, decision)


def _past(row: sqlite3.Row) -> str:
    """What became of an approval that is not pending any more."""
    who = f" by {row['decided_by']}" if row["decided_by"] else ""
    state = ApprovalState(row["state"])
    if state is ApprovalState.USED:
        return f"was approved{who} and its call has run"
    if state is ApprovalState.EXPIRED:
        return f"was approved{who} and expired before its call was started" if who else "expired before anybody decided"
    return f"was {state.value}{who} already"


def dispatch(tx: Tx, call_id: str, approval_id: str, now: float) -> ApprovalRow | NotAdmitted | str:
    """Use an approval up and send its call on its way, at once; a sentence where the approval is not good for that.

    A held call is sent to land its layer, which it claims with that. NotAdmitted where a stop or a limit holds the call
    back now: its approval stays as it is.
    """
    approval = tx.one("approval_of", {"approval_id": approval_id})
    call = tx.one("call_of", {"call_id": call_id})
    layer = layers.layer_at(tx, call_id)
    if layer is not None and layer["approval_id"] != approval_id:
        layer = None  # it was asked before the call ran at all
    if approval is None or call is None or approval["call_id"] != call_id or approval["digest"] != _bound(call, layer):
        return f"the approval {approval_id} is not for the call {call_id}"
    if approval["state"] != ApprovalState.APPROVED:
        return f"the approval {approval_id} is {approval['state']}, not approved"
    if approval["execute_by"] is None or now >= approval["execute_by"]:
        return f"the approval {approval_id} expired before the call was started"
    if (why := _not_waiting(call, layer, now)) is not None:
        return why
    if (full := _no_room(tx, approval)) is not None:
        return full
    used = move_approval(tx, approval, ApprovalState.USED, now)
    tx.run("call_dispatch" if layer is None else "call_resume", {"call_id": call_id, "now": float(now)})
    tx.chain.append("dispatched" if layer is None else "resumed", call_id, now, "", f"approval {approval_id}")
    if layer is not None:
        layers.move(tx, layer, LayerState.LANDING, now, landed_by=call_id)
    return used


def _bound(call: sqlite3.Row, layer: sqlite3.Row | None) -> str:
    """The digest that an approval of this call is bound to."""
    return str(call["digest"]) if layer is None else held_digest(call["digest"], layer["digest"])


def held_digest(call_digest: str, layer_digest: str) -> str:
    """What the approval of a held call is bound to: the call, and exactly the change that was measured."""
    return digest_of([call_digest, layer_digest])


def _not_waiting(call: sqlite3.Row, layer: sqlite3.Row | None, now: float) -> str | None:
    """Why the call, or the layer it left, does not wait for this approval."""
    waits = Life.AWAITING if layer is None else Life.HELD
    if call["life"] != waits.value:
        return f"the call {call['call_id']} is {call['life']}, not {waits.value}"
    if layer is None:
        return None
    if layer["state"] != LayerState.HELD:
        return f"what the call {call['call_id']} changed is {layer['state']}, not held"
    return f"what the call {call['call_id']} held has expired" if now >= layer["expires"] else None


def _no_room(tx: Tx, approval: sqlite3.Row) -> NotAdmitted | None:
    """Kill switch and leases, asked again: between the asking and the answer the world went on."""
    questions = {
        "principal": approval["principal"],
        "host": approval["host"],
        "principal_scope": f"principal:{approval['principal']}",
        "host_scope": f"host:{approval['host']}",
        "host_max": approval["host_calls_max"],
        "principal_max": approval["principal_calls_max"],
    }
    facts = tx.one("dispatch_facts", questions)
    if facts is None or facts["stopped"] is not None:
        scope, reason = (facts["stopped"], facts["stopped_reason"]) if facts else ("everything", "")
        return NotAdmitted("STOPPED", stopped_by_human(scope, reason))
    if approval["host"] and facts["host_running"] >= approval["host_calls_max"]:
        reason = f"{facts['host_running']} calls run on {approval['host']}, its limit"
        return NotAdmitted("CONCURRENCY_LIMITED", reason, ROOM_RETRY_SECONDS)
    if facts["principal_running"] >= approval["principal_calls_max"]:
        reason = f"{facts['principal_running']} calls of {approval['principal']} are running, its limit"
        return NotAdmitted("CONCURRENCY_LIMITED", reason, ROOM_RETRY_SECONDS)
    return None


def expire(tx: Tx, now: float) -> list[ApprovalRow]:
    """Expire what was not decided, or not used, in time; at most 500 at once."""
    return [
        move_approval(tx, row, ApprovalState.EXPIRED, now)
        for row in tx.rows("approvals_lapsed", {"now": now, "limit": LAPSED_MAX})
    ]


def withdraw(tx: Tx, call_id: str, now: float) -> None:
    """Take back the approval of a call that is not wanted any more, where it is still live."""
    row = tx.one("approval_of_call", {"call_id": call_id})
    if row is not None and row["state"] in _LIVE:
        move_approval(tx, row, ApprovalState.WITHDRAWN, now)


def move_approval(
    tx: Tx, row: sqlite3.Row, state: ApprovalState, now: float, changes: Values | None = None
) -> ApprovalRow:
    """Write an approval's next state with its audit record; the approval as it is then."""
    values: Values = {column: row[column] for column in APPROVAL_COLUMNS} | (changes or {}) | {"state": state.value}
    seq = tx.chain.append(_EVENTS[state], values["approval_id"], now, digest_of_columns(values, APPROVAL_COLUMNS))
    moved = ("approval_id", "state", "execute_by", "decided_by", "decided", "reason")
    tx.run("approval_move", {name: values[name] for name in moved} | {"audit_seq": seq})
    return approval_row(values)
