"""What the runner asks of the kernel without a program between: mounts, namespaces, rights; it decides nothing."""

import fcntl
import os
import re
import socket
import struct
from functools import lru_cache
from typing import Any, Dict, List, NamedTuple, Optional, Set, Tuple

try:
    import ctypes
except ImportError:  # a minimal Python has none: the host then offers no containment
    ctypes = None  # type: ignore[assignment]  # absent is a value here

KERNEL_READY = ctypes is not None and os.path.exists("/proc/self/mountinfo")

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

# The first four are the same bits in mount(2), mount_setattr(2) and statvfs(3).
MOUNT_READ_ONLY = 1
MOUNT_NO_SUID = 2
MOUNT_NO_DEVICES = 4
MOUNT_NO_EXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MOUNT_KEPT = 1024 | 2048  # noatime and nodiratime: the same bits in statvfs
MOUNT_RELATIME = (4096, 1 << 21)  # in statvfs, in mount
MS_STRICTATIME = 1 << 24
MNT_DETACH = 2

# System calls without a wrapper in every libc; from 424 on numbers are the same on every machine.
SYS_CLOSE_RANGE = 436
SYS_MOUNT_SETATTR = 442
SYS_LANDLOCK_CREATE = 444
SYS_LANDLOCK_RULE = 445
SYS_LANDLOCK_RESTRICT = 446
SYS_CLONE = {"x86_64": 56, "aarch64": 220, "riscv64": 220, "loongarch64": 220, "ppc64le": 120}
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "loongarch64": 41, "ppc64le": 203, "s390x": 217}
AT_HERE = -100
AT_RECURSIVE = 0x8000
NO_SUCH_CALL = (1, 38)  # EPERM: what older seccomp filters answer for calls that they do not know

PR_DEATH_SIGNAL = 1
PR_DUMPABLE = 4
PR_BOUNDING_DROP = 24
PR_NO_NEW_PRIVILEGES = 38
PR_AMBIENT = 47
AMBIENT_CLEAR = 4
CAPABILITY_VERSION = 0x20080522
CAPABILITIES_MAX = 64
LANDLOCK_SCOPE_ABSTRACT = 1
LANDLOCK_PATH_BENEATH = 1
LANDLOCK_WRITE = 1 << 1
LANDLOCK_REFER = 1 << 13  # to move and link between directories: denied as soon as any right is handled
LANDLOCK_ABI_REFERS = 2
LANDLOCK_ABI_SCOPES = 6
SIGNAL_CHILD = 17
LOOPBACK_UP = struct.pack("16sh14x", b"lo", 0x1 | 0x40)
SET_INTERFACE_FLAGS = 0x8914


class KernelFault(OSError):
    """The kernel refused."""


class Mount(NamedTuple):
    """One line of mountinfo."""

    number: int
    parent: int
    root: str
    point: str
    options: Tuple[str, ...]
    fstype: str
    writable: bool


_LIBRARIES: Dict[str, Any] = {}


def _library(name: str) -> Any:
    """The C library: "plain", or "held" where Python's own lock must not be let go around the call."""
    if ctypes is None:
        raise KernelFault(38, "this Python has no ctypes")
    if name not in _LIBRARIES:
        kind = ctypes.CDLL if name == "plain" else ctypes.PyDLL
        _LIBRARIES[name] = kind(None, use_errno=True)
    return _LIBRARIES[name]


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise KernelFault(number, "%s: %s" % (what, os.strerror(number)))
    return result


def _syscall(what: str, number: int, *arguments: Any) -> int:
    wide = [ctypes.c_long(item) if isinstance(item, int) else item for item in arguments]
    return _checked(_library("plain").syscall(ctypes.c_long(number), *wide), what)


def _prctl(what: str, option: int, *arguments: int) -> int:
    padded = [*arguments, 0, 0, 0, 0][:4]
    return _checked(_library("plain").prctl(option, *[ctypes.c_ulong(item) for item in padded]), what)


def kernel_mount(source: str, target: str, fstype: str, flags: int, data: str = "") -> None:
    """mount(2); an empty string stands for NULL."""
    named = [os.fsencode(item) or None for item in (source, target, fstype, data)]
    result = _library("plain").mount(named[0], named[1], named[2], ctypes.c_ulong(flags), named[3])
    _checked(result, "mount %s on %s" % (fstype or source or "flags", target))


def kernel_umount(target: str) -> None:
    """Take a mount and all below it out of sight."""
    _checked(_library("plain").umount2(os.fsencode(target), MNT_DETACH), "umount " + target)


def kernel_unshare(flags: int) -> None:
    """unshare(2)."""
    _checked(_library("plain").unshare(flags), "unshare %#x" % flags)


def kernel_pivot(new_root: str) -> None:
    """Make a mount the root of this mount namespace and let the old root go."""
    os.chdir(new_root)
    pivot = getattr(_library("plain"), "pivot_root", None)
    if pivot is not None:
        _checked(pivot(b".", b"."), "pivot_root " + new_root)
    else:
        _syscall("pivot_root " + new_root, SYS_PIVOT_ROOT[os.uname().machine], b".", b".")
    kernel_umount(".")
    os.chdir("/")


def can_kernel_fork() -> bool:
    """Whether kernel_fork knows this machine."""
    return ctypes is not None and struct.calcsize("P") == 8 and os.uname().machine in SYS_CLONE


def kernel_fork(flags: int) -> int:
    """os.fork() whose child is born inside new namespaces: the parent keeps its own, and can go on forking."""
    api = ctypes.pythonapi
    paired = hasattr(api, "PyOS_BeforeFork")  # Python 3.7
    numbers = [SYS_CLONE[os.uname().machine], flags | SIGNAL_CHILD, 0, 0, 0, 0]
    library, wide = _library("held"), [ctypes.c_long(item) for item in numbers]
    if paired:
        api.PyOS_BeforeFork()
    pid = int(library.syscall(*wide))
    if pid == 0:
        (api.PyOS_AfterFork_Child if paired else api.PyOS_AfterFork)()
    elif paired:
        api.PyOS_AfterFork_Parent()
    return _checked(pid, "clone %#x" % flags)


def set_death_signal(number: int) -> None:
    """This process gets the signal when its parent ends."""
    _prctl("death signal", PR_DEATH_SIGNAL, number)


def forbid_inspection() -> None:
    """No process without CAP_SYS_PTRACE may look into this one or use its /proc/PID/{fd,root,cwd,mem}."""
    _prctl("dumpable", PR_DUMPABLE, 0)


def forbid_new_privileges() -> None:
    """No set-uid program and no file capability adds anything from here on."""
    _prctl("no_new_privs", PR_NO_NEW_PRIVILEGES, 1)


def drop_capabilities(keep: Tuple[int, ...]) -> None:
    """Leave exactly these, in every set, for this process and whatever it executes."""
    for number in range(CAPABILITIES_MAX):
        if number not in keep:
            try:
                _prctl("bounding set", PR_BOUNDING_DROP, number)
            except KernelFault as fault:
                if fault.errno == 22:  # past the last one that this kernel knows
                    break
                raise
    try:
        _prctl("ambient set", PR_AMBIENT, AMBIENT_CLEAR)
    except KernelFault as fault:
        if fault.errno != 22:  # a kernel before 4.3 has no ambient set
            raise
    bits = sum(1 << number for number in keep)
    low, high = bits & 0xFFFFFFFF, bits >> 32
    header = struct.pack("=Ii", CAPABILITY_VERSION, 0)
    _checked(_library("plain").capset(header, struct.pack("=6I", low, low, 0, high, high, 0)), "capset")


def landlock_abi() -> int:
    """The kernel's Landlock version; 0 where there is none."""
    try:
        return _syscall("landlock", SYS_LANDLOCK_CREATE, 0, 0, 1)
    except KernelFault:
        return 0


def landlock_restrict(writable: Optional[List[str]], scope_abstract: bool) -> None:
    """No file is opened for writing but below these (None: wherever), pipes included; needs ABI 2, or 6 to scope."""
    needed = LANDLOCK_ABI_SCOPES if scope_abstract else LANDLOCK_ABI_REFERS
    if landlock_abi() < needed:
        raise KernelFault(95, "this kernel's Landlock is older than version %d" % needed)
    handled = 0 if writable is None else LANDLOCK_WRITE | LANDLOCK_REFER
    request = struct.pack("=QQQ", handled, 0, LANDLOCK_SCOPE_ABSTRACT if scope_abstract else 0)
    ruleset = _syscall("landlock", SYS_LANDLOCK_CREATE, request, len(request), 0)
    try:
        if writable is not None:
            _landlock_allow(ruleset, "/", LANDLOCK_REFER)
        for path in writable or ():
            _landlock_allow(ruleset, path, LANDLOCK_WRITE | (LANDLOCK_REFER if os.path.isdir(path) else 0))
        _syscall("landlock", SYS_LANDLOCK_RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)


def _landlock_allow(ruleset: int, path: str, rights: int) -> None:
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = struct.pack("=Qi", rights, place)
        _syscall("landlock " + path, SYS_LANDLOCK_RULE, ruleset, LANDLOCK_PATH_BENEATH, rule, 0)
    finally:
        os.close(place)


def bring_up_loopback() -> None:
    """lo of a new network namespace starts down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        fcntl.ioctl(door.fileno(), SET_INTERFACE_FLAGS, LOOPBACK_UP)


def close_descriptors(lowest: int) -> None:
    """Close every open file from this number on: nothing of ours is inherited."""
    try:
        _syscall("close_range", SYS_CLOSE_RANGE, lowest, 0x7FFFFFFF, 0)
    except KernelFault:
        for name in os.listdir("/proc/self/fd"):
            if int(name) >= lowest:
                try:
                    os.close(int(name))
                except OSError:  # the listing's own
                    continue


def mounts_in_sight() -> List[Mount]:
    """The visible mounts of this process as they are now; worked out anew only where its mount table has changed."""
    with open("/proc/self/mountinfo", "rb") as table:
        return list(_in_sight(table.read()))


@lru_cache(maxsize=1)
def _in_sight(table: bytes) -> Tuple[Mount, ...]:
    return tuple(visible_mounts([_read_mount(os.fsdecode(line)) for line in table.splitlines()]))


def _read_mount(line: str) -> Mount:
    own, _, rest = line.partition(" - ")
    fields, options = own.split(" "), rest.split(" ")
    mine, whole = tuple(fields[5].split(",")), options[2].split(",") if len(options) > 2 else []
    root, point = _unescaped(fields[3]), _unescaped(fields[4])
    writable = "ro" not in mine and "ro" not in whole
    return Mount(int(fields[0]), int(fields[1]), root, point, mine, _unescaped(options[0]), writable)


def _unescaped(text: str) -> str:
    """mountinfo writes space, tab, newline and backslash of a name in octal."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found.group(1), 8)), text) if "\\" in text else text


def visible_mounts(mounts: List[Mount]) -> List[Mount]:
    """Those that their path leads to: neither covered by a later one, nor below one that is."""
    children: Dict[int, List[Mount]] = {}
    for mount in mounts:
        children.setdefault(mount.parent, []).append(mount)
    numbers = {mount.number for mount in mounts}
    found: List[Mount] = []
    open_ones = [mount for mount in mounts if mount.parent not in numbers or mount.parent == mount.number]
    seen: Set[int] = set()
    while open_ones:
        mount = open_ones.pop()
        if mount.number in seen:
            continue
        seen.add(mount.number)
        below = [child for child in children.get(mount.number, []) if child.number != mount.number]
        covering = [child for child in below if child.point == mount.point]
        if covering:
            open_ones.append(covering[-1])
            continue
        found.append(mount)
        points = tuple(child.point.rstrip("/") + "/" for child in below)
        open_ones += [child for child in below if not child.point.startswith(points)]
    return sorted(found, key=lambda mount: mount.point)


def change_mount(path: str, add: int, take: int, whole_tree: bool = False) -> bool:
    """Set and clear MOUNT_* of the mount at a path, or of it and all below; False where the call is not there."""
    request = struct.pack("=4Q", add, take, 0, 0)
    try:
        _syscall(
            "mount_setattr " + path, SYS_MOUNT_SETATTR, AT_HERE, os.fsencode(path),
            AT_RECURSIVE if whole_tree else 0, request, len(request),
        )  # fmt: skip
    except KernelFault as fault:
        if fault.errno not in NO_SUCH_CALL:
            raise
        return False
    return True


def change_mounts(path: str, add: int, take: int, whole_tree: bool = False) -> None:
    """change_mount, on kernels before 5.12 by remounting one mount after the other."""
    if change_mount(path, add, take, whole_tree):
        return
    points = [path]
    if whole_tree:
        prefix = path.rstrip("/") + "/"
        points += [mount.point for mount in mounts_in_sight() if mount.point.startswith(prefix)]
    for point in points:
        try:
            now = os.statvfs(point).f_flag
        except PermissionError:
            if point == path:
                raise
            continue  # whoever has no way there cannot write there, and what it starts has fewer rights
        kept = now & (MOUNT_READ_ONLY | MOUNT_NO_SUID | MOUNT_NO_DEVICES | MOUNT_NO_EXEC | MOUNT_KEPT)
        times = MOUNT_RELATIME[1] if now & MOUNT_RELATIME[0] else 0 if now & 1024 else MS_STRICTATIME
        kernel_mount("", point, "", MS_REMOUNT | MS_BIND | (kept | add) & ~take | times)


def read_only_tree(path: str) -> None:
    """The mount at a path and every one below it: nothing is written, no device node works, no set-uid counts."""
    change_mounts(path, MOUNT_READ_ONLY | MOUNT_NO_DEVICES | MOUNT_NO_SUID, 0, True)


def writable_mount(path: str) -> None:
    """The one mount at a path can be written again."""
    change_mounts(path, 0, MOUNT_READ_ONLY)
