"""Measuring: trees looked at before and after a run that no layer holds, and what differs. It changes nothing.

An entry is known by its inode, size, times and the rest of its stat, so a look costs no reading of content. The clocks
of file systems tick: what changed in the tick in which it was looked at could change once more unseen, so such entries
are looked at again in a later one. What is left: times of whole seconds, and a clock that goes back.
"""

import os
import time
from typing import Any, Dict, Iterator, List, Optional, Tuple

from interlock.runner.changes import change_of
from interlock.runner.tree import (
    ABSENT_ERRNOS,
    LayerFault,
    Print,
    fingerprint_of,
    is_within,
    link_target,
    open_parent,
    stat_at,
    walk_tree,
)

TICK_SECONDS = 0.011  # a kernel's tick is 1 to 10 milliseconds
FRESH_SECONDS = 0.03
TICKS_WAITED_MAX = 3
SNAPSHOT_ENTRIES_MAX = 200_000
Snapshot = Dict[str, Any]


def snapshot(roots: List[str], entries_max: int = SNAPSHOT_ENTRIES_MAX) -> Snapshot:
    """What lies at and below resolved paths: {"entries": {path: fingerprint with dev and nlink}, "end", "unread"}.

    `end`: the path at which entries_max was reached, "" where all was seen. `unread`: roots that could not be read.
    """
    taken: Snapshot = {"roots": list(roots), "entries": {}, "end": "", "unread": []}
    for root in _outer_roots(roots):
        try:
            for path, found in _walk_root(root):
                if len(taken["entries"]) >= entries_max:
                    taken["end"] = path
                    break
                taken["entries"][path] = found
        except (OSError, LayerFault):
            taken["unread"].append(root)
        if taken["end"]:
            break
    _settle_ticks(taken["entries"])
    return taken


def _outer_roots(roots: List[str]) -> List[str]:
    """The roots in the order of a walk, without those that lie within another."""
    kept: List[str] = []
    for root in sorted(set(roots), key=_walk_order):
        if not any(is_within(root, other) for other in kept):
            kept.append(root)
    return kept


def _walk_order(path: str) -> List[str]:
    return path.split("/")


def _walk_root(root: str) -> Iterator[Tuple[str, Print]]:
    try:
        folder, name = open_parent(root)
    except OSError as fault:
        if fault.errno in ABSENT_ERRNOS:
            return
        raise
    try:
        if stat_at(folder, name) is None:
            return
        for rel, held, child, found in walk_tree(folder, name):
            yield root + rel, _entry_of(found, link_target(held, child, found))
    finally:
        os.close(folder)


def _entry_of(found: os.stat_result, target: str) -> Print:
    return {**fingerprint_of(found, target), "dev": found.st_dev, "nlink": found.st_nlink}


def _settle_ticks(entries: Dict[str, Print]) -> None:
    """Look again at what changed just now, until a tick has passed since."""
    began = int((time.time() - FRESH_SECONDS) * 1e9)
    fresh = [path for path, entry in entries.items() if max(entry["mtime_ns"], entry["ctime_ns"]) >= began]
    for _ in range(TICKS_WAITED_MAX):
        if not fresh:
            return
        time.sleep(TICK_SECONDS)
        fresh = [path for path in fresh if _looked_again(entries, path)]


def _looked_again(entries: Dict[str, Print], path: str) -> bool:
    """Take in how an entry is now; whether it has changed again meanwhile."""
    now: Optional[Print] = None
    try:
        folder, name = open_parent(path)
        try:
            found = stat_at(folder, name)
            now = None if found is None else _entry_of(found, link_target(folder, name, found))
        finally:
            os.close(folder)
    except OSError as fault:
        if fault.errno not in ABSENT_ERRNOS:
            raise
    if now is None:
        del entries[path]
        return False
    changed = now != entries[path]
    entries[path] = now
    return changed


def compare(before: Snapshot, after: Snapshot) -> List[Dict[str, Any]]:
    """The changes between two snapshots of the same roots, sorted by path, as far as both have seen."""
    old, new = _seen_by_both(before, after), _seen_by_both(after, before)
    changes = {}
    for path in sorted(set(old) | set(new)):
        change = _change(path, old.get(path), new.get(path))
        if change is not None:
            changes[path] = change
    _count_entries_below(changes)
    return list(changes.values())


def _seen_by_both(taken: Snapshot, other: Snapshot) -> Dict[str, Print]:
    ends = [_walk_order(end) for end in (taken["end"], other["end"]) if end]
    unread = [*taken["unread"], *other["unread"]]
    if not ends and not unread:
        return dict(taken["entries"])
    return {
        path: entry
        for path, entry in taken["entries"].items()
        if not any(_walk_order(path) >= end for end in ends) and not any(is_within(path, root) for root in unread)
    }


def _change(path: str, was: Optional[Print], now: Optional[Print]) -> Optional[Dict[str, Any]]:
    if was is None or now is None:
        found = now or was
        return change_of("create" if was is None else "delete", path, found or {}, _seen_before(was))
    if was["kind"] != now["kind"]:
        return change_of("modify", path, now, _seen_before(was), "%s → %s" % (was["kind"], now["kind"]))
    if _has_other_content(was, now):
        return change_of("modify", path, now, _seen_before(was), _meta_words(was, now))
    words = _meta_words(was, now) or _stat_words(was, now)
    return change_of("meta", path, now, _seen_before(was), words) if words else None


def _has_other_content(was: Print, now: Print) -> bool:
    if was["kind"] == "file":
        return any(was[key] != now[key] for key in ("ino", "size", "mtime_ns"))
    return bool(was["target"] != now["target"])


def _meta_words(was: Print, now: Print) -> str:
    words = []
    if was["mode"] != now["mode"] and was["kind"] != "link":
        words.append("mode %04o → %04o" % (was["mode"], now["mode"]))
    if (was["uid"], was["gid"]) != (now["uid"], now["gid"]):
        words.append("owner %d:%d → %d:%d" % (was["uid"], was["gid"], now["uid"], now["gid"]))
    return ", ".join(words)


def _stat_words(was: Print, now: Print) -> str:
    """What only the change time tells of. A directory's follows from its entries, but for when its mtime stayed."""
    if was["kind"] == "link" and was["mtime_ns"] != now["mtime_ns"]:
        return "mtime"
    if was["ctime_ns"] == now["ctime_ns"] or (was["kind"] == "directory" and was["mtime_ns"] != now["mtime_ns"]):
        return ""
    if was["kind"] != "directory" and was["nlink"] != now["nlink"]:
        return "links %d → %d" % (was["nlink"], now["nlink"])
    return "attributes"


def _seen_before(entry: Optional[Print]) -> Optional[Print]:
    if entry is None:
        return None
    return {key: value for key, value in entry.items() if key not in ("dev", "nlink")}


def _count_entries_below(changes: Dict[str, Dict[str, Any]]) -> None:
    for path, change in changes.items():
        above = path.rpartition("/")[0]
        while above in changes and changes[above]["op"] == change["op"] and changes[above]["kind"] == "directory":
            changes[above]["below"] += 1
            above = above.rpartition("/")[0]


def outside_links(taken: Snapshot) -> List[str]:
    """The files that have other names than those seen: what is written into one is written outside of the roots too."""
    names: Dict[Tuple[int, int], List[str]] = {}
    for path, entry in taken["entries"].items():
        if entry["kind"] == "file" and entry["nlink"] > 1:
            names.setdefault((entry["dev"], entry["ino"]), []).append(path)
    found = [path for paths in names.values() for path in paths if taken["entries"][path]["nlink"] > len(paths)]
    return sorted(found)
