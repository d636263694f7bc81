"""Acts: one path's way from an old state to a new one and back, in steps a kill may fall between. It decides nothing.

An act is plain JSON. `how`: create, replace, swap (a directory is old or new: no single rename does it), drop, meta.
`old` and `new` are fingerprints, `from` is where the new entry lies until it lands, `held` where the old one is kept,
`copy` a copy of its bytes where a name of the same inode does not do. Whether an act is done is never noted: it is seen
on the disk, by inode numbers, so that whoever comes after a kill sees exactly how far it got.
"""

import errno
import os
import stat
from typing import Any, Dict, List, Optional, Tuple

from interlock.runner.copying import HANDLE_FLAGS, Meta, rename_entry, restore_mode, set_meta
from interlock.runner.steps import run_step
from interlock.runner.tree import ABSENT_ERRNOS, Folders, Print, fingerprint_at, is_same, seal_tree, stat_at

NO_LINK_ERRNOS = (errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS, errno.EXDEV)
Act = Dict[str, Any]


class TargetChanged(Exception):
    """A target is not what it was when the diff was read, or leads elsewhere."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


def landing_step(name: str) -> None:
    """A named point (LANDING_STEPS) of a landing or an undo: whatever fault is named for it happens here."""
    run_step("landing-" + name)


def how_of(old: Optional[Print], new_kind: str) -> str:
    """How to come from what is there to a new entry of this kind ("" for none)."""
    if old is None:
        return "create"
    if not new_kind:
        return "drop"
    return "swap" if "directory" in (old["kind"], new_kind) else "replace"


def is_old(folders: Folders, act: Act) -> bool:
    """Whether the target is exactly what the act expects, a whole tree included. Raises OSError."""
    old = act["old"]
    try:
        folder, name = folders.at(act["path"])
    except OSError as fault:
        if fault.errno in ABSENT_ERRNOS:
            return False
        raise
    now = fingerprint_at(folder, name)
    if old is None or now is None:
        return old is None and now is None
    if not is_same(old, now):
        return False
    return "tree" not in old or bool(seal_tree(folder, name).text() == old["tree"])


# ── forward ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def carry_out(folders: Folders, act: Act) -> None:
    """Bring the target to its new state, from wherever a kill left it. Raises TargetChanged, OSError."""
    landing_step("carry")
    try:
        if act["how"] == "meta":
            _apply_meta(folders, act, act["meta_new"])
        elif act["how"] == "replace":
            _replace(folders, act)
        else:
            if act["how"] in ("drop", "swap"):
                _move_off(folders, act)
            if act["how"] in ("create", "swap"):
                _move_in(folders, act)
    except OSError as fault:
        if fault.errno in (*ABSENT_ERRNOS, errno.EEXIST, errno.ENOTEMPTY, errno.EISDIR):
            raise TargetChanged(act["path"])
        raise
    landing_step("carried")


def _new_at_source(folders: Folders, act: Act) -> Optional[Tuple[int, str]]:
    """Where the new entry lies, while it has not landed."""
    folder, name = folders.at(act["from"])
    found = stat_at(folder, name)
    if found is None or found.st_ino != act["new"]["ino"]:
        return None
    return folder, name


def _replace(folders: Folders, act: Act) -> None:
    source = _new_at_source(folders, act)
    if source is None:
        return
    folder, name = folders.at(act["path"])
    now = fingerprint_at(folder, name)
    if not is_same(act["old"], now, changed_time=False) or now is None:
        raise TargetChanged(act["path"])
    if act["alone"] and now["ctime_ns"] != act["held_ctime_ns"]:
        raise TargetChanged(act["path"])
    os.rename(source[1], name, src_dir_fd=source[0], dst_dir_fd=folder)
    # Whatever was written in the instant between the look and the rename went into the inode that we hold.
    if not is_same(act["old"], folders.find(act["held"]), changed_time=False):
        raise TargetChanged(act["path"])


def _move_off(folders: Folders, act: Act) -> None:
    held_folder, held_name = folders.at(act["held"])
    if stat_at(held_folder, held_name) is None:
        folder, name = folders.at(act["path"])
        now = stat_at(folder, name)
        many = now is not None and now.st_nlink > 1
        if not is_same(act["old"], fingerprint_at(folder, name), changed_time=not many):
            raise TargetChanged(act["path"])
        rename_entry(folder, name, held_folder, held_name)
    now_held = fingerprint_at(held_folder, held_name)
    if act["old"]["kind"] == "directory":
        restore_mode(held_folder, held_name, act["old"]["mode"])
        now_held = fingerprint_at(held_folder, held_name)
    if not is_same(act["old"], now_held, changed_time=False):
        raise TargetChanged(act["path"])
    if "tree" in act["old"] and seal_tree(held_folder, held_name).text() != act["old"]["tree"]:
        raise TargetChanged(act["path"])
    if act["how"] == "swap":
        landing_step("swapped")


def _move_in(folders: Folders, act: Act) -> None:
    source = _new_at_source(folders, act)
    folder, name = folders.at(act["path"])
    there = stat_at(folder, name)
    if source is None:
        if act["new"]["kind"] == "directory" and there is not None and there.st_ino == act["new"]["ino"]:
            restore_mode(folder, name, act["new"]["mode"])
        return
    if act["new"]["kind"] == "directory":
        if there is not None:
            raise TargetChanged(act["path"])
        rename_entry(source[0], source[1], folder, name)
    elif there is None:
        _link_in(source, folder, name)
    elif there.st_ino == act["new"]["ino"]:
        os.unlink(source[1], dir_fd=source[0])
    else:
        raise TargetChanged(act["path"])


def _link_in(source: Tuple[int, str], folder: int, name: str) -> None:
    """Give a new entry its name without ever replacing what appeared there meanwhile, as a rename would."""
    try:
        os.link(source[1], name, src_dir_fd=source[0], dst_dir_fd=folder, follow_symlinks=False)
    except OSError as fault:
        if fault.errno not in NO_LINK_ERRNOS:
            raise
        os.rename(source[1], name, src_dir_fd=source[0], dst_dir_fd=folder)
        return
    landing_step("linked")
    os.unlink(source[1], dir_fd=source[0])


def _apply_meta(folders: Folders, act: Act, wanted: Meta) -> None:
    folder, name = folders.at(act["path"])
    handle = os.open(name, HANDLE_FLAGS, dir_fd=folder)
    try:
        if not _is_between(os.fstat(handle), act):
            raise TargetChanged(act["path"])
        landing_step("meta")
        mode = wanted["mode"] | (0o700 if act.get("opened") else 0)
        set_meta(handle, {**wanted, "mode": mode}, times=act["old"]["kind"] != "directory")
    finally:
        os.close(handle)


def _is_between(now: os.stat_result, act: Act) -> bool:
    """Whether an entry is as it was, as it is to be, or somewhere on our own way between the two."""
    old, new = act["meta_old"], act["meta_new"]
    if now.st_ino != act["old"]["ino"] or now.st_uid not in (old["uid"], new["uid"]):
        return False
    # Bits of set-id go with a change of owner, those of the group with an ACL; the others are one or the other.
    opened = 0o700 if act.get("opened") else 0
    modes = [(mode | more) & 0o1707 for mode in (old["mode"], new["mode"]) for more in (0, opened)]
    if now.st_gid not in (old["gid"], new["gid"]) or now.st_mode & 0o1707 not in modes:
        return False
    if stat.S_ISDIR(now.st_mode):
        return True
    return now.st_size == act["old"]["size"] and now.st_mtime_ns in (old["mtime_ns"], new["mtime_ns"])


# ── back ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def take_back(folders: Folders, act: Act) -> List[str]:
    """Bring the target back to its old state; the paths that somebody else has changed meanwhile, which stay theirs."""
    try:
        if act["how"] == "meta":
            _apply_meta(folders, act, act["meta_old"])
        elif act["how"] == "replace":
            return _unreplace(folders, act)
        else:
            if act["how"] in ("create", "swap") and not _move_out(folders, act):
                return [act["path"]]
            if act["how"] in ("drop", "swap"):
                return _move_back(folders, act)
    except TargetChanged:
        return [act["path"]]
    except OSError as fault:
        if fault.errno in (*ABSENT_ERRNOS, errno.EEXIST, errno.ENOTEMPTY):
            return [act["path"]]
        raise
    return []


def _unreplace(folders: Folders, act: Act) -> List[str]:
    source_folder, source_name = folders.at(act["from"], again=False)
    folder, name = folders.at(act["path"], again=False)
    there = stat_at(folder, name)
    if there is None and stat_at(*folders.at(act["held"], again=False)) is not None:
        return _move_back(folders, act)  # killed between the two renames of the way back
    if there is None or there.st_ino != act["new"]["ino"]:
        return [] if there is not None and there.st_ino == act["old"]["ino"] else [act["path"]]
    if stat_at(source_folder, source_name) is None:
        try:
            os.link(name, source_name, src_dir_fd=folder, dst_dir_fd=source_folder, follow_symlinks=False)
        except OSError as fault:
            if fault.errno not in NO_LINK_ERRNOS:
                raise
            os.rename(name, source_name, src_dir_fd=folder, dst_dir_fd=source_folder)
    held_folder, held_name = folders.at(act["held"], again=False)
    os.rename(held_name, name, src_dir_fd=held_folder, dst_dir_fd=folder)
    return []


def _move_out(folders: Folders, act: Act) -> bool:
    """Take the new entry off its place again; False where the place holds somebody else's."""
    source_folder, source_name = folders.at(act["from"], again=False)
    folder, name = folders.at(act["path"], again=False)
    there, waiting = stat_at(folder, name), stat_at(source_folder, source_name)
    if there is None or (act["how"] == "swap" and there.st_ino == act["old"]["ino"]):
        return True
    if there.st_ino != act["new"]["ino"]:
        return waiting is not None and act["how"] == "create"
    if waiting is None:
        rename_entry(folder, name, source_folder, source_name)
    else:
        os.unlink(name, dir_fd=folder)
    return True


def _move_back(folders: Folders, act: Act) -> List[str]:
    held_folder, held_name = folders.at(act["held"], again=False)
    folder, name = folders.at(act["path"], again=False)
    there = stat_at(folder, name)
    if stat_at(held_folder, held_name) is not None:
        if there is not None:
            return [act["path"]]
        rename_entry(held_folder, held_name, folder, name)
    elif there is None:
        return [act["path"]]
    if act["old"]["kind"] == "directory":
        restore_mode(folder, name, act["old"]["mode"])
    return []
