"""The writer: a job fails alone, a commit that fails fails all of its batch, and the store goes on or stays shut."""

import asyncio
import sqlite3
from pathlib import Path

import anyio
import pytest

from interlock.records import Admitted, Life
from interlock.store import SqliteStore, StoreUnavailable, open_store, verify_directory
from interlock.store.connection import Tx
from interlock.store.writer import QUEUE_JOBS_MAX
from interlock_tools.errors import State
from unit.store.cases import DAY, NOON, admission, settlement

pytestmark = pytest.mark.anyio

ROOM = {"host_calls_max": 1_000, "principal_calls_max": 1_000}


async def test_a_failing_job_takes_nothing_down_but_itself(store: SqliteStore) -> None:
    def fail(tx: Tx) -> None:
        tx.run("meta_put", {"key": "half", "value": "done"})
        tx.chain.append("stopped", "all", NOON, "", "[]")
        raise ZeroDivisionError

    jobs = [store.set_meta("a", "1"), store._writer.submit(fail), store.set_meta("b", "2")]
    ended = await asyncio.gather(*jobs, return_exceptions=True)
    assert [type(end) for end in ended] == [type(None), ZeroDivisionError, type(None)]
    assert [await store.get_meta(key) for key in ("a", "half", "b")] == ["1", None, "2"]
    await store.admit(admission())
    found = await store.verify_chain()
    assert (found.ok, found.records) == (True, 1)  # the failed job's own record went with it


def spoil_the_audit(tx: Tx) -> None:
    tx.chain._unwritten.append((1, NOON, "spoilt", "", "", "", ""))  # its number is taken when the batch is sealed


def roll_everything_back(tx: Tx) -> None:
    tx.connection.execute("ROLLBACK")  # as SQLite does by itself where a disk is full or memory is out
    raise sqlite3.OperationalError("database or disk is full")


@pytest.mark.parametrize("breaking", [spoil_the_audit, roll_everything_back])
async def test_a_commit_that_fails_fails_its_whole_batch_and_the_next_one_works(store: SqliteStore, breaking) -> None:
    await store.admit(admission())
    ended = await asyncio.gather(
        store.admit(admission()), store._writer.submit(breaking), store.admit(admission()), return_exceptions=True
    )
    assert [type(end) for end in ended] == [StoreUnavailable] * 3
    assert isinstance(await store.admit(admission()), Admitted)
    assert len(await store.calls()) == 2
    assert (await store.verify_chain()).ok


async def test_a_full_disk_refuses_admissions_keeps_what_was_acknowledged_and_is_usable_with_room_again(
    directory: Path,
) -> None:
    def limit_pages(pages: int):
        return lambda tx: tx.connection.execute(f"PRAGMA max_page_count = {pages}").fetchone()[0]

    acknowledged = []
    async with open_store(directory, lambda: NOON) as store:
        await store._writer.submit(limit_pages(80))
        refused = 0
        for _ in range(400):
            if refused >= 5:
                break
            try:
                result = await store.admit(admission(cost_units=1, arguments={"command": "x" * 2_000}, limits=ROOM))
            except StoreUnavailable as fault:
                assert "full" in str(fault)
                refused += 1
            else:
                acknowledged.append(result.call_id)
        assert refused == 5
        assert acknowledged
        assert await store.budget_left("agent", DAY, 1_000) == 1_000 - len(acknowledged)
        assert [row.call_id for row in await store.calls(limit=500)] == acknowledged[::-1]
        await store._writer.submit(limit_pages(100_000))
        assert isinstance(await store.admit(admission(limits=ROOM)), Admitted)
        assert (await store.verify_chain()).ok
    assert verify_directory(directory).ok


async def test_after_an_io_error_nothing_is_written_until_a_restart(directory: Path) -> None:
    def break_the_disk(tx: Tx) -> None:
        fault = sqlite3.OperationalError("disk I/O error")
        fault.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
        raise fault

    async with open_store(directory, lambda: NOON) as store:
        await store.admit(admission())
        with pytest.raises(StoreUnavailable, match="until a restart"):
            await store._writer.submit(break_the_disk)
        with pytest.raises(StoreUnavailable, match="until a restart"):
            await store.admit(admission())
        assert len(await store.calls()) == 1
    async with open_store(directory, lambda: NOON) as store:
        assert isinstance(await store.admit(admission()), Admitted)


async def test_a_settlement_is_recorded_even_where_its_caller_is_cancelled(store: SqliteStore) -> None:
    calls = [await store.admit(admission()) for _ in range(10)]
    async with anyio.create_task_group() as group:
        for call in calls:
            group.start_soon(store.settle, settlement(call.call_id))
        await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    await store.set_meta("after", "them")
    assert {row.state for row in await store.calls()} == {State.SUCCEEDED}


async def test_an_admission_whose_caller_is_cancelled_as_it_is_answered_is_undone(store: SqliteStore) -> None:
    request = admission()

    async def cancel_the_other() -> None:
        await store.set_meta("first", "of the batch")  # answered just before the other, which is answered by now too
        assert other.cancel()

    first = asyncio.create_task(cancel_the_other())
    other = asyncio.create_task(store.admit(request))
    await asyncio.wait([first, other])
    assert other.cancelled()
    await store.set_meta("after", "them")
    row = await store.call(request.intent.call_id)
    assert row is not None
    assert (row.life, row.state) == (Life.SETTLED, State.CANCELLED)
    assert await store.budget_left("agent", DAY, 1_000) == 1_000


async def test_more_callers_than_the_queue_holds_all_get_their_turn(store: SqliteStore) -> None:
    total = QUEUE_JOBS_MAX + 200

    async def count(tx_key: str) -> None:
        await store.set_meta(tx_key, "x")

    async with anyio.create_task_group() as group:
        for number in range(total):
            group.start_soon(count, f"key{number}")
    assert await store.get_meta(f"key{total - 1}") == "x"


async def test_what_is_queued_at_the_close_is_written(directory: Path) -> None:
    async with open_store(directory, lambda: NOON) as store:
        writes = [asyncio.create_task(store.set_meta(f"key{number}", "x")) for number in range(600)]
        await anyio.lowlevel.checkpoint()
    await asyncio.gather(*writes)
    async with open_store(directory, lambda: NOON) as store:
        assert await store.get_meta("key599") == "x"


async def test_a_writer_that_is_stopped_leaves_nobody_waiting_and_closes(directory: Path) -> None:
    async with open_store(directory, lambda: NOON) as store:
        writes = [asyncio.create_task(store.set_meta(f"key{number}", "x")) for number in range(300)]
        await anyio.lowlevel.checkpoint()
        store._writer._task.cancel()
        with anyio.fail_after(10):
            ended = await asyncio.gather(*writes, return_exceptions=True)
        assert {type(end) for end in ended} == {StoreUnavailable}
        with pytest.raises(StoreUnavailable, match="stopped"):
            await store.set_meta("later", "x")
    async with open_store(directory, lambda: NOON) as store:
        await store.set_meta("later", "x")


async def test_the_reader_cannot_write(store: SqliteStore) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await store._reader.run(lambda connection: connection.execute("DELETE FROM meta"))
