"""Admission: one transaction that asks every limit about one call, and puts it on record or changes nothing.

What it decides is pure (`refusal_of`); a refused call costs neither budget nor rate nor a lease. Only a loop counts the
attempts it refuses.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import secrets
import sqlite3
from collections.abc import Mapping
from typing import Any

from interlock.records import (
    Admission,
    AdmissionResult,
    Admitted,
    ApprovalAsk,
    ApprovalState,
    Charge,
    HoldLimits,
    Life,
    NotAdmitted,
    Repeated,
)
from interlock.store.connection import Tx
from interlock.store.faults import StoreUnavailable
from interlock.store.rows import (
    APPROVAL_COLUMNS,
    INTENT_COLUMNS,
    Values,
    digest_of_columns,
    dump,
    intent_values,
    storable,
)
from interlock_tools.visible import visible

_BUSY_RETRY_SECONDS = 2
_APPROVAL_RETRY_SECONDS = 60
_DAY_SECONDS = 86_400
_REASON_CHARS_MAX = 500
_AWAITING, _DISPATCHED = Life.AWAITING.value, Life.DISPATCHED.value


def prepare(admission: Admission) -> tuple[Values, str]:
    """The columns of the new row and their digest: what can be made before the transaction, off the writer's thread."""
    approval_id = approval_id_of(admission.approval)
    values = intent_values(admission.intent, created=admission.now, day=admission.day, approval_id=approval_id)
    return values, digest_of_columns(values, INTENT_COLUMNS)


def approval_id_of(ask: ApprovalAsk | None) -> str:
    """The id an approval was asked under, a new one where none was given, "" where nothing is asked."""
    return (ask.approval_id or f"apr_{secrets.token_hex(8)}") if ask else ""


def admit(tx: Tx, admission: Admission, values: Values, digest: str) -> AdmissionResult:
    """Decide one admission and record it."""
    if values["idempotency_key"] and (known := _known_key(tx, values)) is not None:
        return known
    facts = tx.one("admission_facts", _questions(admission, values))
    if facts is None:
        raise StoreUnavailable(reason="the limits could not be read")
    if (refusal := refusal_of(admission, facts)) is not None:
        if refusal.code == "LOOP_DETECTED":
            _note_loop(tx, admission, values, facts)
        return refusal
    if _is_stale(admission, facts):
        tx.run("loop_forget", values)
    used = _charge(tx, admission, values)
    _record(tx, admission, values, digest)
    left = max(0, admission.charge.budget_units_per_day - used)
    return Admitted(values["call_id"], left, values["approval_id"])


def _known_key(tx: Tx, values: Values) -> Repeated | NotAdmitted | None:
    known = tx.one("idempotency_of", values)
    if known is None:
        return None
    if known["digest"] != values["digest"]:
        return NotAdmitted(
            "IDEMPOTENCY_CONFLICT", f"the key was used for the call {known['call_id']} with other arguments"
        )
    life = Life(known["life"])
    open_still = life is Life.DISPATCHED or known["envelope"] is None  # landing what it held: its answer is out of date
    return Repeated(known["call_id"], life, None if open_still else json.loads(known["envelope"]))


def _questions(admission: Admission, values: Values) -> Values:
    charge = admission.charge
    return {
        "principal": values["principal"],
        "session": values["session"],
        "host": values["host"],
        "digest": values["digest"],
        "day": admission.day,
        "principal_scope": f"principal:{values['principal']}",
        "host_scope": f"host:{values['host']}",
        "host_max": charge.host_calls_max,
        "principal_max": charge.principal_calls_max,
        "pending_max": charge.approvals_pending_max,
    }


def refusal_of(admission: Admission, facts: Mapping[str, Any] | sqlite3.Row) -> NotAdmitted | None:
    """The limit that refuses this admission, or None. The kill switch is asked first, what is used up last."""
    if facts["stopped"] is not None:
        return NotAdmitted("STOPPED", stopped_by_human(facts["stopped"], facts["stopped_reason"]))
    return _loop(admission, facts) or _crowd(admission, facts) or _spent(admission, facts)


def stopped_by_human(scope: str, reason: str) -> str:
    """The sentence for a stop, with the human's own words where they gave any, escaped."""
    return f"a human stopped {scope}" + (f": {visible(reason, _REASON_CHARS_MAX)}" if reason else "")


def _loop(admission: Admission, facts: Mapping[str, Any] | sqlite3.Row) -> NotAdmitted | None:
    charge, now = admission.charge, admission.now
    if facts["paused_until"] is not None and facts["paused_until"] > now:
        wait = math.ceil(facts["paused_until"] - now)
        return NotAdmitted("LOOP_DETECTED", "this session repeated one call too often and is paused", wait)
    if facts["repeats"] is None or facts["stamp"] != facts["changed"]:
        return None
    age = now - facts["last"]
    if facts["repeats"] < charge.loop_repeats_max or age >= charge.loop_window_seconds:
        return None
    reason = f"it gave the same result {facts['repeats']} times in a row, and nothing changed on the host in between"
    return NotAdmitted("LOOP_DETECTED", reason, max(1, math.ceil(charge.loop_window_seconds - age)))


def _crowd(admission: Admission, facts: Mapping[str, Any] | sqlite3.Row) -> NotAdmitted | None:
    charge, host = admission.charge, admission.intent.host
    if admission.approval is not None:
        if facts["approvals_pending"] >= charge.approvals_pending_max:
            reason = f"{facts['approvals_pending']} of your calls wait for a human already"
            return NotAdmitted("CONCURRENCY_LIMITED", reason, _APPROVAL_RETRY_SECONDS)
        return None
    if host and facts["host_running"] >= charge.host_calls_max:
        reason = f"{facts['host_running']} calls run on {host}, its limit"
        return NotAdmitted("CONCURRENCY_LIMITED", reason, _BUSY_RETRY_SECONDS)
    if facts["principal_running"] >= charge.principal_calls_max:
        reason = f"{facts['principal_running']} of your calls are running, your limit"
        return NotAdmitted("CONCURRENCY_LIMITED", reason, _BUSY_RETRY_SECONDS)
    return None


def _spent(admission: Admission, facts: Mapping[str, Any] | sqlite3.Row) -> NotAdmitted | None:
    charge, cost = admission.charge, admission.intent.cost_units
    left = max(0, charge.budget_units_per_day - (facts["used"] or 0))
    if cost > left:
        reason = f"it costs {cost} units and {left} of today's {charge.budget_units_per_day} are left"
        return NotAdmitted("BUDGET_EXHAUSTED", reason, seconds_to_next_day(admission.day, admission.now), (str(left),))
    _, tolerance = pace(admission)
    if facts["tat"] is not None and facts["tat"] > admission.now + tolerance:
        reason = f"{charge.rate_calls_per_minute} calls a minute are allowed, {charge.rate_burst_calls} at once"
        return NotAdmitted("RATE_LIMITED", reason, max(1, math.ceil(facts["tat"] - tolerance - admission.now)))
    return None


def pace(admission: Admission) -> tuple[float, float]:
    """GCRA's emission interval and burst tolerance, in seconds (ITU-T I.371)."""
    interval = 60.0 / max(1, admission.charge.rate_calls_per_minute)
    return interval, interval * max(0, admission.charge.rate_burst_calls - 1)


def seconds_to_next_day(day: str, now: float) -> int:
    """Seconds until the budget's day (ISO date, UTC) is over; at least 1."""
    begun = dt.datetime.fromisoformat(day).replace(tzinfo=dt.UTC).timestamp()
    return max(1, math.ceil(begun + _DAY_SECONDS - now))


def _is_stale(admission: Admission, facts: sqlite3.Row) -> bool:
    return facts["last"] is not None and admission.now - facts["last"] >= admission.charge.loop_window_seconds


def _note_loop(tx: Tx, admission: Admission, values: Values, facts: sqlite3.Row) -> None:
    """Count the refused attempt; enough of them pause the session."""
    if facts["paused_until"] is not None and facts["paused_until"] > admission.now:
        return
    tx.run("loop_refused", values)
    attempts = facts["repeats"] + facts["refused"] + 1
    if attempts > admission.charge.loop_pause_repeats_max:
        until = admission.now + admission.charge.loop_pause_seconds
        tx.run("pause_put", {"principal": values["principal"], "session": values["session"], "until": until})
        tx.chain.append("paused", values["session"], admission.now, "", dump([values["principal"], until]))


def _charge(tx: Tx, admission: Admission, values: Values) -> int:
    """Take rate and budget; the units used today. The conditions stand in the statement too: both must agree."""
    interval, tolerance = pace(admission)
    allowance = {
        "principal": values["principal"],
        "now": float(admission.now),
        "interval": interval,
        "tolerance": tolerance,
        "day": admission.day,
        "units": admission.intent.cost_units,
        "cap": admission.charge.budget_units_per_day,
    }
    if (taken := tx.one("allowance_take", allowance)) is None:
        raise StoreUnavailable(reason="a limit changed its mind within one transaction")
    return int(taken["used"])


def _record(tx: Tx, admission: Admission, values: Values, digest: str) -> None:
    ask, now = admission.approval, float(admission.now)
    values["seq"] = tx.chain.append("admitted", values["call_id"], now, digest)
    values["holds_key"] = 1 if values["idempotency_key"] else 0
    values["dispatched"] = None if ask else now
    values["life"] = _AWAITING if ask else _DISPATCHED
    values["state"] = "awaiting_approval" if ask else "running"
    values["charged_units"] = admission.intent.cost_units
    tx.run("call_insert", values)
    if ask:
        put_question(tx, ask, values, admission.charge)


def put_question(tx: Tx, ask: ApprovalAsk, values: Values | sqlite3.Row, limits: Charge | HoldLimits) -> None:
    """Put an approval on record that a human is asked for; `values` say which call it is bound to, and since when."""
    kept = ("approval_id", "call_id", "digest", "policy_version", "principal", "tool", "host", "created")
    row: Values = {name: values[name] for name in kept} | {
        "role": ask.role,
        "obligations": dump(list(ask.obligations)),
        "summary": storable(ask.summary),
        "host_calls_max": limits.host_calls_max,
        "principal_calls_max": limits.principal_calls_max,
        "approve_by": float(ask.approve_by),
        "execute_within_seconds": ask.execute_within_seconds,
        "state": ApprovalState.PENDING.value,
    }
    blank = {"execute_by": None, "decided_by": "", "decided": None, "reason": ""}
    digest = digest_of_columns(row | blank, APPROVAL_COLUMNS)
    seq = tx.chain.append("asked", row["approval_id"], row["created"], digest)
    tx.run("approval_insert", row | {"audit_seq": seq})
