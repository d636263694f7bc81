"""What this host and this user can do, found out by doing it in children that are thrown away; it guesses nothing."""

import os
import select
import shutil
import signal
import stat
import sys
import tempfile
import time
from functools import partial
from typing import Any, Callable, Dict, List, NoReturn

from interlock.runner.kernel import (
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    KERNEL_READY,
    LANDLOCK_ABI_SCOPES,
    MOUNT_READ_ONLY,
    MS_PRIVATE,
    MS_REC,
    change_mount,
    kernel_mount,
    kernel_unshare,
    landlock_abi,
)
from interlock.runner.layout import RoomFault, lies_in
from interlock.runner.room import build_room, fork_room, keep_identity, lock_room, plan_room

PROBE_SECONDS_MAX = 5.0
PROBE_BYTES_MAX = 4096
# From the best to what any kernel with overlays takes; the first that mounts is used ever after.
ROOT_OPTIONS = (
    "redirect_dir=off,metacopy=off,index=off,xino=off,volatile",
    "redirect_dir=off,metacopy=off,index=off,xino=off",
    "redirect_dir=off,index=off,xino=off",
    "index=off",
)
USER_OPTIONS = (
    "userxattr,redirect_dir=nofollow,metacopy=off,index=off,xino=off,volatile",
    "userxattr,metacopy=off,index=off,xino=off,volatile",
    "userxattr,index=off,xino=off",
)
PROBE_MARK = ".interlock-probe-"
FOUND_PROGRAMS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def probe_abilities(base: str) -> Dict[str, Any]:
    """What hello tells about this host. `base` holds the run directories; nothing is left in it."""
    found: Dict[str, Any] = {
        "levels": ["none"], "overlay": False, "overlay_base": "", "overlay_options": "", "missing": {},
        "user_namespace_needed": os.geteuid() != 0,
        "landlock_abi": landlock_abi() if KERNEL_READY else 0, "loopback_separable": False,
        "bubblewrap": _program("bwrap"), "free_bytes": free_bytes(base),
        "kernel": os.uname().release, "python": "%d.%d.%d" % sys.version_info[:3],
        "systemd": os.path.isdir("/run/systemd/system"), "service_managers": _service_managers(),
        "cgroup": _has_cgroup(),
    }  # fmt: skip
    found["abstract_separable"] = found["landlock_abi"] >= LANDLOCK_ABI_SCOPES
    _probe_namespaces(found)
    if not KERNEL_READY:
        found["missing"] = dict.fromkeys(("confined", "staged"), "this Python has no ctypes")
        return found
    _probe_overlay(found, base)
    for level in ("confined", "staged"):
        reason = _probe_level(level, found, base)
        if reason:
            found["missing"][level] = reason
        else:
            found["levels"].append(level)
    return found


def _probe_namespaces(found: Dict[str, Any]) -> None:
    own = CLONE_NEWUSER if found["user_namespace_needed"] else 0
    trials = (
        ("user_namespace", CLONE_NEWUSER), ("mount_namespace", own | CLONE_NEWNS),
        ("pid_namespace", own | CLONE_NEWPID), ("network_namespace", own | CLONE_NEWNET),
    )  # fmt: skip
    for name, flags in trials:
        found[name] = KERNEL_READY and not probe_in_child(partial(kernel_unshare, flags))
    found["mount_setattr"] = KERNEL_READY and not probe_in_child(partial(_try_setattr, own))


def _try_setattr(own: int) -> None:
    kernel_unshare(own | CLONE_NEWNS)
    if not change_mount("/", MOUNT_READ_ONLY, 0, True):
        raise OSError("this kernel has no mount_setattr")


def _probe_overlay(found: Dict[str, Any], base: str) -> None:
    """The first place and the first options with which a layer took a write."""
    own = "interlock-runs-%d" % os.geteuid()
    reason = ""
    for place in (base, os.path.join("/dev/shm", own), os.path.join("/var/tmp", own)):
        for options in USER_OPTIONS if found["user_namespace_needed"] else ROOT_OPTIONS:
            reason = _probe_place(place, options, bool(found["user_namespace_needed"]))
            if not reason:
                found.update(overlay=True, overlay_base=place, overlay_options=options)
                return
    found["missing"]["staged"] = reason


def _probe_place(place: str, options: str, apart: bool) -> str:
    try:
        os.makedirs(place, 0o700, exist_ok=True)
        looks = os.lstat(place)
        if not stat.S_ISDIR(looks.st_mode) or looks.st_uid != os.geteuid() or looks.st_mode & 0o077:
            return "%s is not this user's alone" % place
        folder = tempfile.mkdtemp(prefix=PROBE_MARK, dir=place)
    except OSError as fault:
        return str(fault)
    try:
        for name in ("lower", "upper", "work", "merged"):
            os.mkdir(os.path.join(folder, name))
        reason = probe_in_child(partial(_try_overlay, folder, options, apart))
        return reason or (
            "" if os.path.exists(folder + "/upper/written") else "what was written did not land in its layer"
        )
    finally:
        probe_remove(folder)


def _try_overlay(folder: str, options: str, apart: bool) -> None:
    owner = [os.geteuid(), os.getegid()]
    kernel_unshare(CLONE_NEWNS | (CLONE_NEWUSER if apart else 0))
    if apart:
        keep_identity(owner)
    kernel_mount("", "/", "", MS_REC | MS_PRIVATE)
    os.chdir(folder)
    kernel_mount("probe", "merged", "overlay", 0, "lowerdir=lower,upperdir=upper,workdir=work," + options)
    _write("merged/written")


def _probe_level(level: str, found: Dict[str, Any], base: str) -> str:
    """Build such a room and look from inside and from outside; the reason why not, or nothing."""
    if level == "staged" and not found["overlay"]:
        return str(found["missing"]["staged"])
    place = _own_place(base)
    try:
        folder = tempfile.mkdtemp(prefix=PROBE_MARK, dir=place)
    except OSError as fault:
        return str(fault)
    name = os.path.basename(folder)
    try:
        os.mkdir(folder + "/open")
        order = {
            "run": name, "level": level, "network": "none", "cwd": folder,
            "writes": [folder + "/open"] if level == "confined" else [], "deletes": [],
        }  # fmt: skip
        known = dict(found, levels=["none", "confined", "staged"])
        return probe_in_child(partial(_try_room, order, known, os.path.join(base, name), folder))
    finally:
        for left in (folder, os.path.join(base, name), os.path.join(found["overlay_base"] or base, name)):
            probe_remove(left)


def _own_place(base: str) -> str:
    """Where a probe may lie that no room shows as scratch: at home, else beside the run directories."""
    for place in (os.path.expanduser("~"), os.path.dirname(base), "/var/tmp"):
        if os.path.isdir(place) and os.access(place, os.W_OK | os.X_OK):
            return os.path.realpath(place)
    return "/var/tmp"


def _try_room(order: Dict[str, Any], known: Dict[str, Any], rundir: str, folder: str) -> None:
    os.mkdir(rundir, 0o700)
    plan = plan_room(order, known, rundir)
    ours, theirs = os.pipe()
    pid = fork_room(plan)
    if pid == 0:
        _answer(theirs, partial(_look_around, plan, folder))
    os.close(theirs)
    reason = _hear(ours, time.monotonic() + PROBE_SECONDS_MAX)
    os.waitpid(pid, 0)
    landed = [one for one in ("/beside", "/open/inside") if os.path.exists(folder + one)]
    if not reason and landed != (["/open/inside"] if order["level"] == "confined" else []):
        reason = "a room let %s through" % landed
    layered = any(lies_in(folder, layer["point"]) for layer in plan["layers"])
    if reason or (order["level"] == "staged" and not layered):
        raise RoomFault(reason or "%s is in no layer" % folder)


def _look_around(plan: Dict[str, Any], folder: str) -> None:
    """In the room's first process."""
    build_room(plan)
    lock_room(plan)
    _write(folder + "/open/inside")
    try:
        _write(folder + "/beside")
    except OSError:
        if plan["level"] == "staged":
            raise
    processes = [name for name in os.listdir("/proc") if name.isdigit()]
    if processes != ["1"] or any(os.listdir(place) for place in plan["hidden"] if os.path.isdir(place)):
        raise OSError("the host shows through")


def _write(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def probe_in_child(work: Callable[[], None]) -> str:
    """Do it in a child, PROBE_SECONDS_MAX at most: nothing, or why it could not be done."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ours)
        _answer(theirs, work)
    os.close(theirs)
    reason = _hear(ours, time.monotonic() + PROBE_SECONDS_MAX)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return reason


def _answer(end: int, work: Callable[[], None]) -> NoReturn:
    try:
        work()
        os.write(end, b"+")
    except BaseException as fault:  # noqa: BLE001 - a forked child must not return
        os.write(end, ("%s" % (fault or type(fault).__name__)).encode("utf-8", "replace")[:PROBE_BYTES_MAX])
    finally:
        os._exit(0)


def _hear(end: int, until: float) -> str:
    try:
        ready, _, _ = select.select([end], [], [], max(0.0, until - time.monotonic()))
        said = os.read(end, PROBE_BYTES_MAX).decode("utf-8", "replace") if ready else "it took too long"
    finally:
        os.close(end)
    return "" if said == "+" else said or "it ended without a word"


def probe_remove(folder: str) -> None:
    """Remove a tree of ours, the overlay's own directories without any mode included."""
    for parent, names, _ in os.walk(folder):
        for name in names:
            if not os.path.islink(os.path.join(parent, name)):
                os.chmod(os.path.join(parent, name), 0o700)
    shutil.rmtree(folder, ignore_errors=True)


def _program(name: str) -> str:
    return shutil.which(name, path=FOUND_PROGRAMS) or ""


def free_bytes(base: str) -> int:
    """How much room there is for run directories."""
    while not os.path.isdir(base):
        base = os.path.dirname(base)
    room = os.statvfs(base)
    return room.f_bavail * room.f_frsize


def _service_managers() -> List[str]:
    signs = (
        ("systemd", os.path.isdir("/run/systemd/system") and bool(_program("systemctl"))),
        ("openrc", os.path.isdir("/run/openrc") and bool(_program("rc-service"))),
        ("runit", os.path.isdir("/run/runit") and bool(_program("sv"))),
        ("sysv", os.path.isdir("/etc/init.d") and bool(_program("service"))),
    )
    return [name for name, holds in signs if holds]


def _has_cgroup() -> bool:
    """Whether this user may make cgroups below its own, where they can be ended as one."""
    try:
        with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as table:
            own = [line.strip().split(":", 2)[2] for line in table if line.startswith("0::")]
    except OSError:
        return False
    places = [mount + path for path in own for mount in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")]
    return any(os.path.exists(place + "/cgroup.procs") and os.access(place, os.W_OK) for place in places)
