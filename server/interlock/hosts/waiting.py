"""A waiting shell: one pinned bash a connection, started ahead of the next command, used once, ended when nobody comes.

Starting a shell takes longer than most commands run. It gets its one command over its standard input; until then it is
nothing but an idle process of the login user, and it ends by itself when its input closes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import asyncssh

from interlock.hosts.channel import CommandChannel, open_channel
from interlock.hosts.faults import Faulted
from interlock.hosts.wire import build_waiting

IDLE_SECONDS_MAX = 20.0
READY_SECONDS_MAX = 2.0
ORDER_BYTES_MAX = 4_096  # a shell reads its order byte by byte; what is longer goes the ordinary way


class WaitingShell:
    """At most one for one connection. What fails here is only slower: the caller then starts a shell of its own."""

    def __init__(self, connection: asyncssh.SSHClientConnection, shell: str, environment: Mapping[str, str]) -> None:
        self._connection = connection
        self._shell = shell
        self._environment = environment
        self._starting: asyncio.Task[CommandChannel] | None = None
        self._idle: asyncio.TimerHandle | None = None

    def prepare(self) -> None:
        """Start one in the background where none waits."""
        if self._starting is not None or self._connection.is_closed():
            return
        self._starting = asyncio.create_task(self._start(), name="waiting shell")
        self._starting.add_done_callback(_look_at_result)
        self._idle = asyncio.get_running_loop().call_later(IDLE_SECONDS_MAX, self.close)

    async def _start(self) -> CommandChannel:
        exec_ = build_waiting(shell=self._shell, environment=self._environment)
        return await open_channel(self._connection, exec_, _nowhere, _nowhere, READY_SECONDS_MAX)

    async def take(self) -> CommandChannel | None:
        """The shell that waits, for one command and never again; None where there is none that could take it."""
        starting, self._starting = self._starting, None
        if self._idle is not None:
            self._idle.cancel()
        if starting is None:
            return None
        try:
            channel = await asyncio.shield(starting)
        except (Faulted, asyncssh.Error, OSError):
            return None
        except asyncio.CancelledError:
            starting.add_done_callback(_close_result)
            raise
        return channel if channel.is_waiting else None

    def close(self) -> None:
        """End the shell that waits."""
        starting, self._starting = self._starting, None
        if self._idle is not None:
            self._idle.cancel()
        if starting is not None:
            starting.add_done_callback(_close_result)


def _nowhere(_: bytes) -> None:
    """A shell without a command prints nothing that anybody wants."""


def _close_result(task: asyncio.Task[CommandChannel]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


def _look_at_result(task: asyncio.Task[CommandChannel]) -> None:
    """Mark a failure as seen: whoever takes the shell gets it, and nobody may come."""
    if not task.cancelled():
        task.exception()
