"""An app's place on a host: asked about, and changed step by step through the host's runner. It decides no step.

Every step here may be sent again: the host answers what is done already, and refuses whoever holds no good claim. So a
lost connection is simply made anew, and only where that fails is it unknown what became of the step.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from interlock.hosts.faults import Faulted, unreachable
from interlock.hosts.layers import runner_of
from interlock.hosts.link import Link, Live
from interlock.hosts.outpost import OutpostLost, Reply, RunnerFault
from interlock.ports import Executed, Progress, Run
from interlock.runner.frames import FRAME_BYTES_MAX
from interlock_tools.app_plans import (
    AppPlace,
    AppPlan,
    ClaimApp,
    DropRelease,
    FreeApp,
    LandFiles,
    NoteRelease,
    PlaceRelease,
    PruneReleases,
    SwitchRelease,
    UploadArtifact,
)
from interlock_tools.call import Json
from interlock_tools.errors import (
    CommandFailed,
    ConcurrencyLimited,
    ContainmentUnavailable,
    HostUnreachable,
    Internal,
    OutcomeUnknown,
    Recovery,
    Refusal,
    StaleState,
)
from interlock_tools.found import FileTexts, FoundContainer, FoundFile, HostState, KeptFile, KeptRelease

LOOK_SECONDS_MAX = 20.0
STEP_SECONDS_MAX = 600.0
SHOWN_MAX = 200
PIECES_BYTES_MAX = 8 * FRAME_BYTES_MAX  # above it a channel of its own is worth its opening
TOLD_EVERY_BYTES = 32 * FRAME_BYTES_MAX
STREAM_SECONDS_MAX = 3_600.0
ArtifactOf = Callable[[str], Path | None]  # by its SHA-256: where its bytes lie on the server


async def look_at_app(link: Link, live: Live, path: str, more: Mapping[str, Json] | None = None) -> HostState:
    """What is live there and which releases are kept; it changes nothing. Raises Faulted.

    `more`: what else is asked of an app that is a set of files (`targets`) or a container (`container`).
    """
    asked: dict[str, Json] = {"op": "look", "path": path, **(more or {})}
    head = (await _asked(link, live, asked, LOOK_SECONDS_MAX)).head
    claim = head.get("claim") or {}
    sets: Mapping[str, Json] = head.get("sets") or {}
    return HostState(
        link.host.name,
        live=str(head.get("live") or ""),
        current=str(head.get("current") or "absent"),
        kept=tuple(_kept(entry, sets) for entry in list(head.get("releases") or ())[:SHOWN_MAX]),
        holder=str(claim.get("deployment") or "") if claim.get("held") else "",
        free_bytes=int(head.get("free_bytes") or 0),
        container=FoundContainer(**head["container"]) if "container" in head else None,
        found={target: _found(entry) for target, entry in dict(head.get("targets") or {}).items()},
    )


def _kept(entry: Mapping[str, Json], sets: Mapping[str, Json]) -> KeptRelease:
    files = {target: KeptFile(*file) for target, file in dict(sets.get(entry["id"]) or {}).items()}
    sha256, size = str(entry.get("sha256") or ""), int(entry.get("bytes") or 0)
    return KeptRelease(str(entry["id"]), sha256, size, float(entry["placed_at"]), files)


def _found(entry: Mapping[str, Json]) -> FoundFile:
    return FoundFile(str(entry["real"]), str(entry["state"]), entry.get("mode"), str(entry.get("owner") or ""))


async def read_texts(link: Link, live: Live, path: str, reals: Sequence[str], release: str) -> FileTexts:
    """The text at each resolved path, and of a kept set for each target; None where it is none. Raises Faulted."""
    asked: dict[str, Json] = {"op": "contents", "path": path, "reals": list(reals), "release": release}
    head = (await _asked(link, live, asked, LOOK_SECONDS_MAX)).head
    return FileTexts(dict(head.get("texts") or {}), dict(head.get("kept") or {}))


async def change_app(
    link: Link, live: Live, run: Run, plan: AppPlan, artifact_of: ArtifactOf, progress: Progress | None
) -> Executed:
    """One step of a deployment on this host. Raises Faulted where the road is bad: it may be sent again."""
    try:
        if isinstance(plan, UploadArtifact):
            return await _upload(link, live, plan, artifact_of, progress)
        reply = await _asked(link, live, head_of(plan), min(run.timeout_seconds, STEP_SECONDS_MAX))
    except _Refused as refused:
        return Executed({}, refused.refusal, started=False)
    shown = {name: value for name, value in reply.head.items() if name in _SAID}
    return Executed(shown, None, started=True)


_SAID = ("already", "live", "before", "placed", "removed", "kept", "real", "have", "entries", "changes", "changes_cut")


def head_of(plan: AppPlan) -> dict[str, Json]:
    """A step as the runner is asked for it."""
    head = _place_head(plan.place)
    match plan:
        case ClaimApp():
            return {**head, "op": "claim"}
        case UploadArtifact():
            return {**head, "op": "upload", "sha256": plan.sha256, "bytes": plan.size}
        case PlaceRelease():
            named = {"release": plan.release, "sha256": plan.sha256, "bytes": plan.size, "name": plan.name}
            how = {"shared": list(plan.shared), "unpack": plan.unpack, "private": plan.private}
            return {**head, "op": "place", **named, **how}
        case NoteRelease():
            return {**head, "op": "note", "release": plan.release, "sha256": plan.sha256}
        case SwitchRelease():
            return {**head, "op": "switch", "release": plan.release, "expect": plan.expected}
        case LandFiles():
            files = [dict(zip(("target", "real", "expect", "after"), file, strict=True)) for file in plan.files]
            op = "return" if plan.back else "land"
            return {**head, "op": op, "release": plan.release, "expect": plan.expected, "files": files}
        case PruneReleases():
            about = dict(zip(("engine", "name", "image"), plan.container, strict=True)) if plan.container else None
            return {**head, "op": "prune", "keep": plan.keep, "spare": list(plan.spare), "container": about}
        case DropRelease():
            return {**head, "op": "drop", "release": plan.release}
        case FreeApp():
            return {**head, "op": "free"}


def _place_head(place: AppPlace) -> dict[str, Json]:
    return {
        "path": place.path,
        "deployment": place.deployment,
        "fence": place.fence,
        "lease_seconds": place.lease_seconds,
    }


async def _upload(
    link: Link, live: Live, plan: UploadArtifact, artifact_of: ArtifactOf, progress: Progress | None
) -> Executed:
    """Piece by piece from where the host has it; the host verifies the whole when it makes a release of it."""
    path = artifact_of(plan.sha256)
    if path is None:
        return Executed({}, StaleState(reason="the artifact is not there any more; nothing was sent"), started=False)
    head = head_of(plan)
    if path.stat().st_size != plan.size:
        reason = "the artifact is not the one that was planned any more; nothing was sent"
        return Executed({}, StaleState(reason=reason), started=False)
    if plan.size > PIECES_BYTES_MAX:
        return await _poured(link, live, plan, path, progress)
    have = int((await _asked(link, live, {**head, "offset": 0}, STEP_SECONDS_MAX)).head["have"])
    sent = 0
    with path.open("rb") as file:
        while have < plan.size:
            piece = await asyncio.to_thread(_read_at, file.fileno(), have)
            if not piece:
                reason = f"the artifact became shorter than {plan.size} bytes while it was sent; nothing is live of it"
                return Executed({}, StaleState(reason=reason), started=False)
            reply = await _asked(link, live, {**head, "offset": have}, STEP_SECONDS_MAX, piece)
            have, sent = int(reply.head["have"]), sent + len(piece)
            if progress is not None:
                await progress(f"{link.host.name}: {have * 100 // plan.size} % of the artifact is there", 0)
    return Executed({"sent": sent, "have": have}, None, started=True)


async def _poured(link: Link, live: Live, plan: UploadArtifact, path: Path, progress: Progress | None) -> Executed:
    """A large artifact over a channel of its own. Raises Faulted where that breaks off: the next try goes on there."""

    async def heard(have: int) -> None:
        if progress is not None and have % TOLD_EVERY_BYTES < FRAME_BYTES_MAX:
            await progress(f"{link.host.name}: {have * 100 // plan.size} % of the artifact is there", 0)

    with path.open("rb") as file:
        async with link.own_outpost(live) as outpost:
            try:
                async with asyncio.timeout(STREAM_SECONDS_MAX):
                    reply = await outpost.pour(head_of(plan), plan.size, lambda at: _read_at(file.fileno(), at), heard)
            except RunnerFault as fault:
                raise _Refused(refusal_of(fault, link.host.name)) from None
            except (OutpostLost, TimeoutError) as fault:
                raise unreachable(f"the upload broke off: {fault or 'it took too long'}") from None
    return Executed({"have": reply.head["have"]}, None, started=True)


def _read_at(handle: int, offset: int) -> bytes:
    return os.pread(handle, FRAME_BYTES_MAX, offset)


async def _asked(link: Link, live: Live, head: dict[str, Json], seconds: float, body: bytes = b"") -> Reply:
    outpost = await runner_of(link, live)
    try:
        return await outpost.ask("app", head, body, timeout_seconds=seconds)
    except RunnerFault as fault:
        raise _Refused(refusal_of(fault, link.host.name)) from None
    except (OutpostLost, TimeoutError) as fault:
        raise unreachable(f"the runner did not answer: {fault or 'in time'}") from None


class _Refused(Faulted):
    """The host refused the step: nothing of it was done, and its road is good."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal, counts=False)


def refusal_of(fault: RunnerFault, host: str) -> Refusal:
    """What the runner said of a step that it did not do, as the contract has it."""
    reason = f"{host}: {fault.reason}"
    match fault.code:
        case "stale":
            return StaleState(reason=reason, recovery=Recovery.wait("Send it again: it is planned anew."))
        case "broken_off":
            return CommandFailed(reason=reason)
        case "busy":
            return ConcurrencyLimited(reason=reason, retry_after_seconds=30)
        case "exists" | "absent" | "refused" | "bad_request":
            return StaleState(reason=reason, recovery=Recovery.ask("A person looks at what is there."))
        case "no_space" | "unavailable":
            return ContainmentUnavailable(reason=reason, recovery=Recovery.ask("A person makes room or gives leave."))
    return Internal(reason=f"{reason} ({fault.code})")


def unheard(plan: AppPlan, refusal: Refusal, call_id: str) -> Refusal:
    """The refusal where the road stayed bad: a switch that was sent may have been done, and its host says later."""
    if isinstance(plan, (SwitchRelease, LandFiles)) and isinstance(refusal, HostUnreachable):
        return OutcomeUnknown(reason=refusal.reason, call_id=call_id)
    return refusal
