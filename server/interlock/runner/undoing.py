"""Undoing: what a landing changed goes back to what was there, from its before-images, as a landing of its own kind.

Refused with the list where something is not as we left it. It keeps nothing that could undo the undo.
"""

from typing import Any, Dict, List, Optional, Tuple

from interlock.runner.acts import Act, how_of, landing_step
from interlock.runner.copying import meta_at, remove_entry
from interlock.runner.landing import carry_all, recover
from interlock.runner.preparing import Landing
from interlock.runner.tree import (
    ABSENT_ERRNOS,
    LayerFault,
    Print,
    fingerprint_at,
    is_same,
    layer_fault,
    seal_tree,
)

UNDO_BYTES_UNBOUNDED = 2**62
FORCES = ("", "ours")


def undo(rundir: str, force: str = "") -> Dict[str, Any]:
    """Put back content, mode, owner, times, links and absence. Raises LayerFault (then nothing has changed), OSError.

    {"state": "undone" | "stale", "undone": changes, "stale": paths}. `force` "ours": what somebody changed since is
    overwritten with what was there before the landing; only what cannot be reached any more is left, and listed.
    """
    if force not in FORCES:
        raise LayerFault("bad_request", "force is one of %s" % (FORCES,))
    with Landing(rundir, "undo") as landing:
        known = recover(landing)
        if known["state"] == "landed":
            return _ended_undo(landing, known)
        done = _landed(landing)
        try:
            acts, stale, lost = _inverse(landing, done["acts"])
            back = _times_back(landing, done["parents"])
        except OSError as fault:
            raise layer_fault(fault, fault.filename or rundir)
        landing_step("checked")
        if stale and force != "ours":
            return {"state": "stale", "undone": 0, "stale": sorted(stale)}
        result = carry_all(landing, acts, int(done["result"]["landed"]), UNDO_BYTES_UNBOUNDED, back)
        return _ended_undo(landing, result, lost)


def recover_undo(rundir: str) -> Dict[str, Any]:
    """End an undo that was killed: all of it, or nothing where a target was changed meanwhile ("none": no undo)."""
    with Landing(rundir, "undo") as landing:
        return _ended_undo(landing, recover(landing))


def _ended_undo(landing: Landing, result: Dict[str, Any], lost: Optional[List[str]] = None) -> Dict[str, Any]:
    if result["state"] != "landed":
        return {"state": result["state"], "undone": 0, "stale": result["stale"]}
    remove_entry(landing.folders.folder(landing.rundir), "landing.images")
    return {"state": "undone", "undone": result["landed"], "stale": lost or []}


def _landed(landing: Landing) -> Dict[str, Any]:
    """What the landing of this run left. Raises LayerFault where there is nothing to undo."""
    landing.kind = "landing"
    try:
        done, times = landing.read("done"), landing.read("times")
        if landing.read("journal") is not None:
            raise LayerFault("busy", "its landing has not ended; recover it first")
    finally:
        landing.kind = "undo"
    if done is None or done["result"]["state"] != "landed":
        raise LayerFault("absent", "nothing was landed")
    if not done["result"]["undo"]["available"]:
        raise LayerFault("unavailable", "it cannot be undone: %s" % done["result"]["undo"]["why"])
    done["parents"] = times or done["parents"]
    return done


def _inverse(landing: Landing, acts: List[Act]) -> Tuple[List[Act], List[str], List[str]]:
    """The acts that lead back, the paths that are not as we left them, and those that cannot be reached at all."""
    back: List[Act] = []
    stale: List[str] = []
    lost: List[str] = []
    for act in reversed(acts):
        try:
            folder, name = landing.folders.at(act["path"])
        except OSError as fault:
            if fault.errno not in ABSENT_ERRNOS:
                raise
            stale.append(act["path"])
            lost.append(act["path"])
            continue
        now = fingerprint_at(folder, name)
        intact = _is_as_left(landing.rebased(act["path"], act["left"]), now, folder, name)
        image, spoiled = _image_of(landing, act)
        if not intact or spoiled:
            stale.append(act["path"])
        if act["move"]:
            taken = landing.folders.find(act["source"])
            if taken is not None:
                stale.append(act["source"])
            if now is None:
                lost.append(act["source"])
            else:
                back.append(_moved_back(act, taken))
                now = None
        inverse = _inverse_of(act, now, image, folder, name)
        if inverse is None:
            lost.append(act["path"])
        elif inverse:
            back.append(inverse)
    return back, stale, lost


def _is_as_left(left: Optional[Print], now: Optional[Print], folder: int, name: str) -> bool:
    if left is None or now is None:
        return left is None and now is None
    if not is_same(left, now):
        return False
    return "tree" not in left or bool(seal_tree(folder, name).text() == left["tree"])


def _image_of(landing: Landing, act: Act) -> Tuple[str, bool]:
    """Where the before-image lies ("" for none), and whether somebody wrote into it since."""
    if act["how"] == "meta" or act["old"] is None:
        return "", False
    if act["held"].startswith(landing.rundir + "/") and _is_intact(landing, act, act["held"]):
        return act["held"], False
    if act.get("copy"):
        return act["copy"], False
    return act["held"], True


def _is_intact(landing: Landing, act: Act, held: str) -> bool:
    found = landing.folders.find(held)
    if not is_same(act["old"], found, changed_time=False):
        return False
    if "tree" not in act["old"]:
        return True
    return bool(seal_tree(*landing.folders.at(held)).text() == act["old"]["tree"])


def _inverse_of(act: Act, now: Optional[Print], image: str, folder: int, name: str) -> Optional[Act]:
    """The act that leads back from what is there now; {} where it is there already, None where there is no way."""
    if act["how"] == "meta":
        if now is None or now["ino"] != act["old"]["ino"]:
            return None
        return {
            "path": act["path"], "how": "meta", "old": now, "source": "", "move": False, "bytes": 0,
            "meta_old": meta_at(folder, name), "meta_new": act["meta_old"],
        }  # fmt: skip
    kind = act["old"]["kind"] if act["old"] is not None else ""
    if now is None and not kind:
        return {}
    how = how_of(now, kind)
    if now is not None and now["kind"] == "directory":
        seal = seal_tree(folder, name)
        now.update(tree=seal.text(), bytes=seal.bytes)
    return {"path": act["path"], "how": how, "old": now, "source": image, "move": False, "bytes": 0}


def _moved_back(act: Act, taken: Optional[Print]) -> Act:
    """What was moved goes back by a rename, whatever it is by now; where it was, something else may lie meanwhile."""
    left = act["left"] or act["new"]
    if taken is not None and taken["kind"] == "directory":
        raise LayerFault("exists", "%s is a directory by now; it is not replaced" % act["source"], act["source"])
    how = how_of(taken, left["kind"])
    return {"path": act["source"], "how": how, "old": taken, "source": act["path"], "move": True, "bytes": 0}


def _times_back(landing: Landing, parents: Dict[str, List[int]]) -> Dict[str, List[int]]:
    """The directories whose entries nobody touched since: they get back the times they had."""
    return {path: times[:2] for path, times in parents.items() if landing.mtime(path) == times[2]}
