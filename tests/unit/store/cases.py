"""Values for the store's tests: calls, limits and settlements with sensible defaults. No test stands here."""

from __future__ import annotations

import dataclasses
from itertools import count
from typing import Any

from interlock.records import (
    Admission,
    Admitted,
    ApprovalAsk,
    Charge,
    HoldLimits,
    Intent,
    LayerRow,
    LayerState,
    Settlement,
)
from interlock.store import SqliteStore
from interlock_tools.changes import Change, ChangeOp
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


ROOM = HoldLimits(
    layers_max=100, host_bytes_max=10**9, approvals_pending_max=100, host_calls_max=50, principal_calls_max=200
)


def layer(run_id: str, state: LayerState = LayerState.HELD, **changes: Any) -> LayerRow:
    change = Change(ChangeOp.CREATE, "/srv/app/gr\udcfc\u00df", "file", size=3, mode=0o644)
    plain = LayerRow(
        run_id=run_id,
        host="web1",
        principal="agent",
        call_digest="",
        digest="l" * 64,
        changes=(change.to_json(),),
        truncated=False,
        bytes=4_096,
        state=state,
        created=NOON + 1,
        expires=NOON + 3_600,
    )
    return dataclasses.replace(plain, **changes)


def landed(run_id: str, **changes: Any) -> LayerRow:
    return layer(run_id, LayerState.LANDED, **({"undo_until": NOON + 7_200} | changes))


async def admit(store: SqliteStore, **changes: Any) -> Admitted:
    result = await store.admit(admission(**changes))
    assert isinstance(result, Admitted), result
    return result


async def hold(store: SqliteStore, approval: ApprovalAsk | None = None, **changes: Any) -> tuple[str, str]:
    """A held call: its id, and the approval's that it waits for."""
    call = await admit(store, **changes)
    ended = settlement(call.call_id, State.HELD, success=None, side_effects=0.5)
    approval_id = await store.hold(ended, layer(call.call_id), approval, ROOM)
    assert isinstance(approval_id, str), approval_id
    return call.call_id, approval_id


async def commit(store: SqliteStore, run_id: str, **changes: Any) -> str:
    """A call_commit that has claimed what the run holds; its id."""
    call = await admit(store, tool="call_commit", changes=True, **changes)
    moved = await store.move_layer(run_id, {LayerState.HELD}, LayerState.LANDING, by=call.call_id, now=NOON + 2)
    assert moved
    return call.call_id
