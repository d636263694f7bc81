"""Layers on a host: a held change landed, undone, shown or thrown away through the runner. It decides none of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import asyncssh

from interlock.hosts.cancelling import see_through
from interlock.hosts.faults import Faulted, unreachable
from interlock.hosts.link import Link, Live
from interlock.hosts.outpost import Head, Outpost, OutpostLost, Reply, RunnerFault
from interlock.hosts.seen import changes_of, undo_why
from interlock.ports import Executed, Measured, Run
from interlock.settings import Limits
from interlock_tools.call import Json
from interlock_tools.errors import (
    CallUnknown,
    ContainmentUnavailable,
    Internal,
    OutcomeUnknown,
    Recovery,
    Refusal,
    StaleState,
    UndoUnavailable,
)
from interlock_tools.plan import CommitLayer, UndoRun

LANDING_SECONDS_MAX = 120.0
ASK_SECONDS_MAX = 30.0
AGAIN_SECONDS = 0.2


async def land_layer(link: Link, live: Live, run: Run, plan: CommitLayer, limits: Limits) -> Executed:
    """Land exactly the layer with this digest. Asking twice is safe: the second is told what the first did.

    Raises Faulted where nothing of it can have begun.
    """
    head = {"run": plan.run_id, "digest": plan.digest, "image_bytes_max": limits.undo_bytes_max}
    return await _changed(link, live, run, "land", head, limits)


async def undo_run(link: Link, live: Live, run: Run, plan: UndoRun, limits: Limits) -> Executed:
    """Put back what a run changed. Raises Faulted where nothing of it can have begun."""
    return await _changed(link, live, run, "undo", {"run": plan.run_id, "force": plan.keep}, limits)


async def _changed(link: Link, live: Live, run: Run, verb: str, head: Head, limits: Limits) -> Executed:
    """Ask for a change that must not be cut short; a lost connection is made anew and asked again."""
    work = _asked_until_known(link, live, verb, head, limits)
    reply, _ = await see_through(work)
    if isinstance(reply, Refusal):
        return Executed({}, reply, started=not isinstance(reply, _NOTHING_BEGAN))
    if reply is None:
        reason = f"the connection was lost during the {verb}, and the host could not be asked what became of it"
        return Executed({}, OutcomeUnknown(reason=reason, call_id=run.call_id), started=True)
    stale = [str(path) for path in reply.head.get("stale") or ()]
    if stale:
        return Executed({"stale": stale[:_SHOWN_MAX]}, _stale(verb, stale), started=False)
    done = int(reply.head.get("landed" if verb == "land" else "undone") or 0)
    measured = Measured(
        observed="staged",
        changes=changes_of(reply.head.get("changes") or ()),
        landed=True,
        bytes=int(reply.head.get("bytes") or 0),
        undo_why=undo_why(reply.head.get("undo") or {}) if verb == "land" else "an undo is not undone",
        notes=tuple(str(note) for note in reply.head.get("notes") or ())[:_SHOWN_MAX],
    )
    return Executed({"paths": done}, None, started=True, measured=measured)


_SHOWN_MAX = 20
_NOTHING_BEGAN = (StaleState, UndoUnavailable, CallUnknown, ContainmentUnavailable)


async def _asked_until_known(link: Link, live: Live, verb: str, head: Head, limits: Limits) -> Reply | Refusal | None:
    loop = asyncio.get_running_loop()
    until = loop.time() + limits.reattach_seconds_max
    outpost, sent = await runner_of(link, live), False
    while True:
        try:
            return await outpost.ask(verb, head, timeout_seconds=LANDING_SECONDS_MAX)
        except RunnerFault as fault:
            unsure = fault.code in _UNSURE[verb] and not fault.head.get("unchanged")
            return _not_said(fault, verb, head) if unsure else refusal_of(fault, verb)
        except (OutpostLost, TimeoutError):
            sent = True
        while sent:
            if loop.time() >= until:
                return None
            try:
                outpost, sent = await runner_of(link, await link.live()), False
            except (Faulted, asyncssh.ChannelOpenError):
                await asyncio.sleep(AGAIN_SECONDS)


_UNSURE = {"land": ("unavailable", "internal"), "undo": ("internal",)}  # it may have broken after something was changed


def _not_said(fault: RunnerFault, verb: str, head: Head) -> Refusal:
    """What failed on its host without saying where: it is asked for again, and never taken for not done."""
    reason = f"the host could not say what became of the {verb}: {fault.reason or fault.code}"
    return OutcomeUnknown(reason=reason, call_id=str(head["run"]))


async def runner_of(link: Link, live: Live) -> Outpost:
    """The host's runner. Raises Faulted(ContainmentUnavailable) where the host cannot run it."""
    outpost = await link.outpost(live)
    if outpost is None:
        reason = f"the host cannot run the runner: {live.no_runner or 'it offers too few sessions'}"
        raise Faulted(ContainmentUnavailable(reason=reason), counts=False)
    return outpost


async def ask_runner(link: Link, live: Live, verb: str, head: Mapping[str, Json]) -> Reply:
    """One small request. Raises Faulted."""
    outpost = await runner_of(link, live)
    try:
        return await outpost.ask(verb, head, timeout_seconds=ASK_SECONDS_MAX)
    except RunnerFault as fault:
        raise Faulted(refusal_of(fault, verb), counts=False) from None
    except (OutpostLost, TimeoutError) as fault:
        raise unreachable(f"the runner did not answer: {fault}") from None


async def whole_reply(outpost: Outpost, run_id: str, reply: Reply, changes_max: int) -> Reply:
    """A run's last word with all of its changes: more than fit into one answer are asked for page by page."""
    changes = list(reply.head.get("changes") or ())
    left = int(reply.head.get("changes_left") or 0)
    while left and len(changes) < changes_max:
        head = {"run": run_id, "offset": len(changes)}
        try:
            page = await outpost.ask("changes", head, timeout_seconds=ASK_SECONDS_MAX)
        except (OutpostLost, RunnerFault, TimeoutError):
            break
        found = page.head.get("changes") or ()
        left = int(page.head.get("changes_left") or 0) if found else 0
        changes += found
    cut = bool(reply.head.get("truncated")) or left > 0
    return Reply({**reply.head, "changes": changes, "truncated": cut}, reply.body)


def refusal_of(fault: RunnerFault, verb: str) -> Refusal:
    """A fault of the runner's as the contract has it."""
    if fault.code in ("stale", "moved"):
        return _stale(verb, [str(path) for path in fault.head.get("stale") or ()] or [fault.reason])
    if fault.code == "absent":
        kind = UndoUnavailable if verb == "undo" else CallUnknown
        return kind(reason=fault.reason or "the host keeps nothing of this call any more")
    if fault.code == "unavailable":
        return UndoUnavailable(reason=fault.reason) if verb == "undo" else ContainmentUnavailable(reason=fault.reason)
    if fault.code == "no_space":
        return ContainmentUnavailable(reason=f"the host has no room for it: {fault.reason}")
    return Internal(reason=f"the runner refused to {verb}: {fault.code}")


def _stale(verb: str, paths: list[str]) -> Refusal:
    what = "nothing was landed" if verb == "land" else "nothing was put back"
    reason = f"{paths[0]}{f' and {len(paths) - 1} more' if len(paths) > 1 else ''} changed on the host since; {what}"
    because = "What is there now is not what the change was made from: look at it, then make the change anew."
    if verb == "undo":
        because = "A person decides which side wins: 'interlock undo' shows both."
    return StaleState(reason=reason, allowed=tuple(paths[:_SHOWN_MAX]), recovery=Recovery.ask(because))
