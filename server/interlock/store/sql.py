"""The SQL of the store: reads the named blocks of its two files and migrates a database forward. It decides nothing."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from importlib.resources import files

from interlock.store.faults import StoreCorrupt, StoreNewer

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_APPLICATION_ID = 0x494C4B31  # "ILK1": tells our database from anybody else's


def load_blocks(name: str) -> Mapping[str, str]:
    """The named blocks of one of the package's SQL files: name → text."""
    return split_blocks(files("interlock.store").joinpath(name).read_text(encoding="utf-8"), name)


def split_blocks(text: str, name: str) -> dict[str, str]:
    """The named blocks of a text, without its comments. ValueError where a name occurs twice."""
    parts = _NAME.split(text)[1:]
    blocks: dict[str, str] = {}
    for block, body in zip(parts[::2], parts[1::2], strict=True):
        if block in blocks:
            raise ValueError(f"{name} has two blocks named {block}")
        blocks[block] = _without_comments(body)
    return blocks


def _without_comments(body: str) -> str:
    return "\n".join(line for line in body.splitlines() if not line.lstrip().startswith("--")).strip()


def _statements(script: str) -> Iterator[str]:
    buffer = ""
    for line in script.splitlines(keepends=True):
        buffer += line
        if sqlite3.complete_statement(buffer):
            yield buffer
            buffer = ""


def migrate(connection: sqlite3.Connection, path: str) -> int:
    """Bring the database to the newest schema in one transaction; its version.

    Raises StoreNewer for a version we do not know, StoreCorrupt for a database that is not ours.
    """
    blocks = load_blocks("schema.sql")
    known = len(blocks)
    found = int(connection.execute("PRAGMA user_version").fetchone()[0])
    owner = int(connection.execute("PRAGMA application_id").fetchone()[0])
    tables = int(connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])
    if tables and owner != _APPLICATION_ID:
        raise StoreCorrupt(path=path, reason="it is a database of another program")
    if found > known:
        raise StoreNewer(path=path, found=found, known=known)
    if found == known:
        return known
    connection.execute("BEGIN IMMEDIATE")
    try:
        for version in range(found + 1, known + 1):
            for statement in _statements(blocks[f"version_{version}"]):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {known}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return known
