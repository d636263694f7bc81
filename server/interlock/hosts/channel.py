"""A command's channel: its streams go to the writers as they come, its end is known or lost. It interprets nothing."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import asyncssh

from interlock.hosts.faults import Faulted, describe, unreachable
from interlock.hosts.wire import AfterMarker, Begun, Exec
from interlock_tools.errors import OutcomeUnknown

STDERR = 1
# A process that goes on in the background may hold the streams; the command itself has ended.
DRAIN_SECONDS = 0.5
DRAIN_SECONDS_MAX = 30.0
SIGNALLED = 128  # a shell tells what a signal ended as this and its number
Sink = Callable[[bytes], object]


class CommandChannel(asyncssh.SSHClientSession[bytes]):
    """One command on one channel.

    `exit_code` stays None until the host reported it: a channel that closes without one has lost the command.
    """

    def __init__(self, marker: bytes, out: Sink, err: Sink) -> None:
        self._filters = (AfterMarker(marker), AfterMarker(marker))
        self._sinks = (out, err)
        self._chan: asyncssh.SSHClientChannel[bytes] | None = None
        self.opened = False
        self.exit_code: int | None = None
        self._received = 0
        self._reported = asyncio.Event()
        self._closed = asyncio.Event()

    # ── asyncssh calls these ─────────────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self._chan = chan
        self.opened = True

    def data_received(self, data: bytes, datatype: int | None) -> None:
        self._received += 1
        which = 1 if datatype == STDERR else 0
        own = self._filters[which].feed(data)
        if own:
            self._sinks[which](own)

    def eof_received(self) -> bool:
        return True

    def exit_status_received(self, status: int) -> None:
        self.exit_code = status
        self._reported.set()

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        del core_dumped, msg, lang
        self.exit_code = SIGNALLED + _signal_number(signal)
        self._reported.set()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._closed.set()
        self._reported.set()

    # ── the executor calls these ─────────────────────────────────────────────────────────────────────────────────────

    @property
    def begun(self) -> Begun | None:
        """The command's process, once its marker was seen on either stream."""
        return self._filters[1].begun or self._filters[0].begun

    @property
    def said_before(self) -> str:
        """What the login shell said instead of starting the command."""
        return self._filters[1].before() or self._filters[0].before()

    async def ended(self) -> None:
        """Return once the command has ended and its output is here, or the channel is lost."""
        await self._reported.wait()
        for _ in range(int(DRAIN_SECONDS_MAX / DRAIN_SECONDS)):
            before = self._received
            try:
                async with asyncio.timeout(DRAIN_SECONDS):
                    await self._closed.wait()
            except TimeoutError:
                if self._received != before:
                    continue  # the end was told before all of the output was here
                break
            return
        self.close()

    def close(self) -> None:
        """Close the channel now; what still comes is dropped."""
        if self._chan is not None:
            self._chan.abort()

    def feed_stdin(self, data: bytes) -> None:
        """Send all of the standard input, and its end."""
        if self._chan is not None:
            if data:
                self._chan.write(data)
            self._chan.write_eof()


def _signal_number(name: str) -> int:
    try:
        return signal.Signals[f"SIG{name}"].value
    except KeyError:
        return 0


async def open_channel(
    connection: asyncssh.SSHClientConnection, exec_: Exec, out: Sink, err: Sink, open_seconds: float
) -> CommandChannel:
    """Start a command on a new channel.

    Raises asyncssh.ChannelOpenError where the host has no session free, and Faulted where the connection fails: with
    `began` False as long as the request to run was not sent.
    """
    channel = CommandChannel(exec_.marker, out, err)
    try:
        async with asyncio.timeout(open_seconds):
            await connection.create_session(lambda: channel, exec_.line, encoding=None)
    except asyncssh.ChannelOpenError:
        if channel.opened and connection.is_closed():
            raise _lost("the connection closed while it was starting") from None
        raise
    except (OSError, asyncssh.Error, TimeoutError) as fault:
        channel.close()
        if channel.opened:
            raise _lost(f"{describe(fault)} while it was starting") from None
        raise unreachable(f"a session could not be opened: {describe(fault)}") from None
    except asyncio.CancelledError:
        channel.close()
        raise
    return channel


def _lost(reason: str) -> Faulted:
    return Faulted(OutcomeUnknown(reason=reason), began=True)
