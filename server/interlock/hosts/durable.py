"""Durable runs: one command of one call through a host's runner, found again whatever breaks. It starts none twice."""

from __future__ import annotations

import asyncio
import posixpath
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncssh

from interlock.hosts.cancelling import see_through, taken
from interlock.hosts.channel import SIGNALLED
from interlock.hosts.environment import Surroundings, environment_of
from interlock.hosts.faults import Faulted, unreachable
from interlock.hosts.layers import whole_reply
from interlock.hosts.link import Link
from interlock.hosts.outpost import Head, Outpost, OutpostLost, Reply, RunnerFault
from interlock.hosts.resolve import is_steady
from interlock.hosts.seen import measured_of
from interlock.hosts.streams import RunStreams
from interlock.ports import LEFT, Executed, Measured, PathQuery, Progress, Run
from interlock.settings import Limits
from interlock.spool import Spool
from interlock_policies.facts import Level
from interlock_tools.call import Json
from interlock_tools.errors import (
    ArgumentInvalid,
    Cancelled,
    CommandFailed,
    ContainmentUnavailable,
    Internal,
    OutcomeUnknown,
    PathInvalid,
    Recovery,
    Refusal,
    StaleState,
    TimedOut,
)
from interlock_tools.plan import RunCommand

GRACE_SECONDS = 2.0
STOP_SECONDS_MAX = 15.0
AFTER_TIMEOUT_SECONDS = (
    20.0  # the runner ends a run that is out of time by itself; this much later it is not waited for
)
AGAIN_SECONDS = 0.2
AGAIN_SECONDS_MAX = 5.0


@dataclass(frozen=True)
class Place:
    """Where a run is carried out: the host's link, where its commands start, and the secrets that are hidden there."""

    link: Link
    around: Surroundings


def order_of(place: Place, run: Run, plan: RunCommand, limits: Limits) -> dict[str, Json]:
    """What the runner is told. Raises ValueError for what cannot be passed to a command."""
    host, bounds = place.link.host, run.bounds
    if "\0" in plan.command or "\0" in plan.cwd:
        raise ValueError("a NUL byte cannot be passed to a command")
    return {
        "run": run.call_id,
        "fence": 1,
        "command": plan.command,
        "shell": host.shell,
        "cwd": posixpath.join(place.around.cwd, plan.cwd),
        "environment": environment_of(place.link, place.around.home) | dict(plan.environment),
        "stdin": bool(plan.stdin),
        "timeout_seconds": run.timeout_seconds,
        "level": bounds.level.name.lower(),
        "network": bounds.network.value,
        "writes": list(bounds.writes),
        "deletes": list(bounds.deletes),
        "services": list(bounds.services),
        "shown": list(bounds.shown),
        "masked": list(host.masked),
        "protected": list(host.protected),
        "workspace": list(host.workspace),
        "watched": list(dict.fromkeys((*host.workspace, *bounds.writes, *bounds.deletes))),
        "paths": [] if host.become else _steady(bounds.paths),
        "spool_bytes_max": limits.output_bytes_max,
        "changes_max": limits.layer_changes_max,
        "image_bytes_max": limits.undo_bytes_max,
    }


def _steady(paths: Sequence[tuple[str, bool, str]]) -> list[Json]:
    return [[path, follow, real] for path, follow, real in paths if is_steady(PathQuery(path, follow), real)]


class DurableRun:
    """One command of one call. Its output is spooled as it comes, from the last byte that was seen."""

    def __init__(self, place: Place, run: Run, plan: RunCommand, spool: Spool, limits: Limits) -> None:
        self._place = place
        self._link = place.link
        self._run = run
        self._plan = plan
        self._limits = limits
        self._streams = RunStreams(spool, run.call_id, limits)
        self._why_gone = ""

    # ── from its start, or from wherever it is ───────────────────────────────────────────────────────────────────────

    async def carry_out(self, outpost: Outpost, progress: Progress | None) -> Executed:
        """Start it and follow it to its end.

        Raises asyncssh.ChannelOpenError or Faulted only where nothing of it can have begun. A cancellation ends the
        remote process tree first and is answered as Cancelled, with what was printed so far.
        """
        try:
            order = order_of(self._place, self._run, self._plan, self._limits)
        except ValueError as fault:
            raise Faulted(PathInvalid(path="command", reason=str(fault)), counts=False) from None
        stdin = self._plan.stdin.encode("utf-8", "surrogateescape")
        try:
            return await self._watched(self._follow(outpost, "start", order, stdin), progress)
        except _NeverBegan:  # its end was asked for before its start had come
            refusal = Cancelled(reason="before it began; nothing ran")
            return Executed(self._streams.result(None), refusal, started=False)

    async def collect(self, outpost: Outpost, progress: Progress | None) -> Executed | None:
        """Follow a run that somebody else started; None where the host never began it, and now never will."""
        try:
            return await self._watched(self._follow(outpost, "attach", {"run": self._run.call_id}, b""), progress)
        except _NeverBegan:
            return None

    async def _watched(self, following: Coroutine[Any, Any, Reply | None], progress: Progress | None) -> Executed:
        task = asyncio.create_task(following)
        reporter = asyncio.create_task(self._streams.report(progress))
        by = ""
        reply: Reply | None = None
        try:
            reply = await asyncio.shield(task)
        except asyncio.CancelledError as cancelled:
            if LEFT in cancelled.args:
                task.cancel()
                raise
            by = taken(cancelled)
            reply, _ = await see_through(self._stop(task))
        finally:
            reporter.cancel()
            self._streams.close()
        return self._executed(reply, by)

    # ── following ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _follow(self, outpost: Outpost, verb: str, head: Head, body: bytes) -> Reply | None:
        """The runner's last word; None where it could not be heard in time. A lost connection is made anew.

        Sending the same start again is safe: whoever comes second is attached to what runs.
        """
        ends = asyncio.get_running_loop().time() + self._run.timeout_seconds + AFTER_TIMEOUT_SECONDS
        sent = False
        while True:
            try:
                asked = {**head, "out": self._streams.seen[0], "err": self._streams.seen[1], "follow": True}
                reply = await outpost.follow(verb, asked, body, self._hear)
            except OutpostLost as fault:
                if not sent and not outpost.opened:
                    raise unreachable(str(fault)) from None
                sent = True
            except RunnerFault as fault:
                return self._refused(fault, sent)
            else:
                most = self._limits.layer_changes_max
                return await whole_reply(outpost, self._run.call_id, self._last_output(reply), most)
            found = await self._again(ends)
            if found is None:
                return None
            outpost = found

    async def _again(self, ends: float) -> Outpost | None:
        """The host's runner over a new connection, sought as long as the limits allow."""
        loop = asyncio.get_running_loop()
        until = min(ends, loop.time() + self._limits.reattach_seconds_max)
        pause = AGAIN_SECONDS
        while loop.time() < until:
            try:
                return await self._link.outpost(await self._link.live())
            except (Faulted, asyncssh.ChannelOpenError) as fault:
                self._why_gone = str(fault.refusal.message if isinstance(fault, Faulted) else fault)
                await asyncio.sleep(min(pause, max(0.0, until - loop.time())))
                pause = min(pause * 2, AGAIN_SECONDS_MAX)
        return None

    def _hear(self, head: Head, body: bytes) -> None:
        if head.get("event") == "output":
            self._streams.take(int(head["stream"]) - 1, int(head["offset"]), body)

    def _last_output(self, reply: Reply) -> Reply:
        """Small output comes with the last word itself: `out_inline` bytes of stdout, then those of stderr.

        What the host does not keep any more is counted as left out, so that it does not look like silence.
        """
        out = int(reply.head.get("out_inline", 0))
        for which, data in ((0, reply.body[:out]), (1, reply.body[out:])):
            if data:
                self._streams.take(which, int(reply.head.get("err_offset" if which else "out_offset", 0)), data)
        end: Mapping[str, Json] = reply.head.get("end") or {}
        for which, name in enumerate(("out_bytes", "err_bytes")):
            self._streams.reach(which, int(end.get(name, 0)))
        return reply

    def _refused(self, fault: RunnerFault, sent: bool) -> Reply:
        """A fault of the runner's. Before anything began it is the road's; afterwards nobody knows."""
        if fault.code == "absent":
            raise _NeverBegan
        if fault.code == "expired":
            return Reply({"state": "lost", "known": {"why": "expired", "reason": fault.reason}})
        if fault.code == "moved":
            self._link.paths.forget()
        reasons: dict[str, Refusal] = {
            "moved": paths_moved(fault.reason),
            "busy": unreachable(fault.reason).refusal,
            "no_space": ContainmentUnavailable(reason=f"the host has no room for a run: {fault.reason}"),
            "unavailable": ContainmentUnavailable(reason=fault.reason),
            "bad_request": ArgumentInvalid(path="command", reason=fault.reason),
            "exists": OutcomeUnknown(reason=fault.reason, call_id=self._run.call_id),
        }
        refusal = reasons.get(fault.code, Internal(reason=f"the runner refused it: {fault.code}"))
        raise Faulted(refusal, began=sent and fault.code == "internal", counts=False)

    # ── how it ended ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def _stop(self, following: asyncio.Future[Reply | None]) -> Reply | None:
        """End the run on its host, over a new connection where that is needed, and hear its last word."""
        with_time = asyncio.get_running_loop().time() + STOP_SECONDS_MAX
        try:
            async with asyncio.timeout_at(with_time):
                outpost = await self._link.outpost(await self._link.live())
                if outpost is not None:
                    head = {"run": self._run.call_id, "grace_seconds": GRACE_SECONDS}
                    await outpost.ask("cancel", head, timeout_seconds=STOP_SECONDS_MAX)
                return await asyncio.shield(following)
        except (TimeoutError, OutpostLost, RunnerFault, Faulted, asyncssh.Error):
            following.cancel()
            return None

    def _executed(self, reply: Reply | None, by: str) -> Executed:
        if reply is None:
            reason = "the connection was lost while it ran, and the host could not be asked what became of it"
            reason += f" ({self._why_gone})" if self._why_gone else ""
            lost = OutcomeUnknown(reason=f"cancelled by {by}; {reason}" if by else reason, call_id=self._run.call_id)
            return Executed(self._streams.result(None), lost, started=True)
        known = reply.head.get("known") or {}
        if reply.head.get("state") == "lost" and known.get("began") is False:
            return Executed(self._streams.result(None), self._never_begun(str(known.get("why", "")), by), started=False)
        if reply.head.get("state") == "lost":
            lost = OutcomeUnknown(reason=_what_is_known(known), call_id=self._run.call_id)
            return Executed(self._streams.result(None), lost, started=True)
        end: Mapping[str, Json] = reply.head["end"]
        refusal = self._judged(end, by) or self._unmeasured(end)
        measured = measured_of(reply.head, self._run.bounds) if refusal is None or end["began"] else Measured()
        return Executed(self._streams.result(_exit_code(end)), refusal, started=bool(end["began"]), measured=measured)

    def _never_begun(self, why: str, by: str) -> Refusal:
        """The host decided for good that it shall not begin: by then its start had broken off, or was not wanted."""
        if by or why == "cancelled":
            return Cancelled(reason=f"by {by or 'another connection'}; nothing ran")
        return unreachable(f"its start broke off on the host before it began: {why or 'no reason is known'}").refusal

    def _judged(self, end: Mapping[str, Json], by: str) -> Refusal | None:
        why, reason = str(end["why"]), str(end.get("reason", ""))
        match why:
            case "timeout":
                return self._ended(TimedOut(reason=f"after {self._run.timeout_seconds:g} s"), end)
            case "cancelled":
                return self._ended(Cancelled(reason=f"by {by or 'another connection'}"), end)
            case "no_cwd":
                return PathInvalid(path="cwd", reason="the working directory cannot be entered; nothing ran")
            case "no_shell":
                return unreachable(f"{self._link.host.shell} did not start there: {reason}").refusal
            case "room":
                return ContainmentUnavailable(reason=f"{reason}; nothing ran")
            case "lost":
                return OutcomeUnknown(reason=reason or "its supervisor ended", call_id=self._run.call_id)
            case "" | "exit" | "signal":
                return self._failed(end)
        return OutcomeUnknown(reason=f"the host told an end that is not known here: {why}", call_id=self._run.call_id)

    def _failed(self, end: Mapping[str, Json]) -> Refusal | None:
        code = _exit_code(end)
        if code is None:
            return OutcomeUnknown(reason="the host told of an end without its exit code", call_id=self._run.call_id)
        if end.get("signal"):
            return CommandFailed(reason=f"it was ended by signal {end['signal']}")
        return CommandFailed(reason=f"it ended with exit code {code}") if code else None

    def _unmeasured(self, end: Mapping[str, Json]) -> Refusal | None:
        """A layer that was not read says nothing of what is in it: that is no success."""
        if self._run.bounds.level is not Level.STAGED or end.get("observed") == "staged":
            return None
        reason = f"the host did not measure what it changed: {end.get('reason') or 'no reason was given'}"
        return ContainmentUnavailable(reason=f"{reason}; nothing landed")

    def _ended(self, refusal: Refusal, end: Mapping[str, Json]) -> Refusal:
        left = int(end.get("left", 0))
        if left:
            reason = f"{refusal.reason}; {left} of its processes could not be ended"
            return OutcomeUnknown(reason=reason, call_id=self._run.call_id)
        return type(refusal)(reason=f"{refusal.reason}; none of its processes is left on the host")


def _exit_code(end: Mapping[str, Json]) -> int | None:
    """As a shell gives it: what a signal ended has 128 and its number. None where the host told none."""
    code, number = end.get("exit_code"), end.get("signal")
    if isinstance(number, int) and number:
        return SIGNALLED + number
    return code if isinstance(code, int) else None


def paths_moved(reason: str) -> Refusal:
    """The refusal of a run that was decided for other places."""
    again = Recovery.wait("Send it again: its paths are looked up anew, and it is decided anew.")
    return StaleState(reason=f"{reason}; nothing ran", recovery=again)


class _NeverBegan(Exception):
    """The host never began this run, and its id is taken now."""


def _what_is_known(known: Mapping[str, Json]) -> str:
    if known.get("why") == "expired":
        return str(known["reason"])
    said = "its supervisor on the host ended without a word"
    if known.get("level") == Level.STAGED.name.lower() and not known.get("landing"):
        return f"{said}; it ran in a layer, of which nothing landed"
    return said
