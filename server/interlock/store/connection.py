"""Connections and transactions: what runs SQL, on which thread. It opens and commits no transaction itself."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import aiosqlite

from interlock.store.chain import Chain

T = TypeVar("T")

BUSY_WAIT_SECONDS = 5.0


class OwnedConnection(aiosqlite.Connection):
    """An aiosqlite connection that runs a whole function on its thread.

    aiosqlite's public methods cross over to the thread once a statement, which is far too often for a batch. It has no
    public way to hand over a function, so this subclass uses the protected one that its own methods are built on.
    """

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` with the plain connection, on the connection's own thread."""
        execute: Callable[..., Awaitable[T]] = self._execute
        return await execute(work, self._conn)


def owned_connection(path: str, *, uri: bool = False) -> OwnedConnection:
    """A connection in autocommit mode (we say BEGIN ourselves), with rows by name. Await it to open it."""

    def connect() -> sqlite3.Connection:
        # The thread that opens it is the only one that uses it; sqlite3 holds us to that.
        connection = sqlite3.connect(
            path, timeout=BUSY_WAIT_SECONDS, isolation_level=None, uri=uri, cached_statements=256
        )
        connection.row_factory = sqlite3.Row
        return connection

    return OwnedConnection(connect, iter_chunk_size=64)


@dataclass(slots=True)
class Tx:
    """What a job works with: the named queries on the write connection, and the audit chain."""

    connection: sqlite3.Connection
    queries: Mapping[str, str]
    chain: Chain

    def one(self, query: str, values: Mapping[str, Any]) -> sqlite3.Row | None:
        """The first row of a named query, or None."""
        row: sqlite3.Row | None = self.connection.execute(self.queries[query], values).fetchone()
        return row

    def rows(self, query: str, values: Mapping[str, Any]) -> list[sqlite3.Row]:
        """Every row of a named query; the query itself holds the limit."""
        return self.connection.execute(self.queries[query], values).fetchall()

    def run(self, query: str, values: Mapping[str, Any]) -> int:
        """Run a named query; how many rows it changed."""
        return self.connection.execute(self.queries[query], values).rowcount
