"""Putting: file work as a run of its own that runs nothing: made ready in its directory, held like a staged diff.

Asked for again it answers again, a refusal too; what a killed worker left half ready is made ready anew, for nobody has
seen it. Content that is too long for one request comes ahead of it in pieces, each at its place in one file.
"""

import contextlib
import fcntl
import os
import signal
import stat
import time
from typing import Any, Dict, List, Tuple

from interlock.runner.fileplans import plan_work
from interlock.runner.filework import WorkContent
from interlock.runner.measured import drop_layers, hold_layers, told_changes
from interlock.runner.processes import own_identity
from interlock.runner.recording import UPLOAD_NAME, begin_again, claim_run, drop_upload, end_run, raise_fence, run_state
from interlock.runner.rundirs import RunFault, disk_fault, write_all
from interlock.runner.starting import no_beginning
from interlock.runner.steps import run_step

PUT_CHANGES_TOLD_MAX = 1000
UPLOAD_BYTES_MAX = 1024 * 1024 * 1024
PUT_ORDER = {"level": "staged", "network": "none"}


class PutCancelled(Exception):
    """Somebody cancelled the work while it was made ready."""


# ── content that comes ahead ─────────────────────────────────────────────────────────────────────────────────────────


def take_upload(rundir: str, head: Dict[str, Any], data: bytes) -> Dict[str, Any]:
    """One piece of content at its offset; sent again it changes nothing. Raises RunFault."""
    offset = head.get("offset")
    if not isinstance(offset, int) or offset < 0 or offset + len(data) > UPLOAD_BYTES_MAX:
        raise RunFault("bad_request", "a piece of content lies within %d bytes" % UPLOAD_BYTES_MAX)
    _claim_put(rundir, head)
    lock = _locked_run(rundir)
    try:
        if _known_end(rundir) is None:
            _write_piece(lock, offset, data)
    finally:
        os.close(lock)
    return {"taken": offset + len(data)}


def _write_piece(rundir: int, offset: int, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        handle = os.open(UPLOAD_NAME, flags, 0o600, dir_fd=rundir)
        try:
            os.lseek(handle, offset, os.SEEK_SET)
            write_all(handle, data)
        finally:
            os.close(handle)
    except OSError as fault:
        raise disk_fault(fault)


def _sent_content(rundir: str, head: Dict[str, Any], data: bytes) -> WorkContent:
    """The request's own content, or what came ahead of it, as long as it is what the request names. Raises RunFault."""
    named = head.get("upload")
    if named is None:
        return WorkContent(data)
    path = os.path.join(rundir, UPLOAD_NAME)
    try:
        if not isinstance(named, dict) or not stat.S_ISREG(os.lstat(path).st_mode):
            raise RunFault("bad_request", "an upload is named by its bytes and sha256")
        found = WorkContent(path=path)
    except OSError:
        raise RunFault("bad_request", "its content has not come")
    if (found.size, found.sha256) != (named.get("bytes"), named.get("sha256")):
        raise RunFault("bad_request", "other content came than was named")
    return found


# ── the work ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def put_work(rundir: str, head: Dict[str, Any], data: bytes) -> Dict[str, Any]:
    """The work's changes, digest and `result`. Raises RunFault, with the refusal's own fields where it is refused."""
    _claim_put(rundir, head)
    lock = _locked_run(rundir)
    try:
        end = _known_end(rundir)
        end = _put_ended(rundir, head, data) if end is None else end
    finally:
        os.close(lock)
    if end["why"] == "refused":
        raise RunFault(end["refusal"]["fault"], end["reason"], **_without_fault(end["refusal"]))
    return {"state": "ended", "end": end, "result": end.get("result", {}), "changes": [], **_told(rundir, end)}


def _claim_put(rundir: str, head: Dict[str, Any]) -> None:
    fence = int(head.get("fence", 0))
    claim = {"order": PUT_ORDER, "put": True, "fence": fence, "at": time.time()}
    if not claim_run(rundir, claim) and not raise_fence(rundir, fence):
        raise RunFault("stale", "one with a newer fence was here before")


def _locked_run(rundir: str) -> int:
    lock = os.open(rundir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def _told(rundir: str, end: Dict[str, Any]) -> Dict[str, Any]:
    return told_changes(rundir, 0, PUT_CHANGES_TOLD_MAX) if end.get("changes") else {}


def _known_end(rundir: str) -> Any:
    """The end of the same work done before; None where it was not finished. Raises RunFault."""
    state, record = run_state(rundir)
    if state == "void" or not (record.get("put") or state == "starting"):
        raise RunFault("absent" if state == "void" else "exists", "this id is taken")
    if "void" in record:
        raise RunFault("absent", "it was decided that it shall not be done")
    return record["end"] if state == "ended" else None


def _work_of(head: Dict[str, Any]) -> Dict[str, Any]:
    work = head.get("work")
    if not isinstance(work, dict):
        raise RunFault("bad_request", "a piece of work is an object")
    kind = work.get("do") or work.get("kind")
    most = {"changes_max": head["changes_max"]} if "changes_max" in head else {}
    return {**most, **work, "do": "move" if kind == "copy" else kind, "copy": kind == "copy" or bool(work.get("copy"))}


def _put_ended(rundir: str, head: Dict[str, Any], data: bytes) -> Dict[str, Any]:
    """Make it ready, and put its end on record. Whoever cancels meanwhile ends it here, and is told how."""
    work, content = _work_of(head), _sent_content(rundir, head, data)
    signal.signal(signal.SIGTERM, _put_cancelled)
    handle = begin_again(rundir, own_identity(os.getpid()))
    if handle < 0:
        raise RunFault("absent", "it was decided that it shall not be done")
    try:
        run_step("put-begun")
        end, unsynced = _made_ready(rundir, work, content)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    except PutCancelled:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _clear_put(rundir)
        end, unsynced = no_beginning(PUT_ORDER, "cancelled", "before it was ready"), []
    try:
        end_run(rundir, handle, end, unsynced)
    finally:
        os.close(handle)
    drop_upload(rundir)
    run_step("put-ended")
    return end


def _put_cancelled(number: int, frame: Any) -> None:
    del number, frame
    raise PutCancelled


def _made_ready(rundir: str, work: Dict[str, Any], content: WorkContent) -> Tuple[Dict[str, Any], List[int]]:
    """Its end, and the open files that are to be synced with it. Raises RunFault, PutCancelled."""
    _clear_put(rundir)
    record = plan_work(rundir, work, content)
    if "fault" in record:
        _clear_put(rundir)
        return {**no_beginning(PUT_ORDER, "refused", record["reason"]), "refusal": record}, []
    run_step("put-ready")
    unsynced = [hold_layers(rundir, record, rundir)] if record["changes"] else []
    if not record["changes"]:
        drop_layers(rundir, rundir)
    end = {
        **no_beginning(PUT_ORDER, "", ""), "began": True, "observed": "staged",
        "changes": len(record["changes"]), "scratch": 0, "result": record["result"],
    }  # fmt: skip
    return end, unsynced


def _clear_put(rundir: str) -> None:
    """Throw away what was made ready, by this worker or by one that died."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(rundir, "changes.json"))
    drop_layers(rundir, rundir)


def _without_fault(refusal: Dict[str, Any]) -> Dict[str, Any]:
    return {name: value for name, value in refusal.items() if name not in ("fault", "reason")}
