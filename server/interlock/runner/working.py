"""Working: jobs that may take long, each in a forked process of its own that outlives the connection.

A job's result goes back through a pipe to whoever still listens; what must not be lost the job itself writes down.
"""

import contextlib
import os
import signal
from typing import Any, Callable, Dict, NoReturn, Optional, Tuple

from interlock.runner.frames import encode_frame
from interlock.runner.rundirs import RunFault, disk_fault
from interlock.runner.steps import run_step
from interlock.runner.supervise import leave_helper
from interlock.runner.tree import LayerFault

Job = Callable[[], Tuple[Dict[str, Any], bytes]]


def fork_worker(work: Callable[[int], NoReturn]) -> int:
    """Start a worker; the pipe on which one frame will come: its answer. Raises OSError."""
    ours, theirs = os.pipe()
    if os.fork() == 0:
        try:
            leave_helper(theirs)
            work(theirs)
        finally:
            os._exit(0)
    os.close(theirs)
    return ours


def see_job_through(job: Job, pipe: int, after: Optional[Callable[[], None]] = None) -> NoReturn:
    """Do a job in this process, which was forked for it, and answer. `after`: done when the answer is out."""
    try:
        _give_answer(job, pipe)
        os.close(pipe)
        if after is not None:
            after()
    except (OSError, RunFault):
        pass  # what could not be removed goes with the run's directory
    finally:
        os._exit(0)


def _give_answer(job: Job, pipe: int) -> None:
    for number in (signal.SIGHUP, signal.SIGPIPE, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    run_step("worker-start")
    frame = encode_frame(*answer_of(job))
    run_step("worker-done")
    with contextlib.suppress(OSError):  # nobody listens any more
        while frame:
            frame = frame[os.write(pipe, frame) :]


def answer_of(job: Job) -> Tuple[Dict[str, Any], bytes]:
    """What a job gives, or the fault that it raised, as an answer's fields."""
    try:
        head, body = job()
    except RunFault as fault:
        return {"ok": False, "fault": fault.code, "reason": fault.reason, **fault.more}, b""
    except LayerFault as fault:
        told = {"fault": fault.code, "reason": fault.reason, "path": fault.path, "unchanged": fault.unchanged}
        return {"ok": False, **told}, b""
    except OSError as fault:
        known = disk_fault(fault)
        return {"ok": False, "fault": known.code, "reason": str(fault)}, b""
    except Exception as fault:  # noqa: BLE001 - whatever it is, it is answered
        return {"ok": False, "fault": "internal", "reason": "%s: %s" % (type(fault).__name__, fault)}, b""
    return {"ok": True, **head}, body
