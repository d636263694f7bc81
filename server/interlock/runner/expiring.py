"""Expiring: run directories that are old, too many or too big are removed, and remembered by their ids."""

import fcntl
import os
import time
from typing import Any, Dict, List, Set

from interlock.runner.gone import note_expired
from interlock.runner.probe import probe_remove
from interlock.runner.recording import run_record, run_state
from interlock.runner.rundirs import read_run_file
from interlock.runner.settling import all_runs, is_landing

# For what goes because there is too much: who was cut off may still come for it, first of all for how it ended.
EXPIRE_AGE_SECONDS_MIN = 3600.0
EXPIRE_OUTPUT_SECONDS_MIN = 60.0
OUTPUT_NAMES = ("out", "err", "out.tail", "err.tail")
STARTED_SECONDS_MAX = 600.0
HELD_DAYS_DEFAULT = 36500.0


def expire_runs(place: str, head: Dict[str, Any]) -> Dict[str, Any]:
    """Remove old runs, and the oldest of too many or too big ones; never one that runs, lands, or is named.

    Of too big ones the output goes first, which takes no outcome with it. What is held stays, up to `held_days` where
    these are given: longer than anybody would still land it. The ids of the removed are remembered: who asks for one
    later is not told that it never began.
    """
    lock = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _expire_runs(place, head)
    finally:
        os.close(lock)


def _expire_runs(place: str, head: Dict[str, Any]) -> Dict[str, Any]:
    kept_for = float(head.get("days", 7)) * 86400
    count_max, bytes_max = int(head.get("count_max", 10000)), int(head.get("bytes_max", 2**33))
    held_for = float(head.get("held_days", HELD_DAYS_DEFAULT)) * 86400
    least = float(head.get("age_seconds_min", EXPIRE_AGE_SECONDS_MIN))
    named: Set[str] = set(head.get("keep", []))
    runs = sorted(((_age(rundir), run, rundir) for run, rundir in all_runs(place)), reverse=True)
    sizes = {run: _size(rundir) for _, run, rundir in runs}
    gone: List[str] = []
    count, size = len(runs), sum(sizes.values())
    for age, run, rundir in runs:
        if size > bytes_max and age >= min(least, EXPIRE_OUTPUT_SECONDS_MIN) and run not in named:
            dropped = _drop_output(rundir)
            size, sizes[run] = size - dropped, sizes[run] - dropped
    for age, run, rundir in runs:
        too_much = (count > count_max or size > bytes_max) and age >= least
        if (age > kept_for or too_much) and run not in named and not _is_needed(rundir, age, held_for):
            gone.append(run)
            count, size = count - 1, size - sizes[run]
    for run in gone:
        _drop_output(os.path.join(place, run))  # on a full disk this is the room that the next line needs
    if gone:
        note_expired(place, gone)
    for run in gone:
        _remove_run(place, run, os.path.join(place, run))
    return {"removed": len(gone), "left": count, "bytes": size}


def _age(rundir: str) -> float:
    try:
        return max(0.0, time.time() - os.stat(rundir).st_mtime)
    except OSError:
        return 0.0


def _size(rundir: str) -> int:
    size = 0
    for folder, _, names in os.walk(rundir):
        for name in names:
            try:
                size += os.lstat(os.path.join(folder, name)).st_blocks * 512
            except OSError:
                continue
    return size


def _drop_output(rundir: str) -> int:
    """Remove the streams of a run that has ended; how many bytes that freed. Its record and its age stay."""
    if run_state(rundir)[0] != "ended":
        return 0
    try:
        freed, looks = 0, os.stat(rundir)
    except OSError:  # another took it away meanwhile
        return 0
    for name in OUTPUT_NAMES:
        try:
            size = os.lstat(os.path.join(rundir, name)).st_blocks * 512
            os.unlink(os.path.join(rundir, name))
        except OSError:
            continue
        freed += size
    os.utime(rundir, ns=(looks.st_atime_ns, looks.st_mtime_ns))
    return freed


def _is_held(rundir: str) -> bool:
    settled: List[str] = ["landing.done", "discarded"]
    has_changes = os.path.exists(os.path.join(rundir, "changes.json"))
    return has_changes and not any(os.path.exists(os.path.join(rundir, name)) for name in settled)


def _is_needed(rundir: str, age: float, held_for: float) -> bool:
    state = run_state(rundir)[0]
    goes_on = state == "running" or (state == "starting" and age < STARTED_SECONDS_MAX)
    return goes_on or (_is_held(rundir) and age <= held_for) or is_landing(rundir)


def _remove_run(place: str, run: str, rundir: str) -> None:
    """Take it out of sight first, so that nobody sees half a run."""
    store = (read_run_file(rundir, "changes.json") or run_record(rundir)[1]).get("store", rundir)
    gone = os.path.join(place, ".gone-%s" % run)
    try:
        os.rename(rundir, gone)
    except OSError:
        return
    if store != rundir:
        probe_remove(store)
    probe_remove(gone)
