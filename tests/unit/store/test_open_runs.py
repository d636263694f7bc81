"""Open runs: what a dead server left, found again: its host is asked, and what the host says is the outcome, once."""

from pathlib import Path

import pytest

from interlock.records import ApprovalRow, CallRow, LayerState, Life, ScoreRow
from interlock.store import SqliteStore, open_store
from interlock_tools.errors import State
from unit.store.cases import DAY, NOON, ROOM, admit, ask, commit, hold, landed, layer, settlement

pytestmark = pytest.mark.anyio
HELD, LANDING, LANDED = LayerState.HELD, LayerState.LANDING, LayerState.LANDED


async def restarted(store: SqliteStore) -> dict[str, tuple[Life, str]]:
    """What a new server finds: every open run, with the layer it was landing or taking back."""
    await store.lose_dispatched(NOON + 50)
    found = await store.open_runs()
    return {run.call.call_id: (run.call.life, run.layer.run_id if run.layer else "") for run in found}


async def facts(store: SqliteStore, run_id: str) -> tuple[Life, State, LayerState]:
    call, kept = await store.call(run_id), await store.layer(run_id)
    assert call is not None
    assert kept is not None
    return call.life, call.state, kept.state


async def test_a_server_killed_between_landing_and_settling_finds_every_claim_and_asks(directory: Path) -> None:
    async with open_store(directory, lambda: NOON) as store:
        plain, straight = await admit(store), await admit(store)
        assert await store.begin_landing(layer(straight.call_id), NOON)
        approved, approval_id = await hold(store, ask())
        await store.decide_approval(approval_id, True, "ana", "fine", NOON + 1)
        assert isinstance(await store.dispatch(approved, approval_id, NOON + 2), ApprovalRow)
        run_id, _ = await hold(store)
        by = await commit(store, run_id)
        undone, back = await admit(store), await admit(store)
        await store.settle(settlement(undone.call_id), landed(undone.call_id))
        await store.move_layer(undone.call_id, {LANDED}, LayerState.UNDOING, by=back.call_id, now=NOON + 2)
        local = await admit(store, host="")
        held, _ = await hold(store)
    async with open_store(directory, lambda: NOON) as store:
        assert await restarted(store) == {
            plain.call_id: (Life.UNKNOWN, ""),
            straight.call_id: (Life.UNKNOWN, straight.call_id),
            approved: (Life.UNKNOWN, approved),
            by: (Life.UNKNOWN, run_id),
            back.call_id: (Life.UNKNOWN, undone.call_id),
        }
        assert held not in [run.call.call_id for run in await store.open_runs()]
        row = await store.call(local.call_id)
        assert row is not None
        assert row.life is Life.UNKNOWN  # there is no host to ask

        await store.resolve_unknown(settlement(straight.call_id), "its host", landed(straight.call_id))
        await store.resolve_unknown(settlement(approved), "its host", landed(approved))
        await store.resolve_unknown(settlement(by), "its host", landed(run_id), settlement(run_id))
        await store.resolve_unknown(settlement(back.call_id), "its host", layer(undone.call_id, LayerState.UNDONE))
        assert await facts(store, approved) == (Life.RECONCILED, State.SUCCEEDED, LANDED)
        assert await facts(store, run_id) == (Life.SETTLED, State.SUCCEEDED, LANDED)
        assert await facts(store, undone.call_id) == (Life.SETTLED, State.SUCCEEDED, LayerState.UNDONE)
        assert [run.call.call_id for run in await store.open_runs()] == [plain.call_id]
        found = await store.verify_chain()
        assert found.ok, found.reason


async def test_a_true_outcome_replaces_an_unknown_one_once(store: SqliteStore) -> None:
    call = await admit(store, cost_units=10)
    await store.lose_dispatched(NOON + 1)
    true = settlement(call.call_id, State.FAILED, code="COMMAND_FAILED", side_effects=1.0, refund_units=3)
    row = await store.resolve_unknown(true, "its host")
    assert isinstance(row, CallRow)
    assert (row.life, row.state, row.code) == (Life.RECONCILED, State.FAILED, "COMMAND_FAILED")
    assert row.envelope is not None
    assert row.envelope["notices"] == ["its outcome was lost, and was then reconciled by its host"]
    again = await store.resolve_unknown(settlement(call.call_id), "its host")
    assert again == f"the call {call.call_id} is reconciled, not unknown"
    assert "reconciled, not unknown" in str(await store.reconcile(call.call_id, State.SUCCEEDED, "ana", "no", NOON))
    assert await store.budget_left("agent", DAY, 1_000) == 993
    assert await store.scores() == [ScoreRow("agent", "shell_run", "staging", 1, 1.0, 0.0, 1.0)]
    assert "no call" in str(await store.resolve_unknown(settlement("ghost"), "its host"))


async def test_only_an_unknown_call_is_resolved_and_only_as_an_outcome(store: SqliteStore) -> None:
    call = await admit(store)
    assert "dispatched, not unknown" in str(await store.resolve_unknown(settlement(call.call_id), "its host"))
    await store.lose_dispatched(NOON)
    for state in (State.UNKNOWN, State.HELD, State.RUNNING):
        assert "is not resolved as" in str(await store.resolve_unknown(settlement(call.call_id, state), "its host"))


async def test_a_lost_run_whose_layer_its_host_still_has_is_held(store: SqliteStore) -> None:
    call, failed = await admit(store), await admit(store)
    await store.lose_dispatched(NOON + 1)
    approval_id = await store.hold(settlement(call.call_id, State.HELD), layer(call.call_id), ask(), ROOM)
    assert await store.hold(settlement(failed.call_id, State.FAILED), layer(failed.call_id), None, ROOM) == ""
    assert await facts(store, call.call_id) == (Life.HELD, State.HELD, HELD)
    assert await facts(store, failed.call_id) == (Life.RECONCILED, State.FAILED, HELD)
    await store.decide_approval(str(approval_id), True, "ana", "", NOON)
    assert isinstance(await store.dispatch(call.call_id, str(approval_id), NOON), ApprovalRow)
    await store.lose_dispatched(NOON + 2)
    assert await store.hold(settlement(call.call_id, State.HELD), layer(call.call_id), None, ROOM) == ""
    assert await facts(store, call.call_id) == (Life.HELD, State.HELD, HELD)
    assert (await store.scores())[0].calls == 2
    found = await store.verify_chain()
    assert found.ok, found.reason


async def test_a_lost_landing_does_not_go_on_saying_held(store: SqliteStore) -> None:
    run_id, approval_id = await hold(store, ask())
    await store.decide_approval(approval_id, True, "ana", "", NOON)
    await store.dispatch(run_id, approval_id, NOON)
    (row,) = await store.lose_dispatched(NOON + 2)
    assert (row.life, row.state, row.envelope) == (Life.UNKNOWN, State.UNKNOWN, None)
    assert (await store.scores())[0].calls == 1


async def test_a_claim_whose_call_a_human_ended_is_still_found_and_closed(store: SqliteStore) -> None:
    run_id, _ = await hold(store)
    by = await commit(store, run_id)
    await store.lose_dispatched(NOON + 2)
    await store.reconcile(by, State.FAILED, "ana", "looked", NOON + 3)
    (run,) = await store.open_runs()
    assert run.layer is not None
    assert (run.call.call_id, run.layer.run_id) == (by, run_id)
    assert "reconciled, not unknown" in str(
        await store.resolve_unknown(settlement(by), "its host", landed(run_id), settlement(run_id))
    )
    assert await facts(store, run_id) == (Life.HELD, State.HELD, LANDING)
    assert not await store.finish_held(run_id, settlement(run_id), landed(run_id))
    assert await store.finish_held(run_id, settlement(run_id), landed(run_id), by=by)
    kept = await store.layer(run_id)
    assert kept is not None
    assert (kept.state, kept.undo_until) == (LANDED, NOON + 7_200)
    assert await store.open_runs() == []


async def test_a_call_that_ended_without_its_claim_is_still_asked_about(store: SqliteStore) -> None:
    run_id, _ = await hold(store)
    by = await commit(store, run_id)
    await store.settle(settlement(by, State.FAILED, code="INTERNAL"))
    assert [run.call.call_id for run in await store.open_runs()] == [by]
    assert await store.move_layer(run_id, {LANDING}, HELD, by=by, now=NOON + 3)
    assert await store.open_runs() == []


async def test_what_the_host_does_not_know_any_more_is_lost_with_its_call(store: SqliteStore) -> None:
    run_id, _ = await hold(store)
    gone = layer(run_id, LayerState.LOST, reason="the host was set up anew")
    assert await store.finish_held(run_id, settlement(run_id, State.DISCARDED), gone)
    assert await facts(store, run_id) == (Life.SETTLED, State.DISCARDED, LayerState.LOST)
    kept = await store.layer(run_id)
    assert kept is not None
    assert kept.reason == "the host was set up anew"


async def test_open_runs_come_in_pages(store: SqliteStore) -> None:
    ids = [(await admit(store)).call_id for _ in range(7)]
    page = await store.open_runs(limit=4)
    rest = await store.open_runs(limit=4, after_seq=page[-1].call.seq)
    assert [run.call.call_id for run in (*page, *rest)] == ids
