"""Values for the store's tests: calls, limits and settlements with sensible defaults. No test stands here."""

from __future__ import annotations

import dataclasses
from itertools import count
from typing import Any

from interlock.records import Admission, ApprovalAsk, Charge, Intent, Settlement
from interlock_tools.errors import State

NOON = 1_795_262_400.0  # 2026-11-21T12:00:00Z
DAY = "2026-11-21"
LOOSE = Charge(
    budget_units_per_day=1_000,
    rate_calls_per_minute=60_000,
    rate_burst_calls=10_000,
    host_calls_max=50,
    principal_calls_max=200,
    loop_repeats_max=2,
    approvals_pending_max=100,
)
_numbers = count(1)


def intent(**changes: Any) -> Intent:
    number = next(_numbers)
    plain = Intent(
        call_id=f"call{number}",
        principal="agent",
        session="session",
        tool="shell_run",
        host="web1",
        environment="staging",
        arguments={"command": "ls", "note": "grüße \ud800"},
        arguments_exact=True,
        digest=f"{number:064x}",
        intent="look",
        effects={"inferred": []},
        verdict="ALLOW",
        rules=("baseline.read",),
        policy_version="v1",
        cost_units=10,
        changes=False,
        first_attempt_valid=True,
    )
    return dataclasses.replace(plain, **changes)


def admission(
    *,
    now: float = NOON,
    day: str = DAY,
    approval: ApprovalAsk | None = None,
    limits: dict[str, Any] | None = None,
    **changes: Any,
) -> Admission:
    charge = dataclasses.replace(LOOSE, **(limits or {}))
    return Admission(intent(**changes), charge, now, day, approval=approval)


def ask(*, approve_by: float = NOON + 900, execute_within_seconds: int = 300) -> ApprovalAsk:
    return ApprovalAsk("operator", "restart nginx on web1", ("approval:operator",), approve_by, execute_within_seconds)


def settlement(call_id: str, state: State = State.SUCCEEDED, **changes: Any) -> Settlement:
    ok = state is State.SUCCEEDED
    envelope = {"ok": ok, "call_id": call_id, "state": state.value, "notices": [], "error": None}
    plain = Settlement(call_id, state, envelope, "", NOON + 1, validity=1.0, success=float(ok), result_digest="r")
    return dataclasses.replace(plain, **changes)
