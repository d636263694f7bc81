"""Layers: one call at a time lands or takes back, only along the drawing, and the record follows what the host did."""

import anyio
import pytest

from interlock.records import LayerState, Life, ScoreRow
from interlock.store import LayerMisplaced, SqliteStore, StoreUnavailable
from interlock.store.layers import EDGES
from interlock_tools.errors import State
from unit.store.cases import NOON, ROOM, admit, ask, commit, hold, landed, layer, settlement

pytestmark = pytest.mark.anyio
HELD, LANDING, LANDED = LayerState.HELD, LayerState.LANDING, LayerState.LANDED
UNDOING, UNDONE, DISCARDED = LayerState.UNDOING, LayerState.UNDONE, LayerState.DISCARDED


async def state_of(store: SqliteStore, call_id: str) -> LayerState:
    kept = await store.layer(call_id)
    assert kept is not None
    return kept.state


async def life_of(store: SqliteStore, call_id: str) -> tuple[Life, State]:
    row = await store.call(call_id)
    assert row is not None
    return row.life, row.state


async def ran(store: SqliteStore, **changes) -> str:
    """A call that ran and landed at once, and can be undone."""
    call = await admit(store, changes=True)
    assert await store.settle(settlement(call.call_id, side_effects=1.0), landed(call.call_id, **changes))
    return call.call_id


async def undo(store: SqliteStore, run_id: str, now: float = NOON + 5) -> tuple[str, bool]:
    call = await admit(store, tool="call_undo")
    return call.call_id, await store.move_layer(run_id, {LANDED}, UNDOING, by=call.call_id, now=now)


async def race(store: SqliteStore, run_id: str, start: LayerState, to: LayerState) -> list[str]:
    """Twenty calls claim one layer at once; those that got it."""
    calls = [(await admit(store)).call_id for _ in range(20)]
    won: list[str] = []

    async def claim(call_id: str) -> None:
        if await store.move_layer(run_id, {start}, to, by=call_id, now=NOON + 2):
            won.append(call_id)

    async with anyio.create_task_group() as group:
        for call_id in calls:
            group.start_soon(claim, call_id)
    return won


async def test_of_twenty_commits_and_twenty_undos_of_one_layer_one_each_wins(store: SqliteStore) -> None:
    run_id, _ = await hold(store)
    (by,) = await race(store, run_id, HELD, LANDING)
    kept = await store.layer(run_id)
    assert kept is not None
    assert kept.landed_by == by
    await store.settle(settlement(by), landed(run_id), settlement(run_id))
    (back,) = await race(store, run_id, LANDED, UNDOING)
    kept = await store.layer(run_id)
    assert kept is not None
    assert (kept.state, kept.undone_by) == (UNDOING, back)


async def test_a_commit_ends_itself_its_layer_and_the_held_call_in_one_transaction(store: SqliteStore) -> None:
    run_id, approval_id = await hold(store, ask(), changes=True)
    by = await commit(store, run_id)
    held = settlement(run_id, success=1.0)
    assert await store.settle(settlement(by, success=1.0), landed(run_id), held)
    assert await life_of(store, run_id) == await life_of(store, by) == (Life.SETTLED, State.SUCCEEDED)
    kept = await store.layer(by)  # found by the call that landed it, too
    assert kept is not None
    assert (kept.run_id, kept.state, kept.landed_by, kept.approval_id) == (run_id, LANDED, by, approval_id)
    assert kept.can_be_undone(NOON + 7_199)
    assert not kept.can_be_undone(NOON + 7_200)
    assert {(row.tool, row.calls, row.success, row.side_effects) for row in await store.scores()} == {
        ("shell_run", 1, 1.0, 0.5),
        ("call_commit", 1, 1.0, None),
    }
    assert not await store.settle(settlement(by), landed(run_id), held)  # said twice, and nothing moves


async def test_a_stale_commit_gives_its_claim_back_and_the_next_one_may_land(store: SqliteStore) -> None:
    run_id, _ = await hold(store)
    by = await commit(store, run_id)
    assert await store.settle(settlement(by, State.FAILED, code="STALE_STATE"), layer(run_id))
    kept = await store.layer(run_id)
    assert kept is not None
    assert (kept.state, kept.landed_by) == (HELD, "")
    assert await life_of(store, run_id) == (Life.HELD, State.HELD)
    other = await commit(store, run_id)
    assert await store.settle(settlement(other), landed(run_id), settlement(run_id))


async def test_an_undo_ends_itself_and_its_layer_and_a_stale_one_leaves_the_undo_possible(store: SqliteStore) -> None:
    run_id = await ran(store)
    stale, claimed = await undo(store, run_id)
    assert claimed
    assert await store.settle(settlement(stale, State.FAILED, code="STALE_STATE"), landed(run_id))
    kept = await store.layer(run_id)
    assert kept is not None
    assert (kept.state, kept.undone_by, kept.undo_until) == (LANDED, "", NOON + 7_200)
    by, claimed = await undo(store, run_id)
    assert claimed
    assert await store.settle(settlement(by), layer(run_id, UNDONE))
    kept = await store.layer(run_id)
    assert kept is not None
    assert (kept.state, kept.undone, kept.undone_by, kept.undo_until) == (UNDONE, NOON + 1, by, None)
    assert (await undo(store, run_id))[1] is False


async def test_no_claim_is_given_after_its_time_and_an_undo_that_began_in_time_goes_on(store: SqliteStore) -> None:
    run_id, _ = await hold(store)
    late = await admit(store)
    assert not await store.move_layer(run_id, {HELD}, LANDING, by=late.call_id, now=NOON + 3_600)
    undone = await ran(store)
    assert (await undo(store, undone, now=NOON + 7_200))[1] is False
    by, claimed = await undo(store, undone, now=NOON + 7_199)
    assert claimed
    assert [row.run_id for row in await store.expire_layers(NOON + 9_999)] == [run_id]
    assert await store.settle(settlement(by), layer(undone, UNDONE))
    never = await ran(store, undo_until=None, reason="the images were too large")
    assert (await undo(store, never))[1] is False


async def test_only_the_claimer_moves_a_claimed_layer(store: SqliteStore) -> None:
    run_id, _ = await hold(store)
    by = await commit(store, run_id)
    other = (await admit(store)).call_id
    assert not await store.move_layer(run_id, {LANDING}, HELD, by=other, now=NOON + 3)
    with pytest.raises(LayerMisplaced):  # it landed nothing, and its settlement is not taken for a landing
        await store.settle(settlement(other), landed(run_id), settlement(run_id))
    assert await life_of(store, other) == (Life.DISPATCHED, State.RUNNING)
    assert not await store.finish_held(run_id, settlement(run_id), layer(run_id, DISCARDED), by=other)
    assert await store.move_layer(run_id, {LANDING}, HELD, by=by, now=NOON + 3)
    assert not await store.move_layer(run_id, {LANDING}, HELD, by=by, now=NOON + 3)


async def test_nothing_lands_that_is_not_what_was_shown(store: SqliteStore) -> None:
    run_id, _ = await hold(store)
    by = await commit(store, run_id)
    with pytest.raises(LayerMisplaced):
        await store.settle(settlement(by), landed(run_id, digest="other"), settlement(run_id))
    assert await state_of(store, run_id) is LANDING


async def test_a_held_call_is_never_left_behind_by_its_layer(store: SqliteStore) -> None:
    run_id, _ = await hold(store)
    by = await commit(store, run_id)
    with pytest.raises(LayerMisplaced, match="while its call is held"):
        await store.settle(settlement(by), landed(run_id))
    with pytest.raises(LayerMisplaced):
        await store.move_layer(run_id, {LANDING}, LANDED, by=by, now=NOON + 3)
    assert await life_of(store, by) == (Life.DISPATCHED, State.RUNNING)
    found = await store.verify_chain()
    assert found.ok, found.reason


@pytest.mark.parametrize("start", LayerState)
@pytest.mark.parametrize("to", LayerState)
async def test_a_layer_goes_only_along_the_drawing(store: SqliteStore, start: LayerState, to: LayerState) -> None:
    call = await admit(store)
    await store.hold(settlement(call.call_id, State.FAILED), layer(call.call_id), None, ROOM)
    ways = {
        HELD: (),
        LANDING: (LANDING,),
        LANDED: (LANDING, LANDED),
        UNDOING: (LANDING, LANDED, UNDOING),
        UNDONE: (LANDING, LANDED, UNDOING, UNDONE),
        DISCARDED: (DISCARDED,),
        LayerState.LOST: (LayerState.LOST,),
    }
    for step in ways[start]:
        assert await store.move_layer(call.call_id, set(LayerState), step, by="c", now=NOON, undo_until=NOON + 9)
    if to in EDGES[start]:
        assert await store.move_layer(call.call_id, {start}, to, by="c", now=NOON + 1)
        assert await state_of(store, call.call_id) is to
    else:
        with pytest.raises(LayerMisplaced):
            await store.move_layer(call.call_id, {start}, to, by="c", now=NOON + 1)
        assert await state_of(store, call.call_id) is start
    assert not await store.move_layer("ghost", {start}, to, by="c", now=NOON)
    found = await store.verify_chain()
    assert found.ok, found.reason


async def test_a_layer_begins_held_or_landing_or_landed_and_never_further(store: SqliteStore) -> None:
    for state in (UNDOING, UNDONE, DISCARDED, LayerState.LOST):
        call = await admit(store)
        with pytest.raises(LayerMisplaced):
            await store.settle(settlement(call.call_id), layer(call.call_id, state))
        assert await life_of(store, call.call_id) == (Life.DISPATCHED, State.RUNNING)
    assert EDGES[None] == {HELD, LANDING, LANDED}


async def test_what_a_call_is_about_to_land_can_be_on_record_before_its_host_is_told(store: SqliteStore) -> None:
    call = await admit(store)
    assert await store.begin_landing(layer(call.call_id), NOON)
    assert not await store.begin_landing(layer(call.call_id), NOON)
    assert await state_of(store, call.call_id) is LANDING
    assert await store.settle(settlement(call.call_id), landed(call.call_id))
    assert await state_of(store, call.call_id) is LANDED
    assert not await store.begin_landing(layer(call.call_id), NOON)
    assert not await store.begin_landing(layer("ghost"), NOON)


async def test_a_settlement_that_comes_too_late_keeps_only_what_really_landed(store: SqliteStore) -> None:
    holds, lands = await admit(store), await admit(store)
    for call in (holds, lands):
        await store.settle(settlement(call.call_id, State.CANCELLED))
    assert not await store.settle(settlement(holds.call_id, State.FAILED), layer(holds.call_id))
    assert not await store.settle(settlement(lands.call_id), landed(lands.call_id))
    assert await store.layer(holds.call_id) is None
    assert await state_of(store, lands.call_id) is LANDED
    assert await life_of(store, lands.call_id) == (Life.SETTLED, State.CANCELLED)


async def test_a_commit_that_is_known_after_all_moves_its_layer_and_then_itself(store: SqliteStore) -> None:
    run_id, _ = await hold(store)
    by = await commit(store, run_id)
    await store.settle(settlement(by, State.UNKNOWN, code="OUTCOME_UNKNOWN"))
    assert await state_of(store, run_id) is LANDING
    true = settlement(by), landed(run_id), settlement(run_id)
    assert not await store.settle(*true)
    assert await life_of(store, run_id) == (Life.SETTLED, State.SUCCEEDED)
    assert not isinstance(await store.resolve_unknown(true[0], "its host", *true[1:]), str)
    assert await life_of(store, by) == (Life.RECONCILED, State.SUCCEEDED)
    assert await store.open_runs() == []


async def test_a_claim_needs_a_name(store: SqliteStore) -> None:
    run_id, _ = await hold(store)
    with pytest.raises(LayerMisplaced):
        await store.move_layer(run_id, {HELD}, LANDING, by="", now=NOON)


async def test_an_unmeasured_side_effect_is_not_counted(store: SqliteStore) -> None:
    for side_effects in (1.0, None, 0.0, None):
        call = await admit(store)
        await store.settle(settlement(call.call_id, side_effects=side_effects), landed(call.call_id))
    assert await store.scores() == [ScoreRow("agent", "shell_run", "staging", 4, 1.0, 1.0, 0.5)]


async def test_a_closed_store_claims_nothing(store: SqliteStore) -> None:
    run_id, _ = await hold(store)
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.move_layer(run_id, {HELD}, LANDING, by="c", now=NOON)
