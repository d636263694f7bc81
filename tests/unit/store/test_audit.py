"""The audit chain: any edit, removal, reordering, truncation or unsigned record is found, and the place is named."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from interlock.records import Span
from interlock.store import Checkpoint, SqliteStore, StoreCorrupt, open_store, verify_directory
from interlock.store.chain import Head, link, sign_head
from interlock_tools.errors import State
from unit.store.cases import NOON, admission, ask, intent, settlement

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
    "a call": ("DELETE FROM calls WHERE seq = 1", "knows 6 calls, the table holds 5", None),
    "an outcome taken back": (
        "UPDATE calls SET life = 'dispatched', outcome_seq = NULL WHERE seq = 1",
        "knows 5 ended calls",
        None,
    ),
    "an approval": ("UPDATE approvals SET decided_by = 'bob'", "the approval", None),
    "a removed approval": ("DELETE FROM approvals", "knows 1 approvals, the table holds 0", None),
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
