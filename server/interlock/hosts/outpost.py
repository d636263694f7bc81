"""The outpost: the runner's one channel on a connection: numbered requests and their answers. It repeats no request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import asyncssh

from interlock.hosts.faults import describe, unreachable
from interlock.hosts.hellos import Hellos
from interlock.hosts.program import NO_PYTHON_STATUS, program
from interlock.hosts.wire import AfterMarker, Exec
from interlock.runner.frames import FrameBroken, FrameReader, encode_frame
from interlock_tools.call import Json

STDERR = 1
SAID_BYTES_MAX = 4_096
HELLO_SECONDS_MAX = 20.0
LOOKS_PER_SILENCE = 4

Head = Mapping[str, Json]
OnEvent = Callable[[Head, bytes], None]
OnPiece = Callable[[int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of the runner."""

    head: Head
    body: bytes = b""


class OutpostLost(Exception):
    """The channel or the runner's process ended: what it was asked last may or may not have been done."""


class NoRunner(Exception):
    """The host cannot run the runner: there is no Python on it, or no place of this user's own for its runs."""


class RunnerFault(Exception):
    """The runner refused a request: a stable code of its own, a sentence, and what belongs to it."""

    def __init__(self, head: Head) -> None:
        super().__init__(f"{head.get('fault')}: {head.get('reason')}")
        self.code = str(head.get("fault", "internal"))
        self.reason = str(head.get("reason", ""))
        self.head = head


@dataclass(eq=False)
class _Asked:
    done: asyncio.Future[Reply]
    on_event: OnEvent


class Outpost(asyncssh.SSHClientSession[bytes]):
    """The runner as it is reached over one channel. `hello` is what it said of its host."""

    def __init__(self, marker: bytes, hellos: Hellos | None = None) -> None:
        self._filter = AfterMarker(marker)
        self._hellos = hellos or Hellos()
        self._frames = FrameReader()
        self._chan: asyncssh.SSHClientChannel[bytes] | None = None
        self._asked: dict[int, _Asked] = {}
        self._number = 0
        self._said = b""
        self._exit_code: int | None = None
        self._why_lost = ""
        self._heard_at = 0.0
        self._watching: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self.opened = False
        self.hello: Head = {}

    # ── asyncssh calls these ─────────────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self._chan = chan
        self.opened = True

    def data_received(self, data: bytes, datatype: int | None) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        if datatype == STDERR:
            self._said = (self._said + data)[-SAID_BYTES_MAX:]
            return
        try:
            for head, body in self._frames.feed(self._filter.feed(data)):
                self._take(head, body)
        except FrameBroken as fault:
            self._lose(f"the runner's answer could not be read: {fault}")
            self.close()

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def exit_status_received(self, status: int) -> None:
        self._exit_code = status

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(describe(exc) if exc is not None else "the runner's channel closed")

    # ── asking ───────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def requests(self) -> int:
        """How many requests were sent so far."""
        return self._number

    @property
    def is_lost(self) -> bool:
        """Whether nothing can be asked any more."""
        return bool(self._why_lost)

    @property
    def said(self) -> str:
        """What the host printed instead of answering: one line of printable text."""
        text = self._said.decode("utf-8", "replace")
        return " ".join("".join(char if char.isprintable() else " " for char in text).split())[-200:]

    async def ask(self, do: str, head: Head | None = None, body: bytes = b"", *, timeout_seconds: float) -> Reply:
        """One request and its answer. Raises RunnerFault, OutpostLost, TimeoutError."""
        async with asyncio.timeout(timeout_seconds):
            return await self.follow(do, head or {}, body, _unheard)

    async def follow(self, do: str, head: Head, body: bytes, on_event: OnEvent) -> Reply:
        """One request whose answer may take as long as it likes; its events on the way. Raises as `ask`."""
        if self._chan is None or self._why_lost:
            raise OutpostLost(self._why_lost or "the runner was never reached")
        loop = asyncio.get_running_loop()
        if not self._asked:
            self._heard_at = loop.time()  # while nothing is asked, it may well be silent
        self._number += 1
        number = self._number
        asked = _Asked(loop.create_future(), on_event)
        self._asked[number] = asked
        try:
            self._chan.write(encode_frame({**head, "n": number, "do": do}, body))
            reply = await asked.done
        except OSError as fault:
            self._lose(describe(fault))  # now: whoever asks anew must not be given this one again
            raise OutpostLost(describe(fault)) from None
        finally:
            self._asked.pop(number, None)
        if (reply.head.get("end") or {}).get("why") == "room":
            self._hellos.forget()
        return reply

    async def pour(self, head: Head, size: int, piece_at: Callable[[int], bytes], on_piece: OnPiece) -> Reply:
        """What is missing of `size` bytes, as plain bytes on this channel, which is used for nothing else meanwhile.

        `piece_at` gives the bytes from an offset. Raises as `ask`.
        """
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[int] = loop.create_future()

        def heard(said: Head, _: bytes) -> None:
            if said.get("event") == "ready" and not ready.done():
                ready.set_result(int(said["have"]))

        asked = asyncio.ensure_future(self.follow("stream", head, b"", heard))
        asked.add_done_callback(_look_at_result)
        try:
            await _first(asked, ready)
            have = size if asked.done() else ready.result()
            while have < size and not asked.done():
                piece = await asyncio.to_thread(piece_at, have)
                if not piece:
                    raise OutpostLost("what was to be sent became shorter while it was sent")
                try:
                    self.send(piece)
                except OSError as fault:
                    raise OutpostLost(describe(fault)) from None
                await self._drained(asked)
                have += len(piece)
                await on_piece(have)
            return await asked
        finally:
            asked.cancel()

    async def _drained(self, asked: asyncio.Future[Reply]) -> None:
        """Return once the channel takes more, or the request has ended."""
        if not self._writable.is_set():
            waits = asyncio.ensure_future(self._writable.wait())
            try:
                await _first(waits, asked)
            finally:
                waits.cancel()

    def watch(self, silent_seconds: float, on_silent: Callable[[], None]) -> None:
        """Give it up, and say so, where something is asked and nothing at all is heard for twice so long."""
        self._watching = asyncio.create_task(self._watch(silent_seconds, on_silent), name="watch a runner")

    async def _watch(self, silent_seconds: float, on_silent: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        while not self._why_lost:
            await asyncio.sleep(silent_seconds / LOOKS_PER_SILENCE)
            silent = loop.time() - self._heard_at if self._asked else 0.0
            if silent > 2 * silent_seconds:
                self._lose("the runner does not answer any more")
                on_silent()
            elif silent > silent_seconds and self._chan is not None:
                self._number += 1  # whatever it answers, it is heard
                with suppress(OSError):  # a channel that closes meanwhile says so itself
                    self._chan.write(encode_frame({"n": self._number, "do": "here"}, b""))

    def close(self) -> None:
        """Close the channel; the runner ends with it, what it started does not."""
        if self._watching is not None:
            self._watching.cancel()
        self._lose("its channel was closed")
        if self._chan is not None:
            self._chan.abort()

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _take(self, head: Head, body: bytes) -> None:
        asked = self._asked.get(int(head.get("n", 0)))
        if asked is None or asked.done.done():
            return
        if "event" in head:
            asked.on_event(head, body)
        elif head.get("ok"):
            asked.done.set_result(Reply(head, body))
        else:
            asked.done.set_exception(RunnerFault(head))

    def _lose(self, why: str) -> None:
        self._why_lost = self._why_lost or why or "it is gone"
        for asked in self._asked.values():
            if not asked.done.done():
                asked.done.set_exception(OutpostLost(self._why_lost))

    def never_ran(self) -> bool:
        """Whether it ended because the host has no Python for it."""
        return self._exit_code == NO_PYTHON_STATUS

    def send(self, data: bytes) -> None:
        """Send raw bytes: the program itself, before the first request."""
        if self._chan is not None:
            self._chan.write(data)


def _look_at_result(task: asyncio.Task[Reply]) -> None:
    """A request that ends because its stream broke is told once, by whoever streamed."""
    if not task.cancelled():
        task.exception()


async def _first(*awaited: asyncio.Future[Any]) -> None:
    """Return once one of these has ended, however it has."""
    await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)


def _unheard(_head: Head, _body: bytes) -> None:
    """Nobody listens to the events of a request that is only waited for."""


async def open_outpost(
    connection: asyncssh.SSHClientConnection, exec_: Exec, open_seconds: float, hellos: Hellos | None = None
) -> Outpost:
    """Send the runner to the host and hear its hello; `hellos` holds what the one before it said.

    Raises asyncssh.ChannelOpenError where no session is free, NoRunner where the host cannot run it, and Faulted where
    the road or the program fails. Nothing is left behind where it does.
    """
    hellos = hellos or Hellos()
    outpost = Outpost(exec_.marker, hellos)
    sent = program()
    try:
        async with asyncio.timeout(open_seconds):
            await connection.create_session(lambda: outpost, exec_.line, encoding=None)
            outpost.send(sent.packed)
        hello = await outpost.ask("hello", hellos.known(), timeout_seconds=HELLO_SECONDS_MAX)
    except asyncssh.ChannelOpenError:
        raise
    except OutpostLost as fault:
        if outpost.never_ran():
            raise NoRunner(outpost.said or "there is no Python on the host") from None
        raise unreachable(f"the runner did not start: {outpost.said or fault}") from None
    except (OSError, asyncssh.Error, TimeoutError, RunnerFault) as fault:
        outpost.close()
        if isinstance(fault, RunnerFault) and fault.code == "unavailable":
            raise NoRunner(fault.reason) from None
        raise unreachable(f"the runner did not start: {describe(fault)}") from None
    except asyncio.CancelledError:
        outpost.close()
        raise
    if hello.head.get("digest") != sent.digest:
        outpost.close()
        raise unreachable("the runner that answered is not the one that was sent")
    hellos.keep(hello.head)
    outpost.hello = hello.head
    return outpost
