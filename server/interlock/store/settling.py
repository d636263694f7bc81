"""How calls end on record: refused, settled, lost, reconciled. It decides no outcome; it writes the one it is given.

awaiting ──dispatch──> dispatched ──settle──> settled | unknown ──reconcile──> reconciled
    └──────settle──────────────────────────────┘   ^
                        dispatched, and we died ───┘ (lose)
"""

from __future__ import annotations

import json
import sqlite3

from interlock.records import ApprovalState, Intent, Life, Settlement, Span
from interlock.store.approving import move_approval
from interlock.store.connection import Tx
from interlock.store.faults import CallNotRecorded
from interlock.store.rows import (
    INTENT_COLUMNS,
    OUTCOME_COLUMNS,
    Values,
    digest_of_columns,
    dump,
    intent_values,
    outcome_values,
    span_json,
)
from interlock_tools.call import Json
from interlock_tools.envelope import Envelope
from interlock_tools.errors import Cancelled, State

_ENDED = frozenset({Life.REFUSED, Life.SETTLED, Life.RECONCILED, Life.UNKNOWN})
_RECONCILED_STATES = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})
SPANS_ADDED_MAX = 64


def refuse(tx: Tx, intent: Intent, settlement: Settlement) -> None:
    """Put a call on record that was never admitted, together with how it was refused."""
    values = intent_values(intent, created=settlement.now, day="")
    digest = digest_of_columns(values, INTENT_COLUMNS)
    values |= {
        "seq": tx.chain.append("refused", intent.call_id, settlement.now, digest),
        "holds_key": 0,
        "dispatched": None,
        "life": Life.REFUSED.value,
        "state": settlement.state.value,
        "charged_units": 0,
    }
    tx.run("call_insert", values)
    _write_outcome(tx, "settled", settlement.now, outcome_values(settlement, Life.REFUSED, 0))
    _score(tx, values, settlement)


def settle(tx: Tx, settlement: Settlement) -> bool:
    """End an awaiting or dispatched call; False where it had ended before, and then nothing is changed.

    A call that never left for its host costs nothing, whatever the settlement says.
    """
    call = tx.one("call_of", {"call_id": settlement.call_id})
    if call is None:
        raise CallNotRecorded(call_id=settlement.call_id)
    before = Life(call["life"])
    if before in _ENDED:
        return False
    life = Life.UNKNOWN if settlement.state is State.UNKNOWN else Life.SETTLED
    asked = call["charged_units"] if before is Life.AWAITING else settlement.refund_units
    refund = 0 if life is Life.UNKNOWN else min(max(0, asked), call["charged_units"])
    values = outcome_values(settlement, life, call["charged_units"] - refund)
    _write_outcome(tx, "settled", settlement.now, values)
    _refund(tx, call, refund)
    if settlement.releases_key:
        tx.run("idempotency_release", {"call_id": settlement.call_id})
    if before is Life.AWAITING:
        _end_approval(tx, settlement)
    _follow_loop(tx, call, settlement)
    _score(tx, call, settlement)
    return True


def lose(tx: Tx, now: float) -> list[sqlite3.Row]:
    """Every dispatched call becomes unknown; the rows as they are then. Its budget stays spent, its lease ends."""
    lost = []
    for call in tx.rows("calls_running", {}):
        values: Values = {column: call[column] for column in OUTCOME_COLUMNS}
        values |= {"life": Life.UNKNOWN.value, "state": State.UNKNOWN.value, "code": "OUTCOME_UNKNOWN"}
        _write_outcome(tx, "lost", now, values)
        _add_score(tx, call, 1, None, None, None)
        if (row := tx.one("call_of", {"call_id": call["call_id"]})) is not None:
            lost.append(row)
    return lost


def reconcile(
    tx: Tx, call_id: str, state: State, by: str, reason: str, now: float, refund_units: int = 0
) -> sqlite3.Row | str:
    """Write down what an unknown call turned out to be; the row, or a sentence where that cannot be."""
    call = tx.one("call_of", {"call_id": call_id})
    if call is None:
        return f"there is no call {call_id}"
    if call["life"] != Life.UNKNOWN.value:
        return f"the call {call_id} is {call['life']}, not unknown"
    if state not in _RECONCILED_STATES:
        return f"a call is reconciled as succeeded, failed or cancelled, not as {state.value}"
    refund = min(max(0, refund_units), call["charged_units"])
    success = None if state is State.CANCELLED else float(state is State.SUCCEEDED)
    values: Values = {column: call[column] for column in OUTCOME_COLUMNS}
    values |= {
        "life": Life.RECONCILED.value,
        "state": state.value,
        "code": {State.SUCCEEDED: "", State.FAILED: "COMMAND_FAILED"}.get(state, "CANCELLED"),
        "charged_units": call["charged_units"] - refund,
        "settled": float(now),
        "envelope": _reconciled_envelope(call["envelope"], state, by, reason),
        "success": success if call["success"] is None else call["success"],
    }
    tx.chain.append("reconciling", call_id, now, "", dump([state.value, by, reason]))
    _write_outcome(tx, "reconciled", now, values)
    _refund(tx, call, refund)
    if call["success"] is None:
        _add_score(tx, call, 0, None, success, None)
    return tx.one("call_of", {"call_id": call_id}) or f"there is no call {call_id}"


def _reconciled_envelope(stored: str | None, state: State, by: str, reason: str) -> str | None:
    if stored is None:
        return None
    envelope: dict[str, Json] = json.loads(stored)
    envelope |= {"ok": state is State.SUCCEEDED, "state": state.value}
    envelope["notices"] = [*envelope.get("notices", []), f"reconciled by {by}: {reason}"]
    if state is State.SUCCEEDED:
        envelope["error"] = None
    return dump(envelope)


def abandon(tx: Tx, call_id: str, now: float) -> None:
    """End a call whose caller left while it was being admitted or dispatched: nothing was sent to a host for it."""
    reason = "its caller left before it was started"
    envelope = Envelope(call_id, State.CANCELLED, error=Cancelled(reason=reason)).to_json()
    settle(
        tx,
        Settlement(call_id, State.CANCELLED, envelope, "CANCELLED", now, refund_units=2**31, releases_key=True),
    )


def add_span(tx: Tx, call_id: str, span: Span, now: float) -> None:
    """Add a span that was taken outside the settlement; at most 64 a call, later ones are dropped."""
    text = dump(span_json(span))
    call = tx.one("call_of", {"call_id": call_id})
    if call is None:
        raise CallNotRecorded(call_id=call_id)
    if tx.run("call_add_span", {"call_id": call_id, "span": text, "spans_max": SPANS_ADDED_MAX}):
        tx.chain.append("span", call_id, now, "", text)


def _write_outcome(tx: Tx, kind: str, now: float, values: Values) -> None:
    seq = tx.chain.append(kind, values["call_id"], now, digest_of_columns(values, OUTCOME_COLUMNS))
    tx.run("call_settle", values | {"outcome_seq": seq})


def _refund(tx: Tx, call: sqlite3.Row, units: int) -> None:
    if units:
        tx.run("budget_refund", {"principal": call["principal"], "day": call["day"], "units": units})


def _end_approval(tx: Tx, settlement: Settlement) -> None:
    """A call that ended while it waited takes its approval with it."""
    approval = tx.one("approval_of_call", {"call_id": settlement.call_id})
    if approval is not None and approval["state"] in (ApprovalState.PENDING, ApprovalState.APPROVED):
        move_approval(tx, approval, ApprovalState.WITHDRAWN, settlement.now)


def _follow_loop(tx: Tx, call: sqlite3.Row, settlement: Settlement) -> None:
    """Count how often in a row this call gave this result. What another call changed on the host ends the row."""
    counter = _counter(tx, call["host"])
    changed = bool(call["changes"]) and settlement.state is State.SUCCEEDED
    if changed:
        tx.run("host_changed", {"host": call["host"]})
    if not settlement.result_digest:
        return
    of = {"principal": call["principal"], "digest": call["digest"]}
    known = tx.one("loop_of", of)
    again = known is not None and known["result_digest"] == settlement.result_digest and known["stamp"] == counter
    repeats = known["repeats"] + 1 if known is not None and again else 1
    row = of | {
        "result_digest": settlement.result_digest,
        "repeats": repeats,
        "now": float(settlement.now),
        "stamp": counter + changed,  # its own change does not tell it from its twin
    }
    tx.run("loop_put", row)


def _counter(tx: Tx, host: str) -> int:
    row = tx.one("host_counter", {"host": host})
    return int(row["counter"]) if row else 0


def _score(tx: Tx, call: Values | sqlite3.Row, settlement: Settlement) -> None:
    """Count the call's scores, and remember whether it ended invalid."""
    _add_score(tx, call, 1, settlement.validity, settlement.success, settlement.side_effects)
    attempt = {name: call[name] for name in ("principal", "session", "tool")} | {"now": float(settlement.now)}
    tx.run("invalid_attempt_put" if settlement.state is State.INVALID else "invalid_attempt_end", attempt)


def _add_score(
    tx: Tx,
    call: Values | sqlite3.Row,
    calls: int,
    validity: float | None,
    success: float | None,
    side_effects: float | None,
) -> None:
    row: Values = {name: call[name] for name in ("principal", "tool", "environment")}
    row |= {"calls": calls, "validity": validity, "success": success, "side_effects": side_effects}
    tx.run("score_add", row)
