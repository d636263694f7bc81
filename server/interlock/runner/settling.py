"""Settling: what is done to runs that are over: land, undo, discard, recover, expire. Each may be asked for again."""

import fcntl
import os
import time
from typing import Any, Dict, Iterator, List, Set, Tuple

from interlock.runner.ending import end_leftovers
from interlock.runner.held import require_content
from interlock.runner.landing import land, recover, recover_landing
from interlock.runner.measured import put_layers_aside, told_changes
from interlock.runner.preparing import Landing
from interlock.runner.probe import probe_remove
from interlock.runner.recording import boot_id, note_expired, run_record, run_state
from interlock.runner.rundirs import RUN_ID, RunFault, read_run_file, write_run_file
from interlock.runner.services import control_service
from interlock.runner.undoing import recover_undo, undo

SETTLED_CHANGES_MAX = 1000
# For what goes because there is too much: who was cut off may still come for it, first of all for how it ended.
EXPIRE_AGE_SECONDS_MIN = 600.0
EXPIRE_OUTPUT_SECONDS_MIN = 60.0
OUTPUT_NAMES = ("out", "err", "out.tail", "err.tail")
STARTED_SECONDS_MAX = 600.0
HELD_DAYS_DEFAULT = 36500.0
RUNS_TOLD_MAX = 1000
GRACE_OF_LOST_SECONDS = 2.0


def land_run(rundir: str, digest: str, image_bytes_max: int) -> Dict[str, Any]:
    """Land exactly the diff with this digest. Raises RunFault, LayerFault."""
    record = read_run_file(rundir, "changes.json")
    if record is None or os.path.exists(os.path.join(rundir, "discarded")):
        raise RunFault("absent", "nothing of this run waits to land")
    if record["digest"] != digest:
        raise RunFault("stale", "the diff of this run is another one")
    if record.get("boot") != boot_id() and not is_landing(rundir):
        require_content(record)
    try:
        result = land(rundir, record, image_bytes_max)
    except OSError as fault:
        raise _broken_off("landing", fault)
    if result["state"] == "landed":
        with Landing(rundir, "landing"):  # who asks for it at the same time must not see it vanish file by file
            put_layers_aside(record["store"])
        result["services"] = carry_services(rundir)
    return {**told_changes(rundir, 0, SETTLED_CHANGES_MAX, record), **result}


def carry_services(rundir: str) -> List[Dict[str, Any]]:
    """What the run asked of services while it was staged, carried out once, after its changes have landed.

    One without a code was begun and not seen to end: it is not done again.
    """
    queued: List[Dict[str, Any]] = run_record(rundir)[1].get("end", {}).get("services", [])
    if not queued:
        return []
    with Landing(rundir, "landing"):
        known = read_run_file(rundir, "services.json")
        if known is None:
            for number, asked in enumerate(queued):
                write_run_file(rundir, "services.json", {"services": queued}, durable=number == 0)
                queued[number] = control_service(asked["verb"], asked["unit"])
            write_run_file(rundir, "services.json", {"services": queued}, durable=True)
            return queued
    return list(known["services"])


def undo_run(rundir: str, force: str) -> Dict[str, Any]:
    """Put back what a run's landing changed. Raises LayerFault, RunFault."""
    if read_run_file(rundir, "changes.json") is None:
        raise RunFault("absent", "nothing of this run has landed")
    try:
        return undo(rundir, force)
    except OSError as fault:
        raise _broken_off("undo", fault)


def _broken_off(what: str, fault: OSError) -> RunFault:
    """A full disk here is not one that was met before anything had changed: how far it got, the next asking finds."""
    return RunFault("internal", "the %s broke off: %s" % (what, fault))


def discard_run(rundir: str) -> Dict[str, Any]:
    """Throw a held diff away; one that has landed stays what it is. Raises RunFault."""
    record = read_run_file(rundir, "changes.json")
    if record is None:
        return {"discarded": False}
    with Landing(rundir, "landing") as landing:
        if recover(landing)["state"] == "landed":
            raise RunFault("exists", "it has landed")
        write_run_file(rundir, "discarded", {"at": time.time()}, durable=True)
        put_layers_aside(record["store"])
    return {"discarded": True}


def sweep_runs(place: str) -> Dict[str, Any]:
    """End what was left undone by processes that died: landings, undos, commands of lost runs."""
    lost, recovered, ended = [], [], 0
    for run, rundir in _all_runs(place):
        state, record = run_state(rundir)
        if state == "lost":
            lost.append(run)
            if record.get("leader"):
                ended += end_leftovers(run, record, GRACE_OF_LOST_SECONDS)[0]
        if state in ("ended", "lost") and is_landing(rundir):
            results = recover_landing(rundir), recover_undo(rundir)
            recovered.append({"run": run, "landing": results[0]["state"], "undo": results[1]["state"]})
    for name in os.listdir(place):
        if name.startswith(".spare-") and not os.path.isdir("/proc/" + name[7:]):
            probe_remove(os.path.join(place, name))
    return {"lost": lost[:RUNS_TOLD_MAX], "recovered": recovered[:RUNS_TOLD_MAX], "ended": ended}


def is_landing(rundir: str) -> bool:
    """Whether a landing or an undo has begun there and not been settled."""
    names = ("landing.intent", "landing.journal", "undo.intent", "undo.journal")
    return any(os.path.exists(os.path.join(rundir, name)) for name in names)


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
    runs = sorted(((_age(rundir), run, rundir) for run, rundir in _all_runs(place)), reverse=True)
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
    if gone:
        note_expired(place, gone)
    for run in gone:
        _remove_run(place, run, os.path.join(place, run))
    return {"removed": len(gone), "left": count, "bytes": size}


def _all_runs(place: str) -> Iterator[Tuple[str, str]]:
    for name in sorted(os.listdir(place)):
        if RUN_ID.fullmatch(name):
            yield name, os.path.join(place, name)


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
    freed, looks = 0, os.stat(rundir)
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
