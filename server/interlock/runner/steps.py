"""Steps: the named points of a run and a landing at which a fault can be let happen. Without faults they do nothing.

Faults are named to the helper once, in INTERLOCK_RUNNER_FAULTS, which the server never sets:
`STEP=kill`, `STEP=stop`, `STEP=stall:SECONDS`, `STEP=raise:ERRNO`, several with commas between them.
"""

import os
import signal
import time
from typing import Dict

RUN_STEPS = (
    "helper-request", "helper-claimed", "helper-forked", "helper-ordered", "helper-ended", "helper-answer",
    "supervisor-start", "supervisor-launched", "supervisor-gate", "supervisor-began",
    "supervisor-output", "supervisor-exited", "supervisor-measured", "supervisor-end", "supervisor-done",
    "room-start", "room-built", "command-exec", "worker-start", "worker-done", "spare-start", "spare-ordered",
    "put-begun", "put-ready", "put-ended",
    "app-claimed", "app-uploaded", "app-unpacked", "app-placed", "app-switched", "app-pruned",
    "app-saved", "app-landed", "app-returned",
)  # fmt: skip
LANDING_STEPS = (
    "checked", "intended", "copied", "held", "prepared", "synced", "journaled", "carry", "linked", "swapped", "carried",
    "meta", "flushed", "settled", "done", "cleared", "ended", "back", "taken-back", "restored",
)  # fmt: skip
FAULT_POINTS = RUN_STEPS + tuple("landing-" + name for name in LANDING_STEPS)
RUN_FAULTS: Dict[str, str] = {}


def name_faults(text: str) -> None:
    """Let these faults happen in this process and in all that it forks. Raises ValueError for an unknown step."""
    for item in filter(None, text.split(",")):
        step, _, fault = item.partition("=")
        if step not in FAULT_POINTS:
            raise ValueError("no such step: %s" % step)
        RUN_FAULTS[step] = fault


def run_step(name: str) -> None:
    """A point of the way: whatever fault is named for it happens here."""
    fault, _, amount = RUN_FAULTS.get(name, "").partition(":")
    if fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif fault == "stall":
        time.sleep(float(amount))
    elif fault == "raise":
        raise OSError(int(amount), os.strerror(int(amount)))
