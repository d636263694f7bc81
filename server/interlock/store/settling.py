"""How calls end on record: refused, settled, lost, reconciled. It decides no outcome; it writes the one it is given.

    awaiting ──dispatch──> dispatched ──settle──────────> settled
        │                   ^   │ │ └──settle, lose─────> unknown ──reconcile, resolve──> reconciled
        │  dispatch again:  │   │ └──hold (it failed)──> settled    │
        │  a human approved │  hold                                hold: its host has the layer still
        │  what it would    │   v                                   │
        │  change           └─ held <───────────────────────────────┘
        │                       └──finish, settle, expire──> settled
        └──settle──> settled

lose: dispatched, and we died. What states a layer has stands in `layers`; how a call and its layer end at once, in
`holding`. A call that is dispatched again keeps the answer it had when it was held: it was counted in the scores then.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace

from interlock.records import Intent, Life, Settlement, Span
from interlock.store.approving import withdraw
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

_NOT_OPEN = frozenset({Life.REFUSED, Life.SETTLED, Life.RECONCILED, Life.UNKNOWN, Life.HELD})
_RECONCILED_STATES = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})
_KEPT = ("spans", "attempts", "result_digest")  # what was said of it when it was held, unless more is said at its end
_AXES = ("validity", "success", "side_effects")
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
    write_outcome(tx, "settled", settlement.now, outcome_values(settlement, Life.REFUSED, 0))
    _score(tx, values | dict.fromkeys(_AXES), settlement, counted=False)


def settle(tx: Tx, settlement: Settlement) -> bool:
    """End an awaiting or dispatched call; False where it ended before, or is held, and then nothing is changed.

    A call that never left for its host costs nothing, whatever the settlement says.
    """
    call = tx.one("call_of", {"call_id": settlement.call_id})
    if call is None:
        raise CallNotRecorded(call_id=settlement.call_id)
    before = Life(call["life"])
    if before in _NOT_OPEN:
        return False
    life = Life.UNKNOWN if settlement.state is State.UNKNOWN else Life.SETTLED
    asked = call["charged_units"] if before is Life.AWAITING else settlement.refund_units
    end(tx, "settled", call, settlement, life, 0 if life is Life.UNKNOWN else asked)
    if before is Life.AWAITING:
        withdraw(tx, settlement.call_id, settlement.now)  # a call that ended while it waited takes its approval with it
    follow_loop(tx, call, settlement)
    return True


def end(tx: Tx, kind: str, call: sqlite3.Row, settlement: Settlement, life: Life, refund_units: int) -> None:
    """Write a call's outcome, balance its budget, and count each of its scores where that was not measured before."""
    refund = min(max(0, refund_units), call["charged_units"])
    values = outcome_values(settlement, life, call["charged_units"] - refund)
    kept = [axis for axis in _AXES if call[axis] is not None] + [name for name in _KEPT if values[name] in ("", "[]")]
    values |= {name: call[name] for name in kept}
    write_outcome(tx, kind, settlement.now, values)
    _refund(tx, call, refund)
    if settlement.releases_key:
        tx.run("idempotency_release", {"call_id": settlement.call_id})
    _score(tx, call, settlement, counted=_was_counted(call))


def _was_counted(call: sqlite3.Row) -> bool:
    return call["outcome_seq"] is not None or call["envelope"] is not None


def lose(tx: Tx, now: float) -> list[sqlite3.Row]:
    """Every dispatched call becomes unknown; the rows as they are then. Its budget stays spent, its lease ends."""
    lost = []
    for call in tx.rows("calls_running", {}):
        values: Values = {column: call[column] for column in OUTCOME_COLUMNS}
        values |= {"life": Life.UNKNOWN.value, "state": State.UNKNOWN.value, "code": "OUTCOME_UNKNOWN"}
        values |= {"envelope": None, "settled": None}  # what it answered while it was held does not hold any more
        write_outcome(tx, "lost", now, values)
        _add_score(tx, call, 0 if _was_counted(call) else 1, None, None, None)
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
    write_outcome(tx, "reconciled", now, values)
    _refund(tx, call, refund)
    if call["success"] is None:
        _add_score(tx, call, 0, None, success, None)
    return tx.one("call_of", {"call_id": call_id}) or f"there is no call {call_id}"


def resolve(tx: Tx, settlement: Settlement, by: str) -> sqlite3.Row | str:
    """Write the true outcome of an unknown call, as its host kept it; a sentence where it is not unknown any more."""
    call = tx.one("call_of", {"call_id": settlement.call_id})
    if call is None:
        return f"there is no call {settlement.call_id}"
    if call["life"] != Life.UNKNOWN.value:
        return f"the call {settlement.call_id} is {call['life']}, not unknown"
    if settlement.state is State.UNKNOWN or not settlement.state.is_final:
        return f"a call is not resolved as {settlement.state.value}"
    tx.chain.append("reconciling", settlement.call_id, settlement.now, "", dump([settlement.state.value, by, ""]))
    notices = [*settlement.envelope.get("notices", []), f"its outcome was lost, and was then reconciled by {by}"]
    true = replace(settlement, envelope={**settlement.envelope, "notices": notices})
    end(tx, "reconciled", call, true, Life.RECONCILED, settlement.refund_units)
    follow_loop(tx, call, settlement)
    return tx.one("call_of", {"call_id": settlement.call_id}) or f"there is no call {settlement.call_id}"


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


def write_outcome(tx: Tx, kind: str, now: float, values: Values) -> None:
    """Write a call's outcome with the audit record that covers it."""
    seq = tx.chain.append(kind, values["call_id"], now, digest_of_columns(values, OUTCOME_COLUMNS))
    tx.run("call_settle", values | {"outcome_seq": seq})


def _refund(tx: Tx, call: sqlite3.Row, units: int) -> None:
    if units:
        tx.run("budget_refund", {"principal": call["principal"], "day": call["day"], "units": units})


def follow_loop(tx: Tx, call: sqlite3.Row, settlement: Settlement) -> None:
    """Count how often in a row this call gave this result. What another call changed on the host ends the row."""
    counter = _counter(tx, call["host"])
    changed = bool(call["changes"]) and settlement.state is State.SUCCEEDED
    if changed:
        tx.run("host_changed", {"host": call["host"]})
    for step in tx.rows(
        "step_hosts", {"call_id": call["call_id"]}
    ):  # a deployment changed these, whatever became of it
        tx.run("host_changed", {"host": step["host"]})
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


def _score(tx: Tx, call: Values | sqlite3.Row, settlement: Settlement, *, counted: bool) -> None:
    """Count the call's scores, each once, and remember whether it ended invalid."""
    fresh = {axis: None if call[axis] is not None else getattr(settlement, axis) for axis in _AXES}
    _add_score(tx, call, 0 if counted else 1, **fresh)
    if counted:
        return
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
