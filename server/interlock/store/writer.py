"""The one writer: makes up to 256 queued jobs durable with one commit. It knows no table but the audit chain's.

Every job runs under its own savepoint; one that fails takes nothing down but itself. A job's answer is given only after
the commit. A batch whose commit fails fails every job in it; after an I/O error or damage nothing is written any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from interlock.store.chain import Chain, Head, sign_head
from interlock.store.connection import OwnedConnection, Tx
from interlock.store.faults import StoreUnavailable

T = TypeVar("T")

BATCH_JOBS_MAX = 256
QUEUE_JOBS_MAX = 2_048
QUEUE_WAIT_SECONDS = 30.0
CHECKPOINT_RECORDS = 1_000
_LOST_FOR_GOOD = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

Clock = Callable[[], float]


@dataclass(slots=True)
class Job:
    """One unit of work. `undo` is what has to happen if nobody waits for its answer any more."""

    work: Callable[[Tx], Any]
    answer: asyncio.Future[Any] = field(repr=False)
    undo: Callable[[Tx, Any], None] | None = None


@dataclass(frozen=True, slots=True)
class _Ended:
    value: Any = None
    error: Exception | None = None


class GroupWriter:
    """Queue, task and connection of the one writer."""

    def __init__(
        self,
        connection: OwnedConnection,
        queries: Mapping[str, str],
        key: Ed25519PrivateKey,
        head: Head,
        *,
        clock: Clock,
        batch_jobs_max: int = BATCH_JOBS_MAX,
    ) -> None:
        self._connection = connection
        self._queries = queries
        self._key = key
        self._clock = clock
        self._batch_jobs_max = batch_jobs_max
        self._chain: Chain | None = Chain(head)
        self._checkpoint_seq = head.seq
        self._queue: asyncio.Queue[Job | None] = asyncio.Queue(QUEUE_JOBS_MAX)
        self._unheard: list[Job] = []
        self._closed = ""
        self._task = asyncio.create_task(self._write(), name="store-writer")

    async def submit(self, work: Callable[[Tx], T], undo: Callable[[Tx, T], None] | None = None) -> T:
        """Run `work` in a transaction; its value once that is durable.

        Raises StoreUnavailable where it could not be made durable, else whatever `work` raised. A caller that is
        cancelled does not take its job with it: what was to be recorded is recorded. Only a job with an `undo` is
        dropped, or, where it was begun already, undone in the next transaction.
        """
        if self._closed:
            raise StoreUnavailable(reason=self._closed)
        job = Job(work, asyncio.get_running_loop().create_future(), undo)
        try:
            self._queue.put_nowait(job)
        except asyncio.QueueFull:
            await self._wait_for_room(job)
        try:
            answer: T = await job.answer
        except asyncio.CancelledError:
            self._undo_unheard(job)
            raise
        return answer

    def _undo_unheard(self, job: Job) -> None:
        """Undo a job that was answered in the very moment in which its caller was cancelled."""
        answer = job.answer
        if job.undo is None or not answer.done() or answer.cancelled() or answer.exception() is not None:
            return
        undoing = self._undoing(job.undo, answer.result())
        try:
            self._queue.put_nowait(undoing)
        except asyncio.QueueFull:
            self._unheard.append(undoing)  # the next batch is about to be taken, and takes it along

    async def _wait_for_room(self, job: Job) -> None:
        try:
            async with asyncio.timeout(QUEUE_WAIT_SECONDS):
                await self._queue.put(job)
        except TimeoutError:
            raise StoreUnavailable(reason=f"{QUEUE_JOBS_MAX} writes were waiting already") from None
        if self._closed and not job.answer.done():
            job.answer.set_exception(StoreUnavailable(reason=self._closed))

    async def close(self) -> None:
        """Write what is queued, sign the head, and stop. Idempotent."""
        if not self._task.done():
            with contextlib.suppress(StoreUnavailable):  # a full disk does not keep us from closing
                await self.submit(lambda tx: tx.run("checkpoint_keep", {}))
            self._closed = self._closed or "the store is closed"
            await self._queue.put(None)
        await asyncio.wait([self._task])

    async def _write(self) -> None:
        """Commit batch after batch until the end of the queue; whatever ends it, nobody is left waiting."""
        try:
            last = False
            while not last:
                batch, last = await self._next_batch()
                batch = [job for job in batch if job.undo is None or not job.answer.cancelled()]
                if batch:
                    await self._commit(batch)
        finally:
            self._closed = self._closed or "its writer was stopped"
            while not self._queue.empty():  # came in while we closed
                job = self._queue.get_nowait()
                if job is not None:
                    self._fail([job], StoreUnavailable(reason=self._closed))

    async def _next_batch(self) -> tuple[list[Job], bool]:
        job = await self._queue.get()
        batch, self._unheard = self._unheard, []
        while job is not None:
            batch.append(job)
            if len(batch) >= self._batch_jobs_max or self._queue.empty():
                return batch, False
            job = self._queue.get_nowait()
        return batch, True

    async def _commit(self, batch: Sequence[Job]) -> None:
        try:
            ended = await self._connection.run(lambda connection: self._run_batch(connection, batch))
        except Exception as error:  # noqa: BLE001 -- whatever it was, every caller is told that nothing was recorded
            self._fail(batch, error)
            return
        except asyncio.CancelledError as stopped:
            self._closed = self._closed or "its writer was stopped in a commit; a restart shows what was recorded"
            self._fail(batch, stopped)
            raise
        abandoned: list[Job] = []
        for job, end in zip(batch, ended, strict=True):
            if job.answer.cancelled():
                if job.undo is not None and end.error is None:
                    abandoned.append(self._undoing(job.undo, end.value))
            elif end.error is not None:
                job.answer.set_exception(end.error)
            else:
                job.answer.set_result(end.value)
        if abandoned:
            await self._commit(abandoned)

    def _undoing(self, undo: Callable[[Tx, Any], None], value: Any) -> Job:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        answer.add_done_callback(lambda future: future.exception())  # nobody waits for it
        return Job(lambda tx: undo(tx, value), answer)

    def _fail(self, batch: Sequence[Job], error: BaseException) -> None:
        reason = f"{type(error).__name__}: {error}"
        if _code_of(error) in _LOST_FOR_GOOD:
            self._closed = self._closed or f"the store failed and stays closed until a restart ({reason})"
        for job in batch:
            if not job.answer.done():
                job.answer.set_exception(StoreUnavailable(reason=self._closed or reason))

    # ── on the connection's thread ──

    def _run_batch(self, connection: sqlite3.Connection, batch: Sequence[Job]) -> list[_Ended]:
        chain = self._chain or Chain(_head_of(connection, self._queries))
        self._chain = None  # known again only after the commit
        tx = Tx(connection, self._queries, chain)
        before = chain.head
        connection.execute("BEGIN IMMEDIATE")
        try:
            ended = [_run_job(tx, job) for job in batch]
            if chain.head != before:
                self._seal(tx)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self._chain = chain
        return ended

    def _seal(self, tx: Tx) -> None:
        """Write the transaction's audit records and sign the new head, so that no durable record is ever unsigned."""
        tx.connection.executemany(tx.queries["audit_insert"], tx.chain.take_unwritten())
        signed = sign_head(self._key, tx.chain.head, self._clock())
        values = {"seq": signed.seq, "hash": signed.hash, "time": signed.time, "signature": signed.signature}
        tx.run("head_put", values)
        if signed.seq - self._checkpoint_seq >= CHECKPOINT_RECORDS:
            tx.run("checkpoint_put", values)
            self._checkpoint_seq = signed.seq


def _run_job(tx: Tx, job: Job) -> _Ended:
    mark = tx.chain.mark()
    tx.connection.execute("SAVEPOINT job")
    try:
        value = job.work(tx)
    except Exception as error:
        if not tx.connection.in_transaction or _code_of(error) in _LOST_FOR_GOOD:
            raise  # SQLite rolled back everything by itself, or is not to be trusted: the whole batch is lost
        tx.connection.execute("ROLLBACK TO job")
        tx.connection.execute("RELEASE job")
        tx.chain.rewind(mark)
        if isinstance(error, sqlite3.Error):
            return _Ended(error=StoreUnavailable(reason=f"{type(error).__name__}: {error}"))
        return _Ended(error=error)
    tx.connection.execute("RELEASE job")
    return _Ended(value)


def _code_of(error: BaseException) -> int:
    """SQLite's primary result code; 0 for an error that is not SQLite's."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _head_of(connection: sqlite3.Connection, queries: Mapping[str, str]) -> Head:
    row = connection.execute(queries["audit_last"]).fetchone()
    return Head(row["seq"], row["hash"]) if row else Head()
