"""Commands: one command line on one host, from its start to a known end. It never takes a guess for success."""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass

from interlock.hosts.cancelling import Interrupted, see_through, taken
from interlock.hosts.channel import CommandChannel
from interlock.hosts.dial import login_user
from interlock.hosts.ending import Ended, end_call, look_for
from interlock.hosts.faults import Faulted
from interlock.hosts.link import Link, Live
from interlock.hosts.quick import not_started
from interlock.hosts.waiting import ORDER_BYTES_MAX, READY_SECONDS_MAX, WaitingShell
from interlock.hosts.wire import GO, Exec, build_exec, order
from interlock.ports import Executed, Progress, Run
from interlock.settings import Limits
from interlock.spool import Spool, answer_texts
from interlock_tools.call import Json
from interlock_tools.errors import (
    Cancelled,
    CommandFailed,
    OutcomeUnknown,
    PathInvalid,
    Refusal,
    TimedOut,
)
from interlock_tools.plan import RunCommand

LOOK_AFTER_LOSS_SECONDS = 8.0


@dataclass(frozen=True)
class Surroundings:
    """Where a command runs: the home of whom it runs as, and the directory it starts in."""

    home: str
    cwd: str


# A repository may name programs that git runs by itself; ours do not run them (git 2.31 and newer heed this).
_GIT_RUNS_NOTHING = {
    "GIT_CONFIG_COUNT": "4",
    "GIT_CONFIG_KEY_0": "core.hooksPath",
    "GIT_CONFIG_VALUE_0": "/dev/null",
    "GIT_CONFIG_KEY_1": "core.fsmonitor",
    "GIT_CONFIG_VALUE_1": "false",
    "GIT_CONFIG_KEY_2": "safe.bareRepository",
    "GIT_CONFIG_VALUE_2": "explicit",
    "GIT_CONFIG_KEY_3": "log.showSignature",
    "GIT_CONFIG_VALUE_3": "false",
}


def environment_of(link: Link, home: str) -> dict[str, str]:
    """The clean environment in which every command of this host starts."""
    host = link.host
    user = host.become or login_user(host)
    return {
        "PATH": host.path,
        "HOME": home,
        "USER": user,
        "LOGNAME": user,
        "SHELL": host.shell,
        "LANG": "C.UTF-8",
        **_GIT_RUNS_NOTHING,
    }


def exec_of(link: Link, plan: RunCommand, call_id: str, around: Surroundings) -> Exec:
    """The exec string of a plan. Raises ValueError for what cannot be passed to a command."""
    return build_exec(
        plan.command,
        shell=link.host.shell,
        cwd=posixpath.join(around.cwd, plan.cwd),
        environment=environment_of(link, around.home) | dict(plan.environment),
        call_id=call_id,
        become=link.host.become,
        takes_stdin=bool(plan.stdin),
    )


class CommandRun:
    """One command of one call: started once, watched, ended where it must be, its output spooled."""

    def __init__(self, link: Link, run: Run, plan: RunCommand, spool: Spool, limits: Limits) -> None:
        self._link = link
        self._run = run
        self._plan = plan
        self._limits = limits
        self._out = spool.writer(run.call_id, "stdout")
        self._err = spool.writer(run.call_id, "stderr")
        self._cancelled_by = ""

    async def carry_out(self, live: Live, around: Surroundings, progress: Progress | None) -> Executed:
        """Start the command and follow it to its end, its time limit, its cancellation or its loss.

        Raises asyncssh.ChannelOpenError or Faulted while it is being started, never afterwards. A cancellation ends the
        remote process tree first and is answered as Cancelled, with what was printed so far.
        """
        try:
            channel = await self._start(live, around)
            return await self._finish(channel, progress)
        finally:
            self._close_output()
            if live.waiting is not None:
                live.waiting.prepare()  # now, while the outcome is written down: the next command may come soon

    async def _start(self, live: Live, around: Surroundings) -> CommandChannel:
        try:
            exec_ = exec_of(self._link, self._plan, self._run.call_id, around)
        except ValueError as fault:
            raise Faulted(PathInvalid(path="command", reason=str(fault)), counts=False) from None
        # Once it is on its way it is seen through, so that a cancellation knows what there is to end.
        opening = self._open(live, around, exec_)
        try:
            channel, self._cancelled_by = await see_through(opening)
        except Interrupted as both:
            if isinstance(both.fault, Faulted) and both.fault.began:
                raise both.fault from None
            raise asyncio.CancelledError(both.by) from None
        if self._plan.stdin:
            channel.feed_stdin(self._plan.stdin.encode("utf-8", "surrogateescape"))
        return channel

    async def _open(self, live: Live, around: Surroundings, exec_: Exec) -> CommandChannel:
        """The command on its way: in the shell that waits for it, else in one that is started for it."""
        if not self._link.keeps_shell or self._plan.environment:
            return await self._link.open(live, exec_, self._out.write, self._err.write)
        if live.waiting is None:
            environment = environment_of(self._link, around.home)
            live.waiting = WaitingShell(live.connection, self._link.host.shell, environment)
        channel = await self._ordered(live.waiting, around)
        if channel is None:
            channel = await self._link.open(live, exec_, self._out.write, self._err.write)
        return channel

    async def _ordered(self, waiting: WaitingShell, around: Surroundings) -> CommandChannel | None:
        """The waiting shell with this command in it; None where nothing of it can have begun."""
        cwd = posixpath.join(around.cwd, self._plan.cwd)
        takes_stdin = bool(self._plan.stdin)
        sent = order(self._plan.command, cwd=cwd, call_id=self._run.call_id, takes_stdin=takes_stdin)
        channel = await waiting.take() if len(sent) <= ORDER_BYTES_MAX else None
        if channel is None:
            return None
        channel.adopt(self._out.write, self._err.write)
        if not channel.send(sent):
            return None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READY_SECONDS_MAX):
                await channel.begun_or_ended()
        if channel.no_cwd or (channel.begun is not None and channel.send(GO)):
            return channel
        channel.close()  # it was never told to begin
        return None

    async def _finish(self, channel: CommandChannel, progress: Progress | None) -> Executed:
        reporter = asyncio.create_task(self._report(progress)) if progress else None
        try:
            refusal = await self._outcome(channel)
        finally:
            if reporter is not None:
                reporter.cancel()
        self._close_output()
        never_began = channel.begun is None and channel.exit_code is not None
        return Executed(self._result(channel), refusal, started=not never_began)

    # ── how it ended ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def _outcome(self, channel: CommandChannel) -> Refusal | None:
        if self._cancelled_by:
            return await self._surely_end(channel, Cancelled(reason=f"by {self._cancelled_by}"))
        try:
            async with asyncio.timeout(self._run.timeout_seconds):
                await channel.ended()
        except TimeoutError:
            if channel.exit_code is None:
                return await self._surely_end(channel, TimedOut(reason=f"after {self._run.timeout_seconds:g} s"))
            channel.close()  # it has ended; only its output still went on
        except asyncio.CancelledError as cancelled:
            return await self._surely_end(channel, Cancelled(reason=f"by {taken(cancelled)}"))
        return await self._judge(channel)

    async def _judge(self, channel: CommandChannel) -> Refusal | None:
        if channel.exit_code is None:
            return await self._lost(channel)
        if channel.no_cwd:
            return PathInvalid(path="cwd", reason="the working directory cannot be entered; nothing ran")
        if channel.begun is None:
            return not_started(self._link, channel).refusal
        if channel.exit_code:
            return CommandFailed(reason=f"it ended with exit code {channel.exit_code}")
        return None

    async def _lost(self, channel: CommandChannel) -> Refusal:
        """The connection went before the exit code came: whatever it did, it is not known to have succeeded."""
        what = "the connection was lost while it ran" if channel.begun else "the connection was lost as it was sent"
        return OutcomeUnknown(reason=f"{what}; {await self._still_there(channel)}", call_id=self._run.call_id)

    async def _still_there(self, channel: CommandChannel) -> str:
        try:
            async with asyncio.timeout(LOOK_AFTER_LOSS_SECONDS):
                pids = await look_for(self._link, self._run.call_id, channel.begun)
        except (Faulted, TimeoutError):
            return "the host could not be asked what became of it"
        if pids:
            return f"it still runs there as process {', '.join(str(pid) for pid in pids[:5])}"
        return "none of its processes is there any more"

    async def _surely_end(self, channel: CommandChannel, refusal: Refusal) -> Refusal:
        """End the call on the host whoever gives up waiting for it meanwhile."""
        ended, _ = await see_through(self._end(channel, refusal))
        return ended

    async def _end(self, channel: CommandChannel, refusal: Refusal) -> Refusal:
        """End the whole tree on the host and look that it is gone; what cannot be seen to be gone is unknown."""
        if channel.begun is None:
            # The prologue writes its marker before it runs anything: with its streams closed it never gets there.
            channel.close()
        try:
            ended = await end_call(self._link, self._run.call_id, channel.begun)
        except Faulted as fault:
            reason = f"{refusal.reason}; whether it still runs is not known: {fault.refusal.reason}"
            channel.close()
            return OutcomeUnknown(reason=reason, call_id=self._run.call_id)
        await self._drain(channel)
        return self._with_end(refusal, ended)

    async def _drain(self, channel: CommandChannel) -> None:
        try:
            async with asyncio.timeout(1.0):
                await channel.ended()
        except TimeoutError:
            channel.close()

    def _with_end(self, refusal: Refusal, ended: Ended) -> Refusal:
        reason = f"{refusal.reason}; {ended.sentence}"
        if ended.left:
            return OutcomeUnknown(reason=reason, call_id=self._run.call_id)
        return type(refusal)(reason=reason)

    # ── output ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _report(self, progress: Progress | None) -> None:
        seconds = 0.0
        while progress is not None:
            await asyncio.sleep(self._limits.progress_seconds)
            seconds += self._limits.progress_seconds
            try:
                await progress(f"running for {seconds:g} s", self._out.seen_bytes + self._err.seen_bytes)
            except Exception:  # noqa: BLE001 - a listener that fails must not disturb the call
                return

    def _close_output(self) -> None:
        self._out.close()
        self._err.close()

    def _result(self, channel: CommandChannel) -> Mapping[str, Json]:
        out, err = answer_texts(self._out, self._err, self._limits.answer_chars_max)
        return {
            "exit_code": channel.exit_code,
            "stdout": out.text,
            "stderr": err.text,
            "truncated": out.is_cut or err.is_cut,
            "stdout_bytes": self._out.seen_bytes,
            "stderr_bytes": self._err.seen_bytes,
            "next_offset": out.next_offset,
        }
