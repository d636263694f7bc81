"""Putting: file work as a run of its own that runs nothing: made ready in its directory, held like a staged diff.

Asked for again it answers again; what a killed worker left half ready is made ready anew, for nobody has seen it.
"""

import fcntl
import os
import time
from typing import Any, Dict

from interlock.runner.fileplans import plan_work
from interlock.runner.measured import drop_layers, hold_layers, told_changes
from interlock.runner.recording import begin_run, claim_run, end_run, own_identity, raise_fence, run_state, void_run
from interlock.runner.rundirs import RunFault
from interlock.runner.starting import no_beginning

PUT_CHANGES_TOLD_MAX = 1000


def put_work(rundir: str, head: Dict[str, Any], content: bytes) -> Dict[str, Any]:
    """The work's changes, digest and `result`. Raises RunFault, with the refusal's own fields where it is refused."""
    fence = int(head.get("fence", 0))
    claim = {"order": {"level": "staged"}, "put": True, "fence": fence, "at": time.time()}
    if not claim_run(rundir, claim) and not raise_fence(rundir, fence):
        raise RunFault("stale", "one with a newer fence was here before")
    lock = os.open(rundir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        end = _known_end(rundir)
        end = _made_ready(rundir, _work_of(head), content) if end is None else end
    finally:
        os.close(lock)
    return {"state": "ended", "end": end, "result": end["result"], "changes": [], **_told(rundir, end)}


def _told(rundir: str, end: Dict[str, Any]) -> Dict[str, Any]:
    return told_changes(rundir, 0, PUT_CHANGES_TOLD_MAX) if end["changes"] else {}


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


def _made_ready(rundir: str, work: Dict[str, Any], content: bytes) -> Dict[str, Any]:
    drop_layers(rundir, rundir)
    record = plan_work(rundir, work, content)
    if "fault" in record:
        void_run(rundir, "refused")
        more = {name: value for name, value in record.items() if name not in ("fault", "reason")}
        raise RunFault(record["fault"], record["reason"], **more)
    unsynced = [hold_layers(rundir, record, rundir)] if record["changes"] else []
    end = {
        **no_beginning({"level": "staged", "network": "none"}, "", ""), "began": True, "observed": "staged",
        "changes": len(record["changes"]), "scratch": 0, "result": record["result"],
    }  # fmt: skip
    handle = begin_run(rundir, own_identity(os.getpid()))
    if handle < 0:
        handle = os.open(os.path.join(rundir, "begun"), os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
    end_run(rundir, handle, end, unsynced)
    return end
