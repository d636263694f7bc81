"""Measured: what a run changed, written into its directory when its processes are gone. It lands nothing.

Also where its layers lie and how they are thrown away: a layer is needed until it has landed or was discarded.
"""

import contextlib
import json
import os
from typing import Any, Dict, List, Optional

from interlock.runner.changes import read_changes
from interlock.runner.contents import content_diff
from interlock.runner.layout import RoomFault
from interlock.runner.measuring import Snapshot, compare, outside_links, snapshot
from interlock.runner.probe import probe_remove
from interlock.runner.processes import boot_id
from interlock.runner.rundirs import RunFault, lay_run_file, read_run_file
from interlock.runner.tree import LayerFault, resolve_here

MEASURED_FIELDS = ("digest", "scratch", "truncated", "landable", "bytes")
TOLD_CHARS_MAX = 512 * 1024
DISTURBED_MAX = 20
LAYER_SIDES = ("u", "w")
ASIDE = "gone-"


def measure_layers(
    rundir: str, order: Dict[str, Any], plan: Dict[str, Any], began_ns: int, unsynced: List[int]
) -> Dict[str, Any]:
    """The fields of a staged run's end; its changes are in `changes.json` and its layers stay, where there are any.

    The files that have to be durable before the end is shown are added to `unsynced`, open.
    """
    try:
        limits = {"changes_max": order["changes_max"], "began_ns": began_ns}
        record = read_changes([layer for layer in plan["layers"] if _lies_as_laid(layer, plan["ways"])], order, limits)
    except (LayerFault, OSError) as fault:
        return {"observed": "none", "notes": ["the layer could not be read: %s" % fault]}
    if record["changes"]:
        unsynced.append(hold_layers(rundir, record, plan["store"]))
    return {"observed": "staged", "changes": len(record["changes"]), "scratch": record["scratch"]}


def _lies_as_laid(layer: Dict[str, Any], ways: Dict[str, List[int]]) -> bool:
    """Whether a layer lies over the directory that it was laid over; of an untouched one it does not matter.

    A file system that was unmounted meanwhile leaves a directory with other meta: nothing that the run did. Raises
    LayerFault where something was written over what is gone by now.
    """
    try:
        looks = os.stat(layer["point"])
        if ways.get(layer["point"]) == [looks.st_dev, looks.st_ino]:
            return True
    except OSError:
        pass  # it is gone altogether
    if os.listdir(layer["upper"]):
        raise LayerFault("moved", "%s is another directory now" % layer["point"], layer["point"])
    return False


def hold_layers(rundir: str, record: Dict[str, Any], store: str) -> int:
    """Write the record of a diff that may land, with the boot in which its content is known to be what was read.

    The open file, still to be synced.
    """
    return lay_run_file(rundir, "changes.json", {**record, "store": store, "boot": boot_id()})


def require_paths(order: Dict[str, Any]) -> None:
    """Its paths lead where they led when it was decided. Raises RoomFault("moved")."""
    for path, follow, real in order["paths"]:
        try:
            now = resolve_here(path, follow)
        except OSError as fault:
            raise RoomFault(str(fault), "moved")
        if now != real:
            raise RoomFault("%s leads to another place than when it was decided" % path, "moved")


def look_before(order: Dict[str, Any]) -> Optional[Snapshot]:
    """What lies in the trees that no layer holds and that are to be measured; None where there are none.

    Raises RoomFault where a declared tree holds a file with another name outside of it: it would be written through.
    """
    roots = {"none": order["watched"], "confined": order["writes"] + order["deletes"]}.get(order["level"], [])
    if not roots:
        return None
    taken = snapshot(roots)
    linked = outside_links(taken) if order["level"] == "confined" else []
    if linked:
        raise RoomFault("%s has another name outside of what was declared" % linked[0])
    return taken


def measure_trees(rundir: str, before: Snapshot, unsynced: List[int]) -> Dict[str, Any]:
    """The fields of an end that was only watched; its changes are in `scanned.json` (`unsynced` as above)."""
    after = snapshot(before["roots"])
    changes = compare(before, after)
    partly = bool(before["end"] or after["end"] or before["unread"] or after["unread"])
    if changes:
        record = {"changes": changes, "digest": "", "scratch": 0, "truncated": partly, "bytes": 0, "disturbed": []}
        unsynced.append(lay_run_file(rundir, "scanned.json", record))
    return {"observed": "scanned", "changes": len(changes), "partly": partly}


def drop_layers(rundir: str, store: str) -> None:
    """Throw the layers of a run away, those that were put aside too."""
    for name in LAYER_SIDES:
        probe_remove(os.path.join(store, name))
        probe_remove(os.path.join(store, ASIDE + name))
    if store != rundir:
        probe_remove(store)


def put_layers_aside(store: str) -> None:
    """Take the layers of a run out of use at once. To remove them takes far longer; that can be done later."""
    for name in LAYER_SIDES:
        with contextlib.suppress(FileNotFoundError):
            os.rename(os.path.join(store, name), os.path.join(store, ASIDE + name))


def clear_settled(rundir: str) -> None:
    """Remove what settling a run put aside."""
    record = read_run_file(rundir, "changes.json")
    settled = any(os.path.exists(os.path.join(rundir, name)) for name in ("landing.done", "discarded"))
    if record is not None and settled and not os.path.exists(os.path.join(record["store"], "u")):
        drop_layers(rundir, record["store"])


def diff_run(rundir: str, path: str, bytes_max: int) -> bytes:
    """The text diffs of a held run's changes (or of the one at a path), one after the other. Raises RunFault."""
    record = read_run_file(rundir, "changes.json")
    if record is None or os.path.exists(os.path.join(rundir, "landing.done")):
        raise RunFault("absent", "nothing of this run waits to land")
    found, room = [], bytes_max
    for change in record["changes"]:
        if room > 0 and path in ("", change["path"]) and change["kind"] == "file":
            text = content_diff(change, record["sources"].get(change["path"], ""), room)
            found.append(text.encode("utf-8", "surrogateescape"))
            room -= len(found[-1])
    return b"".join(found)[:bytes_max]


def _fitting(changes: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """As many of the first as may be told at once. All are tried first: encoding one by one takes far longer."""
    if len(json.dumps(changes)) <= TOLD_CHARS_MAX:
        return changes
    room = TOLD_CHARS_MAX
    for number, change in enumerate(changes):
        room -= len(json.dumps(change))
        if room < 0:
            return changes[:number]
    return changes


def told_changes(rundir: str, offset: int, most: int, known: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
    """The measured changes from one on, as many as fit an answer; {} where nothing was measured.

    `known`: the record, where it was read already.
    """
    record = known or read_run_file(rundir, "changes.json") or read_run_file(rundir, "scanned.json")
    if record is None:
        return {}
    part = _fitting(record["changes"][offset : offset + most])
    told = {name: record[name] for name in MEASURED_FIELDS if name in record}
    return {
        **told, "layer": told["digest"], "changes": part, "disturbed": record["disturbed"][:DISTURBED_MAX],
        "changes_left": max(0, len(record["changes"]) - offset - len(part)),
        "discarded": os.path.exists(os.path.join(rundir, "discarded")),
    }  # fmt: skip
