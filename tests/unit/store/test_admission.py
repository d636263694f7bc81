"""Admission: every limit refuses by itself, says why and when to come back; a refused call uses nothing up."""

import dataclasses

import anyio
import pytest

from interlock.records import Admission, Admitted, Life, NotAdmitted, Repeated
from interlock.store import SqliteStore, StoreUnavailable, open_store
from interlock_tools.errors import State
from unit.store.cases import DAY, NOON, admission, ask, intent, settlement

pytestmark = pytest.mark.anyio


async def admitted(store: SqliteStore, request: Admission) -> Admitted:
    result = await store.admit(request)
    assert isinstance(result, Admitted), result
    return result


async def refused(store: SqliteStore, request: Admission) -> NotAdmitted:
    result = await store.admit(request)
    assert isinstance(result, NotAdmitted), result
    assert await store.call(request.intent.call_id) is None
    return result


async def test_an_admitted_call_is_on_record_as_dispatched_before_the_caller_hears_of_it(store: SqliteStore) -> None:
    request = admission(cost_units=7)
    result = await admitted(store, request)
    row = await store.call(result.call_id)
    assert row is not None
    assert (row.life, row.state, row.cost_units, row.arguments) == (
        Life.DISPATCHED,
        State.RUNNING,
        7,
        request.intent.arguments,
    )
    assert result.budget_left == 993
    assert await store.budget_left("agent", DAY, 1_000) == 993


async def test_text_that_sqlite_cannot_hold_is_stored_as_its_escape(store: SqliteStore) -> None:
    result = await admitted(store, admission(intent="see \ud800", session="\udfff", idempotency_key="\ud801"))
    row = await store.call(result.call_id)
    assert row is not None
    assert (row.intent, row.session) == ("see \\ud800", "\\udfff")


async def test_a_repeated_key_gives_the_first_call_and_never_a_second_one(store: SqliteStore) -> None:
    first = admission(idempotency_key="k", digest="d")
    await admitted(store, first)
    again = admission(idempotency_key="k", digest="d")
    assert await store.admit(again) == Repeated(first.intent.call_id, Life.DISPATCHED, None)
    await store.settle(settlement(first.intent.call_id))
    stored = await store.admit(again)
    assert isinstance(stored, Repeated)
    assert (stored.life, stored.envelope is not None and stored.envelope["ok"]) == (Life.SETTLED, True)
    assert await store.call(again.intent.call_id) is None


async def test_a_key_with_other_arguments_is_a_conflict_but_belongs_to_one_principal_only(store: SqliteStore) -> None:
    await admitted(store, admission(idempotency_key="k", digest="d1"))
    assert (await refused(store, admission(idempotency_key="k", digest="d2"))).code == "IDEMPOTENCY_CONFLICT"
    await admitted(store, admission(idempotency_key="k", digest="d2", principal="other"))


async def test_a_key_is_free_again_where_nothing_ran(store: SqliteStore) -> None:
    first = await admitted(store, admission(idempotency_key="k", digest="d"))
    await store.settle(settlement(first.call_id, State.FAILED, releases_key=True, refund_units=10))
    await admitted(store, admission(idempotency_key="k", digest="d"))


async def test_twenty_racing_calls_with_one_key_become_one(store: SqliteStore) -> None:
    results = []

    async def race() -> None:
        results.append(await store.admit(admission(idempotency_key="k", digest="d")))

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(race)
    assert sum(isinstance(result, Admitted) for result in results) == 1
    assert sum(isinstance(result, Repeated) for result in results) == 19


@pytest.mark.parametrize("scope", ["all", "principal:agent", "host:web1"])
async def test_a_pulled_stop_refuses_until_it_is_lifted(store: SqliteStore, scope: str) -> None:
    await store.stop(scope, "ana", "looks wrong", NOON)
    assert (await refused(store, admission())).code == "STOPPED"
    assert [stop.scope for stop in await store.stops()] == [scope]
    if scope != "all":
        await admitted(store, admission(principal="other", host="web2"))
    assert await store.lift(scope, "ana", "it was fine", NOON)
    assert not await store.lift(scope, "ana", "again", NOON)
    await admitted(store, admission())


async def test_a_stop_for_anything_else_is_a_bug(store: SqliteStore) -> None:
    with pytest.raises(ValueError, match="principal:NAME"):
        await store.stop("web1", "ana", "no kind", NOON)


async def test_the_budget_refuses_what_it_does_not_cover_until_midnight(store: SqliteStore) -> None:
    await admitted(store, admission(cost_units=995))
    refusal = await refused(store, admission(cost_units=6))
    assert (refusal.code, refusal.retry_after_seconds, refusal.allowed) == ("BUDGET_EXHAUSTED", 12 * 3_600, ("5",))
    assert await store.budget_left("agent", DAY, 1_000) == 5
    await admitted(store, admission(cost_units=5))
    await admitted(store, admission(cost_units=0))
    await admitted(store, admission(cost_units=1_000, principal="other"))
    await admitted(store, admission(cost_units=1_000, day="2026-11-22", now=NOON + 43_200))


async def test_a_free_call_passes_even_where_the_cap_was_lowered_below_what_is_used(store: SqliteStore) -> None:
    await admitted(store, admission(cost_units=900))
    await admitted(store, admission(cost_units=0, limits={"budget_units_per_day": 100}))


async def test_the_rate_allows_its_burst_and_then_its_pace_over_a_restart_too(directory) -> None:
    limits = {"rate_calls_per_minute": 60, "rate_burst_calls": 3}
    async with open_store(directory, lambda: NOON) as store:
        for _ in range(3):
            await admitted(store, admission(limits=limits))
        refusal = await refused(store, admission(limits=limits))
        assert (refusal.code, refusal.retry_after_seconds) == ("RATE_LIMITED", 1)
    async with open_store(directory, lambda: NOON) as store:
        await refused(store, admission(limits=limits))
        await admitted(store, admission(limits=limits, now=NOON + 1))
        await refused(store, admission(limits=limits, now=NOON + 1))
        assert await store.budget_left("agent", DAY, 1_000) == 960


async def test_running_calls_are_counted_per_host_and_per_principal_and_freed_by_settling(store: SqliteStore) -> None:
    limits = {"host_calls_max": 2, "principal_calls_max": 3}
    first = await admitted(store, admission(limits=limits))
    await admitted(store, admission(limits=limits))
    refusal = await refused(store, admission(limits=limits))
    assert (refusal.code, refusal.retry_after_seconds) == ("CONCURRENCY_LIMITED", 2)
    assert "web1" in refusal.reason
    await admitted(store, admission(limits=limits, host="web2"))
    assert "your limit" in (await refused(store, admission(limits=limits, host="web3"))).reason
    await store.settle(settlement(first.call_id))
    await admitted(store, admission(limits=limits))


async def test_waiting_calls_take_no_lease_but_are_capped(store: SqliteStore) -> None:
    limits = {"host_calls_max": 1, "approvals_pending_max": 2}
    for _ in range(2):
        await admitted(store, admission(limits=limits, approval=ask()))
    refusal = await refused(store, admission(limits=limits, approval=ask()))
    assert (refusal.code, refusal.retry_after_seconds) == ("CONCURRENCY_LIMITED", 60)
    await admitted(store, admission(limits=limits))


async def test_one_call_id_is_recorded_once(store: SqliteStore) -> None:
    request = admission()
    await admitted(store, request)
    with pytest.raises(StoreUnavailable, match="UNIQUE"):
        await store.admit(request)
    assert await store.budget_left("agent", DAY, 1_000) == 990


async def repeat(store: SqliteStore, now: float, **changes) -> Admitted | NotAdmitted | Repeated:
    request = admission(now=now, **({"digest": "same"} | changes))
    result = await store.admit(request)
    if isinstance(result, Admitted):
        await store.settle(settlement(result.call_id, State.FAILED, now=now, result_digest="same result"))
    return result


async def test_the_third_identical_call_with_the_same_result_is_a_loop_and_the_fifth_pauses_the_session(
    store: SqliteStore,
) -> None:
    results = [await repeat(store, NOON + n) for n in range(5)]
    assert [getattr(result, "code", "") for result in results] == ["", "", *["LOOP_DETECTED"] * 3]
    refusal = results[2]
    assert isinstance(refusal, NotAdmitted)
    assert refusal.retry_after_seconds == 119
    paused = await refused(store, admission(now=NOON + 5))
    assert (paused.code, paused.retry_after_seconds) == ("LOOP_DETECTED", 599)
    await admitted(store, admission(now=NOON + 5, session="another"))
    await admitted(store, admission(now=NOON + 605))


async def test_a_human_ends_a_pause_early(store: SqliteStore) -> None:
    for n in range(5):
        await repeat(store, NOON + n)
    assert await store.unpause("agent", "session", "ana", NOON + 6)
    assert not await store.unpause("agent", "session", "ana", NOON + 6)
    await admitted(store, admission(now=NOON + 7))


async def test_a_poll_every_few_minutes_is_no_loop(store: SqliteStore) -> None:
    for n in range(8):
        assert isinstance(await repeat(store, NOON + 130 * n), Admitted)
    assert isinstance(await repeat(store, NOON + 130 * 7 + 1), Admitted)
    assert isinstance(await repeat(store, NOON + 130 * 7 + 2), NotAdmitted)


async def test_a_change_on_the_host_in_between_ends_the_loop_but_not_one_elsewhere(store: SqliteStore) -> None:
    for n in range(2):
        await repeat(store, NOON + n)
    elsewhere = await admitted(store, admission(now=NOON + 3, changes=True, host="web2"))
    await store.settle(settlement(elsewhere.call_id))
    assert isinstance(await repeat(store, NOON + 4), NotAdmitted)
    failed = await admitted(store, admission(now=NOON + 5, changes=True))
    await store.settle(settlement(failed.call_id, State.FAILED))
    assert isinstance(await repeat(store, NOON + 5), NotAdmitted)
    change = await admitted(store, admission(now=NOON + 5, changes=True))
    await store.settle(settlement(change.call_id))
    assert isinstance(await repeat(store, NOON + 6), Admitted)


async def test_a_changing_call_repeated_alone_does_not_excuse_itself(store: SqliteStore) -> None:
    for n in range(3):
        result = await store.admit(admission(now=NOON + n, digest="restart", changes=True))
        if isinstance(result, Admitted):
            await store.settle(settlement(result.call_id, now=NOON + n))
    assert isinstance(result, NotAdmitted)
    assert result.code == "LOOP_DETECTED"


async def test_a_caller_that_is_cancelled_while_it_is_admitted_leaves_no_lease_behind(store: SqliteStore) -> None:
    requests = [admission() for _ in range(20)]

    async def admit(request: Admission) -> None:
        await store.admit(request)

    async with anyio.create_task_group() as group:
        for request in requests:
            group.start_soon(admit, request)
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    await admitted(store, admission(limits={"host_calls_max": 1}))  # its commit comes after theirs
    rows = [await store.call(request.intent.call_id) for request in requests]
    assert {row.state for row in rows if row} <= {State.CANCELLED}
    assert await store.budget_left("agent", DAY, 1_000) == 990


async def test_a_refused_call_is_on_record_with_its_answer(store: SqliteStore) -> None:
    asked = intent()
    answer = settlement(asked.call_id, State.INVALID, code="ARGUMENT_INVALID", validity=0.0, success=None)
    await store.refuse(asked, answer)
    row = await store.call(asked.call_id)
    assert row is not None
    assert (row.life, row.state, row.code, row.envelope) == (
        Life.REFUSED,
        State.INVALID,
        "ARGUMENT_INVALID",
        answer.envelope,
    )
    assert await store.budget_left("agent", DAY, 1_000) == 1_000


async def test_the_first_attempt_counts_again_after_a_valid_one(store: SqliteStore) -> None:
    assert await store.first_attempt("agent", "session", "shell_run")
    asked = intent()
    await store.refuse(asked, settlement(asked.call_id, State.INVALID))
    assert not await store.first_attempt("agent", "session", "shell_run")
    assert await store.first_attempt("agent", "session", "file_read")
    call = await admitted(store, admission())
    await store.settle(settlement(call.call_id))
    assert await store.first_attempt("agent", "session", "shell_run")
    denied = dataclasses.replace(intent(), tool="file_read")
    await store.refuse(denied, settlement(denied.call_id, State.DENIED))
    assert await store.first_attempt("agent", "session", "file_read")
