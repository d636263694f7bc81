"""Building a room, mount by mount, in the first process of its namespaces. It decides nothing: the plan says what.

Two ways, one order. A staged room of root's is put together below an overlay of the whole root, which then becomes the
root. Every other room is made in place: the root stays, and what must not be seen or written is covered.
"""

import os
import stat
from typing import Any, Dict, List

from interlock.runner.kernel import (
    MOUNT_NO_DEVICES,
    MOUNT_NO_EXEC,
    MOUNT_NO_SUID,
    MOUNT_READ_ONLY,
    MS_BIND,
    MS_PRIVATE,
    MS_REC,
    bring_up_loopback,
    change_mounts,
    kernel_mount,
    kernel_pivot,
    read_only_tree,
    writable_mount,
)
from interlock.runner.layout import RoomFault, lies_in

DEVICE_NODES = ("null", "zero", "full", "random", "urandom", "tty")
DEVICE_LINKS = {
    "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}  # fmt: skip
QUIET = MOUNT_NO_SUID | MOUNT_NO_DEVICES
SCRATCH_SIZE = "size=50%"  # of memory, for what is not on disk
SMALL_SIZE = "size=1m"


class Site:
    """A room while it is built: its plan, where its root lies, and places held open since before they were covered."""

    def __init__(self, plan: Dict[str, Any]) -> None:
        self.plan = plan
        self.workshop: str = plan["hidden"][0]
        self.root = self.workshop + "/root" if plan["pivot"] else ""
        self._held: Dict[str, int] = {}

    def hold(self, place: str) -> None:
        """Keep a way to what lies at a place, whatever is mounted over it."""
        if os.path.isdir(place):
            self._held[place] = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def real(self, path: str) -> str:
        """A name for the host's own file, also where the room's lies over it by now."""
        holders = [place for place in self._held if lies_in(path, place)]
        if not holders:
            return path
        holder = max(holders, key=len)
        # "." too: the descriptor's own name is a link, which is not followed where none may be.
        return "/proc/self/fd/%d/%s" % (self._held[holder], os.path.relpath(path, holder))

    def open(self, path: str) -> int:
        """A file descriptor of the host's own file. Raises RoomFault("moved") where a link led elsewhere."""
        descriptor = os.open(self.real(path), os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        found = os.readlink("/proc/self/fd/%d" % descriptor)
        if found != path or stat.S_ISLNK(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise RoomFault("%s leads to another place now" % path, "moved")
        return descriptor

    def close(self) -> None:
        """Let all go."""
        for descriptor in self._held.values():
            os.close(descriptor)
        self._held.clear()


def build_frame(plan: Dict[str, Any]) -> Site:
    """What every room of this kind has: it needs nothing of the call, so it can be made before there is one."""
    site = Site(plan)
    os.chdir("/")
    kernel_mount("", "/", "", MS_REC | MS_PRIVATE)
    if plan["network"] == "none":
        bring_up_loopback()
    if plan["layers"]:
        os.makedirs(plan["store"], 0o700, exist_ok=True)
        site.hold(plan["store"])
    for place in ("/dev", "/run", "/dev/shm"):
        site.hold(place)
    kernel_mount("tmpfs", site.workshop, "tmpfs", QUIET, "mode=755," + SCRATCH_SIZE)
    os.mkdir(site.workshop + "/void", 0o755)
    os.mknod(site.workshop + "/empty", stat.S_IFREG | 0o444)
    site.hold(site.workshop)
    if plan["pivot"]:
        _begin_root(site)
    _fresh_processes(site)
    _private_devices(site)
    _private_run(site)
    return site


def _begin_root(site: Site) -> None:
    os.mkdir(site.root, 0o755)
    change_mounts(site.workshop, MOUNT_READ_ONLY, 0)
    for layer in site.plan["layers"]:
        if not layer["late"]:
            _lay(site, layer)
    kernel_mount("/sys", site.root + "/sys", "", MS_BIND | MS_REC)
    read_only_tree(site.root + "/sys")
    for place in site.plan["frozen"]:
        kernel_mount(place, site.root + place, "", MS_BIND)
        read_only_tree(site.root + place)


def _lay(site: Site, layer: Dict[str, Any]) -> None:
    """Mount one overlay. Paths go by descriptor: nothing to escape in them, nothing of ours in the mount table."""
    descriptor = site.open(layer["point"])
    try:
        lower = "/proc/self/fd/%d" % descriptor
        upper, work = site.real(layer["upper"]), site.real(layer["work"])
        os.makedirs(upper, 0o700)
        os.makedirs(work, 0o700)
        _copy_looks(lower, upper)
        data = "lowerdir=%s,upperdir=%s,workdir=%s,%s" % (lower, upper, work, site.plan["options"])
        kernel_mount("layer", site.root + layer["point"], "overlay", QUIET, data)
    finally:
        os.close(descriptor)


def _copy_looks(source: str, target: str) -> None:
    """A layer's top directory stands in for the real one: owner, group, mode, and access lists that are inherited."""
    looks = os.stat(source)
    for owner, group in ((looks.st_uid, looks.st_gid), (-1, looks.st_gid)):
        try:
            os.chown(target, owner, group)
            break
        except OSError:  # a user cannot give away; inside, the directory is then the user's own
            continue
    for name in os.listxattr(source):
        if name.startswith("system.posix_acl"):
            os.setxattr(target, name, os.getxattr(source, name))
    os.chmod(target, stat.S_IMODE(looks.st_mode))
    os.utime(target, ns=(looks.st_atime_ns, looks.st_mtime_ns))


def _fresh_processes(site: Site) -> None:
    """Of the processes only the room's own, and no kernel setting that can be written."""
    kernel_mount("proc", site.root + "/proc", "proc", QUIET | MOUNT_NO_EXEC | MOUNT_READ_ONLY)


def _private_devices(site: Site) -> None:
    """A read-only mount does not stop a write to a device: the room has six harmless ones and terminals of its own."""
    place = site.root + "/dev"
    kernel_mount("tmpfs", place, "tmpfs", MOUNT_NO_SUID | MOUNT_NO_EXEC, "mode=755," + SMALL_SIZE)
    for name in DEVICE_NODES:
        source = site.real("/dev/" + name)
        if os.path.exists(source) and not site.plan["apart"]:
            os.mknod(place + "/" + name, stat.S_IFCHR | 0o666, os.stat(source).st_rdev)
            os.chmod(place + "/" + name, 0o666)
        elif os.path.exists(source):  # a user makes no device nodes, but may show those that there are
            os.mknod(place + "/" + name, stat.S_IFREG | 0o666)
            kernel_mount(source, place + "/" + name, "", MS_BIND)
    for name, target in DEVICE_LINKS.items():
        os.symlink(target, place + "/" + name)
    os.mkdir(place + "/pts", 0o755)
    os.mkdir(place + "/shm", 0o1777)
    kernel_mount(
        "devpts", place + "/pts", "devpts", MOUNT_NO_SUID | MOUNT_NO_EXEC, "newinstance,ptmxmode=0666,mode=620"
    )
    kernel_mount("tmpfs", place + "/shm", "tmpfs", QUIET, "mode=1777," + SCRATCH_SIZE)
    change_mounts(place, MOUNT_READ_ONLY, 0)


def _private_run(site: Site) -> None:
    """Sockets and secrets of services are gone; what a resolver reads is there; locks are scratch."""
    place = site.root + "/run"
    kernel_mount("tmpfs", place, "tmpfs", QUIET, "mode=755," + SMALL_SIZE)
    os.symlink("../dev/shm", place + "/shm")
    os.symlink("../dev/shm", place + "/lock")
    for path in site.plan["readable"]:
        _stand_in(site, path)
        kernel_mount(site.real(path), site.root + path, "", MS_BIND)
        change_mounts(site.root + path, MOUNT_READ_ONLY | QUIET, 0)


def _stand_in(site: Site, path: str) -> None:
    """In a place that is new, make the mount point for a path of the host's."""
    target = site.root + path
    if os.path.lexists(target):
        return
    os.makedirs(os.path.dirname(target), 0o755, exist_ok=True)
    if os.path.isdir(site.real(path)):
        os.mkdir(target, 0o755)
    else:
        os.mknod(target, stat.S_IFREG | 0o444)


def fit_room(site: Site) -> None:
    """What one call needs, and the end of the work: after it the host's own root is out of reach."""
    plan = site.plan
    held = [_hold_open(site, one) for one in plan["opened"]]
    late = [layer for layer in plan["layers"] if layer["late"]]
    for path in [layer["point"] for layer in late] + [one["path"] for one in held]:
        _stand_in(site, path)
    change_mounts(site.root + "/run", MOUNT_READ_ONLY, 0)
    for layer in late:
        _lay(site, layer)
    for number, place in enumerate(plan["scratch"]):
        _scratch(site, place, number)
    if not plan["pivot"]:
        _freeze_root([place["point"] for place in (*late, *plan["scratch"])])
    for one in held:
        _open_up(site, one)
    for place in [*plan["masked"], *plan["sockets"]]:
        _empty_out(site, place)
    for place in reversed(plan["hidden"]):
        _empty_out(site, place)
    site.close()
    if plan["pivot"]:
        kernel_pivot(site.root)


def _scratch(site: Site, place: Dict[str, Any], number: int) -> None:
    """What lies there can be read, what is written is in memory and vanishes with the room."""
    if not place["keeps"]:
        kernel_mount("tmpfs", place["point"], "tmpfs", QUIET, "mode=1777," + SCRATCH_SIZE)
        return
    folder = site.workshop + "/scratch/%d" % number
    _lay(site, {"point": place["point"], "upper": folder + "/upper", "work": folder + "/work"})


def _freeze_root(points: List[str]) -> None:
    """Everything read-only and without devices; then these, and the room's own devices, once more."""
    read_only_tree("/")
    change_mounts("/dev", 0, MOUNT_NO_DEVICES, True)
    change_mounts("/dev/shm", MOUNT_NO_DEVICES, MOUNT_READ_ONLY)
    writable_mount("/dev/pts")
    for point in points:
        writable_mount(point)


def _hold_open(site: Site, one: Dict[str, Any]) -> Dict[str, Any]:
    descriptor = site.open(one["path"])
    read_only = bool(os.fstatvfs(descriptor).f_flag & MOUNT_READ_ONLY)
    return dict(one, descriptor=descriptor, read_only=read_only)


def _open_up(site: Site, one: Dict[str, Any]) -> None:
    """A declared place that can really be written; of a directory opened for one entry's sake, all others cannot."""
    target = site.root + one["path"]
    kernel_mount("/proc/self/fd/%d" % one["descriptor"], target, "", MS_BIND | MS_REC)
    os.close(one["descriptor"])
    for point in [] if one["read_only"] else [target, *[site.root + path for path in one["below"]]]:
        writable_mount(point)
    for path in one["anchors"]:  # what is mounted on cannot be renamed
        kernel_mount(site.root + path, site.root + path, "", MS_BIND | MS_REC)
    if one["spared"] is not None:
        _pin(target, {path for path in one["spared"] if os.path.dirname(path) == one["path"]})


def _pin(directory: str, spared: Any) -> None:
    for name in os.listdir(directory):
        path = directory.rstrip("/") + "/" + name
        if path not in spared and not os.path.islink(path):
            kernel_mount(path, path, "", MS_BIND | MS_REC)
            read_only_tree(path)


def _empty_out(site: Site, place: str) -> None:
    target = site.root + place
    try:
        kind = os.lstat(target).st_mode
    except (FileNotFoundError, NotADirectoryError, PermissionError):  # gone, covered already, or out of reach anyway
        return
    if stat.S_ISLNK(kind):
        raise RoomFault("%s became a link while it was to be hidden" % place)
    source = site.real(site.workshop + ("/void" if stat.S_ISDIR(kind) else "/empty"))
    kernel_mount(source, target, "", MS_BIND)
