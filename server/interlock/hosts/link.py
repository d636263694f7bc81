"""A link: the one pooled connection to one host, made once for all who ask, replaced when it fails. It runs nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeVar

import asyncssh

from interlock.hosts.channel import CommandChannel, Sink, open_channel
from interlock.hosts.faults import Faulted, describe, no_files, unreachable
from interlock.hosts.gate import SessionGate
from interlock.hosts.hellos import Hellos
from interlock.hosts.outpost import NoRunner, Outpost, OutpostLost, RunnerFault, open_outpost
from interlock.hosts.program import runner_exec
from interlock.hosts.recent import RecentPaths
from interlock.hosts.wire import Exec
from interlock.settings import HostSettings, Limits
from interlock_policies.facts import HostFacts

CLOSE_SECONDS = 2.0
TIDY_SECONDS_MAX = 60.0
TIDY_AGAIN_SECONDS = 600.0
RUNNER_SESSIONS_MIN = 2  # with a single session the files need it
SFTP_SHARED_SESSIONS_MIN = 3  # below this many sessions, a file channel is not kept open between calls


@dataclass(eq=False)
class Live:
    """One generation of the connection. `sftp` and `outpost` are opened once for all who ask.

    `no_runner` says why the host cannot run the runner ("" = it can, or was not asked yet).
    """

    connection: asyncssh.SSHClientConnection
    lost: asyncio.Event
    sftp: asyncio.Task[asyncssh.SFTPClient] | None = None
    outpost: asyncio.Task[Outpost] | None = None
    no_runner: str = ""
    known: dict[str, str] = field(default_factory=dict)  # what was learned of the host over this connection
    facts: HostFacts | None = None

    @property
    def is_openssh(self) -> bool:
        """Whether the server says that it is OpenSSH."""
        return "OpenSSH" in str(self.connection.get_extra_info("server_version", ""))


Made = TypeVar("Made")
Dial = Callable[[Callable[[], None]], Awaitable[asyncssh.SSHClientConnection]]
OpenSftp = Callable[[asyncssh.SSHClientConnection], Awaitable[asyncssh.SFTPClient]]


class Link:
    """Shares one connecting task among concurrent first users; a dropped or wedged generation is never used again."""

    def __init__(
        self,
        host: HostSettings,
        dial: Dial,
        open_sftp: OpenSftp,
        limits: Limits,
        starts: asyncio.Semaphore | None = None,
    ) -> None:
        """`starts`: a place in it is taken while the runner starts; shared by all links to the same server."""
        self._starts = starts or asyncio.Semaphore()
        self.host = host
        self._dial = dial
        self._open_sftp = open_sftp
        self._limits = limits
        self._live: Live | None = None
        self._connecting: asyncio.Task[Live] | None = None
        self._tidying: asyncio.Task[None] | None = None
        self._hellos = Hellos()
        self.paths = RecentPaths()
        keeps_sftp = host.sessions_max >= SFTP_SHARED_SESSIONS_MIN
        self._keeps_sftp = keeps_sftp
        self._keeps_runner = host.sessions_max >= RUNNER_SESSIONS_MIN
        self.gate = SessionGate(
            host.sessions_max - int(keeps_sftp) - int(self._keeps_runner),
            limits.session_queue_max,
            limits.session_wait_seconds,
        )

    @property
    def is_up(self) -> bool:
        """Whether there is a connection right now."""
        return self._live is not None and not self._live.lost.is_set()

    async def live(self) -> Live:
        """The connection, made where there is none. Raises Faulted."""
        if self._live is not None:
            if not self._live.lost.is_set():
                return self._live
            self.drop(self._live)
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.create_task(self._connect(), name=f"connect {self.host.name}")
            self._connecting.add_done_callback(_look_at_result)
        return await _shared(self._connecting, "up")

    async def _connect(self) -> Live:
        lost = asyncio.Event()
        connection = await self._dial(lost.set)
        self._live = Live(connection, lost)
        return self._live

    def drop(self, live: Live) -> None:
        """Give this generation up: whatever runs on it ends as lost, the next caller gets a new one."""
        if self._live is live:
            self._live = None
        live.lost.set()
        if live.sftp is not None:
            live.sftp.cancel()
        _close_outpost(live)
        live.connection.abort()

    async def open(self, live: Live, exec_: Exec, out: Sink, err: Sink) -> CommandChannel:
        """Start a command. A bad connection is dropped here, so that nobody meets it again.

        Raises asyncssh.ChannelOpenError where no session is free, Faulted where the connection is bad.
        """
        try:
            return await open_channel(live.connection, exec_, out, err, self._limits.connect_timeout_seconds)
        except asyncssh.ChannelOpenError:
            if live.lost.is_set() or live.connection.is_closed():
                self.drop(live)
                raise unreachable("the connection closed before the command was sent") from None
            raise
        except Faulted:
            self.drop(live)
            raise

    async def outpost(self, live: Live) -> Outpost | None:
        """The host's runner, shared by all who use it, sent anew where it died; None where the host cannot run it.

        Raises Faulted, and asyncssh.ChannelOpenError where the host has no session free.
        """
        if live.no_runner or not self._keeps_runner:
            return None
        if live.outpost is None or _is_over(live.outpost):
            live.outpost = asyncio.create_task(self._send_runner(live), name=f"runner {self.host.name}")
            live.outpost.add_done_callback(_look_at_result)
        try:
            return await _shared(live.outpost, "ready to run anything")
        except NoRunner as fault:
            live.no_runner = str(fault) or "it has no Python"
            return None

    @asynccontextmanager
    async def own_outpost(self, live: Live) -> AsyncIterator[Outpost]:
        """A runner that nobody else uses, for as long as the context lasts: what streams keeps no request waiting.

        Raises Faulted, and asyncssh.ChannelOpenError where the host has no session free.
        """
        async with self.gate.enter():
            exec_, seconds = runner_exec(self.host.become), self._limits.connect_timeout_seconds
            try:
                outpost = await open_outpost(live.connection, exec_, seconds, self._hellos)
            except NoRunner as fault:
                raise unreachable(f"the runner did not start again: {fault}") from None
            try:
                yield outpost
            finally:
                outpost.close()

    async def _send_runner(self, live: Live) -> Outpost:
        try:
            exec_ = runner_exec(self.host.become)
            seconds = self._limits.connect_timeout_seconds
            async with self._starts:
                outpost = await open_outpost(live.connection, exec_, seconds, self._hellos)
        except asyncssh.ChannelOpenError:
            if live.lost.is_set() or live.connection.is_closed():
                self.drop(live)
                raise unreachable("the connection closed before the runner was sent") from None
            raise
        except Faulted:
            if live.connection.is_closed():
                self.drop(live)
            raise
        outpost.watch(self._limits.connect_timeout_seconds, lambda: self.drop(live))
        if self._tidying is not None:
            self._tidying.cancel()
        self._tidying = asyncio.create_task(self._tidy(outpost), name=f"tidy {self.host.name}")
        return outpost

    async def _tidy(self, outpost: Outpost) -> None:
        """Let the host finish what a killed landing left, and drop run directories that are old or too many.

        The latter again and again as long as there are new ones, so that a connection that lives long fills no disk.
        """
        days = 1 + max(self._limits.undo_hours_max, self._limits.layer_hours_max) // 24
        kept = {"days": days, "held_days": days, "bytes_max": self._limits.runs_bytes_max}
        with suppress(OutpostLost):
            with suppress(RunnerFault, TimeoutError):
                await outpost.ask("sweep", timeout_seconds=TIDY_SECONDS_MAX)
            while True:
                with suppress(RunnerFault, TimeoutError):
                    await outpost.ask("expire", kept, timeout_seconds=TIDY_SECONDS_MAX)
                asked = outpost.requests
                while outpost.requests == asked and not outpost.is_lost:  # noqa: ASYNC110 - nobody waits for it
                    await asyncio.sleep(TIDY_AGAIN_SECONDS)

    @asynccontextmanager
    async def files(self, live: Live) -> AsyncIterator[asyncssh.SFTPClient]:
        """The file channel, shared by all who use it; one that died is replaced.

        Raises Faulted, and asyncssh.ChannelOpenError where the host has no session free.

        A host with few sessions has none to spare: there it takes a place in the gate and is closed after each use.
        """
        if self._keeps_sftp:
            yield await self._sftp(live)
            return
        async with self.gate.enter():
            sftp = await self._start_sftp(live)
            try:
                yield sftp
            finally:
                sftp.exit()
                with suppress(TimeoutError):
                    async with asyncio.timeout(CLOSE_SECONDS):
                        await sftp.wait_closed()

    async def _sftp(self, live: Live) -> asyncssh.SFTPClient:
        if live.sftp is None or _is_spent(live.sftp):
            live.sftp = asyncio.create_task(self._start_sftp(live), name=f"sftp {self.host.name}")
            live.sftp.add_done_callback(_look_at_result)
        return await _shared(live.sftp, "ready for files")

    async def _start_sftp(self, live: Live) -> asyncssh.SFTPClient:
        try:
            async with asyncio.timeout(self._limits.connect_timeout_seconds):
                return await self._open_sftp(live.connection)
        except TimeoutError:
            self.drop(live)
            raise unreachable("the file channel did not open in time") from None
        except (OSError, asyncssh.Error) as fault:
            if live.lost.is_set() or live.connection.is_closed():
                self.drop(live)
                raise unreachable("the connection closed before the file channel was open") from None
            if isinstance(fault, asyncssh.ChannelOpenError):
                raise  # no session is free; nothing was sent
            raise no_files(describe(fault)) from None

    def forget_sftp(self, live: Live) -> None:
        """Close the file channel; the next user opens another."""
        task, live.sftp = live.sftp, None
        if task is None:
            return
        if task.done() and not task.cancelled() and task.exception() is None:
            task.result().exit()
        else:
            task.cancel()

    def can_look_again(self, live: Live) -> bool:
        """Whether what runs here has a runner in front of it that looks at its paths, with the same eyes, once more."""
        task = live.outpost
        return task is not None and task.done() and not _is_over(task) and not self.host.become

    async def close(self) -> None:
        """Close the connection and whoever still makes one."""
        if self._connecting is not None and not self._connecting.done():
            self._connecting.cancel()
            with suppress(asyncio.CancelledError, Faulted):
                await self._connecting
        if self._tidying is not None:
            self._tidying.cancel()
        live, self._live = self._live, None
        if live is None:
            return
        self.forget_sftp(live)
        _close_outpost(live)
        live.connection.close()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await live.connection.wait_closed()
        except TimeoutError:
            live.connection.abort()


async def _shared(task: asyncio.Task[Made], state: str) -> Made:
    """What this task makes for all who ask. Who leaves does not end it; who sees it given up was not cancelled."""
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        waiting = asyncio.current_task()
        if waiting is not None and waiting.cancelling():
            raise
        raise unreachable(f"the connection was given up before it was {state}") from None


def _is_over(task: asyncio.Task[Outpost]) -> bool:
    """Whether the runner could not be sent, or was and has ended since."""
    if not task.done():
        return False
    return task.cancelled() or task.exception() is not None or task.result().is_lost


def _close_outpost(live: Live) -> None:
    """End the runner of this connection; what it started does not end with it."""
    task, live.outpost = live.outpost, None
    if task is None:
        return
    if task.done() and not task.cancelled() and task.exception() is None:
        task.result().close()
    else:
        task.cancel()


def _is_spent(task: asyncio.Task[asyncssh.SFTPClient]) -> bool:
    """Whether this file channel failed to open, or was opened and has ended since."""
    if not task.done():
        return False
    if task.cancelled() or task.exception() is not None:
        return True
    return task.result()._handler._writer is None  # noqa: SLF001 - asyncssh has no public way to ask


def _look_at_result(task: asyncio.Task[object]) -> None:
    """Mark a failure as seen: each caller that waits gets it, and there may be none left."""
    if not task.cancelled():
        task.exception()
