"""The record of a run: one file that grows and whose name says how far the run got. It starts and ends no process.

`claim` (the order; made right after the directory) becomes, by a rename that only one can do, either `begun` (its
supervisor added who it is, made it durable, and only then lets the command begin) or `void` (somebody decided that it
never shall). `begun` becomes `ended` once its end was added and is durable. So whatever stalls in between can begin
nothing later, a result that can be seen is whole, and one inode is all that a run costs. A directory without any record
is given a `claim` that is void from its beginning.
"""

import contextlib
import json
import os
from typing import Any, Dict, Optional, Sequence, Tuple

from interlock.runner.gone import has_expired
from interlock.runner.processes import boot_id, is_alive
from interlock.runner.rundirs import RunFault, disk_fault, read_run_bytes, read_run_file, write_all, write_run_file

RECORD_NAMES = ("claim", "void", "begun", "ended")  # forward: whoever reads in this order misses no rename
UPLOAD_NAME = "upload"
Record = Dict[str, Any]


def claim_run(rundir: str, claim: Record) -> bool:
    """Make the directory and its claim (not yet durable); False where another was first.

    Raises RunFault: "expired" where it was here and has been removed since, so that it begins no second time.
    """
    try:
        os.mkdir(rundir, 0o700)
    except FileExistsError:
        return False
    except OSError as fault:
        raise disk_fault(fault)
    if has_expired(rundir):  # an id is noted before its directory goes, so this is the time to look
        unclaim(rundir)
        raise RunFault("expired", "it was over, and what the host kept of it has expired")
    try:
        return _new_claim(rundir, claim)
    except OSError as fault:
        unclaim(rundir)
        raise disk_fault(fault)


def _new_claim(rundir: str, claim: Record) -> bool:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        handle = os.open(os.path.join(rundir, "claim"), flags, 0o600)
    except FileExistsError:
        return False
    try:
        write_all(handle, _line(claim))
    finally:
        os.close(handle)
    return True


def unclaim(rundir: str) -> None:
    """Nothing can have begun: the directory goes, so that a later start is not taken for a second one."""
    for remove, path in ((os.unlink, os.path.join(rundir, "claim")), (os.rmdir, rundir)):
        with contextlib.suppress(OSError):
            remove(path)


def begin_run(rundir: str, supervisor: Record) -> int:
    """Make the claim durable and pass the gate: the record's file, or -1 where the run was decided otherwise.

    One fdatasync: the directory entries above it are in the same commit of a journaling file system. Raises OSError.
    """
    path = os.path.join(rundir, "claim")
    try:
        record = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1
    try:
        write_all(record, _line(supervisor))
        os.fdatasync(record)
        os.rename(path, os.path.join(rundir, "begun"))
    except FileNotFoundError:
        os.close(record)
        return -1
    return record


def begin_again(rundir: str, worker: Record) -> int:
    """Take up what a worker that died had begun, where that may be done twice; else as `begin_run`. Raises OSError."""
    handle = begin_run(rundir, worker)
    if handle >= 0:
        return handle
    try:
        handle = os.open(os.path.join(rundir, "begun"), os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1
    write_all(handle, b"\n" + _line(worker))
    return handle


def add_to_run(record: int, facts: Record) -> None:
    """Add what is known by now to the record of a run that began, durably. Raises OSError."""
    write_all(record, b"\n" + _line(facts))
    os.fdatasync(record)


def end_run(rundir: str, record: int, end: Record, unsynced: Sequence[int] = ()) -> None:
    """Add the end, make it durable with the open files that belong to it, show it. Raises OSError; may be tried again.

    All is written before the first is waited for: on a journaling file system they then share one commit.
    """
    write_all(record, b"\n" + _line({"end": end}))
    for handle in unsynced:
        os.fdatasync(handle)
    os.fdatasync(record)
    os.rename(os.path.join(rundir, "begun"), os.path.join(rundir, "ended"))


def void_run(rundir: str, why: str) -> bool:
    """Decide that a run that has not begun never will; False where it began or was decided already."""
    if run_record(rundir)[0] == "begun":
        return False
    for _ in range(2):  # a claim may be made between the two looks
        try:
            os.rename(os.path.join(rundir, "claim"), os.path.join(rundir, "void"))
        except FileNotFoundError:
            if _has_begun(rundir) or not os.path.isdir(rundir) or os.path.exists(os.path.join(rundir, "void")):
                return False
        else:
            with open(os.path.join(rundir, "void"), "ab") as file:
                file.write(b"\n" + _line({"void": why}))
            drop_upload(rundir)
            return True
        if _new_claim(rundir, {"void": why}):
            return not _has_begun(rundir)
    return False


def drop_upload(rundir: str) -> None:
    """Throw away the content that was sent ahead of a run's file work."""
    with contextlib.suppress(OSError):
        os.unlink(os.path.join(rundir, UPLOAD_NAME))


def _has_begun(rundir: str) -> bool:
    return any(os.path.exists(os.path.join(rundir, name)) for name in ("begun", "ended"))


def claim_void(rundir: str) -> bool:
    """Claim an absent id as void; False where the directory is there already. Raises RunFault as `claim_run` does."""
    return claim_run(rundir, {"void": "absent"})


def _line(value: Record) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n"


# ── what is known of a run ───────────────────────────────────────────────────────────────────────────────────────────


def run_record(rundir: str) -> Tuple[str, Record]:
    """(the record's name, all of its lines as one value); "" where there is no record.

    A claim that a supervisor of another boot had made durable counts as begun: a power cut may take the new name away.
    """
    void: Tuple[str, Record] = ("", {})
    for name in RECORD_NAMES:
        text = read_run_bytes(rundir, name)
        record = {} if text is None else _joined_lines(text)
        if name == "claim" and "void" in record:
            void = name, record  # unless it had begun before that was written: then the claim was another
        elif name == "claim" and record.get("boot", boot_id()) != boot_id():
            return "begun", record
        elif text is not None:
            return name, record
    return void


def _joined_lines(text: bytes) -> Record:
    found: Record = {}
    for line in text.splitlines():
        try:
            found.update(json.loads(line.decode("ascii")) if line else {})
        except ValueError:
            continue  # torn by a crash or a full disk
    return found


def run_state(rundir: str) -> Tuple[str, Record]:
    """One of absent, starting, running, ended, void, lost; and what is recorded."""
    name, record = run_record(rundir)
    if name == "ended":
        return "ended", record
    if name == "begun":
        if is_alive(record):
            return "running", record
        name, record = run_record(rundir)  # it may have ended since
        return "ended" if name == "ended" else "lost", record
    if "void" in (name, *record):
        return "void" if record.get("void") == "absent" else "lost", record
    return "starting" if name or os.path.isdir(rundir) else "absent", record


def raise_fence(rundir: str, fence: int) -> bool:
    """Whether a start with this fence may touch the run: an older one may not; a newer one is remembered."""
    newest: Optional[Record] = read_run_file(rundir, "fence.json")
    known = int((newest or run_record(rundir)[1]).get("fence", 0))
    if fence > known:
        write_run_file(rundir, "fence.json", {"fence": fence}, durable=False)
    return fence >= known


def require_run(rundir: str) -> Record:
    """The record of a run that is over. Raises RunFault("absent" or "busy")."""
    state, record = run_state(rundir)
    if state in ("absent", "void"):
        raise RunFault("absent", "there is no such run here")
    if state in ("starting", "running"):
        raise RunFault("busy", "the run goes on")
    return record
