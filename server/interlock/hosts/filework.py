"""File work through a host's runner: a change made ready there as a layer, or refused. Nothing of it lands here.

Asked for again it is answered again, so a lost connection is simply made anew. Where it is cut short nothing has
changed: what was made ready is thrown away.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import asyncssh

from interlock.hosts.cancelling import see_through, taken
from interlock.hosts.faults import Faulted, busy, unreachable
from interlock.hosts.layers import ask_runner, runner_of, whole_reply
from interlock.hosts.link import Link, Live
from interlock.hosts.outpost import Outpost, OutpostLost, Reply, RunnerFault
from interlock.hosts.seen import measured_of
from interlock.ports import Bounds, Executed, Run
from interlock.runner.frames import FRAME_BYTES_MAX
from interlock.settings import Limits
from interlock_policies.facts import Level
from interlock_tools.call import Json
from interlock_tools.errors import (
    ArgumentInvalid,
    Cancelled,
    ContainmentUnavailable,
    Internal,
    OutcomeUnknown,
    OutputLimited,
    PathInvalid,
    Recovery,
    Refusal,
    StaleState,
    TimedOut,
)
from interlock_tools.plan import DeleteFile, EditFile, MoveFile, WorkPlan, WriteFile

STOP_SECONDS_MAX = 10.0
PIECE_BYTES_MAX = FRAME_BYTES_MAX // 2  # small enough that other requests on the channel do not wait long
FENCE = 1
# What the runner may say of a refusal; every other code of its would be a fault of ours.
_KINDS: Mapping[str, type[Refusal]] = {
    kind.code: kind for kind in (PathInvalid, StaleState, ArgumentInvalid, OutputLimited)
}


@dataclass(frozen=True)
class Work:
    """What the runner is asked: the tool's own arguments, and the content that goes with them."""

    head: Mapping[str, Json]
    content: bytes = b""


def work_of(plan: WorkPlan, limits: Limits) -> Work:
    """A plan as the runner takes it."""
    match plan:
        case WriteFile():
            head = {"kind": "write", "create_parents": plan.create_parents, "expected_sha256": plan.expected_sha256}
            return Work({**head, "path": plan.path, "mode": plan.mode}, plan.content)
        case EditFile():
            edits = [{"old": edit.old, "new": edit.new, "count": edit.count} for edit in plan.replacements]
            head = {"kind": "edit", "path": plan.path, "expected_sha256": plan.expected_sha256}
            return Work({**head, "bytes_max": limits.file_bytes_max}, json.dumps(edits).encode("ascii"))
        case MoveFile():
            head = {"kind": "copy" if plan.copy else "move", "path": plan.path, "destination": plan.destination}
            return Work({**head, "overwrite": plan.overwrite, "recursive": plan.recursive})
        case DeleteFile():
            head = {"kind": "delete", "path": plan.path, "recursive": plan.recursive}
            return Work({**head, "expected_sha256": plan.expected_sha256})


class FileWork:
    """One file change of one call, until it is ready to land or refused. One object serves all tries of it."""

    def __init__(self, run: Run, plan: WorkPlan, limits: Limits) -> None:
        self._run = run
        self._work = work_of(plan, limits)
        self._limits = limits
        self._ends = asyncio.get_running_loop().time() + run.timeout_seconds

    async def carry_out(self, link: Link, live: Live) -> Executed:
        """Have it made ready. Raises Faulted and asyncssh.ChannelOpenError for the road's faults: nothing has changed.

        A cancellation is answered as Cancelled, after what was made ready was thrown away.
        """
        try:
            async with asyncio.timeout_at(self._ends):
                outpost = await runner_of(link, live)
                reply = await self._put(outpost)
        except TimeoutError:
            return await self._cut_short(link, TimedOut(reason=f"after {self._run.timeout_seconds:g} s"))
        except asyncio.CancelledError as cancelled:
            return await self._cut_short(link, Cancelled(reason=f"by {taken(cancelled)}"))
        except OutpostLost as fault:
            raise unreachable(f"the connection was lost and nothing was changed: {fault}") from None
        except RunnerFault as fault:
            return self._refused(fault)
        return executed_of(reply, self._run)

    async def _put(self, outpost: Outpost) -> Reply:
        content, run = self._work.content, self._run.call_id
        head: dict[str, Json] = {
            "run": run,
            "fence": FENCE,
            "changes_max": self._limits.layer_changes_max,
            "work": {**self._work.head, "declared": list(self._run.declared)},
        }
        if len(content) > PIECE_BYTES_MAX:
            for offset in range(0, len(content), PIECE_BYTES_MAX):
                piece = content[offset : offset + PIECE_BYTES_MAX]
                await outpost.follow("upload", {"run": run, "fence": FENCE, "offset": offset}, piece, _unheard)
            head["upload"] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            content = b""
        reply = await outpost.follow("put", head, content, _unheard)
        return await whole_reply(outpost, run, reply, self._limits.layer_changes_max)

    async def _cut_short(self, link: Link, refusal: Refusal) -> Executed:
        """End it on its host. Nothing can have changed there, whether the host could still be told or not."""
        await see_through(self._stop(link))
        return Executed({}, type(refusal)(reason=f"{refusal.reason}; nothing was changed"), started=False)

    async def _stop(self, link: Link) -> None:
        run = self._run.call_id
        try:
            async with asyncio.timeout(STOP_SECONDS_MAX):
                live = await link.live()
                outpost = await runner_of(link, live)
                await outpost.ask("cancel", {"run": run, "grace_seconds": 1.0}, timeout_seconds=STOP_SECONDS_MAX)
                await ask_runner(link, live, "discard", {"run": run})
        except (TimeoutError, OutpostLost, RunnerFault, Faulted, asyncssh.Error):
            return  # what is left there waits for nobody, and expires

    def _refused(self, fault: RunnerFault) -> Executed:
        if fault.head.get("code") in _KINDS:
            return Executed({}, refusal_of(fault.head, self._run.host), started=False)
        if fault.code == "busy":
            raise busy(fault.reason, 1)
        reasons: dict[str, Refusal] = {
            "absent": Cancelled(reason=f"{fault.reason}; nothing was changed"),
            "expired": OutcomeUnknown(reason=fault.reason, call_id=self._run.call_id),
            "no_space": ContainmentUnavailable(reason=f"the host has no room for it: {fault.reason}"),
            "unavailable": ContainmentUnavailable(reason=fault.reason),
        }
        refusal = reasons.get(fault.code, Internal(reason=f"the runner refused it: {fault.code}"))
        raise Faulted(refusal, counts=False)


async def collect_work(link: Link, live: Live, run: Run, limits: Limits) -> Executed | None:
    """What became of file work that another server asked for; None where the host never began it, and now never will.

    Raises Faulted where the host cannot be asked.
    """
    if run.bounds.level is not Level.STAGED:
        reason = "it went over the file channel, of which the host keeps no record"
        return Executed({}, OutcomeUnknown(reason=reason, call_id=run.call_id), started=True)
    outpost = await runner_of(link, live)
    try:
        reply = await outpost.follow("attach", {"run": run.call_id, "follow": True}, b"", _unheard)
        reply = await whole_reply(outpost, run.call_id, reply, limits.layer_changes_max)
    except RunnerFault as fault:
        if fault.code == "absent":
            return None
        said = fault.reason if fault.code == "expired" else fault.code
        unsaid = Internal(reason=f"the runner did not say what became of it: {said}")
        raise Faulted(unsaid, counts=False) from None
    except OutpostLost as fault:
        raise unreachable(f"the runner did not answer: {fault}") from None
    if reply.head.get("state") != "ended":  # its worker died, or it was never asked for: nothing can have landed
        return None
    return executed_of(reply, run)


def executed_of(reply: Reply, run: Run) -> Executed:
    """The runner's last word on a piece of file work."""
    end: Mapping[str, Json] = reply.head.get("end") or {}
    if end.get("why") == "refused":
        return Executed({}, refusal_of({**end["refusal"], "reason": end["reason"]}, run.host), started=False)
    if end.get("why"):
        return Executed({}, Cancelled(reason=f"{end.get('reason')}; nothing was changed"), started=False)
    return Executed(
        dict(end.get("result") or {}), None, started=True, measured=measured_of(reply.head, Bounds(Level.STAGED))
    )


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def refusal_of(said: Mapping[str, Json], host: str) -> Refusal:
    """A refusal of the runner's as the contract has it."""
    kind = _KINDS.get(str(said.get("code")), Internal)
    allowed = tuple(str(value) for value in said.get("allowed") or ())
    recovery = _recovery_of(said.get("recovery") or {}, host)
    return kind(path=str(said.get("path", "")), reason=str(said.get("reason", "")), allowed=allowed, recovery=recovery)


def _recovery_of(said: Mapping[str, Json], host: str) -> Recovery | None:
    arguments, because = dict(said.get("arguments") or {}), str(said.get("because", ""))
    match said.get("action"):
        case "use_tool":
            return Recovery.use(str(said.get("tool", "")), {"host": host, **arguments}, because)
        case "change_arguments":
            return Recovery.change(arguments, because)
        case "ask_human":
            return Recovery.ask(because)
    return None


def _unheard(_head: Mapping[str, Json], _body: bytes) -> None:
    """File work has no output on the way."""
