"""Settling: what is done to runs that are over: land, undo, discard, recover. Each may be asked for again."""

import os
import time
from typing import Any, Dict, Iterator, List, Tuple

from interlock.runner.ending import end_leftovers
from interlock.runner.held import require_content
from interlock.runner.landing import land, recover, recover_landing
from interlock.runner.measured import put_layers_aside, told_changes
from interlock.runner.preparing import Landing
from interlock.runner.probe import probe_remove
from interlock.runner.processes import boot_id
from interlock.runner.recording import run_record, run_state
from interlock.runner.rundirs import RUN_ID, RunFault, read_run_file, write_run_file
from interlock.runner.services import control_service
from interlock.runner.undoing import recover_undo, undo

SETTLED_CHANGES_MAX = 1000
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
    for run, rundir in all_runs(place):
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


def all_runs(place: str) -> Iterator[Tuple[str, str]]:
    """Every run that has a directory here: its id, and that."""
    for name in sorted(os.listdir(place)):
        if RUN_ID.fullmatch(name):
            yield name, os.path.join(place, name)
