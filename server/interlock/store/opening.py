"""Opening the store: lock, files, checks, migration, key, connections, writer. It refuses what it cannot trust."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from interlock.store.chain import Head
from interlock.store.connection import owned_connection
from interlock.store.faults import StoreCorrupt, StoreUnavailable
from interlock.store.files import OwnerLock, StoreFiles
from interlock.store.sql import load_blocks, migrate
from interlock.store.store import SqliteStore
from interlock.store.verify import check_end
from interlock.store.writer import BATCH_JOBS_MAX, GroupWriter

_CHECK_BYTES_MAX = 16 * 1024 * 1024
_WAL_PAGES = 2_000  # 8 MB between checkpoints, which our one write connection does itself
_SQLITE_MIN = (3, 37, 0)
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


@asynccontextmanager
async def open_store(
    directory: Path, clock: Callable[[], float], *, batch_jobs_max: int = BATCH_JOBS_MAX
) -> AsyncIterator[SqliteStore]:
    """Own the store in `directory`, which is made where there is none. `clock`: seconds since the epoch.

    Raises StoreOwned (another process has it), StoreCorrupt, StoreNewer or StoreUnavailable, without changing a row.
    """
    store = await _open(StoreFiles(directory), clock, batch_jobs_max)
    try:
        yield store
    finally:
        await store.close()


async def _open(files: StoreFiles, clock: Callable[[], float], batch_jobs_max: int) -> SqliteStore:
    files.prepare()
    stack = AsyncExitStack()
    try:
        lock = OwnerLock(files)
        lock.take()
        stack.callback(lock.release)
        left_open = _was_left_open(files)
        files.place_database()
        suspect = left_open or _is_small(files)
        write = owned_connection(str(files.database))
        await write
        stack.push_async_callback(write.close)
        key, head = await write.run(lambda connection: _ready(connection, files, check=suspect))
        reader = owned_connection(f"{files.database.absolute().as_uri()}?mode=ro", uri=True)
        await reader
        stack.push_async_callback(reader.close)
        writer = GroupWriter(write, load_blocks("queries.sql"), key, head, clock=clock, batch_jobs_max=batch_jobs_max)
        stack.push_async_callback(writer.close)
    except BaseException:
        await stack.aclose()
        raise
    return SqliteStore(files, writer, reader, clock, stack)


def _was_left_open(files: StoreFiles) -> bool:
    """A clean close leaves no write-ahead log behind."""
    log = files.database.with_name(files.database.name + "-wal")
    return log.exists() and log.stat().st_size > 0


def _is_small(files: StoreFiles) -> bool:
    return files.database.stat().st_size <= _CHECK_BYTES_MAX


def _ready(connection: sqlite3.Connection, files: StoreFiles, *, check: bool) -> tuple[Ed25519PrivateKey, Head]:
    """Set up the write connection and check what it opened; the signing key and the head of the chain."""
    if sqlite3.sqlite_version_info < _SQLITE_MIN:
        raise StoreUnavailable(reason=f"SQLite {sqlite3.sqlite_version} is too old, 3.37 is the least")
    path = str(files.database)
    try:
        _configure(connection)
        if check and (found := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise StoreCorrupt(path=path, reason=found)
        migrate(connection, path)
        files.sync()
        return _trusted(connection, files)
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF in _DAMAGED:
            raise StoreCorrupt(path=path, reason=str(error)) from error
        raise StoreUnavailable(reason=f"{type(error).__name__}: {error}") from error


def _configure(connection: sqlite3.Connection) -> None:
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        f"wal_autocheckpoint = {_WAL_PAGES}",
        "journal_size_limit = 67108864",
        "trusted_schema = OFF",
        "cell_size_check = ON",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()


def _trusted(connection: sqlite3.Connection, files: StoreFiles) -> tuple[Ed25519PrivateKey, Head]:
    """The key, and the head it signed. A record without its key, or a key without its record, is not ours to mend."""
    queries = load_blocks("queries.sql")
    key = files.load_key()
    recorded = connection.execute(queries["audit_last"]).fetchone() is not None
    if key is None and recorded:
        raise StoreCorrupt(path=str(files.database), reason=f"the key that signed its audit log is gone ({files.key})")
    if key is None:
        return files.create_key(), Head()
    return key, check_end(connection, queries, key.public_key(), str(files.database))
