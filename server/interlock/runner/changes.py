"""The measured diff of layers: what a run created, modified, deleted, or gave another meta. It lands nothing.

Read after the run's processes are gone, against the host as it is then. The cost follows the changes, not what lies
below. The overlay's own attributes are taken off whatever may leave the layer before it is sealed, so that nothing in a
layer has to be touched between the moment its diff is shown and the moment it lands.
"""

import hashlib
import json
import os
import stat
from typing import Any, Dict, List, Optional, Tuple

from interlock.runner.contents import content_line, is_equal
from interlock.runner.copying import Meta, meta_at, meta_of, meta_seal, overlay_prefix, read_xattrs, strip_overlay
from interlock.runner.tree import (
    FOLDER_FLAGS,
    LISTING_FLAGS,
    LayerFault,
    Print,
    Seal,
    fingerprint_of,
    is_within,
    kind_of_mode,
    link_target,
    list_folder,
    open_folder,
    place_of,
    reachable,
    seal_tree,
    stat_at,
    walk_tree,
)

LAYER_CHANGES_MAX = 20_000
SCRATCH_IN_LAYERS = ("/tmp", "/var/tmp", "/dev/shm")
LayerChange = Dict[str, Any]


def read_changes(layers: List[Dict[str, Any]], order: Dict[str, Any], limits: Dict[str, Any]) -> Dict[str, Any]:
    """The record of layers: what `land` lands, JSON throughout. Raises LayerFault, OSError.

    changes: sorted by path, at most limits["changes_max"]. sources: path → where it lies in the layer. seals: what must
    still be so of a source for it to be what was shown; contents: what each holds, as hashes. disturbed: paths that
    changed on the host after limits["began_ns"]. truncated: not all is listed; landable: all that has to land is.
    scratch: entries left behind. bytes: what is new. digest: over the changes and all new content.
    """
    reading = LayerReading(order, limits)
    for layer in sorted(layers, key=lambda one: str(one["point"])):
        reading.read_layer(layer)
    return reading.record()


def is_whiteout(found: os.stat_result) -> bool:
    """Whether an entry of an upper layer says that the one below it is gone."""
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def change_of(op: str, path: str, found: Print, was: Optional[Print], detail: str = "") -> LayerChange:
    """One change; of a deletion `found` is what was there."""
    return {
        "op": op,
        "path": path,
        "kind": found["kind"],
        "size": found["size"],
        "mode": found["mode"],
        "uid": found["uid"],
        "gid": found["gid"],
        "target": found["target"],
        "below": 0,
        "was": was,
        "detail": detail,
    }


def meta_detail(was: Meta, now: Meta, times: bool) -> str:
    """How two metas differ, in words; "" where they do not."""
    said = []
    if was["mode"] != now["mode"]:
        said.append("mode %04o → %04o" % (was["mode"], now["mode"]))
    if (was["uid"], was["gid"]) != (now["uid"], now["gid"]):
        said.append("owner %d:%d → %d:%d" % (was["uid"], was["gid"], now["uid"], now["gid"]))
    names = set(was["xattrs"]) | set(now["xattrs"])
    other = sorted(name for name in names if was["xattrs"].get(name) != now["xattrs"].get(name))
    if other:
        said.append("attributes %s" % " ".join(other))
    if times and was["mtime_ns"] != now["mtime_ns"]:
        said.append("mtime")
    return ", ".join(said)


class LayerReading:
    """One reading of a run's layers. A unit is what lands in one step: a file, a whole new or deleted tree, a meta."""

    def __init__(self, order: Dict[str, Any], limits: Dict[str, Any]) -> None:
        self._most = int(limits.get("changes_max") or order.get("changes_max") or LAYER_CHANGES_MAX)
        self._began_ns = int(limits.get("began_ns") or order.get("began_ns") or 0)
        wanted = [
            *order.get("writes", ()),
            *order.get("deletes", ()),
            *order.get("workspace", ()),
            order.get("cwd", ""),
        ]
        self._kept = [path for path in wanted if path and path not in SCRATCH_IN_LAYERS]
        self._prefix = overlay_prefix(False)
        self._units: List[LayerChange] = []
        self._below: List[LayerChange] = []
        self._unlisted_units = 0
        self._unlisted_below = 0
        self._sources: Dict[str, str] = {}
        self._seals: Dict[str, str] = {}
        self._contents: Dict[str, str] = {}
        self._disturbed: List[str] = []
        self._bare: List[str] = []
        self._scratch = 0
        self._bytes = 0

    def record(self) -> Dict[str, Any]:
        """What was read so far."""
        room = max(0, self._most - len(self._units))
        left_out = self._unlisted_units + self._unlisted_below + max(0, len(self._below) - room)
        changes = sorted(self._units + self._below[:room], key=lambda change: str(change["path"]))
        listed = {change["path"] for change in changes}
        text = json.dumps([changes, self._contents, left_out], sort_keys=True)
        return {
            "changes": changes,
            "sources": {path: source for path, source in self._sources.items() if path in listed},
            "seals": self._seals,
            "contents": self._contents,
            "bare": self._bare,
            "disturbed": sorted(self._disturbed),
            "truncated": left_out > 0,
            "left_out": left_out,
            "landable": not self._unlisted_units,
            "scratch": self._scratch,
            "bytes": self._bytes,
            "digest": hashlib.sha256(text.encode("ascii")).hexdigest(),
        }

    def read_layer(self, layer: Dict[str, Any]) -> None:
        """Take in one layer: {"point", "upper", "userxattr": True where it was mounted so}."""
        self._prefix = overlay_prefix(bool(layer.get("userxattr", os.geteuid() != 0)))
        point, upper = str(layer["point"]), str(layer["upper"])
        up = os.open(upper, LISTING_FLAGS)
        try:
            low = open_folder(point)
        except OSError:
            os.close(up)
            raise LayerFault("moved", "%s is no directory any more" % point, point)
        try:
            self._root(up, low, point, upper)
            self._merged(up, low, "" if point == "/" else point, upper)
        finally:
            os.close(up)
            os.close(low)

    # ── what lies over what ──

    def _merged(self, up: int, low: int, path: str, source: str) -> None:
        names = sorted(os.listdir(up))
        for name in names:
            self._name(up, low, name, path + "/" + name, source + "/" + name)
        if read_xattrs(place_of(up), ()).get(self._prefix + "opaque") == b"y".hex():
            hidden = set(names)
            for name in list_folder(low):
                under = None if name in hidden else stat_at(low, name)
                if under is not None and not self._is_scratch(path + "/" + name):
                    self.add_gone(low, name, path + "/" + name)

    def _name(self, up: int, low: int, name: str, path: str, source: str) -> None:
        over, under = stat_at(up, name), stat_at(low, name)
        if over is None:
            return
        if self._is_scratch(path):
            self._scratch += 1
        elif is_whiteout(over):
            if under is not None:
                self.add_gone(low, name, path)
        elif under is None:
            self._came(up, low, name, path, source)
        elif stat.S_ISDIR(over.st_mode) and stat.S_ISDIR(under.st_mode):
            self._folder(up, low, name, path, source)
        elif stat.S_ISDIR(over.st_mode) or stat.S_ISDIR(under.st_mode):
            self._turned(up, low, name, path, source)
        else:
            self._leaf(up, low, name, path, source, over, under)

    def _is_scratch(self, path: str) -> bool:
        if not any(path.startswith(place + "/") for place in SCRATCH_IN_LAYERS):
            return False
        return not any(is_within(path, kept) or is_within(kept, path) for kept in self._kept)

    def _root(self, up: int, low: int, point: str, source: str) -> None:
        # Who mounted it gave it mode and owner of what it covers, but not what else belongs to that.
        over, under = meta_at(up, "."), meta_at(low, ".")
        over["xattrs"] = under["xattrs"]
        if os.geteuid() not in (0, under["uid"]):  # a user's layer cannot have them, nor could the user change them
            over.update({name: under[name] for name in ("uid", "gid", "mode")})
        self._meta_of_folder(up, low, ".", point, source, over, under)
        self._bare.append(point)

    def _folder(self, up: int, low: int, name: str, path: str, source: str) -> None:
        notes = read_xattrs(place_of(up, name), ())
        if self._prefix + "redirect" in notes:
            raise LayerFault("internal", "%s was renamed inside of the layer (redirect_dir)" % path, path)
        over, under = meta_at(up, name), meta_at(low, name)
        self._meta_of_folder(up, low, name, path, source, over, under)
        with reachable(up, name):
            inner_up = os.open(name, LISTING_FLAGS, dir_fd=up)
            try:
                inner_low = os.open(name, FOLDER_FLAGS, dir_fd=low)
                try:
                    self._merged(inner_up, inner_low, path, source)
                finally:
                    os.close(inner_low)
            finally:
                os.close(inner_up)

    def _meta_of_folder(self, up: int, low: int, name: str, path: str, source: str, over: Meta, under: Meta) -> None:
        detail = meta_detail(under, over, times=False)
        if detail:
            was = fingerprint_of(os.stat(name, dir_fd=low, follow_symlinks=False))
            now = fingerprint_of(os.stat(name, dir_fd=up, follow_symlinks=False))
            self._unit(change_of("meta", path, now, was, detail), source, meta_seal(over))
            self._contents[path] = meta_seal(over)

    # ── what came, went, turned, changed ──

    def _unit(self, change: LayerChange, source: str = "", seal: str = "") -> None:
        if len(self._units) >= self._most:
            self._unlisted_units += 1
            return
        self._units.append(change)
        if source:
            self._sources[change["path"]] = source
            self._seals[change["path"]] = seal

    def _came(self, up: int, low: int, name: str, path: str, source: str) -> None:
        # A copy of something below, in a folder that others changed meanwhile: what it copies may have been deleted.
        copied = self._prefix + "origin" in read_xattrs(place_of(up, name), ())
        if copied and self._began_ns and os.fstat(low).st_mtime_ns > self._began_ns:
            self._disturbed.append(path)
        self.add_new(up, name, path, source, None)

    def add_new(
        self, up: int, name: str, path: str, source: str, was: Optional[Print], detail: str = "", top: str = "modify"
    ) -> None:
        """A name of an upper layer (or of work like one) and all below it, that lands as one."""
        seal, content, changes = Seal(), hashlib.sha256(), {}  # type: Seal, Any, Dict[str, LayerChange]
        for rel, held, child, seen in walk_tree(up, name, ours=True):
            if is_whiteout(seen):
                self._disturbed.append(path + rel)  # it hides what was there when the run began, and is gone by now
                continue
            target = link_target(held, child, seen)
            with reachable(held, child):
                xattrs, notes = strip_overlay(place_of(held, child), self._prefix)
                content.update(content_line(rel, held, child, seen, target, xattrs))
            if self._prefix + "metacopy" in notes:
                raise LayerFault("internal", "%s has no content in the layer (metacopy)" % (path + rel), path)
            found = os.stat(child, dir_fd=held, follow_symlinks=False) if notes else seen
            seal.add(rel, found, target)
            op = "create" if was is None or rel else top
            changes[rel] = change_of(op, path + rel, fingerprint_of(found, target), None if rel else was, detail)
            detail = ""
        _count_below(changes)
        self._bytes += seal.bytes
        self._contents[path] = content.hexdigest()
        self._listed(changes, path, source, seal.text())

    def _listed(self, changes: Dict[str, LayerChange], path: str, source: str, seal: str) -> None:
        for rel, change in changes.items():
            if not rel:
                self._unit(change, source, seal)
            elif len(self._below) < self._most:
                self._below.append(change)
                if source:
                    self._sources[path + rel] = source + rel
            else:
                self._unlisted_below += 1

    def add_gone(self, low: int, name: str, path: str) -> int:
        """A name of the host that is to go with all below it; how many entries these are."""
        changes, _ = self._old_tree(low, name, path)
        self._listed(changes, path, "", "")
        return len(changes)

    def add_moved(self, low: int, name: str, path: str, to: str, was: Optional[Print]) -> None:
        """A name of the host that is to become another with all below it, perhaps in place of what was there."""
        changes, found = self._old_tree(low, name, path)
        self._listed(changes, path, "", "")
        came = {}
        for rel, change in changes.items():
            op = "create" if was is None or rel else "modify"
            came[rel] = {**change, "op": op, "path": to + rel, "was": None if rel else was, "detail": ""}
        came[""]["detail"] = "moved from %s" % path
        self._listed(came, to, "", "")
        self._seals[to] = seal_tree(low, name).text()
        self._contents[to] = self._seals[to]
        self._bytes += int(found["bytes"] if "bytes" in found else found["size"])

    def entries_of(self, path: str) -> int:
        """How many entries a unit brings or takes, itself among them; 0 where there is none at this path."""
        return sum(1 + int(unit["below"]) for unit in self._units if unit["path"] == path)

    def _old_tree(self, low: int, name: str, path: str) -> Tuple[Dict[str, LayerChange], Print]:
        """A name of the host and all below it that is to go as one, and its fingerprint with the tree's seal."""
        seal, changes = Seal(), {}  # type: Seal, Dict[str, LayerChange]
        for rel, held, child, found in walk_tree(low, name):
            target = link_target(held, child, found)
            seal.add(rel, found, target)
            self._look_at_time(path + rel, found)
            was = fingerprint_of(found, target)
            changes[rel] = change_of("delete", path + rel, was, was)
        _count_below(changes)
        was = changes[""]["was"]
        if was["kind"] == "directory":
            was.update(tree=seal.text(), bytes=seal.bytes)
        return changes, was

    def _look_at_time(self, path: str, under: os.stat_result) -> None:
        latest = under.st_mtime_ns if stat.S_ISDIR(under.st_mode) else under.st_ctime_ns
        if self._began_ns and latest > self._began_ns:
            self._disturbed.append(path)

    def _turned(self, up: int, low: int, name: str, path: str, source: str) -> None:
        changes, was = self._old_tree(low, name, path)
        del changes[""]
        self._listed(changes, path, "", "")
        now = kind_of_mode(os.stat(name, dir_fd=up, follow_symlinks=False).st_mode)
        self.add_new(up, name, path, source, was, "%s → %s" % (was["kind"], now))

    def _leaf(
        self, up: int, low: int, name: str, path: str, source: str, over: os.stat_result, under: os.stat_result
    ) -> None:
        was = fingerprint_of(under, link_target(low, name, under))
        now = kind_of_mode(over.st_mode)
        equal = now == was["kind"] and is_equal(up, low, name, over, under)
        metas = meta_of(under, place_of(low, name)), meta_of(over, place_of(up, name))
        detail = meta_detail(*metas, times=equal and now in ("file", "link"))
        if equal and not detail:
            return
        if now != was["kind"]:
            detail = "%s → %s" % (was["kind"], now)
        self._look_at_time(path, under)
        self.add_new(up, name, path, source, was, detail, "meta" if equal else "modify")


def _count_below(changes: Dict[str, LayerChange]) -> None:
    for rel in changes:
        above = rel
        while above:
            above = above.rpartition("/")[0]
            changes[above]["below"] += 1
