"""The layout of a room: which places are layers, which can be written, which are covered. It mounts nothing."""

import os
import stat
from typing import Any, Dict, List, Set

from interlock.runner.kernel import Mount, mounts_in_sight

# What an overlay takes as its lower side. Anything else keeps its content and cannot be written.
LAYERED_TYPES = set(
    "ext2 ext3 ext4 xfs btrfs f2fs zfs jfs reiserfs bcachefs tmpfs ramfs overlay nfs nfs4 ceph cifs smb3 9p virtiofs "
    "fuseblk fuse.glusterfs fuse.sshfs gfs2 ocfs2 erofs squashfs iso9660 udf".split()
)
# Not even shown where a new root is put together: they answer no one but their owner, or mount by being looked at.
LEFT_OUT_TYPES = {"autofs", "rpc_pipefs", "fuse.portal", "fuse.gvfsd-fuse", "fuse.lxcfs", "nsfs", "binfmt_misc"}
PRIVATE_PLACES = ("/proc", "/sys", "/dev", "/run")  # each room has its own; of /sys a read-only view
KERNEL_PLACES = ("/proc", "/sys", "/dev")  # no layer and no bind makes a write to these harmless
OPEN_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/tty", "/dev/stdout", "/dev/stderr", "/dev/random")
SCRATCH_PLACES = ("/tmp", "/var/tmp")
MEMORY_PLACE = "/dev/shm"  # private in every room, like the two above
USERS_PLACES = ("/tmp", "/var/tmp", "/srv", "/opt", "/var/www", "/data")
RESOLVER_FILES = (
    "/run/systemd/resolve/resolv.conf", "/run/systemd/resolve/stub-resolv.conf", "/run/NetworkManager/resolv.conf",
    "/run/NetworkManager/no-stub-resolv.conf", "/run/resolvconf/resolv.conf", "/run/connman/resolv.conf",
    "/run/netconfig/resolv.conf",
)  # fmt: skip
LAYERS_MAX = 32
OPENED_MAX = 256
PINS_MAX = 512


class RoomFault(Exception):
    """The room that was asked for cannot be had; `code` is "room", or "moved" where a declared path leads elsewhere."""

    def __init__(self, reason: str, code: str = "room") -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


def lies_in(path: str, place: str) -> bool:
    """Whether a path is the place or below it."""
    return path == place or path.startswith(place.rstrip("/") + "/")


def lies_in_any(path: str, places: Any) -> bool:
    """Whether it lies in one of them."""
    return any(lies_in(path, place) for place in places)


def nearest_directory(path: str) -> str:
    """The path itself where it is a directory, else the first directory above that exists."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def resolver_files() -> List[str]:
    """What a name resolver reads below /run."""
    named = {os.path.realpath("/etc/resolv.conf"), *RESOLVER_FILES}
    return sorted(path for path in named if path.startswith("/run/") and os.path.isfile(path))


class Layout:
    """The host's places as one run needs them."""

    def __init__(self, order: Dict[str, Any], store: str, hidden: List[str], home: str) -> None:
        self.order = order
        self.store = store
        self.hidden = hidden
        self.home = home
        self.mounts = mounts_in_sight()
        self.writes = [path for path in order.get("writes", ()) if path not in OPEN_DEVICES]
        self.deletes = list(order.get("deletes", ()))
        self.notes: List[str] = []
        self._number = 0
        for path in self.writes + self.deletes:
            self._check_declared(path)

    def _check_declared(self, path: str) -> None:
        if os.path.normpath(path) != path or not path.startswith("/"):
            raise RoomFault("%s is not a plain absolute path" % path)
        if lies_in_any(path, KERNEL_PLACES) and not lies_in(path, MEMORY_PLACE):
            raise RoomFault("%s is the kernel's own; no room makes writing to it harmless" % path)
        if lies_in_any(path, self.hidden):
            raise RoomFault("%s belongs to the runner" % path)
        above = nearest_directory(os.path.dirname(path))
        if os.path.realpath(above) != above:
            raise RoomFault("%s leads to %s now" % (above, os.path.realpath(above)), "moved")
        if os.path.islink(path) and path not in self.deletes:
            raise RoomFault("%s is a link to %s now" % (path, os.path.realpath(path)), "moved")

    def mount_of(self, path: str) -> Mount:
        """The mount that a path lies on."""
        return max((m for m in self.mounts if lies_in(path, m.point)), key=lambda mount: len(mount.point))

    def mounts_below(self, path: str) -> List[str]:
        """Mount points inside a directory."""
        return [m.point for m in self.mounts if m.point != path and lies_in(m.point, path)]

    def layer(self, point: str, late: bool = False) -> Dict[str, Any]:
        """A new overlay for one place; a late one belongs to the call, not to every room of this kind."""
        self._number += 1
        if self._number > LAYERS_MAX:
            raise RoomFault("more than %d layers would be needed" % LAYERS_MAX)
        upper, work = ("%s/%s/%d" % (self.store, side, self._number) for side in "uw")
        return {"point": point, "upper": upper, "work": work, "late": late}

    # A room of root's that is staged: the whole root is one layer, and every file system mounted below it another.

    def whole_layers(self) -> Dict[str, List[Any]]:
        """Layers, and the places that keep their content but cannot be written."""
        found: Dict[str, List[Any]] = {"layers": [self.layer("/")], "frozen": []}
        left_out: List[str] = []
        for mount in self.mounts:
            if mount.point == "/" or lies_in_any(mount.point, (*PRIVATE_PLACES, *self.hidden, *left_out)):
                continue
            if _is_left_out(mount):
                left_out.append(mount.point)
            elif self._can_be_layer(mount) and len(found["layers"]) < LAYERS_MAX:
                found["layers"].append(self.layer(mount.point))
            else:
                found["frozen"].append(mount.point)
        for path in self.writes + self.deletes:
            if self.mount_of(path).point in found["frozen"] + left_out:
                raise RoomFault("%s lies on %s, which cannot be staged" % (path, self.mount_of(path).fstype))
        apart = {nearest_directory(path) for path in self.writes if lies_in_any(path, ("/run", MEMORY_PLACE))}
        apart |= {nearest_directory(os.path.dirname(p)) for p in self.deletes if lies_in_any(p, ("/run", MEMORY_PLACE))}
        found["layers"] += [self.layer(point, True) for point in outermost_places(apart)]
        return found

    def _can_be_layer(self, mount: Mount) -> bool:
        return mount.writable and mount.fstype in LAYERED_TYPES and os.path.isdir(mount.point)

    # A room of an ordinary user's that is staged: an overlay cannot span what is mounted below, nor change the owner
    # of a directory on the way down; so each layer begins at the topmost directory that is the user's own.

    def own_layers(self) -> List[Dict[str, Any]]:
        """A layer for every place that this user can change and that matters to the call."""
        needed = {nearest_directory(path) for path in self.writes}
        needed |= {nearest_directory(os.path.dirname(path)) for path in self.deletes}
        wanted = {self.order.get("cwd") or "/", *self.order.get("workspace", ()), self.home, *USERS_PLACES}
        wanted |= {m.point for m in self.mounts if m.point != "/" and self._can_be_layer(m)}
        wanted = {path for path in wanted if not lies_in_any(path, PRIVATE_PLACES)}
        points: Set[str] = set()
        for place in needed | {os.path.realpath(path) for path in wanted if os.path.isdir(path)}:
            if self._is_own_place(place):
                points.add(self._topmost_own(place))
            elif place in needed and os.access(place, os.W_OK) and self.mounts_below(place):
                raise RoomFault("other file systems are mounted below %s; declare what lies beside them" % place)
            elif place in needed and os.access(place, os.W_OK):
                raise RoomFault("%s lies on %s, which cannot be staged" % (place, self.mount_of(place).fstype))
        return [self.layer(point, True) for point in outermost_places(points)]

    def _is_own_place(self, place: str) -> bool:
        if lies_in_any(place, self.hidden) or self.mounts_below(place) or not os.access(place, os.W_OK | os.X_OK):
            return False
        mount = self.mount_of(place)
        return mount.writable and mount.fstype in LAYERED_TYPES

    def _topmost_own(self, place: str) -> str:
        while place != self.mount_of(place).point and os.stat(place).st_uid == os.geteuid():
            above = os.path.dirname(place)
            if os.stat(above).st_uid != os.geteuid() or not self._is_own_place(above):
                break
            place = above
        return place

    # A confined room: the real root, read-only but for these.

    def opened(self) -> List[Dict[str, Any]]:
        """Real places that can be written; "beside" says which entries of a pinned one are not pinned."""
        whole, pinned = set(), set()
        for path in self.writes:
            if os.path.lexists(path):
                whole.add(path)
            else:
                pinned.add(nearest_directory(path))
        pinned |= {nearest_directory(os.path.dirname(path)) for path in self.deletes if os.path.lexists(path)}
        found: List[Dict[str, Any]] = []
        for place in sorted(whole | pinned):
            if not any(lies_in(place, one["path"]) and one["spared"] is None for one in found):
                self._check_open(place, place not in whole)
                spared = None if place in whole else self.writes + self.deletes
                below = [m.point for m in self.mounts if lies_in(m.point, place) and m.point != place and m.writable]
                found.append({"path": place, "spared": spared, "below": below, "anchors": self._anchors(place)})
        if len(found) > OPENED_MAX:
            raise RoomFault("more than %d places would have to be opened" % OPENED_MAX)
        return found

    def _check_open(self, place: str, pinned: bool) -> None:
        if place in {"/", "/run"}:
            raise RoomFault("%s as a whole cannot be opened; declare what exists below it" % place)
        kind = os.stat(place).st_mode
        if not (stat.S_ISDIR(kind) or stat.S_ISREG(kind)):
            raise RoomFault("%s is neither a file nor a directory" % place)
        if pinned and len(os.listdir(place)) > PINS_MAX:
            raise RoomFault("%s has too many entries to protect beside a declared one; declare it as a whole" % place)

    def _anchors(self, place: str) -> List[str]:
        """Directories on the way from an opened place to our own: they must keep their names."""
        found: Set[str] = set()
        for hidden in self.hidden:
            above = os.path.dirname(hidden)
            while lies_in(above, place) and above != place:
                found.add(above)
                above = os.path.dirname(above)
        return sorted(found)

    def scratch(self, opened: List[Dict[str, Any]], with_overlay: bool) -> List[Dict[str, Any]]:
        """Private /tmp and /var/tmp: what lay there can be read where an overlay can be had, and writes vanish."""
        found = []
        for point in SCRATCH_PLACES:
            if os.path.realpath(point) != point or not os.path.isdir(point):
                continue
            if any(one["path"] == point for one in opened) or lies_in_any(point, self.hidden):
                continue
            mount = self.mount_of(point)
            keeps = with_overlay and not self.mounts_below(point) and mount.fstype in LAYERED_TYPES
            if not keeps:
                self.notes.append("%s is empty inside" % point)
            found.append({"point": point, "keeps": keeps})
        return found


def _is_left_out(mount: Mount) -> bool:
    return mount.fstype in LEFT_OUT_TYPES or (mount.fstype == "overlay" and mount.point.startswith("/var/lib/"))


def outermost_places(places: Set[str]) -> List[str]:
    """Sorted, without those that lie in another."""
    found: List[str] = []
    for place in sorted(places):
        if not found or not lies_in(place, found[-1]):
            found.append(place)
    return found
