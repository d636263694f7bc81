"""Settling: a call ends once, its budget is balanced, and an end nobody knows stays unknown until a human says."""

import pytest

from interlock.records import Admitted, ApprovalState, Life, ScoreRow, Span
from interlock.store import CallNotRecorded, SqliteStore, open_store
from interlock_tools.errors import State
from unit.store.cases import DAY, NOON, admission, ask, settlement

pytestmark = pytest.mark.anyio


async def admit(store: SqliteStore, **changes) -> Admitted:
    result = await store.admit(admission(**changes))
    assert isinstance(result, Admitted), result
    return result


async def test_a_settlement_is_the_calls_last_word(store: SqliteStore) -> None:
    call = await admit(store)
    spans = (Span("decide", NOON, 0.001), Span("execute", NOON + 0.5, 1.5, {"bytes": 3}))
    await store.settle(settlement(call.call_id, spans=spans, attempts=({"host": "web1"},), refund_units=4))
    await store.settle(settlement(call.call_id, State.FAILED, code="COMMAND_FAILED", refund_units=6))
    row = await store.call(call.call_id)
    assert row is not None
    assert (row.life, row.state, row.code, row.spans) == (Life.SETTLED, State.SUCCEEDED, "", spans)
    assert await store.budget_left("agent", DAY, 1_000) == 994


async def test_a_refund_is_never_more_than_what_was_charged(store: SqliteStore) -> None:
    await admit(store, cost_units=50)
    call = await admit(store, cost_units=10)
    await store.settle(settlement(call.call_id, refund_units=1_000))
    assert await store.budget_left("agent", DAY, 1_000) == 950


async def test_a_refund_for_yesterday_does_not_raise_todays_budget(store: SqliteStore) -> None:
    old = await admit(store, cost_units=100)
    await admit(store, cost_units=100, day="2026-11-22", now=NOON + 43_200)
    await store.settle(settlement(old.call_id, refund_units=100))
    assert await store.budget_left("agent", "2026-11-22", 1_000) == 900


async def test_settling_what_was_never_recorded_is_a_bug(store: SqliteStore) -> None:
    with pytest.raises(CallNotRecorded, match="ghost"):
        await store.settle(settlement("ghost"))
    with pytest.raises(CallNotRecorded, match="ghost"):
        await store.add_span("ghost", Span("late", NOON, 0.1))


async def test_a_call_that_never_left_costs_nothing_and_takes_its_approval_with_it(store: SqliteStore) -> None:
    call = await admit(store, approval=ask())
    assert await store.budget_left("agent", DAY, 1_000) == 990
    await store.settle(settlement(call.call_id, State.CANCELLED))
    assert await store.budget_left("agent", DAY, 1_000) == 1_000
    approval = await store.approval(call.approval_id)
    assert approval is not None
    assert approval.state is ApprovalState.WITHDRAWN


async def test_an_unknown_end_keeps_the_budget_and_frees_the_lease(store: SqliteStore) -> None:
    call = await admit(store, limits={"host_calls_max": 1})
    await store.settle(settlement(call.call_id, State.UNKNOWN, success=None, refund_units=10))
    row = await store.call(call.call_id)
    assert row is not None
    assert row.life is Life.UNKNOWN
    assert await store.budget_left("agent", DAY, 1_000) == 990
    await admit(store, limits={"host_calls_max": 1})


async def test_after_a_crash_every_dispatched_call_is_unknown_and_waiting_ones_still_wait(directory) -> None:
    async with open_store(directory, lambda: NOON) as store:
        ran, waiting, ended = await admit(store), await admit(store, approval=ask()), await admit(store)
        await store.settle(settlement(ended.call_id))
    async with open_store(directory, lambda: NOON) as store:
        lost = await store.lose_dispatched(NOON + 5)
        assert [(row.call_id, row.life, row.state) for row in lost] == [(ran.call_id, Life.UNKNOWN, State.UNKNOWN)]
        assert await store.lose_dispatched(NOON + 6) == []
        row = await store.call(waiting.call_id)
        assert row is not None
        assert row.life is Life.AWAITING
        assert await store.budget_left("agent", DAY, 1_000) == 970


@pytest.mark.parametrize(
    ("state", "code", "success"),
    [(State.SUCCEEDED, "", 1.0), (State.FAILED, "COMMAND_FAILED", 0.0), (State.CANCELLED, "CANCELLED", None)],
)
async def test_a_human_says_once_what_an_unknown_call_was(store: SqliteStore, state, code, success) -> None:
    call = await admit(store)
    await store.settle(settlement(call.call_id, State.UNKNOWN, success=None, code="OUTCOME_UNKNOWN"))
    row = await store.reconcile(call.call_id, state, "ana", "looked at the host", NOON + 9, refund_units=3)
    assert not isinstance(row, str)
    assert (row.life, row.state, row.code, row.success) == (Life.RECONCILED, state, code, success)
    assert row.envelope is not None
    assert row.envelope["ok"] is (state is State.SUCCEEDED)
    assert row.envelope["notices"] == ["reconciled by ana: looked at the host"]
    assert await store.budget_left("agent", DAY, 1_000) == 993
    again = await store.reconcile(call.call_id, State.FAILED, "bob", "no", NOON + 10)
    assert again == f"the call {call.call_id} is reconciled, not unknown"
    assert (await store.scores())[0].success == success


async def test_only_an_unknown_call_is_reconciled_and_only_as_an_outcome(store: SqliteStore) -> None:
    call = await admit(store)
    assert "dispatched, not unknown" in str(await store.reconcile(call.call_id, State.FAILED, "ana", "x", NOON))
    assert "no call" in str(await store.reconcile("ghost", State.FAILED, "ana", "x", NOON))
    await store.lose_dispatched(NOON)
    assert "not as running" in str(await store.reconcile(call.call_id, State.RUNNING, "ana", "x", NOON))
    assert not isinstance(await store.reconcile(call.call_id, State.SUCCEEDED, "ana", "x", NOON), str)


async def test_scores_are_means_and_what_was_not_measured_does_not_count(store: SqliteStore) -> None:
    for validity, success in ((1.0, 1.0), (1.0, 0.0), (0.0, None)):
        call = await admit(store)
        await store.settle(settlement(call.call_id, validity=validity, success=success))
    other = await admit(store, principal="other", tool="file_read", environment="prod")
    await store.settle(settlement(other.call_id))
    assert await store.scores("agent") == [ScoreRow("agent", "shell_run", "staging", 3, 2 / 3, 0.5, None)]
    assert [row.principal for row in await store.scores()] == ["agent", "other"]


async def test_added_spans_join_the_settlements_in_order_of_time_and_have_a_limit(store: SqliteStore) -> None:
    call = await admit(store)
    await store.settle(settlement(call.call_id, spans=(Span("execute", NOON + 1, 1.0),)))
    for n in range(70):
        await store.add_span(call.call_id, Span("late", NOON + 2 + n, 0.1, {"n": n}))
    await store.add_span(call.call_id, Span("early", NOON, 0.1))
    row = await store.call(call.call_id)
    assert row is not None
    assert [span.step for span in row.spans] == ["execute", *["late"] * 64]


async def test_calls_are_listed_newest_first_in_pages_and_by_filter(store: SqliteStore) -> None:
    ids = [(await admit(store, host=f"web{n % 2}")).call_id for n in range(7)]
    await store.settle(settlement(ids[0]))
    page = await store.calls(limit=3)
    assert [row.call_id for row in page] == ids[:3:-1]
    rest = await store.calls(before_seq=page[-1].seq, limit=10)
    assert [row.call_id for row in rest] == ids[3::-1]
    assert len(await store.calls(host="web1")) == 3
    assert [row.call_id for row in await store.calls(state="succeeded")] == ids[:1]
    assert await store.calls(principal="nobody") == []
    assert len(await store.calls(limit=-5)) == 1


async def test_an_exporter_sees_every_ended_call_once_in_the_order_of_their_ends(store: SqliteStore) -> None:
    first, second, third = [await admit(store) for _ in range(3)]
    await store.settle(settlement(second.call_id))
    seen = await store.calls_since(0)
    assert [ended.call.call_id for ended in seen] == [second.call_id]
    await store.settle(settlement(first.call_id))
    await store.settle(settlement(third.call_id, State.UNKNOWN))
    later = await store.calls_since(seen[-1].position, limit=1)
    later += await store.calls_since(later[-1].position)
    assert [ended.call.call_id for ended in later] == [first.call_id, third.call_id]
    await store.reconcile(third.call_id, State.SUCCEEDED, "ana", "looked", NOON)
    assert [e.call.state for e in await store.calls_since(later[-1].position)] == [State.SUCCEEDED]


async def test_an_export_pages_through_everything(store: SqliteStore) -> None:
    for _ in range(405):
        await store.settle(settlement((await admit(store, cost_units=0)).call_id, attempts=({"host": "web1"},)))
    exported = [line async for line in store.export()]
    assert len(exported) == 405
    assert exported[0]["attempts"] == [{"host": "web1"}]
    assert [line["seq"] for line in exported] == sorted(line["seq"] for line in exported)
    assert len([line async for line in store.export(exported[-2]["seq"])]) == 1
