"""Rooms: the kernel-enforced place in which one run's command lives. It starts no command and reads no outcome."""

import os
import signal
from typing import Any, Dict, List

from interlock.runner.building import build_frame, fit_room
from interlock.runner.kernel import (
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    LANDLOCK_ABI_REFERS,
    LANDLOCK_ABI_SCOPES,
    KernelFault,
    can_kernel_fork,
    drop_capabilities,
    forbid_inspection,
    forbid_new_privileges,
    kernel_fork,
    kernel_unshare,
    landlock_restrict,
    set_death_signal,
)
from interlock.runner.layout import Layout, RoomFault, lies_in_any, resolver_files
from interlock.runner.masks import MaskFault, secret_places, socket_places

# What of a plan is its run's own, and what it was told of the process that builds it.
PLAN_OWN = ("run", "store", "notes", "parent", "entered", "owner")
# CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID NET_BIND_SERVICE SETFCAP
ROOT_KEEPS = (0, 1, 3, 4, 5, 6, 7, 10, 31)


def plan_room(order: Dict[str, Any], abilities: Dict[str, Any], rundir: str) -> Dict[str, Any]:
    """Everything that building will do, as a value. Raises RoomFault where this host cannot give what is asked."""
    level, network = order["level"], order["network"]
    if level not in abilities["levels"] or level == "none":
        raise RoomFault(abilities.get("missing", {}).get(level) or "this host has no %s rooms" % level)
    apart = abilities.get("user_namespace_needed", os.geteuid() != 0)
    runs = os.path.realpath(os.path.dirname(rundir))  # a link in a name would lead out of a root that is being built
    base = os.path.realpath(abilities.get("overlay_base") or runs)
    store = os.path.join(base, os.path.basename(rundir))
    hidden = [runs] if base == runs else [runs, base]
    home = order.get("environment", {}).get("HOME") or os.path.expanduser("~")
    plan: Dict[str, Any] = {
        "run": order.get("run", ""), "level": level, "network": network, "apart": apart, "store": store,
        "hidden": hidden, "pivot": level == "staged" and not apart, "options": abilities.get("overlay_options", ""),
        "readable": resolver_files(), "layers": [], "frozen": [], "scratch": [], "opened": [],
        "scoped": network == "outbound" and abilities.get("landlock_abi", 0) >= LANDLOCK_ABI_SCOPES,
        "kept": abilities.get("landlock_abi", 0) >= LANDLOCK_ABI_REFERS,
    }  # fmt: skip
    layout = Layout(order, store, hidden, os.path.realpath(home))
    try:
        _plan_places(plan, layout, bool(abilities.get("overlay")))
        plan["masked"] = secret_places(home, order, layout.mounts)
        plan["sockets"] = [place for place in socket_places() if _is_reachable(plan, layout, place)]
    except (MaskFault, OSError) as fault:
        raise RoomFault(str(fault))
    plan["notes"] = layout.notes
    plan["ways"] = _ways(plan) if level == "staged" else {}
    return plan


def _ways(plan: Dict[str, Any]) -> Dict[str, List[int]]:
    """The directories that a building looks up in its layers, and which they are: the room sees these from then on."""
    found: Dict[str, List[int]] = {}
    for path in [*plan["masked"], *plan["sockets"], *[layer["point"] + "/." for layer in plan["layers"]]]:
        above = os.path.dirname(path)
        while above not in found:
            looks = os.stat(above)
            found[above] = [looks.st_dev, looks.st_ino]
            above = os.path.dirname(above)
    return found


def is_same_room(one: Dict[str, Any], other: Dict[str, Any]) -> bool:
    """Whether two plans lead to the same room, whatever run it is for and wherever its layers lie."""
    return _room_of(one) == _room_of(other)


def _room_of(plan: Dict[str, Any]) -> Dict[str, Any]:
    told = {key: value for key, value in plan.items() if key not in PLAN_OWN}
    told["layers"] = [(layer["point"], layer["late"]) for layer in plan["layers"]]
    return told


def move_layers(plan: Dict[str, Any], to: Dict[str, Any]) -> None:
    """Give the layers of a room that stands already the place that another plan has for them. Raises OSError."""
    os.makedirs(to["store"], 0o700, exist_ok=True)
    for side in os.listdir(plan["store"]) if plan["layers"] else ():
        os.rename(os.path.join(plan["store"], side), os.path.join(to["store"], side))
    if plan["layers"]:
        os.rmdir(plan["store"])
    plan.update(run=to["run"], store=to["store"], layers=to["layers"], notes=to["notes"])


def _plan_places(plan: Dict[str, Any], layout: Layout, with_overlay: bool) -> None:
    if plan["pivot"]:
        plan.update(layout.whole_layers())
    elif plan["level"] == "staged":
        plan["layers"] = layout.own_layers()
    else:
        plan["opened"] = layout.opened()
        plan["scratch"] = layout.scratch(plan["opened"], with_overlay)


def _is_reachable(plan: Dict[str, Any], layout: Layout, place: str) -> bool:
    """Nobody reaches a host's socket through an overlay: its inode is another one there."""
    if lies_in_any(place, ("/dev", *plan["hidden"], *plan["masked"])):
        return False
    if plan["pivot"]:
        return layout.mount_of(place).point in plan["frozen"]
    opened = [one["path"] for one in plan["opened"]]
    if lies_in_any(place, ["/run"]) and not lies_in_any(place, opened):
        return False
    covered = [layer["point"] for layer in (*plan["layers"], *plan["scratch"])]
    return not lies_in_any(place, covered) or lies_in_any(place, opened)


def enter_namespaces(plan: Dict[str, Any]) -> None:
    """Before os.fork(): the next child is the first process of a room. This process then can have no other children."""
    plan["parent"] = os.getpid()
    try:
        if plan["apart"]:
            owner = _owner()
            kernel_unshare(CLONE_NEWUSER)
            keep_identity(owner)
        kernel_unshare(CLONE_NEWPID)
    except OSError as fault:
        raise RoomFault(str(fault))


def fork_room(plan: Dict[str, Any]) -> int:
    """os.fork() whose child is the first process of a room and whose parent stays as it was, where the machine can.

    A parent that went into a user namespace itself sees foreign groups as nobody's, and one whose pid namespace has
    ended can fork no more: with this one it reads changes and lands them as before.
    """
    if not can_kernel_fork():
        enter_namespaces(plan)
        return os.fork()
    plan["parent"], owner = os.getpid(), _owner()
    try:
        pid = kernel_fork(_others(plan) | CLONE_NEWPID | (CLONE_NEWUSER if plan["apart"] else 0))
    except OSError as fault:
        raise RoomFault(str(fault))
    if pid == 0:
        plan["entered"] = True
        plan["owner"] = owner
    return pid


def _owner() -> Any:
    return [os.geteuid(), os.getegid()]


def _others(plan: Dict[str, Any]) -> int:
    return CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | (CLONE_NEWNET if plan["network"] == "none" else 0)


def keep_identity(owner: Any) -> None:
    """Inside a user namespace this user keeps its own numbers, and nobody has others."""
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", "%d %d 1" % (owner[0], owner[0])),
        ("gid_map", "%d %d 1" % (owner[1], owner[1])),
    ):
        with open("/proc/self/" + name, "wb", buffering=0) as file:
            file.write(text.encode())


def build_room(plan: Dict[str, Any]) -> None:
    """In the first process of the room. Raises RoomFault where anything is not exactly as planned: then end."""
    mask = os.umask(0o022)
    try:
        _die_with_parent(plan)
        if not plan.get("entered"):
            kernel_unshare(_others(plan))
        elif plan["apart"]:
            keep_identity(plan["owner"])
        fit_room(build_frame(plan))
    except (OSError, KernelFault) as fault:
        raise RoomFault(str(fault))
    finally:
        os.umask(mask)


def _die_with_parent(plan: Dict[str, Any]) -> None:
    """No supervisor, no room. It may have ended already; the host's own /proc, still in sight, tells."""
    set_death_signal(signal.SIGKILL)
    with open("/proc/self/stat", "rb") as file:
        parent = int(file.read().rpartition(b")")[2].split()[1])
    if parent != plan["parent"]:
        raise RoomFault("the supervisor has ended")


def lock_room(plan: Dict[str, Any]) -> None:
    """After building: what could undo it is given away, for this process and all that it starts."""
    try:
        forbid_inspection()
        drop_capabilities(() if plan["apart"] else ROOT_KEEPS)
        forbid_new_privileges()
        if plan["kept"] or plan["scoped"]:
            landlock_restrict(_written_places(plan) if plan["kept"] else None, plan["scoped"])
    except OSError as fault:
        raise RoomFault(str(fault))


def _written_places(plan: Dict[str, Any]) -> List[str]:
    """A read-only mount does not stop a write to a named pipe; Landlock does, so that none of the host's is fed."""
    places = [item["point"] for item in (*plan["layers"], *plan["scratch"])] + [one["path"] for one in plan["opened"]]
    return [*places, "/dev", "/proc"]
