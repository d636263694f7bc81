"""Plain runs: one command through the runner's sh form, found again whatever breaks. It starts nothing twice."""

from __future__ import annotations

import asyncio
import posixpath
from collections.abc import Coroutine

import asyncssh

from interlock.hosts.cancelling import see_through, taken
from interlock.hosts.channel import CommandChannel
from interlock.hosts.durable import Place
from interlock.hosts.ending import Ended
from interlock.hosts.environment import environment_of
from interlock.hosts.faults import Faulted, no_shell, unreachable
from interlock.hosts.link import Live
from interlock.hosts.quick import not_started
from interlock.hosts.script import Answer, Request, build_request, pairs_of, script
from interlock.hosts.streams import RunStreams
from interlock.hosts.told import OVER, End, Told, one_line, refusal_of, what_is_known
from interlock.ports import LEFT, Executed, Progress, Run
from interlock.settings import Limits
from interlock.spool import Spool
from interlock_tools.errors import (
    Cancelled,
    CommandFailed,
    ContainmentUnavailable,
    OutcomeUnknown,
    PathInvalid,
    Refusal,
    TimedOut,
)
from interlock_tools.plan import RunCommand

FOLLOW_SECONDS = 5  # an exec answers by then, whether the run has ended or not
GRACE_SECONDS = 2
STOP_SECONDS_MAX = 20.0
AFTER_TIMEOUT_SECONDS = 20.0  # the host ends a run that is out of time by itself; this much later we do
AGAIN_SECONDS = 0.2
AGAIN_SECONDS_MAX = 5.0
EXPIRE_SECONDS = 600.0
SHORT_UPLOAD = 95
_EXPIRED = "plain runs were expired"


class PlainRun:
    """One command of one call. Its output is spooled as it comes, from the last byte that was seen."""

    def __init__(self, place: Place, run: Run, plan: RunCommand, spool: Spool, limits: Limits) -> None:
        self._link = place.link
        self._around = place.around
        self._run = run
        self._plan = plan
        self._limits = limits
        self._streams = RunStreams(spool, run.call_id, limits)
        self._uploaded = False
        self._may_have_begun = False
        self._heard = False
        self._out_of_time = False

    # ── from its start, or from wherever it is ───────────────────────────────────────────────────────────────────────

    async def carry_out(self, live: Live, progress: Progress | None) -> Executed:
        """Start it and follow it to its end.

        Raises asyncssh.ChannelOpenError or Faulted only where nothing of it can have begun. A cancellation ends the
        remote process tree first and is answered as Cancelled, with what was printed so far.
        """
        try:
            self._request("start")
        except ValueError as fault:
            raise Faulted(PathInvalid(path="command", reason=str(fault)), counts=False) from None
        return self._executed(*await self._watched(self._follow(live, "start"), progress))

    async def collect(self, live: Live, progress: Progress | None) -> Executed | None:
        """Follow a run that somebody else started; None where the host never began it, and now never will."""
        self._uploaded = True
        told, by = await self._watched(self._follow(live, "attach"), progress)
        return None if told is not None and told.word == "void" else self._executed(told, by)

    async def _watched(
        self, following: Coroutine[None, None, Told | None], progress: Progress | None
    ) -> tuple[Told | None, str]:
        task = asyncio.create_task(following)
        reporter = asyncio.create_task(self._streams.report(progress))
        try:
            return await asyncio.shield(task), ""
        except asyncio.CancelledError as cancelled:
            if LEFT in cancelled.args:
                task.cancel()
                raise
            by = taken(cancelled)
            told, _ = await see_through(self._stop(task))
            return told, by
        finally:
            reporter.cancel()
            self._streams.close()

    # ── following ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _follow(self, live: Live | None, verb: str) -> Told | None:
        """The run's last word; None where it could not be heard in time. A lost connection is made anew.

        Sending the same start again is safe: whoever comes second is attached to what runs.
        """
        loop = asyncio.get_running_loop()
        ends = loop.time() + self._run.timeout_seconds + AFTER_TIMEOUT_SECONDS
        until, pause = ends, AGAIN_SECONDS
        while True:
            self._heard = False
            told = await self._tried(live, verb)
            live = None
            if told is not None or self._heard:
                until, pause = ends, AGAIN_SECONDS
            if told is None:
                until = min(until, ends, loop.time() + self._limits.reattach_seconds_max)
                if loop.time() >= until:
                    return None
                await asyncio.sleep(pause)
                pause = min(pause * 2, AGAIN_SECONDS_MAX)
                continue
            if told.word in OVER:
                return told
            verb = "attach" if told.word == "running" else verb
            if loop.time() >= ends:
                self._out_of_time = True
                return await self._end()

    async def _tried(self, live: Live | None, verb: str) -> Told | None:
        """What the host says; None where nothing was heard and the run may have begun. Raises where it cannot have."""
        try:
            told = await self._ask(live or await self._link.live(), verb)
        except (asyncssh.ChannelOpenError, Faulted):
            if not self._may_have_begun:
                raise
            return None
        if told is None or told.word in ("running", "starting"):
            self._may_have_begun = True
        elif told.word == "refused" and self._may_have_begun:
            return None
        elif told.word == "refused":
            raise Faulted(refusal_of(told), counts=False)
        return told

    async def _ask(self, live: Live, verb: str) -> Told | None:
        request = self._request(verb, expires=self._is_time_to_expire(live))
        answer = Answer(self._streams.take)
        try:
            channel = await self._link.open(live, request.exec, answer.feed, _unread)
        except Faulted as fault:
            if not fault.began:
                raise
            raise unreachable(fault.refusal.reason) from None  # an exec that was sent nothing does nothing
        self._uploaded = True  # until here the host has only an exec that waits for the rest
        channel.feed_stdin(request.upload)
        await self._hear(live, channel, answer, STOP_SECONDS_MAX if verb == "cancel" else FOLLOW_SECONDS)
        self._heard = channel.begun is not None
        if answer.last:
            return self._told(answer.last)
        if channel.exit_code is None:
            return None
        if channel.begun is None:
            raise not_started(self._link, channel)
        if channel.exit_code == SHORT_UPLOAD:
            raise no_shell("/bin/sh", "what was sent to it did not arrive whole")
        return None

    async def _hear(self, live: Live, channel: CommandChannel, answer: Answer, seconds: float) -> None:
        """Return once the exec has ended. One that is silent longer than it can be is given up, with its connection."""
        ending = asyncio.create_task(channel.ended())
        try:
            while not ending.done():
                before = answer.heard_bytes
                await asyncio.wait({ending}, timeout=seconds + self._limits.connect_timeout_seconds)
                if not ending.done() and answer.heard_bytes == before:
                    self._link.drop(live)
                    return
        except asyncio.CancelledError:
            channel.close()
            raise
        finally:
            ending.cancel()

    def _told(self, words: list[str]) -> Told | None:
        if words[0] == "refused":
            return Told("refused", tuple(words[1:]))
        told = Told(words[1], tuple(words[2:]))
        if told.word == "ended":
            try:
                end = End.of(told)
            except ValueError:
                return None
            for which, total in enumerate(end.totals):
                self._streams.reach(which, total)
        return told

    # ── asking ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _request(self, verb: str, *, expires: bool = False) -> Request:
        host, home = self._link.host, self._around.home
        hundredths = 100 * (GRACE_SECONDS if verb == "cancel" else FOLLOW_SECONDS)
        place: list[str | int] = [hundredths, *self._streams.seen]
        stdin = b""
        if verb == "start":
            stdin = self._plan.stdin.encode("utf-8", "surrogateescape")
            limits = self._limits
            place += [script().digest, int(self._run.timeout_seconds * 100), limits.output_bytes_max, len(stdin)]
            place += [limits.layer_hours_max * 60 if expires else 0, limits.runs_bytes_max // 1024]
            place += [host.shell, posixpath.join(self._around.cwd, self._plan.cwd), self._plan.command]
            place += pairs_of(environment_of(self._link, home) | dict(self._plan.environment))
        return build_request(verb, self._run.call_id, home, *place, become=host.become, stdin=stdin)

    def _is_time_to_expire(self, live: Live) -> bool:
        """Whether old runs are to be looked at with this start: seldom, and never waited for."""
        now = asyncio.get_running_loop().time()
        if now < float(live.known.get(_EXPIRED, "-inf")) + EXPIRE_SECONDS:
            return False
        live.known[_EXPIRED] = str(now)
        return True

    async def _stop(self, following: asyncio.Task[Told | None]) -> Told | None:
        """End the run on its host and hear its last word; what was never sent cannot have begun."""
        following.cancel()
        try:
            return await following
        except (asyncssh.ChannelOpenError, Faulted):
            return Told("void")
        except asyncio.CancelledError:
            return await self._end() if self._uploaded else Told("void")

    async def _end(self) -> Told | None:
        """Have the host end every process of it, over a new connection where that is needed."""
        self._may_have_begun = True
        try:
            async with asyncio.timeout(STOP_SECONDS_MAX):
                while True:
                    told = await self._tried(None, "cancel")
                    if told is not None and told.word in OVER:
                        return told
                    await asyncio.sleep(AGAIN_SECONDS)
        except TimeoutError:
            return None

    # ── how it ended ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _executed(self, told: Told | None, by: str) -> Executed:
        if told is not None and told.word == "void":
            reason = f"by {by or 'another connection'}; nothing ran"
            return Executed(self._streams.result(None), Cancelled(reason=reason), started=False)
        if told is None or told.word != "ended":
            unknown = OutcomeUnknown(reason=what_is_known(told, by), call_id=self._run.call_id)
            return Executed(self._streams.result(None), unknown, started=True)
        end = End.of(told)
        return Executed(self._streams.result(end.code if end.began else None), self._judged(end, by), started=end.began)

    def _judged(self, end: End, by: str) -> Refusal | None:
        match end.why:
            case "timeout":
                return self._ended(self._late(), end)
            case "cancelled" if self._out_of_time:
                return self._ended(self._late(), end)
            case "cancelled":
                return self._ended(Cancelled(reason=f"by {by or 'another connection'}"), end)
            case "no_cwd":
                return PathInvalid(path="cwd", reason="the working directory cannot be entered; nothing ran")
            case "no_shell":
                return no_shell(self._link.host.shell, one_line(self._streams.head(1, 400))).refusal
            case "failed":
                return ContainmentUnavailable(reason="the host has no room for a run; nothing ran")
        return CommandFailed(reason=f"it ended with exit code {end.code}") if end.code else None

    def _late(self) -> Refusal:
        return TimedOut(reason=f"after {self._run.timeout_seconds:g} s")

    def _ended(self, refusal: Refusal, end: End) -> Refusal:
        reason = f"{refusal.reason}; {Ended(end.found, end.left).sentence}"
        if end.left:
            return OutcomeUnknown(reason=reason, call_id=self._run.call_id)
        return type(refusal)(reason=reason)


def _unread(_: bytes) -> None:
    """What the exec itself says on its standard error after its marker is nobody's output."""
