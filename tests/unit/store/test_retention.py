"""Retention: old calls go, what is undecided stays, and the chain can tell pruning from theft."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from interlock.records import LayerState, Span
from interlock.store import SqliteStore, open_store, verify_directory
from interlock_tools.errors import State
from unit.store.cases import (
    DAY,
    NOON,
    ROOM,
    admission,
    admit,
    ask,
    commit,
    hold,
    intent,
    landed,
    layer,
    settlement,
)

pytestmark = pytest.mark.anyio


async def test_only_what_ended_long_ago_is_pruned_and_the_scores_stay(store: SqliteStore) -> None:
    room = {"host_calls_max": 1_000, "principal_calls_max": 1_000}
    old = [await store.admit(admission(idempotency_key=f"key{n}", cost_units=1, limits=room)) for n in range(230)]
    for call in old[:200]:
        await store.settle(settlement(call.call_id, now=NOON + 1))
    for call in old[200:]:
        await store.settle(settlement(call.call_id, State.UNKNOWN, success=None, now=NOON + 1))
    await store.add_span(old[0].call_id, Span("late", NOON, 0.1))
    await store.reconcile(old[200].call_id, State.SUCCEEDED, "ana", "looked", NOON + 1)
    refused = intent()
    await store.refuse(refused, settlement(refused.call_id, State.INVALID, now=NOON + 1))
    denied = await store.admit(admission(approval=ask()))
    await store.settle(settlement(denied.call_id, State.DENIED, now=NOON + 1))
    waiting = await store.admit(admission(approval=ask()))
    young = await store.admit(admission())
    await store.settle(settlement(young.call_id, now=NOON + 100))
    scores = await store.scores()

    assert await store.prune(NOON + 50) == 203
    assert await store.prune(NOON + 50) == 0
    left = {row.call_id for row in await store.calls(limit=500)}
    assert left == {waiting.call_id, young.call_id, *(call.call_id for call in old[201:])}
    assert [row.call_id for row in await store.approvals()] == [waiting.call_id]
    assert await store.scores() == scores
    assert await store.budget_left("agent", DAY, 1_000) < 1_000
    found = await store.verify_chain()
    assert found.ok, found.reason
    await store.admit(admission(idempotency_key="key0", digest="other"))


async def test_no_call_is_pruned_while_its_layer_waits_is_in_flight_or_can_be_undone(store: SqliteStore) -> None:
    failed = await admit(store)
    await store.hold(settlement(failed.call_id, State.FAILED), layer(failed.call_id, expires=NOON + 10), None, ROOM)
    held, _ = await hold(store)
    by = await commit(store, held)
    await store.settle(settlement(by), landed(held, undo_until=NOON + 20), settlement(held))
    undone, back = await admit(store), await admit(store)
    await store.settle(settlement(undone.call_id), landed(undone.call_id, undo_until=NOON + 20))
    await store.move_layer(undone.call_id, {LayerState.LANDED}, LayerState.UNDOING, by=back.call_id, now=NOON + 2)
    await store.settle(settlement(back.call_id, State.FAILED))  # it ended, and its claim is still there
    waiting, _ = await hold(store)
    plain = await admit(store)
    await store.settle(settlement(plain.call_id))

    assert await store.prune(NOON + 9_000) == 1
    assert await store.call(plain.call_id) is None
    assert len(await store.expire_layers(NOON + 20)) == 2  # the failed one's, and the undo of the committed one
    assert await store.prune(NOON + 9_000) == 3
    assert {row.call_id for row in await store.calls()} == {undone.call_id, back.call_id, waiting}
    assert {row.run_id for row in await store.layers()} == {undone.call_id, waiting}
    assert await store.move_layer(undone.call_id, {LayerState.UNDOING}, LayerState.LANDED, by=back.call_id, now=NOON)
    await store.expire_layers(NOON + 20)
    assert await store.prune(NOON + 9_000) == 2
    assert [row.run_id for row in await store.layers()] == [waiting]
    found = await store.verify_chain()
    assert found.ok, found.reason


async def test_a_number_is_never_given_twice(directory: Path) -> None:
    async with open_store(directory, lambda: NOON) as store:
        first = await store.admit(admission())
        await store.settle(settlement(first.call_id))
        (before,) = await store.calls()
        assert await store.prune(NOON + 2) == 1
    async with open_store(directory, lambda: NOON) as store:
        await store.admit(admission())
        (after,) = await store.calls()
        assert after.seq > before.seq


async def test_a_call_that_somebody_removed_is_not_taken_for_a_pruned_one(directory: Path) -> None:
    async with open_store(directory, lambda: NOON) as store:
        for _ in range(3):
            await store.settle(settlement((await store.admit(admission())).call_id))
        await store.prune(NOON)
        assert len(await store.calls()) == 3
        await store.prune(NOON + 2)
        await store.settle(settlement((await store.admit(admission())).call_id))
    assert verify_directory(directory).ok
    with closing(sqlite3.connect(directory / "store.db")) as connection, connection:
        connection.execute("DELETE FROM calls")
    assert "knows 1 calls, the table holds 0" in verify_directory(directory).reason
