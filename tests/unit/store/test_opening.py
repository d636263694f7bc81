"""Opening: one owner, files for nobody else; a store that cannot be trusted is refused, never mended or made anew."""

import multiprocessing
import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from interlock.store import (
    SqliteStore,
    StoreCorrupt,
    StoreFault,
    StoreNewer,
    StoreOwned,
    StoreUnavailable,
    open_store,
    verify_directory,
)
from unit.store.cases import NOON, admission, settlement

pytestmark = pytest.mark.anyio

HOLDER = """
import asyncio, sys, time
from pathlib import Path
from interlock.store import open_store

async def hold():
    async with open_store(Path(sys.argv[1]), time.time):
        print("held", flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(hold())
"""


async def opened(directory: Path) -> None:
    async with open_store(directory, lambda: NOON):
        pass


def modes(directory: Path) -> dict[str, int]:
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
    return files | {"": stat.S_IMODE(directory.stat().st_mode)}


def hold(directory: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


async def filled(directory: Path) -> None:
    async with open_store(directory, lambda: NOON) as store:
        await store.settle(settlement((await store.admit(admission())).call_id))


async def test_nobody_else_may_read_the_store(store: SqliteStore, directory: Path) -> None:
    await store.admit(admission())
    files = dict.fromkeys(["store.db", "store.db-wal", "store.db-shm", "store.lock", "audit.key", "audit.pub"], 0o600)
    assert modes(directory) == files | {"": 0o700}


async def test_it_writes_ahead_and_waits_for_the_disk(store: SqliteStore) -> None:
    def pragmas(tx) -> tuple[str, int]:
        execute = tx.connection.execute
        return execute("PRAGMA journal_mode").fetchone()[0], execute("PRAGMA synchronous").fetchone()[0]

    assert await store._writer.submit(pragmas) == ("wal", 2)


async def test_a_second_owner_in_this_process_is_refused(store: SqliteStore, directory: Path) -> None:
    with pytest.raises(StoreOwned) as refused:
        await opened(directory)
    assert refused.value.pid == os.getpid()


async def test_another_process_is_named_by_its_pid_and_its_death_frees_the_store(directory: Path) -> None:
    with hold(directory) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StoreOwned) as refused:
            await opened(directory)
        assert refused.value.pid == holder.pid
        assert str(holder.pid) in str(refused.value)
        holder.kill()
        holder.wait(10)
    await opened(directory)


def _race(directory: Path, start, done, results) -> None:
    async def hold() -> None:
        try:
            async with open_store(directory, lambda: NOON):
                results.put("owner")
                await anyio.to_thread.run_sync(done.wait, 60)
        except StoreOwned:
            results.put("refused")

    start.wait(60)
    anyio.run(hold)


async def test_of_eight_racing_processes_one_owns_a_new_store(directory: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start, done, results = context.Barrier(8), context.Event(), context.Queue()
    racers = [context.Process(target=_race, args=(directory, start, done, results)) for _ in range(8)]
    for racer in racers:
        racer.start()
    outcomes = [results.get(timeout=60) for _ in racers]
    done.set()
    for racer in racers:
        racer.join(60)
    assert sorted(outcomes) == ["owner", *["refused"] * 7]
    assert [racer.exitcode for racer in racers] == [0] * 8
    assert verify_directory(directory).ok


async def test_a_closed_store_refuses_and_closing_twice_is_nothing(directory: Path) -> None:
    async with open_store(directory, lambda: NOON) as store:
        await store.close()
        await store.close()
        with pytest.raises(StoreUnavailable, match="closed"):
            await store.admit(admission())


async def test_what_was_recorded_is_there_after_a_restart(directory: Path) -> None:
    await filled(directory)
    async with open_store(directory, lambda: NOON) as store:
        assert len(await store.calls()) == 1
        assert (await store.verify_chain()).ok


@pytest.mark.parametrize("part", ["header", "middle"])
async def test_a_damaged_database_is_refused_and_left_as_it_is(directory: Path, part: str) -> None:
    await filled(directory)
    database = directory / "store.db"
    content = bytearray(database.read_bytes())
    place = slice(0, 100) if part == "header" else slice(8_192, len(content) - 4_096)
    content[place] = bytes(place.stop - place.start)
    database.write_bytes(content)
    with pytest.raises(StoreCorrupt):
        await opened(directory)
    assert database.read_bytes() == bytes(content)
    assert not verify_directory(directory).ok


@pytest.mark.parametrize("how", ["removed", "emptied"])
async def test_a_store_that_is_gone_is_not_silently_made_anew(directory: Path, how: str) -> None:
    await filled(directory)
    (directory / "store.db").unlink()
    if how == "emptied":
        (directory / "store.db").touch()
    with pytest.raises(StoreCorrupt, match="signing key is still here"):
        await opened(directory)


async def test_a_lost_or_foreign_key_is_refused(directory: Path) -> None:
    await filled(directory)
    key = (directory / "audit.key").read_bytes()
    (directory / "audit.key").write_bytes(b"not a key")
    with pytest.raises(StoreCorrupt, match="not an Ed25519 private key"):
        await opened(directory)
    (directory / "audit.key").unlink()
    with pytest.raises(StoreCorrupt, match="is gone"):
        await opened(directory)
    assert not (directory / "audit.key").exists()
    (directory / "audit.key").write_bytes(key)
    await opened(directory)


async def test_a_newer_schema_and_a_foreign_database_are_refused(tmp_path: Path) -> None:
    newer, foreign = tmp_path / "newer", tmp_path / "foreign"
    await filled(newer)
    with closing(sqlite3.connect(newer / "store.db")) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreNewer) as refused:
        await opened(newer)
    assert refused.value.found == 99
    foreign.mkdir()
    with closing(sqlite3.connect(foreign / "store.db")) as connection:
        connection.execute("CREATE TABLE theirs (id)")
    with pytest.raises(StoreCorrupt, match="another program"):
        await opened(foreign)


async def test_a_start_that_died_before_its_first_table_is_taken_up(directory: Path) -> None:
    await opened(directory)
    for path in (directory / "audit.key", directory / "store.db", directory / "audit.pub"):
        path.unlink()
    (directory / "store.db").touch()
    await filled(directory)


async def test_a_folder_that_others_use_is_not_closed_to_them(tmp_path: Path) -> None:
    shared, empty = tmp_path / "shared", tmp_path / "empty"
    for directory in (shared, empty):
        directory.mkdir(mode=0o755)
    (shared / "theirs").touch()
    with pytest.raises(StoreUnavailable, match="a folder of its own"):
        await opened(shared)
    assert modes(shared)[""] == 0o755
    await opened(empty)
    assert modes(empty)[""] == 0o700


async def test_every_fault_says_what_it_is() -> None:
    for fault in (
        StoreOwned(directory="d", pid=0),
        StoreCorrupt(path="p", reason="r"),
        StoreNewer(path="p", found=2, known=1),
        StoreUnavailable(reason="r"),
    ):
        assert isinstance(fault, StoreFault)
        assert "{" not in str(fault)
