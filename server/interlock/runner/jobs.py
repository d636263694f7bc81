"""Jobs: the verbs that may take long, as functions of a request. A worker does each, and outlives the helper."""

import os
from typing import Any, Callable, Dict, NoReturn, Tuple

from interlock.runner.expiring import expire_runs
from interlock.runner.following import FINAL_CHANGES_MAX
from interlock.runner.frames import given_frames
from interlock.runner.measured import clear_settled, diff_run, told_changes
from interlock.runner.putting import put_work, take_upload
from interlock.runner.recording import require_run
from interlock.runner.releases import do_app
from interlock.runner.rundirs import RunFault, run_dir
from interlock.runner.settling import discard_run, land_run, sweep_runs, undo_run
from interlock.runner.supervise import leave_helper
from interlock.runner.working import see_job_through

DIFF_BYTES_MAX = 512 * 1024
IMAGE_BYTES_DEFAULT = 256 * 1024 * 1024
Head = Dict[str, Any]
Answered = Tuple[Head, bytes]


def known_run(place: str, head: Head) -> str:
    """The directory of the run that is asked about. Raises RunFault where it is not there, or goes on."""
    rundir = run_dir(place, head.get("run"))
    require_run(rundir)
    return rundir


def number_of(head: Head, name: str, default: int) -> int:
    """A count in a request. Raises RunFault."""
    value = head.get(name, default)
    if not isinstance(value, int) or value < 0:
        raise RunFault("bad_request", "%s is a number from 0 on" % name)
    return value


def _land(place: str, head: Head, body: bytes) -> Answered:
    del body
    digest = head.get("digest")
    if not isinstance(digest, str):
        raise RunFault("bad_request", "a landing names the digest of its diff")
    return land_run(known_run(place, head), digest, number_of(head, "image_bytes_max", IMAGE_BYTES_DEFAULT)), b""


def _undo(place: str, head: Head, body: bytes) -> Answered:
    del body
    return undo_run(known_run(place, head), str(head.get("force") or "")), b""


def _discard(place: str, head: Head, body: bytes) -> Answered:
    del body
    return discard_run(known_run(place, head)), b""


def _changes(place: str, head: Head, body: bytes) -> Answered:
    del body
    found = told_changes(known_run(place, head), number_of(head, "offset", 0), FINAL_CHANGES_MAX)
    if not found:
        raise RunFault("absent", "nothing was measured for this run")
    return found, b""


def _put_ready(place: str, head: Head, body: bytes) -> Answered:
    return put_work(run_dir(place, head.get("run")), head, body), b""


def _upload(place: str, head: Head, body: bytes) -> Answered:
    return take_upload(run_dir(place, head.get("run")), head, body), b""


def _diff(place: str, head: Head, body: bytes) -> Answered:
    del body
    most = min(number_of(head, "bytes_max", DIFF_BYTES_MAX), DIFF_BYTES_MAX)
    return {}, diff_run(known_run(place, head), str(head.get("path") or ""), most)


def _expire(place: str, head: Head, body: bytes) -> Answered:
    del body
    return expire_runs(place, head), b""


def _sweep(place: str, head: Head, body: bytes) -> Answered:
    del head, body
    return sweep_runs(place), b""


def _app(place: str, head: Head, body: bytes) -> Answered:
    del place
    return do_app(head, body)


JOBS: Dict[str, Callable[[str, Head, bytes], Answered]] = {
    "land": _land, "undo": _undo, "discard": _discard, "changes": _changes,
    "upload": _upload, "put": _put_ready, "diff": _diff, "expire": _expire, "sweep": _sweep,
    "app": _app,
}  # fmt: skip

# What of a job nobody has to wait for.
AFTERWARDS: Dict[str, Callable[[str], None]] = {"land": clear_settled, "discard": clear_settled}


def do_job(place: str, head: Head, body: bytes, pipe: int) -> NoReturn:
    """Do the job of a request in this process, which was forked for it: answer, then what nobody waits for."""

    def after() -> None:
        afterwards = AFTERWARDS.get(head["do"])
        if afterwards is not None:
            afterwards(run_dir(place, head.get("run")))

    see_job_through(lambda: JOBS[head["do"]](place, head, body), pipe, after)


def wait_as_worker(place: str, pipe: int) -> NoReturn:
    """Wait for a request, in a process that was forked ahead of it. Without one nothing is done."""
    try:
        leave_helper(pipe)
        for head, body in given_frames(pipe):
            do_job(place, head, body, pipe)  # ends this process
    finally:
        os._exit(0)
