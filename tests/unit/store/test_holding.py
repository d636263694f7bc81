"""Holding: what a call changed waits with the call, bounded in number, size and time, and ends with it exactly once."""

import dataclasses
import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from interlock.records import ApprovalRow, ApprovalState, LayerState, Life, NotAdmitted, Repeated, ScoreRow, Span
from interlock.store import LayerMisplaced, SqliteStore, open_store
from interlock_tools.call import digest_of
from interlock_tools.errors import State
from unit.store.cases import DAY, NOON, ROOM, admission, admit, ask, commit, hold, landed, layer, settlement

pytestmark = pytest.mark.anyio


async def lives(store: SqliteStore, run_id: str) -> tuple[Life, State, LayerState]:
    call, kept = await store.call(run_id), await store.layer(run_id)
    assert call is not None
    assert kept is not None
    return call.life, call.state, kept.state


async def discard(store: SqliteStore, run_id: str, state: State = State.DISCARDED) -> bool:
    gone = layer(run_id, LayerState.DISCARDED, reason="nobody wants it")
    return await store.finish_held(run_id, settlement(run_id, state, success=None), gone)


async def test_a_held_call_frees_its_lease_and_keeps_its_budget_its_key_and_its_layer(store: SqliteStore) -> None:
    call_id, approval_id = await hold(store, limits={"host_calls_max": 1}, idempotency_key="k", digest="d")
    assert approval_id == ""
    assert await lives(store, call_id) == (Life.HELD, State.HELD, LayerState.HELD)
    kept = await store.layer(call_id)
    assert kept == layer(call_id, call_digest="d")
    assert await store.budget_left("agent", DAY, 1_000) == 990
    again = await store.admit(admission(idempotency_key="k", digest="d"))
    assert isinstance(again, Repeated)
    assert (again.call_id, again.life) == (call_id, Life.HELD)
    assert again.envelope is not None
    await admit(store, limits={"host_calls_max": 1})
    assert await store.calls_since(0) == []  # held is not ended


async def test_a_layer_is_its_calls_whatever_the_caller_says(store: SqliteStore) -> None:
    call = await admit(store, digest="d" * 64)
    foreign = layer(call.call_id, host="db9", principal="mallory", call_digest="x", state=LayerState.UNDONE)
    await store.hold(settlement(call.call_id, State.HELD), foreign, None, ROOM)
    kept = await store.layer(call.call_id)
    assert kept is not None
    assert (kept.host, kept.principal, kept.call_digest, kept.state) == ("web1", "agent", "d" * 64, LayerState.HELD)


@pytest.mark.parametrize("state", [State.DISCARDED, State.CANCELLED, State.DENIED])
async def test_of_twenty_racing_ends_of_a_held_call_one_counts(store: SqliteStore, state: State) -> None:
    call_id, approval_id = await hold(store, ask())
    won = []

    async def race() -> None:
        won.append(await discard(store, call_id, state))

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(race)
    assert sum(won) == 1
    assert await lives(store, call_id) == (Life.SETTLED, state, LayerState.DISCARDED)
    approval = await store.approval(approval_id)
    assert approval is not None
    assert approval.state is ApprovalState.WITHDRAWN
    assert (await store.scores())[0] == ScoreRow("agent", "shell_run", "staging", 1, 1.0, None, 0.5)


async def test_a_held_call_that_is_simply_settled_takes_its_layer_with_it(store: SqliteStore) -> None:
    call_id, _ = await hold(store)
    assert await store.settle(settlement(call_id, State.CANCELLED, success=None, refund_units=4))
    assert await lives(store, call_id) == (Life.SETTLED, State.CANCELLED, LayerState.DISCARDED)
    assert await store.budget_left("agent", DAY, 1_000) == 994
    assert not await store.settle(settlement(call_id))


async def test_what_a_held_call_did_stays_on_record_when_it_ends(store: SqliteStore) -> None:
    call = await admit(store)
    ran = settlement(call.call_id, State.HELD, success=None, side_effects=0.25, spans=(Span("execute", NOON, 1.0),))
    await store.hold(ran, layer(call.call_id), None, ROOM)
    assert await discard(store, call.call_id)
    row = await store.call(call.call_id)
    assert row is not None
    assert ([span.step for span in row.spans], row.side_effects) == (["execute"], 0.25)


async def test_a_failed_command_ends_and_only_its_layer_waits(store: SqliteStore) -> None:
    call = await admit(store)
    failed = settlement(call.call_id, State.FAILED, code="COMMAND_FAILED")
    assert await store.hold(failed, layer(call.call_id), None, ROOM) == ""
    assert await lives(store, call.call_id) == (Life.SETTLED, State.FAILED, LayerState.HELD)
    by = await commit(store, call.call_id)
    assert await store.settle(settlement(by), landed(call.call_id))
    assert await lives(store, call.call_id) == (Life.SETTLED, State.FAILED, LayerState.LANDED)
    with pytest.raises(ValueError, match="only a call that is held itself"):
        await store.hold(failed, layer(call.call_id), ask(), ROOM)


LIMITS = {
    "layers of a host": ({"layers_max": 2}, {"principal": "other"}, "2 changes are held on web1"),
    "layers of a principal": ({"layers_max": 2}, {"host": "web2"}, "2 of your changes are held"),
    "bytes of a host": ({"host_bytes_max": 3 * 4_096 - 1}, {}, "more than 12287 bytes"),
    "questions to a human": ({"approvals_pending_max": 1}, {}, "1 of your calls wait for a human"),
}


@pytest.mark.parametrize("name", LIMITS)
async def test_no_more_is_held_than_may_be(store: SqliteStore, name: str) -> None:
    room, whose, why = LIMITS[name]
    await hold(store, ask())
    await hold(store)
    call = await admit(store, **whose)
    one_more = settlement(call.call_id, State.HELD), layer(call.call_id), ask(), dataclasses.replace(ROOM, **room)
    refused = await store.hold(*one_more)
    assert isinstance(refused, NotAdmitted)
    assert refused.code == "CONCURRENCY_LIMITED"
    assert why in refused.reason
    row = await store.call(call.call_id)
    assert row is not None
    assert row.life is Life.DISPATCHED  # still to be settled
    assert await store.layer(call.call_id) is None


async def test_a_call_that_ended_meanwhile_holds_nothing(store: SqliteStore) -> None:
    call = await admit(store)
    await store.settle(settlement(call.call_id, State.CANCELLED))
    refused = await store.hold(settlement(call.call_id, State.HELD), layer(call.call_id), None, ROOM)
    assert isinstance(refused, NotAdmitted)
    assert (refused.code, "is settled" in refused.reason) == ("STALE_STATE", True)
    assert await store.layer(call.call_id) is None


# ── approvals of held calls ──


async def approved(store: SqliteStore) -> tuple[str, str]:
    call_id, approval_id = await hold(store, ask(), digest="d" * 64, changes=True)
    assert isinstance(await store.decide_approval(approval_id, True, "ana", "fine", NOON + 2), ApprovalRow)
    return call_id, approval_id


async def test_an_approval_of_a_held_call_is_bound_to_the_call_and_to_what_was_measured(store: SqliteStore) -> None:
    call_id, approval_id = await approved(store)
    row, kept = await store.approval(approval_id), await store.layer(call_id)
    assert row is not None
    assert kept is not None
    assert row.digest == digest_of(["d" * 64, kept.digest])
    assert kept.approval_id == approval_id


async def test_an_approved_held_call_lands_by_itself_once_and_its_scores_count_once(store: SqliteStore) -> None:
    call_id, approval_id = await approved(store)
    results = []

    async def race() -> None:
        results.append(await store.dispatch(call_id, approval_id, NOON + 3))

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(race)
    assert sum(isinstance(result, ApprovalRow) for result in results) == 1
    assert {str(result) for result in results if isinstance(result, str)} == {
        f"the approval {approval_id} is used, not approved"
    }
    assert await lives(store, call_id) == (Life.DISPATCHED, State.RUNNING, LayerState.LANDING)
    running = await store.call(call_id)
    assert running is not None
    assert running.envelope is None  # what it answered when held is out of date
    assert await store.settle(settlement(call_id, success=1.0, side_effects=1.0), landed(call_id))
    assert await lives(store, call_id) == (Life.SETTLED, State.SUCCEEDED, LayerState.LANDED)
    kept = await store.layer(call_id)
    assert kept is not None
    assert (kept.landed, kept.landed_by, kept.undo_until) == (NOON + 1, call_id, NOON + 7_200)
    assert await store.scores() == [ScoreRow("agent", "shell_run", "staging", 1, 1.0, 1.0, 0.5)]


async def test_a_call_asked_before_it_ran_may_be_asked_again_about_what_it_changed(store: SqliteStore) -> None:
    call = await admit(store, approval=ask())
    await store.decide_approval(call.approval_id, True, "ana", "run it", NOON)
    await store.dispatch(call.call_id, call.approval_id, NOON)
    given = dataclasses.replace(ask(), approval_id="apr_given")
    held = await store.hold(settlement(call.call_id, State.HELD), layer(call.call_id), given, ROOM)
    assert held == "apr_given"
    assert "is used" in str(await store.dispatch(call.call_id, call.approval_id, NOON))
    await store.decide_approval(held, True, "ana", "land it", NOON)
    assert isinstance(await store.dispatch(call.call_id, held, NOON), ApprovalRow)
    assert {row.state for row in await store.approvals()} == {ApprovalState.USED}


async def test_a_commit_takes_the_question_back_and_an_approval_then_lands_nothing(store: SqliteStore) -> None:
    call_id, approval_id = await approved(store)
    await commit(store, call_id)
    assert "is withdrawn" in str(await store.dispatch(call_id, approval_id, NOON + 3))
    assert not await discard(store, call_id)
    assert not await store.settle(settlement(call_id, State.CANCELLED))
    assert await store.expire_layers(NOON + 9_999) == []
    assert await lives(store, call_id) == (Life.HELD, State.HELD, LayerState.LANDING)


async def test_an_approved_landing_wins_over_commit_discard_and_expiry(store: SqliteStore) -> None:
    call_id, approval_id = await approved(store)
    assert isinstance(await store.dispatch(call_id, approval_id, NOON + 3), ApprovalRow)
    other = await admit(store)
    claim = {LayerState.HELD}, LayerState.LANDING
    assert not await store.move_layer(call_id, *claim, by=other.call_id, now=NOON + 3)
    assert not await discard(store, call_id)
    assert await store.expire_layers(NOON + 9_999) == []


async def test_a_discard_wins_over_an_approval_that_was_given(store: SqliteStore) -> None:
    call_id, approval_id = await approved(store)
    assert await discard(store, call_id)
    assert "is withdrawn" in str(await store.dispatch(call_id, approval_id, NOON + 3))
    assert await lives(store, call_id) == (Life.SETTLED, State.DISCARDED, LayerState.DISCARDED)


async def test_a_landing_that_found_its_files_changed_is_held_again_and_may_be_asked_again(store: SqliteStore) -> None:
    call_id, approval_id = await approved(store)
    await store.dispatch(call_id, approval_id, NOON + 3)
    full = dataclasses.replace(ROOM, layers_max=1)  # what is given back was counted all along
    again = await store.hold(settlement(call_id, State.HELD), layer(call_id), ask(), full)
    assert isinstance(again, str)
    assert again not in ("", approval_id)
    assert await lives(store, call_id) == (Life.HELD, State.HELD, LayerState.HELD)
    await store.decide_approval(again, True, "ana", "now", NOON + 4)
    assert isinstance(await store.dispatch(call_id, again, NOON + 5), ApprovalRow)


async def test_an_expired_layer_is_not_landed_by_an_approval_that_is_still_good(store: SqliteStore) -> None:
    call = await admit(store)
    short = layer(call.call_id, expires=NOON + 10)
    approval_id = await store.hold(settlement(call.call_id, State.HELD), short, ask(), ROOM)
    await store.decide_approval(str(approval_id), True, "ana", "fine", NOON + 2)
    assert "has expired" in str(await store.dispatch(call.call_id, str(approval_id), NOON + 10))


async def test_a_caller_that_leaves_while_its_landing_is_claimed_leaves_a_held_call(store: SqliteStore) -> None:
    call_id, approval_id = await approved(store)
    async with anyio.create_task_group() as group:
        group.start_soon(store.dispatch, call_id, approval_id, NOON + 3)
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    await store.set_meta("after", "it")  # its commit comes after the undoing
    assert await lives(store, call_id) == (Life.HELD, State.HELD, LayerState.HELD)
    found = await store.verify_chain()
    assert found.ok, found.reason
    await commit(store, call_id)


async def test_a_held_call_whose_question_ended_before_a_restart_is_found(directory: Path) -> None:
    async with open_store(directory, lambda: NOON) as store:
        call_id, approval_id = await hold(store, ask())
        await hold(store, ask())
        await store.decide_approval(approval_id, False, "ana", "no", NOON + 2)
    async with open_store(directory, lambda: NOON) as store:
        assert [row.call_id for row in await store.stranded_approvals()] == [call_id]
        await discard(store, call_id, State.DENIED)
        assert await store.stranded_approvals() == []


# ── expiry ──


async def test_what_is_held_too_long_is_discarded_with_its_call_and_its_question(store: SqliteStore) -> None:
    asked, approval_id = await hold(store, ask(approve_by=NOON + 99_999))
    previewed, _ = await hold(store)
    failed = await admit(store)
    await store.hold(settlement(failed.call_id, State.FAILED), layer(failed.call_id), None, ROOM)
    assert await store.expire_layers(NOON + 3_599) == []
    gone = await store.expire_layers(NOON + 3_600)
    assert {row.run_id for row in gone} == {asked, previewed, failed.call_id}
    assert {row.state for row in gone} == {LayerState.DISCARDED}
    assert await store.expire_layers(NOON + 9_999) == []
    assert await lives(store, asked) == (Life.SETTLED, State.DISCARDED, LayerState.DISCARDED)
    assert await lives(store, failed.call_id) == (Life.SETTLED, State.FAILED, LayerState.DISCARDED)
    approval = await store.approval(approval_id)
    assert approval is not None
    assert approval.state is ApprovalState.EXPIRED
    codes = {call_id: (await store.call(call_id)) for call_id in (asked, previewed)}
    assert {name: row.code for name, row in codes.items() if row} == {asked: "APPROVAL_EXPIRED", previewed: "CANCELLED"}
    for row in codes.values():
        assert row is not None
        assert row.envelope is not None
        assert (row.envelope["ok"], row.envelope["state"]) == (False, "discarded")
        assert "nothing has landed" in row.envelope["error"]["message"]


async def test_an_undo_ends_with_its_time_and_what_landed_stays(store: SqliteStore) -> None:
    call = await admit(store)
    await store.settle(settlement(call.call_id), landed(call.call_id))
    (kept,) = await store.expire_layers(NOON + 7_200)
    assert (kept.state, kept.undo_until, kept.reason) == (LayerState.LANDED, None, "the time to undo it is over")
    assert not kept.can_be_undone(NOON)
    assert await store.expire_layers(NOON + 9_999) == []


async def test_more_changes_than_fit_are_cut_and_marked(store: SqliteStore) -> None:
    call = await admit(store)
    one = layer(call.call_id).changes[0]
    many = tuple({**one, "path": f"/srv/{number:05}"} for number in range(36_000))
    await store.hold(settlement(call.call_id, State.HELD), layer(call.call_id, changes=many), None, ROOM)
    kept = await store.layer(call.call_id)
    assert kept is not None
    assert kept.truncated
    assert 1_000 < len(kept.changes) < 36_000
    assert kept.changes == many[: len(kept.changes)]


async def test_layers_are_listed_newest_first_and_by_state_host_and_principal(store: SqliteStore) -> None:
    first, _ = await hold(store, principal="other")
    second, _ = await hold(store, host="web2")
    call = await admit(store)
    await store.settle(settlement(call.call_id), landed(call.call_id, created=NOON + 9))
    assert [row.run_id for row in await store.layers(limit=1)] == [call.call_id]
    assert {row.run_id for row in await store.layers("held")} == {first, second}
    assert [row.run_id for row in await store.layers(host="web2")] == [second]
    assert [row.run_id for row in await store.layers(principal="other")] == [first]
    with pytest.raises(ValueError, match="of its own"):
        await store.finish_held(first, settlement(second), layer(first, LayerState.DISCARDED))
    with pytest.raises(LayerMisplaced):
        await store.move_layer(first, {LayerState.HELD}, LayerState.UNDONE, by="c", now=NOON)


async def test_the_lists_of_what_is_held_use_their_indexes(store: SqliteStore, directory: Path) -> None:
    await hold(store)
    asked = {"host": "h", "principal": "p", "layers_max": 1, "pending_max": 1, "now": 1, "limit": 1, "after_seq": 0}
    asked |= {"call_id": "c"}
    with closing(sqlite3.connect(directory / "store.db")) as connection:
        for query in ("layer_facts", "layers_lapsed", "layer_of", "runs_open", "layers_claimed"):
            rows = connection.execute(f"EXPLAIN QUERY PLAN {store._queries[query]}", asked).fetchall()
            scans = [
                row[3] for row in rows if row[3].startswith("SCAN") and "INDEX" not in row[3] and row[3][5:6] in "lc"
            ]
            assert scans == [], (query, scans)
