"""Approvals: decided once, used once, by the one call they are bound to, in time."""

import anyio
import pytest

from interlock.control.faults import ControlFault
from interlock.naming import whole_id
from interlock.records import Admitted, ApprovalRow, ApprovalState, Life, NotAdmitted
from interlock.store import SqliteStore, open_store
from interlock_tools.errors import State
from unit.store.cases import NOON, admission, ask, settlement

pytestmark = pytest.mark.anyio


async def asked(store: SqliteStore, **changes) -> Admitted:
    result = await store.admit(admission(**({"approval": ask()} | changes)))
    assert isinstance(result, Admitted), result
    assert result.approval_id
    return result


async def approved(store: SqliteStore, **changes) -> Admitted:
    call = await asked(store, **changes)
    assert isinstance(await store.decide_approval(call.approval_id, True, "ana", "fine", NOON + 1), ApprovalRow)
    return call


async def test_an_approval_is_bound_to_its_call_and_names_who_decided(store: SqliteStore) -> None:
    call = await asked(store, digest="d" * 64)
    row = await store.approval(call.approval_id)
    assert row is not None
    assert (row.call_id, row.digest, row.state, row.role) == (
        call.call_id,
        "d" * 64,
        ApprovalState.PENDING,
        "operator",
    )
    decided = await store.decide_approval(call.approval_id, True, "ana", "go on", NOON + 2)
    assert isinstance(decided, ApprovalRow)
    assert (decided.decided_by, decided.reason, decided.execute_by) == ("ana", "go on", NOON + 302)
    assert await store.approval(call.approval_id) == decided
    again = await store.decide_approval(call.approval_id, False, "bob", "no", NOON + 3)
    assert again == f"the approval {call.approval_id} was approved by ana already"


async def test_twenty_racing_dispatches_have_one_winner(store: SqliteStore) -> None:
    call = await approved(store)
    results: dict[str, ApprovalRow | str] = {}

    async def race(racer: str) -> None:
        results[racer] = await store.dispatch(call.call_id, call.approval_id, NOON + 2)

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(race, f"racer {number}")
    assert sum(isinstance(result, ApprovalRow) for result in results.values()) == 1
    row = await store.call(call.call_id)
    assert row is not None
    assert (row.life, row.state) == (Life.DISPATCHED, State.RUNNING)


async def test_twenty_racing_decisions_have_one_winner(store: SqliteStore) -> None:
    call = await asked(store)
    results = []

    async def race(number: int) -> None:
        approve = number % 2 == 0
        results.append(await store.decide_approval(call.approval_id, approve, f"human{number}", "", NOON))

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(race, number)
    assert sum(isinstance(result, ApprovalRow) for result in results) == 1


async def test_nothing_but_an_approved_approval_of_this_call_dispatches_it(store: SqliteStore) -> None:
    call, other = await asked(store), await approved(store)
    for call_id, approval_id, why in (
        (call.call_id, call.approval_id, "is pending"),
        (call.call_id, other.approval_id, "is not for the call"),
        (call.call_id, "ghost", "is not for the call"),
        ("ghost", other.approval_id, "is not for the call"),
    ):
        refused = await store.dispatch(call_id, approval_id, NOON + 2)
        assert why in str(refused)
    await store.decide_approval(call.approval_id, False, "ana", "no", NOON + 2)
    assert "is denied" in str(await store.dispatch(call.call_id, call.approval_id, NOON + 2))


async def test_an_approval_expires_before_it_is_decided_or_before_it_is_used(store: SqliteStore) -> None:
    undecided, unused = await asked(store), await approved(store)
    late = await store.decide_approval(undecided.approval_id, True, "ana", "", NOON + 900)
    assert "expired before it was decided" in str(late)
    too_late = await store.dispatch(unused.call_id, unused.approval_id, NOON + 301)
    assert "expired before the call was started" in str(too_late)
    assert [row.call_id for row in await store.expire_approvals(NOON + 301)] == [unused.call_id]
    assert [row.call_id for row in await store.expire_approvals(NOON + 900)] == [undecided.call_id]
    assert await store.expire_approvals(NOON + 900) == []
    assert {row.state for row in await store.approvals()} == {ApprovalState.EXPIRED}


async def test_a_withdrawn_approval_cannot_be_used(store: SqliteStore) -> None:
    call = await approved(store)
    await store.withdraw_approval(call.call_id, NOON + 2)
    await store.withdraw_approval(call.call_id, NOON + 2)
    await store.withdraw_approval("ghost", NOON + 2)
    assert "is withdrawn" in str(await store.dispatch(call.call_id, call.approval_id, NOON + 2))


async def test_a_settled_call_is_not_dispatched_any_more(store: SqliteStore) -> None:
    call = await approved(store)
    await store.settle(settlement(call.call_id, State.CANCELLED))
    assert "is withdrawn" in str(await store.dispatch(call.call_id, call.approval_id, NOON + 2))


async def test_a_stop_or_a_full_host_holds_an_approved_call_back_and_leaves_its_approval_good(
    store: SqliteStore,
) -> None:
    call = await approved(store, limits={"host_calls_max": 1})
    await store.stop("host:web1", "ana", "wait", NOON)
    assert "stopped host:web1" in str(await store.dispatch(call.call_id, call.approval_id, NOON + 2))
    await store.lift("host:web1", "ana", "go", NOON)
    running = await store.admit(admission())
    assert "its limit" in str(await store.dispatch(call.call_id, call.approval_id, NOON + 2))
    await store.settle(settlement(running.call_id))
    assert isinstance(await store.dispatch(call.call_id, call.approval_id, NOON + 2), ApprovalRow)


async def test_waiting_approvals_survive_a_restart_and_are_listed_by_state(directory) -> None:
    async with open_store(directory, lambda: NOON) as store:
        call, denied = await asked(store), await asked(store)
        await store.decide_approval(denied.approval_id, False, "ana", "no", NOON)
    async with open_store(directory, lambda: NOON) as store:
        assert [row.call_id for row in await store.approvals(ApprovalState.PENDING)] == [call.call_id]
        assert len(await store.approvals(limit=1)) == 1
        assert [row.call_id for row in await store.stranded_approvals()] == [denied.call_id]
        await store.settle(settlement(denied.call_id, State.DENIED))
        assert await store.stranded_approvals() == []
        assert isinstance(await store.decide_approval(call.approval_id, True, "ana", "", NOON), ApprovalRow)


async def test_a_caller_that_is_cancelled_while_its_approval_is_used_leaves_a_cancelled_call(
    store: SqliteStore,
) -> None:
    call = await approved(store)
    async with anyio.create_task_group() as group:
        group.start_soon(store.dispatch, call.call_id, call.approval_id, NOON + 2)
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    await store.set_meta("after", "it")  # its commit comes after the undoing
    row = await store.call(call.call_id)
    assert row is not None
    assert row.life in (Life.AWAITING, Life.SETTLED)  # dropped, or undone: never left running


async def test_the_beginning_of_an_id_finds_it_and_an_ambiguous_one_is_refused(store: SqliteStore) -> None:
    calls = [await asked(store, call_id=f"c_abcd{number}0") for number in range(7)]
    assert await whole_id(store, "c_abcd3") == "c_abcd30"
    assert await whole_id(store, "c_abcd30") == "c_abcd30"
    assert await whole_id(store, "c_abx") == "c_abx"
    assert await whole_id(store, "c_none1") == "c_none1"
    assert await whole_id(store, "c_abcd%") == "c_abcd%"
    approval = calls[0].approval_id
    assert await whole_id(store, approval[:14], approval=True) == approval
    with pytest.raises(ControlFault) as caught:
        await whole_id(store, "c_abcd")
    assert caught.value.code == "ID_AMBIGUOUS"
    assert caught.value.hint.count("c_abcd") == 5


async def test_an_agent_is_told_why_a_human_stopped_it_in_visible_words(store: SqliteStore) -> None:
    call = await approved(store)
    await store.stop("all", "ana", "disk full\x1b[2J", NOON + 1)
    for refused in (
        await store.admit(admission(call_id="c_other")),
        await store.dispatch(call.call_id, call.approval_id, NOON + 2),
    ):
        assert isinstance(refused, NotAdmitted)
        assert refused.reason == "a human stopped all: disk full\\u{1b}[2J"
