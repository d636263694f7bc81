"""File operations: each plan's work on one host, its errors as refusals. It never guesses that a change landed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import asyncssh

from interlock.hosts.cancelling import taken
from interlock.hosts.faults import Faulted, describe, unreachable
from interlock.hosts.link import Link, Live
from interlock.hosts.listing import list_files
from interlock.hosts.moving import delete_file, move_file
from interlock.hosts.reading import read_file
from interlock.hosts.searching import search_files
from interlock.hosts.sftp import LOST
from interlock.hosts.site import Site
from interlock.hosts.writing import edit_file, write_file
from interlock.ports import Executed, Run
from interlock.settings import Limits
from interlock_tools.call import Json
from interlock_tools.errors import Cancelled, Internal, OutcomeUnknown, Refusal, TimedOut
from interlock_tools.plan import DeleteFile, EditFile, ListFiles, MoveFile, ReadFile, SearchFiles, WriteFile

ANSWER_SECONDS = 2.0


async def carry_out(link: Link, live: Live, run: Run, limits: Limits, redact: Callable[[str], str]) -> Executed:
    """One file operation within its time.

    Raises Faulted only where nothing began on the host and the fault is the road's; every other end is an `Executed`. A
    cancellation is answered as Cancelled, or as what the change did where it came too late to stop it.
    """
    async with link.files(live) as sftp:
        site = Site(link, live, sftp, run, limits, redact)
        try:
            async with asyncio.timeout(run.timeout_seconds):
                return Executed(await _work(site), None, started=True)
        except TimeoutError:
            await _look_after(site)
            return _cut_short(site, TimedOut(reason=f"after {run.timeout_seconds:g} s"))
        except asyncio.CancelledError as cancelled:
            return _cut_short(site, Cancelled(reason=f"by {taken(cancelled)}"))
        except (*LOST, OSError) as fault:
            return _lost(site, unreachable(f"the file channel was lost: {describe(fault)}"))
        except Faulted as fault:
            if fault.counts and not fault.began:
                return _lost(site, fault)
            return Executed({}, fault.refusal, started=fault.began or site.begun)
        except asyncssh.SFTPError as fault:
            return Executed({}, site.fault(fault, "path", "the path").refusal, started=site.begun)


async def _look_after(site: Site) -> None:
    """A file channel that does not answer (a hung file system, a wedged connection) is not asked again by anybody."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await site.sftp.realpath(".")
    except (TimeoutError, OSError, asyncssh.Error):
        site.link.forget_sftp(site.live)


async def _work(site: Site) -> Mapping[str, Json]:
    match site.run.plan:
        case ReadFile() as plan:
            return await read_file(site, plan)
        case ListFiles() as plan:
            return await list_files(site, plan)
        case SearchFiles() as plan:
            return await search_files(site, plan)
        case WriteFile() as plan:
            return await write_file(site, plan)
        case EditFile() as plan:
            return await edit_file(site, plan)
        case MoveFile() as plan:
            return await move_file(site, plan)
        case DeleteFile() as plan:
            return await delete_file(site, plan)
        case other:
            raise Faulted(Internal(reason=f"no file operation: {type(other).__name__}"), counts=False)


def _lost(site: Site, fault: Faulted) -> Executed:
    """The road failed: before the change nothing happened and it may be tried again, after it nobody knows."""
    if not site.begun:
        raise fault
    reason = f"the change was sent and not confirmed; {fault.refusal.reason}"
    return Executed({}, OutcomeUnknown(reason=reason, call_id=site.run.call_id), started=True)


def _cut_short(site: Site, refusal: Refusal) -> Executed:
    if site.begun:
        reason = f"{refusal.reason}; the change may have been made, in part or whole"
        return Executed({}, OutcomeUnknown(reason=reason, call_id=site.run.call_id), started=True)
    return Executed({}, type(refusal)(reason=f"{refusal.reason}; nothing was changed"), started=False)
