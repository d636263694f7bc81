"""Overlay layers for tests: work done in a real one in a forked child, and pictures of what then lies on the disk."""

from __future__ import annotations

import codecs
import ctypes
import hashlib
import os
import signal
import stat
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from interlock.runner import acts, changes, landing, preparing, undoing

NOBODY = 65534
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
PR_SET_DUMPABLE = 4
MS_REC_PRIVATE = 0x4000 | 0x40000
codecs.lookup("ascii")  # a child that is another user may not be able to read where Python keeps it
LIBC = ctypes.CDLL(None, use_errno=True)
Picture = dict[str, tuple[Any, ...]]


def in_child(work: Callable[[], object], uid: int = 0) -> int:
    """Do it in a forked child, as that user; its exit status: 0, 1 where it raised, minus the signal that ended it."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            if uid and os.geteuid() != uid:
                os.setgroups([])
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
                LIBC.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # else /proc/self stays root's
            work()
            status = 0
        except BaseException:  # noqa: BLE001 (the child must end here)
            traceback.print_exc()
        finally:
            os._exit(status)
    status = os.waitpid(pid, 0)[1]
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def layer_over(point: Path, rundir: Path, work: Callable[[], object], uid: int = 0) -> list[dict[str, Any]]:
    """Do `work` over an overlay of `point` whose upper layer lies in the run directory; the layers for read_changes."""
    upper, inner = rundir / "u" / "0", rundir / "w" / "0"

    def inside() -> None:
        for folder in (upper, inner):
            folder.mkdir(parents=True)
        found = point.stat()
        upper.chmod(stat.S_IMODE(found.st_mode))
        if not uid:
            os.chown(upper, found.st_uid, found.st_gid)
        _enter(uid)
        options = f"lowerdir={point},upperdir={upper},workdir={inner}," + ("userxattr" if uid else "redirect_dir=off")
        _checked(LIBC.mount(b"overlay", bytes(point), b"overlay", 0, options.encode()))
        work()

    assert in_child(inside, uid) == 0
    return [{"point": str(point), "upper": str(upper), "work": str(inner)}]


def _enter(uid: int) -> None:
    _checked(LIBC.unshare(CLONE_NEWNS | (CLONE_NEWUSER if uid else 0)))
    if uid:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{uid} {uid} 1")
    _checked(LIBC.mount(None, b"/", None, MS_REC_PRIVATE, None))


def _checked(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def record_of(layers: list[dict[str, Any]], **limits: Any) -> dict[str, Any]:
    """The measured diff; nothing counts as scratch below the tests' own temporary folders."""
    return changes.read_changes(layers, {"writes": [layer["point"] for layer in layers]}, limits)


def said(record: dict[str, Any], root: Path) -> list[tuple[str, str, str]]:
    """The changes as (op, path below root, kind)."""
    return [(one["op"], os.path.relpath(one["path"], root), one["kind"]) for one in record["changes"]]


def picture(root: Path, *, inodes: bool = False, folder_times: bool = False) -> Picture:
    """All that makes a tree what it is: kinds, modes, owners, times, links, content, extended attributes."""
    found: Picture = {}
    for folder, folders, names in os.walk(root):
        for path in (Path(folder), *(Path(folder, name) for name in [*folders, *names])):
            found[str(path.relative_to(root))] = _seen(path, inodes, folder_times)
    return found


def _seen(path: Path, inodes: bool, folder_times: bool) -> tuple[Any, ...]:
    at = path.lstat()
    is_folder = stat.S_ISDIR(at.st_mode)
    target = str(path.readlink()) if stat.S_ISLNK(at.st_mode) else ""
    data = hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(at.st_mode) else ""
    notes = {name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)}
    times = at.st_mtime_ns if folder_times or not is_folder else 0
    links = 0 if is_folder else at.st_nlink
    return (oct(at.st_mode), at.st_uid, at.st_gid, times, links, target, data, notes, at.st_ino if inodes else 0)


def on_step(hook: Callable[[str], None]) -> None:
    """Let this be called at every step of a landing, in this process."""
    for module in (acts, landing, preparing, undoing):
        module.landing_step = hook  # type: ignore[attr-defined]  # the hook of tests


def killed_at(step: str, times: int, work: Callable[[], object]) -> bool:
    """Do it in a child that is killed when it comes to this step for the nth time; whether it came there."""
    left = [times]

    def hook(name: str) -> None:
        if name == step or not step:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def doing() -> None:
        on_step(hook)
        work()

    return in_child(doing) == -signal.SIGKILL
