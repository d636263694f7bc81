"""Measured: what a run changed, written into its directory when its processes are gone. It lands nothing.

Also where its layers lie and how they are thrown away: a layer is needed until it has landed or was discarded.
"""

import json
import os
from typing import Any, Dict, List

from interlock.runner.changes import read_changes
from interlock.runner.probe import probe_remove
from interlock.runner.rundirs import read_run_file, write_run_file
from interlock.runner.tree import LayerFault

MEASURED_FIELDS = ("digest", "scratch", "truncated", "landable", "bytes")
TOLD_CHARS_MAX = 512 * 1024
DISTURBED_MAX = 20


def measure_layers(rundir: str, order: Dict[str, Any], plan: Dict[str, Any], began_ns: int) -> Dict[str, Any]:
    """The fields of a staged run's end; its changes are in `changes.json` and its layers stay, where there are any."""
    try:
        limits = {"changes_max": order["changes_max"], "began_ns": began_ns}
        record = read_changes(plan["layers"], order, limits)
    except (LayerFault, OSError) as fault:
        return {"observed": "none", "notes": ["the layer could not be read: %s" % fault]}
    if record["changes"]:
        write_run_file(rundir, "changes.json", {**record, "store": plan["store"]}, durable=True)
    else:
        drop_layers(rundir, plan["store"])
    return {"observed": "staged", "changes": len(record["changes"]), "scratch": record["scratch"]}


def drop_layers(rundir: str, store: str) -> None:
    """Throw the layers of a run away."""
    probe_remove(os.path.join(store, "u"))
    probe_remove(os.path.join(store, "w"))
    if store != rundir:
        probe_remove(store)


def told_changes(rundir: str, offset: int, most: int) -> Dict[str, Any]:
    """The measured changes from one on, as many as fit an answer; {} where nothing was measured."""
    record = read_run_file(rundir, "changes.json")
    if record is None:
        return {}
    part: List[Dict[str, Any]] = []
    room = TOLD_CHARS_MAX
    for change in record["changes"][offset : offset + most]:
        room -= len(json.dumps(change))
        if room < 0:
            break
        part.append(change)
    told = {name: record[name] for name in MEASURED_FIELDS if name in record}
    return {
        **told, "layer": told["digest"], "changes": part, "disturbed": record["disturbed"][:DISTURBED_MAX],
        "changes_left": max(0, len(record["changes"]) - offset - len(part)),
        "discarded": os.path.exists(os.path.join(rundir, "discarded")),
    }  # fmt: skip
