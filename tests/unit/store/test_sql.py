"""The named blocks: each one compiles, each one is used, none is asked for that is not there."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import interlock.store
from interlock.store.sql import load_blocks, migrate, split_blocks

SOURCES = [path.read_text() for path in Path(interlock.store.__file__).parent.glob("*.py")]


def test_every_query_compiles_against_the_newest_schema() -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        assert migrate(connection, ":memory:") == len(load_blocks("schema.sql"))
        for name, text in load_blocks("queries.sql").items():
            names = set(re.findall(r":(\w+)", text))
            values = dict.fromkeys(names) if names else (None,) * text.count("?")
            assert connection.execute(f"EXPLAIN {text}", values).fetchall(), name


def test_every_query_is_used_and_every_used_query_exists() -> None:
    asked = set(re.findall(r"(?:tx\.(?:one|rows|run)\(|_read\(|queries\[)\s*\"(\w+)\"", "\n".join(SOURCES)))
    words = set(re.findall(r"\"(\w+)\"", "\n".join(SOURCES)))
    blocks = set(load_blocks("queries.sql"))
    assert asked - blocks == set()
    assert blocks - words == set()


def test_a_second_migration_changes_nothing() -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, ":memory:")
        before = connection.execute("SELECT * FROM sqlite_schema").fetchall()
        migrate(connection, ":memory:")
        assert connection.execute("SELECT * FROM sqlite_schema").fetchall() == before


def test_a_migration_runs_whole_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = load_blocks("schema.sql")
    good = blocks | {"version_2": "CREATE TABLE later (id INTEGER) STRICT;"}
    bad = blocks | {"version_2": "CREATE TABLE later (id INTEGER) STRICT;\nINSERT INTO nowhere VALUES (1);"}
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, ":memory:")
        before = connection.execute("SELECT * FROM sqlite_schema").fetchall()
        monkeypatch.setattr("interlock.store.sql.load_blocks", lambda _: bad)
        with pytest.raises(sqlite3.OperationalError):
            migrate(connection, ":memory:")
        assert connection.execute("SELECT * FROM sqlite_schema").fetchall() == before
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        monkeypatch.setattr("interlock.store.sql.load_blocks", lambda _: good)
        assert migrate(connection, ":memory:") == 2
        assert connection.execute("SELECT count(*) FROM later").fetchone() == (0,)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="two blocks named"):
        split_blocks("-- name: a\nSELECT 1\n-- name: a\nSELECT 2", "twice.sql")


def test_the_leases_and_the_keys_are_found_by_their_indexes() -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, ":memory:")
        blocks = load_blocks("queries.sql")
        for name in ("admission_facts", "idempotency_of", "dispatch_facts", "calls_ended_after", "call_of"):
            values = dict.fromkeys(re.findall(r":(\w+)", blocks[name]), 1)
            plan = connection.execute(f"EXPLAIN QUERY PLAN {blocks[name]}", values).fetchall()
            scans = [row[3] for row in plan if row[3].startswith("SCAN") and "calls" in row[3]]
            assert scans == [], name


@pytest.mark.parametrize("name", ["schema.sql", "queries.sql"])
def test_no_statement_is_built_from_pieces(name: str) -> None:
    assert all("%" not in text and "{" not in text for text in load_blocks(name).values())
