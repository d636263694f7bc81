"""Verification: walks the whole audit chain and every row it covers, read-only, and says where the first lie is.

It refuses a log that was edited, reordered, cut off or not signed, rows that no record covers, and rows that are
missing without having been pruned. A whole store put back to an older state, or rewritten with its own key, it sees
only where it is shown a signed head that was kept elsewhere.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from interlock.records import Life
from interlock.store.chain import Checkpoint, Head, is_signed, link, text_digest
from interlock.store.faults import StoreCorrupt
from interlock.store.files import StoreFiles
from interlock.store.layers import LAYER_COLUMNS
from interlock.store.rows import APPROVAL_COLUMNS, INTENT_COLUMNS, OUTCOME_COLUMNS, digest_of_columns, dump
from interlock.store.sql import load_blocks

_OPEN_LIVES = (Life.AWAITING, Life.DISPATCHED)
_LAYER_KIND = "layer_"
_ENDS = frozenset({"settled", "lost"})
_TURNS = frozenset(
    {"held", "found", "resumed", "finished", "reconciled"}
)  # after these, an older outcome is no longer it
_APPROVAL_KINDS = frozenset({"asked", "approved", "denied", "expired", "used", "withdrawn"})


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found. `at`: the number of the first wrong record, where one can be named; `head`: the last good one."""

    ok: bool
    records: int
    head: Head
    reason: str = ""
    at: int | None = None


class _Broken(Exception):
    """Ends the walk where the lie is; never leaves this file."""

    def __init__(self, reason: str, at: int | None = None) -> None:
        super().__init__(reason)
        self.at = at


@dataclass(slots=True)
class _Walked:
    """What is known after the walk along the chain."""

    head: Head = field(default_factory=Head)
    kinds: Counter[str] = field(default_factory=Counter)
    pruned: Counter[str] = field(default_factory=Counter)
    approvals: dict[str, str] = field(default_factory=dict)  # id → digest of its last event
    layers: dict[str, str] = field(default_factory=dict)  # run → the same
    outcomes: dict[str, int] = field(default_factory=dict)  # call id → its last outcome's record, 0 = it is open again
    spans: dict[str, list[str]] = field(default_factory=dict)  # call id → digests of the spans added to it


def verify_directory(
    directory: Path, kept: Sequence[Checkpoint] = (), key: Ed25519PublicKey | None = None
) -> Verification:
    """Verify a store whether its server runs or not. A public `key` and heads `kept` elsewhere are worth more."""
    return verify_files(StoreFiles(directory), kept, key)


def verify_files(
    files: StoreFiles, kept: Sequence[Checkpoint] = (), key: Ed25519PublicKey | None = None
) -> Verification:
    """Verify one store, in one read transaction on a connection of its own. Never raises for what it finds."""
    walked = _Walked()
    try:
        public_key = key or files.load_public_key()
        with _snapshot(files) as connection:
            _verify(connection, public_key, kept, walked)
    except (_Broken, StoreCorrupt, sqlite3.Error) as error:
        return Verification(False, walked.head.seq, walked.head, str(error), getattr(error, "at", None))
    return Verification(True, walked.head.seq, walked.head)


@contextmanager
def _snapshot(files: StoreFiles) -> Iterator[sqlite3.Connection]:
    uri = f"{files.database.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=5.0)) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute("BEGIN")
        yield connection
        connection.execute("ROLLBACK")


def _verify(connection: sqlite3.Connection, key: Ed25519PublicKey, kept: Sequence[Checkpoint], walked: _Walked) -> None:
    queries = load_blocks("queries.sql")
    signed = _signed_heads(connection, queries, key, kept)
    for row in connection.execute(queries["audit_after"], {"seq": 0}):
        _step(row, signed, walked)
    _compare_ends(connection, queries, key, walked.head, signed)
    _compare_rows(connection, queries, walked)


def _compare_rows(connection: sqlite3.Connection, queries: Mapping[str, str], walked: _Walked) -> None:
    _compare_calls(connection, queries, walked)
    approvals = connection.execute(queries["approvals_all"])
    _compare_last("approval", approvals, APPROVAL_COLUMNS, walked.approvals, walked.pruned)
    layers = connection.execute(queries["layers_all"])
    _compare_last("layer", layers, LAYER_COLUMNS, walked.layers, walked.pruned)


def _signed_heads(
    connection: sqlite3.Connection, queries: Mapping[str, str], key: Ed25519PublicKey, kept: Sequence[Checkpoint]
) -> dict[int, set[str]]:
    """Every signed head's hash by its number: those of the log, and those kept elsewhere."""
    heads: dict[int, set[str]] = {}
    stored = [checkpoint_of(row) for row in connection.execute(queries["checkpoints_all"])]
    for checkpoint in (*stored, *kept):
        if not is_signed(key, checkpoint):
            raise _Broken(
                f"the checkpoint at record {checkpoint.seq} is not signed with this store's key", checkpoint.seq
            )
        heads.setdefault(checkpoint.seq, set()).add(checkpoint.hash)
    return heads


def checkpoint_of(row: sqlite3.Row) -> Checkpoint:
    """A signed head, read back."""
    return Checkpoint(row["seq"], row["hash"], row["time"], row["signature"])


def _step(row: sqlite3.Row, signed: Mapping[int, set[str]], walked: _Walked) -> None:
    check_link(row, walked.head)
    walked.head = Head(row["seq"], row["hash"])
    if signed.get(row["seq"], {row["hash"]}) != {row["hash"]}:
        raise _Broken(f"record {row['seq']} is not the one that was signed: history was rewritten", row["seq"])
    kind, subject = row["kind"], row["subject"]
    walked.kinds[kind] += 1
    if kind in _APPROVAL_KINDS:
        walked.approvals[subject] = row["digest"]
    elif kind.startswith(_LAYER_KIND):
        walked.layers[subject] = row["digest"]
    elif kind in _TURNS or (kind in _ENDS and subject in walked.outcomes):
        walked.outcomes[subject] = 0 if kind == "resumed" else row["seq"]
    elif kind == "span":
        walked.spans.setdefault(subject, []).append(row["digest"])
    elif kind == "pruned":
        walked.pruned.update({name: n for name, n in json.loads(row["detail"]).items() if name != "before"})


def check_link(row: sqlite3.Row, previous: Head) -> None:
    """Raise where this record is not the one that follows `previous`."""
    seq = row["seq"]
    if seq != previous.seq + 1:
        raise _Broken(f"record {previous.seq + 1} is missing", previous.seq + 1)
    if row["detail"] and text_digest(row["detail"]) != row["digest"]:
        raise _Broken(f"the detail of record {seq} was edited", seq)
    if link(previous.hash, seq, row["time"], row["kind"], row["subject"], row["digest"]) != row["hash"]:
        raise _Broken(f"record {seq} was edited or moved", seq)


def _compare_ends(
    connection: sqlite3.Connection,
    queries: Mapping[str, str],
    key: Ed25519PublicKey,
    last: Head,
    signed: Mapping[int, set[str]],
) -> None:
    beyond = max(signed, default=0)
    if beyond > last.seq:
        raise _Broken(
            f"the log ends at record {last.seq}, but record {beyond} was signed: its end was cut off", last.seq
        )
    row = connection.execute(queries["head_of"]).fetchone()
    if row is None:
        if last.seq:
            raise _Broken("the log has no signed head", last.seq)
        return
    head = checkpoint_of(row)
    if not is_signed(key, head):
        raise _Broken("the head of the log is not signed with this store's key", head.seq)
    if head.seq > last.seq:
        raise _Broken(
            f"the log ends at record {last.seq}, but record {head.seq} was signed: its end was cut off", last.seq
        )
    if (head.seq, head.hash) != (last.seq, last.hash):
        raise _Broken(f"the records after {head.seq} are not signed", head.seq + 1)


def _compare_calls(connection: sqlite3.Connection, queries: Mapping[str, str], walked: _Walked) -> None:
    for row in connection.execute(queries["calls_with_records"]):
        _compare_call(row, walked.spans.get(row["call_id"], []))
        if walked.outcomes.get(row["call_id"], row["outcome_seq"] or 0) != (row["outcome_seq"] or 0):
            raise _Broken(f"the call {row['call_id']} was put back to what it was before", row["outcome_seq"])
    counts = connection.execute(queries["counts"]).fetchone()
    kinds, pruned = walked.kinds, walked.pruned
    expected = {
        "calls": kinds["admitted"] + kinds["refused"] - pruned["calls"],
        # A held call has an outcome, until it is dispatched again.
        "ended calls": kinds["settled"] + kinds["lost"] + kinds["held"] - kinds["resumed"] - pruned["calls"],
        "held calls": kinds["held"] + kinds["found"] - kinds["resumed"] - kinds["finished"],
        "reconciled calls": kinds["reconciled"] - pruned["reconciled"],
    }
    for name, count in expected.items():
        if counts[name] != count:
            raise _Broken(f"the chain knows {count} {name}, the table holds {counts[name]}")


def _compare_call(row: sqlite3.Row, spans: Sequence[str]) -> None:
    name, open_still = row["call_id"], row["life"] in _OPEN_LIVES
    if row["intent_kind"] not in ("admitted", "refused") or row["intent_subject"] != name:
        raise _Broken(f"the call {name} has no record of its admission", row["seq"])
    if digest_of_columns(row, INTENT_COLUMNS) != row["intent_digest"]:
        raise _Broken(f"the call {name} is not the one that was admitted: its row was edited", row["seq"])
    if open_still != (row["outcome_seq"] is None):
        raise _Broken(f"the outcome of the call {name} was removed or made up", row["outcome_seq"])
    if not open_still and row["outcome_subject"] != name:
        raise _Broken(f"the call {name} has no record of its outcome", row["outcome_seq"])
    if not open_still and digest_of_columns(row, OUTCOME_COLUMNS) != row["outcome_digest"]:
        raise _Broken(f"the outcome of the call {name} was edited", row["outcome_seq"])
    if [text_digest(dump(span)) for span in json.loads(row["spans_added"])] != list(spans):
        raise _Broken(f"the spans added to the call {name} were edited")


def _compare_last(
    what: str, rows: Iterable[sqlite3.Row], columns: Sequence[str], last: Mapping[str, str], pruned: Mapping[str, int]
) -> None:
    """Hold rows that change to the last record of each."""
    found = 0
    for row in rows:
        found += 1
        name = row[columns[0]]
        if digest_of_columns(row, columns) != last.get(name):
            raise _Broken(f"the {what} {name} is not what its last record says: its row was edited", row["audit_seq"])
        if what == "layer" and text_digest(row["changes"]) != row["changes_sha256"]:
            raise _Broken(f"the changes of the layer {name} were edited", row["audit_seq"])
    expected = len(last) - pruned.get(f"{what}s", 0)
    if found != expected:
        raise _Broken(f"the chain knows {expected} {what}s, the table holds {found}")


def check_end(connection: sqlite3.Connection, queries: Mapping[str, str], key: Ed25519PublicKey, path: str) -> Head:
    """The head of the log, after checking what came behind the last checkpoint; StoreCorrupt where it does not hold."""
    try:
        return _end(connection, queries, key)
    except _Broken as error:
        raise StoreCorrupt(path=path, reason=f"its audit log does not hold ({error})") from error


def _end(connection: sqlite3.Connection, queries: Mapping[str, str], key: Ed25519PublicKey) -> Head:
    last = Head()
    kept = connection.execute(queries["checkpoint_last"]).fetchone()
    if kept is not None:
        last = Head(kept["seq"], kept["hash"])
        if not is_signed(key, checkpoint_of(kept)):
            raise _Broken(f"the checkpoint at record {last.seq} is not signed with this store's key")
        at = connection.execute(queries["audit_at"], {"seq": last.seq}).fetchone()
        if at is None or at["hash"] != last.hash:
            raise _Broken(f"record {last.seq} is missing or not the one that was signed")
    for row in connection.execute(queries["audit_after"], {"seq": last.seq}):
        check_link(row, last)
        last = Head(row["seq"], row["hash"])
    _compare_ends(connection, queries, key, last, {})
    return last
