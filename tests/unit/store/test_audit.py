"""The audit chain: any edit, removal, reordering, truncation or unsigned record is found, and the place is named."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from interlock.records import LayerState, Span
from interlock.store import Checkpoint, SqliteStore, StoreCorrupt, open_store, verify_directory
from interlock.store.chain import Head, link, sign_head
from interlock.store.layers import LAYER_COLUMNS
from interlock_tools.errors import State
from unit.store.cases import NOON, ROOM, admission, admit, ask, commit, hold, intent, landed, layer, settlement

pytestmark = pytest.mark.anyio


async def a_full_day(store: SqliteStore) -> None:
    for _ in range(3):
        call = await store.admit(admission())
        await store.settle(settlement(call.call_id, spans=(Span("execute", NOON, 0.1),)))
    await store.add_span(call.call_id, Span("late", NOON, 0.25, {"text": "grüße"}))
    refused = intent()
    await store.refuse(refused, settlement(refused.call_id, State.INVALID, validity=0))
    waiting = await store.admit(admission(approval=ask()))
    await store.decide_approval(waiting.approval_id, True, "ana", "ok", NOON)
    await store.dispatch(waiting.call_id, waiting.approval_id, NOON)
    await store.lose_dispatched(NOON)
    await store.reconcile(waiting.call_id, State.SUCCEEDED, "ana", "looked", NOON)
    open_call = await store.admit(admission())
    assert open_call.call_id
    await store.stop("all", "ana", "stop", NOON)
    await store.lift("all", "ana", "go", NOON)
    row, _ = await store.create_token("agent", "laptop", 60, NOON)
    await store.revoke_token(row.token_id, NOON)
    await layers_of_a_day(store)


async def layers_of_a_day(store: SqliteStore) -> None:
    """Held and asked, committed and undone, discarded, expired, lost and found: every kind of record a layer has."""
    run_id, approval_id = await hold(store, ask(), call_id="held")
    by = await commit(store, run_id, call_id="commit")
    await store.settle(settlement(by), landed(run_id), settlement(run_id))
    back = await admit(store, call_id="undo")
    await store.move_layer(run_id, {LayerState.LANDED}, LayerState.UNDOING, by=back.call_id, now=NOON)
    await store.settle(settlement(back.call_id), layer(run_id, LayerState.UNDONE))
    run_id, approval_id = await hold(store, ask(), call_id="approved")
    await store.decide_approval(approval_id, True, "ana", "ok", NOON)
    await store.dispatch(run_id, approval_id, NOON)
    await store.lose_dispatched(NOON)
    await store.hold(settlement(run_id, State.HELD), layer(run_id), None, ROOM)
    run_id, _ = await hold(store, call_id="discarded")
    await store.finish_held(run_id, settlement(run_id, State.DISCARDED), layer(run_id, LayerState.DISCARDED))
    run_id, _ = await hold(store, call_id="expired", host="web2")
    await store.expire_layers(NOON + 3_600)
    run_id, approval_id = await hold(store, ask(), call_id="landing")
    await store.decide_approval(approval_id, True, "ana", "ok", NOON)
    await store.dispatch(run_id, approval_id, NOON)
    await hold(store, call_id="waiting")


@pytest.fixture
async def closed(directory: Path) -> Path:
    async with open_store(directory, lambda: NOON) as store:
        await a_full_day(store)
    assert verify_directory(directory).ok
    return directory


def tamper(directory: Path, *statements: str) -> None:
    with closing(sqlite3.connect(directory / "store.db")) as connection, connection:
        for statement in statements:
            assert connection.execute(statement).rowcount != 0, statement


async def test_an_untouched_log_verifies_while_its_owner_runs_and_after(directory: Path) -> None:
    async with open_store(directory, lambda: NOON) as store:
        assert (await store.verify_chain()).ok
        await a_full_day(store)
        running = await store.verify_chain()
        assert running.ok, running.reason
        head = await store.head()
        assert (head.seq, head.hash) == (running.head.seq, running.head.hash)
        assert verify_directory(directory, (head,)).ok
    assert verify_directory(directory, (head,)).records == running.records


LAST_HELD = "SELECT max(seq) FROM audit WHERE kind = 'held' AND subject = 'landing'"
HELD_AGAIN = f"UPDATE calls SET life = 'held', state = 'held', settled = {NOON + 1}, outcome_seq = ({LAST_HELD})"
MADE_UP = f"SELECT 'made', {', '.join(LAYER_COLUMNS[1:])}, audit_seq, changes FROM layers"
EDITS = {
    "a record": ("UPDATE audit SET time = time + 1 WHERE seq = 3", "record 3 was edited", 3),
    "a detail": ("UPDATE audit SET detail = '[]' WHERE kind = 'stopped'", "detail of record", None),
    "a removed record": ("DELETE FROM audit WHERE seq = 4", "record 4 is missing", 4),
    "a cut end": ("DELETE FROM audit WHERE seq > 10", "its end was cut off", 10),
    "an emptied log": ("DELETE FROM audit", "its end was cut off", None),
    "arguments": ("UPDATE calls SET arguments = '{}' WHERE seq = 1", "its row was edited", 1),
    "an outcome": ("UPDATE calls SET state = 'failed' WHERE seq = 1", "the outcome of the call", 2),
    "a score": ("UPDATE calls SET success = 0.5 WHERE seq = 1", "the outcome of the call", 2),
    "spans": ("UPDATE calls SET spans = '[]' WHERE seq = 1", "the outcome of the call", 2),
    "added spans": ("UPDATE calls SET spans_added = '[]'", "the spans added", None),
    "a call": ("DELETE FROM calls WHERE seq = 1", "knows 14 calls, the table holds 13", None),
    "an outcome taken back": (
        "UPDATE calls SET life = 'dispatched', outcome_seq = NULL WHERE seq = 1",
        "knows 13 ended calls",
        None,
    ),
    "a held call taken back": (
        "UPDATE calls SET life = 'dispatched', outcome_seq = NULL WHERE call_id = 'waiting'",
        "the call waiting was put back",
        None,
    ),
    "a landing that is said to be held": (f"{HELD_AGAIN} WHERE call_id = 'landing'", "the call landing was put", None),
    "an approval": ("UPDATE approvals SET decided_by = 'bob'", "the approval", None),
    "a removed approval": ("DELETE FROM approvals", "knows 4 approvals, the table holds 0", None),
    "what a layer changed": (
        "UPDATE layers SET changes = '[]' WHERE run_id = 'held'",
        "changes of the layer held",
        None,
    ),
    "the digest of what it changed": ("UPDATE layers SET changes_sha256 = 'x'", "its row was edited", None),
    "a layer's own digest": ("UPDATE layers SET digest = 'x' WHERE run_id = 'waiting'", "the layer waiting is", None),
    "an undone layer": ("UPDATE layers SET state = 'landed' WHERE run_id = 'held'", "the layer held is not", None),
    "who landed it": ("UPDATE layers SET landed_by = 'bob' WHERE run_id = 'held'", "the layer held is not", None),
    "how long it is held": ("UPDATE layers SET expires = 9e9 WHERE run_id = 'waiting'", "the layer waiting is", None),
    "a removed layer": ("DELETE FROM layers WHERE run_id = 'held'", "knows 6 layers, the table holds 5", None),
    "a made up layer": (f"INSERT INTO layers {MADE_UP} WHERE run_id = 'waiting'", "the layer made is not", None),
    "an unsigned head": ("UPDATE head SET signature = 'ff'", "not signed with this store's key", None),
    "no head": ("DELETE FROM head", "no signed head", None),
}


@pytest.mark.parametrize("name", EDITS)
async def test_tampering_is_found_where_it_happened(closed: Path, name: str) -> None:
    statement, reason, at = EDITS[name]
    extra = ["DELETE FROM checkpoints"] if name in ("a cut end", "an emptied log") else []
    tamper(closed, statement, *extra)
    found = verify_directory(closed)
    assert not found.ok
    assert reason in found.reason
    if at is not None:
        assert found.at == at


async def test_swapped_records_are_found(closed: Path) -> None:
    tamper(
        closed,
        "UPDATE audit SET seq = -3 WHERE seq = 3",
        "UPDATE audit SET seq = 3 WHERE seq = 4",
        "UPDATE audit SET seq = 4 WHERE seq = -3",
    )
    assert verify_directory(closed).at == 3


def rewrite(directory: Path, forge: Callable[[Head], Checkpoint]) -> None:
    """Rewrite history from record 3 on with good hashes, and put a head of our own on it."""
    with closing(sqlite3.connect(directory / "store.db")) as connection, connection:
        rows = connection.execute("SELECT seq, time, kind, subject, digest, hash FROM audit ORDER BY seq").fetchall()
        previous = rows[1][5]
        for seq, time, kind, subject, digest, _ in rows[2:]:
            previous = link(previous, seq, time + 1, kind, subject, digest)
            connection.execute("UPDATE audit SET time = ?, hash = ? WHERE seq = ?", (time + 1, previous, seq))
        head = forge(Head(rows[-1][0], previous))
        connection.execute("DELETE FROM checkpoints")
        connection.execute(
            "UPDATE head SET seq = ?, hash = ?, time = ?, signature = ?",
            (head.seq, head.hash, head.time, head.signature),
        )


async def test_a_whole_rewrite_without_the_key_is_found(closed: Path) -> None:
    rewrite(closed, lambda head: sign_head(Ed25519PrivateKey.generate(), head, NOON))
    assert "not signed with this store's key" in verify_directory(closed).reason


async def test_a_whole_rewrite_with_the_key_is_found_by_a_head_kept_elsewhere(directory: Path) -> None:
    async with open_store(directory, lambda: NOON) as store:
        await a_full_day(store)
        kept = await store.head()
        key = store.files.load_key()
    assert key is not None
    rewrite(directory, lambda head: sign_head(key, head, NOON))
    assert verify_directory(directory).ok
    found = verify_directory(directory, (kept,))
    assert "history was rewritten" in found.reason
    assert found.at == kept.seq


async def test_a_forged_kept_head_and_a_foreign_public_key_are_refused(closed: Path) -> None:
    forged = Checkpoint(1, "0" * 64, NOON, "00")
    assert "the checkpoint at record 1 is not signed" in verify_directory(closed, (forged,)).reason
    foreign = Ed25519PrivateKey.generate().public_key()
    assert not verify_directory(closed, (), foreign).ok


async def test_a_store_with_a_broken_end_is_not_opened(closed: Path) -> None:
    tamper(closed, "DELETE FROM audit WHERE seq > 10")
    with pytest.raises(StoreCorrupt, match="is missing or not the one that was signed"):
        async with open_store(closed, lambda: NOON):
            pass
    tamper(closed, "DELETE FROM checkpoints")
    with pytest.raises(StoreCorrupt, match="its end was cut off"):
        async with open_store(closed, lambda: NOON):
            pass


async def test_checkpoints_are_kept_every_thousand_records_and_at_the_close(directory: Path) -> None:
    async with open_store(directory, lambda: NOON) as store:
        for _ in range(520):
            await store.settle(settlement((await store.admit(admission(cost_units=0))).call_id))
    with closing(sqlite3.connect(directory / "store.db")) as connection:
        seqs = [seq for (seq,) in connection.execute("SELECT seq FROM checkpoints ORDER BY seq")]
    assert seqs == [1_000, 1_040]
    assert verify_directory(directory).ok
    async with open_store(directory, lambda: NOON) as store:
        assert (await store.verify_chain()).records == 1_040
