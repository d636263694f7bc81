"""Landing: a measured diff becomes the host's state, all of it or nothing, whenever it is killed. It decides nothing.

The order, and why it survives a kill anywhere:
1. check     every target against its fingerprint, every source against its seal. One that differs: nothing is done.
2. intent    `KIND.intent` says under which names something is about to be made. Up to here a kill has changed nothing.
3. prepare   content that comes from another file system is copied beside its target under a hidden name; a second name
             of every file that will be replaced is kept with the before-images (a copy too where that shares an inode).
             All new data is written out (started for all, then waited for), then each touched directory once.
4. journal   `KIND.journal` holds every act with the inode numbers of old and new, fsynced ahead of the first change.
             A kill before it: the prepared names are removed, and the tree is exactly the old one. After it: forward.
5. carry out each act is one rename within a file system (new entries parents first, then deletions, then the meta of
             directories). What is done is seen on the disk, so there is no note that could be behind or ahead.
             A target that somebody changed in between turns the whole landing back (`KIND.back`, then in reverse).
6. settle    what lies there now is fingerprinted for the undo, directories are synced, `KIND.done` says so; then the
             hidden names, the journal and the intent are removed.
"""

import os
from typing import Any, Dict, Iterable, List, Optional, Set

from interlock.runner.acts import Act, TargetChanged, carry_out, how_of, is_old, landing_step, take_back
from interlock.runner.copying import meta_seal, remove_entry
from interlock.runner.preparing import (
    MODE_AFTER,
    MODE_BEFORE,
    MODE_OPENED,
    Landing,
    ready_act,
    set_modes,
    shut_folders,
    sync_new,
)
from interlock.runner.tree import ABSENT_ERRNOS, LayerFault, is_same, layer_fault, seal_tree, stat_at


def land(rundir: str, record: Dict[str, Any], image_bytes_max: int) -> Dict[str, Any]:
    """Land a record of `read_changes` (or of file work). Raises LayerFault (then nothing has changed), OSError.

    {"state": "landed" | "stale", "landed": changes, "stale": paths, "undo": {"available", "why", "bytes"}}. What was
    landed before is answered again; what a kill left is ended first.
    """
    with Landing(rundir, "landing") as landing:
        known = recover(landing)
        if known["state"] == "landed":
            return known
        if not record.get("landable", True):
            raise LayerFault("too_many_changes", "more changes than can be listed; none was landed")
        try:
            acts = acts_of(landing, record)
            stale = _stale_of(landing, acts, record)
        except OSError as fault:
            raise layer_fault(fault, fault.filename or rundir)
        landing_step("checked")
        if stale:
            return {"state": "stale", "landed": 0, "stale": stale, "undo": _undo_of("nothing was landed", 0)}
        return carry_all(landing, acts, len(record["changes"]), image_bytes_max)


def recover_landing(rundir: str) -> Dict[str, Any]:
    """End a landing that was killed: all of it, or nothing where a target was changed meanwhile. Raises OSError.

    The result as of `land`; state "none" where none had begun (or none that had changed anything yet).
    """
    with Landing(rundir, "landing") as landing:
        return recover(landing)


# ── what is to be done ───────────────────────────────────────────────────────────────────────────────────────────────


def acts_of(landing: Landing, record: Dict[str, Any]) -> List[Act]:
    """The acts of a record, in the order in which they are carried out. Raises LayerFault, OSError."""
    moves = {str(move["to"]): str(move["from"]) for move in record.get("moves", ())}
    places: List[Act] = []
    drops: List[Act] = []
    last: List[Act] = []
    for change in units_of(record["changes"], set(moves.values())):
        act = _act_of(landing, change, record, moves)
        if act["how"] == "meta" and change["kind"] == "directory":
            last.append(act)
        else:
            (drops if act["how"] == "drop" else places).append(act)
    return places + drops + last[::-1]


def units_of(changes: Iterable[Dict[str, Any]], moved: Set[str]) -> List[Dict[str, Any]]:
    """The changes that are a step of their own: all but those inside of a tree that comes or goes as a whole."""
    tops: Set[str] = set()
    units = []
    for change in changes:
        path = str(change["path"])
        above = path.rpartition("/")[0]
        while above and above not in tops:
            above = above.rpartition("/")[0]
        if above:
            continue
        folders = change["kind"], (change["was"] or {}).get("kind")
        if path in moved or (change["op"] != "meta" and "directory" in folders):
            tops.add(path)
        if path not in moved:
            units.append(change)
    return units


def _act_of(landing: Landing, change: Dict[str, Any], record: Dict[str, Any], moves: Dict[str, str]) -> Act:
    path, was = str(change["path"]), landing.rebased(change["path"], change["was"])
    source = moves.get(path, record["sources"].get(path, ""))
    act = {"path": path, "old": was, "source": source, "move": path in moves, "bytes": 0}
    if change["op"] == "meta" and _in_place(landing, change):
        new = landing.meta(source)
        old = landing.meta_where(path) or new  # nothing there any more: the check will find out
        new["atime_ns"] = old["atime_ns"]
        if path in record.get("bare", ()):
            new["xattrs"] = old["xattrs"]
        act.update(how="meta", meta_old=old, meta_new=new)
        return act
    act["how"] = how_of(was, "" if change["op"] == "delete" else str(change["kind"]))
    if was is not None:
        act["bytes"] = was.get("bytes", was["size"] if was["kind"] == "file" else 0)
    return act


def _in_place(landing: Landing, change: Dict[str, Any]) -> bool:
    """Whether meta is set on the entry itself: not on a file of several names, for these would change with it."""
    if change["kind"] == "directory":
        return True
    try:
        folder, name = landing.folders.at(change["path"])
    except OSError as fault:
        if fault.errno in ABSENT_ERRNOS:
            return False
        raise
    found = stat_at(folder, name)
    return change["kind"] == "file" and found is not None and found.st_nlink == 1


def _stale_of(landing: Landing, acts: List[Act], record: Dict[str, Any]) -> List[str]:
    """The paths that are not what they were when the diff was read. Raises LayerFault where a source is not."""
    seals = record.get("seals", {})
    stale = set(record.get("disturbed", ()))
    for act in acts:
        if not is_old(landing.folders, act):
            stale.add(act["path"])
        if act["source"] and act["path"] in seals and not _is_sealed(landing, act, seals[act["path"]]):
            if act["move"]:
                stale.add(act["source"])
                continue
            raise LayerFault("moved", "%s is not in the layer any more as it was shown" % act["path"], act["path"])
    return sorted(stale)


def _is_sealed(landing: Landing, act: Act, seal: str) -> bool:
    folder, name = landing.folders.at(act["source"])
    if act["how"] == "meta" and act["old"]["kind"] == "directory":
        return meta_seal(act["meta_new"]) == seal
    try:
        now = seal_tree(folder, name, ours=not act["move"]).text()
        return now == seal or now == (landing.read("resealed") or {}).get(act["path"])
    except FileNotFoundError:
        return False


# ── doing it ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def carry_all(
    landing: Landing, acts: List[Act], changes: int, image_bytes_max: int, folders_back: Optional[Dict[str, Any]] = None
) -> Dict[str, Any]:
    """Prepare, journal and carry out checked acts. Raises LayerFault where nothing has changed, OSError."""
    for name in ("done", "times", "back"):
        landing.remove(name)
    shut = shut_folders(landing, acts)
    # Where all that is prepared lies on the run directory's own file system, its journal keeps this ahead of it.
    across = any(landing.is_elsewhere(act["path"]) for act in acts)
    landing.write("intent", {"tag": landing.tag, "paths": [act["path"] for act in acts], "shut": shut}, across)
    landing_step("intended")
    set_modes(landing, shut, MODE_OPENED)
    size = sum(act["bytes"] for act in acts)
    why = (
        ""
        if size <= image_bytes_max
        else "its before-images take %d bytes; at most %d are kept" % (size, image_bytes_max)
    )
    journal = -1
    try:
        for number, act in enumerate(acts):
            why = ready_act(landing, act, number, not why) or why
        landing_step("prepared")
        plan = {
            "tag": landing.tag, "acts": acts, "changes": changes, "why": why, "bytes": size,
            "parents": landing.parents, "folders_back": folders_back or {}, "shut": shut,
        }  # fmt: skip
        journal = landing.lay("journal", plan)
        sync_new(landing, acts)
        landing_step("synced")
    except (OSError, TargetChanged) as fault:
        if journal >= 0:
            os.close(journal)
        _withdraw(landing, [act["path"] for act in acts], shut)
        if isinstance(fault, TargetChanged):
            return {"state": "stale", "landed": 0, "stale": [fault.path], "undo": _undo_of("nothing was landed", 0)}
        raise layer_fault(fault, str(fault.filename or landing.rundir))
    landing.show("journal", journal)
    landing_step("journaled")
    return _faulted(_forward(landing, plan))


def _forward(landing: Landing, plan: Dict[str, Any]) -> Dict[str, Any]:
    """Carry out all that is not done yet, or turn back."""
    try:
        for act in plan["acts"]:
            carry_out(landing.folders, act)
    except TargetChanged as fault:
        landing.write("back", {"stale": [fault.path], "fault": "", "reason": ""})
        return _backward(landing, plan)
    except OSError as fault:
        known = layer_fault(fault, str(fault.filename or landing.rundir))
        landing.write("back", {"stale": [], "fault": known.code, "reason": known.reason})
        return _backward(landing, plan)
    return _settled(landing, plan)


def _backward(landing: Landing, plan: Dict[str, Any]) -> Dict[str, Any]:
    """Take everything back, in reverse; what somebody else changed stays theirs and is named."""
    landing_step("back")
    why = landing.read("back") or {}
    theirs: List[str] = []
    for act in reversed(plan["acts"]):
        theirs += take_back(landing.folders, act)
        landing_step("taken-back")
    set_modes(landing, plan["shut"], MODE_BEFORE)
    _note_seals(landing, plan["acts"])
    _note_times(landing, plan["acts"], known=False)
    landing.sync_parents(plan["parents"])
    landing_step("restored")
    stale = sorted(set(why.get("stale", []) + theirs))
    result = {"state": "stale", "landed": 0, "stale": stale, "undo": _undo_of("nothing was landed", 0)}
    if why.get("fault") and not theirs:
        result.update(state="failed", fault=why["fault"], reason=why["reason"])
    landing.write("done", {"result": result, "acts": [], "kept": bool(theirs)})
    _ended(landing, plan, result, keep=bool(theirs))
    if not theirs:
        _note_times(landing, plan["acts"], known=True)
    return result


def _note_seals(landing: Landing, acts: List[Act]) -> None:
    """What came back into its layer has another change time for that alone: it can land later."""
    seals = {}
    for act in acts:
        if act.get("from") and act["from"] == act["source"] and act["new"]["kind"] != "directory":
            back = landing.folders.find(act["source"])
            if is_same(act["new"], back, changed_time=False):
                seals[act["path"]] = seal_tree(*landing.folders.at(act["source"]), ours=not act["move"]).text()
    landing.write("resealed", seals)


def _note_times(landing: Landing, acts: List[Act], known: bool) -> None:
    """The same of what lies in its place again: noted ahead, while our second names change the time once more."""
    times = landing.read("rebased") or {}
    for act in acts:
        now = landing.folders.find(act["path"]) if act["old"] is not None else None
        if now is not None and is_same(act["old"], now, changed_time=False):
            times[str(now["ino"])] = now["ctime_ns"] if known else 0
    landing.write("rebased", times)


def _settled(landing: Landing, plan: Dict[str, Any]) -> Dict[str, Any]:
    set_modes(landing, plan["shut"], MODE_AFTER)
    keep = not plan["why"] and landing.kind == "landing"
    for act in plan["acts"]:
        _remember(landing, act, keep)
    parents = {path: [*times, landing.mtime(path)] for path, times in plan["parents"].items()}
    result = {
        "state": "landed", "landed": plan["changes"], "stale": [],
        "undo": {"available": keep, "why": plan["why"], "bytes": plan["bytes"] if keep else 0},
    }  # fmt: skip
    done = {"result": result, "acts": plan["acts"] if keep else [], "parents": parents, "kept": keep}
    handle = landing.lay("done", done)
    landing_step("settled")
    landing.sync_parents(plan["parents"])
    landing_step("flushed")
    landing.show("done", handle)
    return _ended(landing, plan, result, keep)


def _remember(landing: Landing, act: Act, keep: bool) -> None:
    """How we leave the target and the before-image: an undo needs to know whether both are still so."""
    if not keep:
        return
    left = landing.folders.find(act["path"])
    if left is not None and left["kind"] == "directory" and act["how"] in ("create", "swap"):
        seal = seal_tree(*landing.folders.at(act["path"]))
        left.update(tree=seal.text(), bytes=seal.bytes)
    act["left"] = left


def _ended(landing: Landing, plan: Dict[str, Any], result: Dict[str, Any], keep: bool) -> Dict[str, Any]:
    landing_step("done")
    beside = [act["path"] if _has_beside(act) else "" for act in plan["acts"]]
    _clear(landing, beside, keep)
    landing.set_times(plan["folders_back"])
    if keep and any(beside):  # removing the hidden names was the last that touched their directories
        landing.write("times", {path: [*times, landing.mtime(path)] for path, times in plan["parents"].items()})
    landing_step("cleared")
    for name in ("journal", "back", "intent"):
        landing.remove(name)
    landing_step("ended")
    return result


def _withdraw(landing: Landing, paths: List[str], shut: Dict[str, List[int]]) -> None:
    """Undo the preparation. It gave files a second name for a while: their change time is ours, no sign of others.

    That is noted ahead (an unknown time) and after (the time), so that the same diff can land later.
    """
    touched = {path: landing.inode(path) for number, path in enumerate(paths) if landing.is_held(number, path)}
    known = landing.read("rebased") or {}
    if touched:
        landing.write("rebased", {**known, **{str(inode): 0 for inode in touched.values()}})
    _clear(landing, paths, keep=False)
    set_modes(landing, shut, MODE_BEFORE)
    if touched:
        found = [landing.folders.find(path) for path in touched]
        landing.write("rebased", {**known, **{str(now["ino"]): now["ctime_ns"] for now in found if now is not None}})
    landing.remove("intent")


def _clear(landing: Landing, paths: List[str], keep: bool) -> None:
    """Remove the hidden names beside the targets, and the before-images where they are of no use."""
    for number, path in enumerate(paths):
        if not path:
            continue
        try:
            folder, _ = landing.folders.at(path, again=False)
        except OSError as fault:
            if fault.errno not in ABSENT_ERRNOS:
                raise
            continue
        for side in "no":
            remove_entry(folder, landing.beside(number, side))
    if not keep:
        remove_entry(landing.folders.folder(landing.rundir), landing.images_name)


def _has_beside(act: Act) -> bool:
    """Whether anything of the act lies, or lay, under a hidden name beside its target."""
    folder = act["path"].rpartition("/")[0] + "/.interlock-"
    return any(act.get(key, "").startswith(folder) for key in ("from", "held"))


def _faulted(result: Dict[str, Any]) -> Dict[str, Any]:
    if result.get("fault"):
        raise LayerFault(result["fault"], "%s; nothing was changed" % result["reason"], unchanged=True)
    return result


def _undo_of(why: str, size: int) -> Dict[str, Any]:
    return {"available": False, "why": why, "bytes": size}


# ── after a kill ─────────────────────────────────────────────────────────────────────────────────────────────────────


def recover(landing: Landing) -> Dict[str, Any]:
    """Bring whatever a kill left to its end; the result of the last landing, or of none."""
    done, plan = landing.read("done"), landing.read("journal")
    if plan is not None:
        landing.tag = plan["tag"]
        landing.parents = plan["parents"]
        if done is not None:
            return _ended(landing, plan, done["result"], done["kept"])
        if landing.read("back") is not None:
            return _backward(landing, plan)
        return _forward(landing, plan)
    intent = landing.read("intent")
    if intent is not None:
        if done is None:
            landing.tag = intent["tag"]
            _withdraw(landing, intent["paths"], intent["shut"])
            landing.renew()
        landing.remove("intent")
    if done is not None:
        result: Dict[str, Any] = done["result"]
        return result
    return {"state": "none", "landed": 0, "stale": [], "undo": _undo_of("nothing was landed", 0)}
