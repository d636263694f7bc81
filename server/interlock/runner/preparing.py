"""Preparing: a landing's place in its run directory, and what is made ready before a change. It lands nothing."""

import contextlib
import errno
import fcntl
import json
import os
import secrets
import stat
from types import TracebackType
from typing import Any, Dict, List, Optional, Tuple, Type

from interlock.runner.acts import NO_LINK_ERRNOS, Act, TargetChanged, landing_step
from interlock.runner.copying import (
    Meta,
    copy_entry,
    meta_at,
    remove_entry,
    restore_mode,
    sync_content,
    sync_folder,
    sync_whole,
)
from interlock.runner.tree import (
    ABSENT_ERRNOS,
    Folders,
    LayerFault,
    Print,
    fingerprint_at,
    fingerprint_of,
    is_same,
    is_shut,
    link_target,
    mount_of,
    stat_at,
    walk_tree,
)

FILES_SYNCED_SINGLY_MAX = 64
# The modes of a directory that has to be opened to work in it.
MODE_BEFORE = 0
MODE_OPENED = 1
MODE_AFTER = 2
JOURNAL_BYTES_MAX = 512 * 1024 * 1024


class Landing:
    """A landing (`kind` "landing") or its undo ("undo") in a run directory, which it holds alone while it works."""

    def __init__(self, rundir: str, kind: str) -> None:
        self.rundir = os.path.realpath(rundir)
        self.kind = kind
        self.images_name = "%s.images" % kind
        self.images = os.path.join(self.rundir, self.images_name)
        self.folders = Folders(self.rundir)
        self.parents: Dict[str, List[int]] = {}
        self.tag = ""
        self._has_images = False
        self._rebased: Optional[Dict[str, int]] = None
        self._mounts: Dict[int, Tuple[int, str]] = {}
        self._lock = -1
        self.renew()

    def renew(self) -> None:
        """Hidden names that were never used before."""
        self.tag = secrets.token_hex(8)

    def __enter__(self) -> "Landing":  # noqa: PYI034 (3.6 has no Self)
        self._lock = os.open(self.rundir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], fault: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.folders.close()
        os.close(self._lock)

    # ── its files ──

    def write(self, name: str, value: Any, durable: bool = True) -> None:
        """Put `KIND.name` in its place, whole and (`durable`) on disk. Raises OSError."""
        self.show(name, self.lay(name, value), durable)

    def lay(self, name: str, value: Any) -> int:
        """Write `KIND.name` beside its place and let it go to disk; the open file, for `show`. Raises OSError.

        What is synced between the two shares its commit on a journaling file system.
        """
        data = json.dumps(value, separators=(",", ":")).encode("ascii")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open("%s.%s.new" % (self.kind, name), flags, 0o600, dir_fd=self._lock)
        try:
            while data:
                data = data[os.write(handle, data) :]
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        except OSError:
            os.close(handle)
            raise
        return handle

    def show(self, name: str, handle: int, durable: bool = True) -> None:
        """Put what was laid in its place. Raises OSError."""
        final = "%s.%s" % (self.kind, name)
        try:
            if durable:
                os.fsync(handle)
        finally:
            os.close(handle)
        os.rename(final + ".new", final, src_dir_fd=self._lock, dst_dir_fd=self._lock)
        if durable:
            os.fsync(self._lock)

    def read(self, name: str) -> Optional[Dict[str, Any]]:
        """`KIND.name`; None where there is none. Raises OSError, ValueError."""
        try:
            handle = os.open("%s.%s" % (self.kind, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._lock)
        except FileNotFoundError:
            return None
        with os.fdopen(handle, "rb") as file:
            found = json.loads(file.read(JOURNAL_BYTES_MAX).decode("ascii"))
        return found if isinstance(found, dict) else None

    def remove(self, name: str) -> None:
        """Remove `KIND.name` where it is."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink("%s.%s" % (self.kind, name), dir_fd=self._lock)

    def beside(self, number: int, side: str) -> str:
        """The hidden name of an act's new ("n") or old ("o") entry in its target's own directory."""
        return ".interlock-%s-%d%s" % (self.tag, number, side)

    # ── its folders ──

    def mount(self, folder: int) -> Tuple[int, str]:
        """Which mount a directory lies on; asked once."""
        if folder not in self._mounts:
            self._mounts[folder] = mount_of(folder)
        return self._mounts[folder]

    def is_elsewhere(self, path: str) -> bool:
        """Whether a path lies on another mount than the run directory, or its directory cannot be opened."""
        try:
            folder, _ = self.folders.at(path, again=False)
        except OSError:
            return True
        return self.mount(folder) != self.mount(self._lock)

    def meta(self, path: str) -> Meta:
        """The meta of a path, of the host or of the layer. Raises OSError."""
        return meta_at(*self.folders.at(path))

    def meta_where(self, path: str) -> Optional[Meta]:
        """The meta of a path; None where nothing is. Raises OSError."""
        try:
            return self.meta(path)
        except OSError as fault:
            if fault.errno in ABSENT_ERRNOS:
                return None
            raise

    def inode(self, path: str) -> int:
        """The inode number of what lies at a path; 0 where nothing does."""
        found = self.folders.find(path, again=False)
        return 0 if found is None else int(found["ino"])

    def is_held(self, number: int, path: str) -> bool:
        """Whether the preparation gave what lies at the path a second name."""
        beside = "%s/%s" % (path.rpartition("/")[0], self.beside(number, "o"))
        inode = self.inode(path)
        return inode != 0 and inode in (self.inode("%s/%d" % (self.images, number)), self.inode(beside))

    def rebased(self, path: str, was: Optional[Print]) -> Optional[Print]:
        """A fingerprint with the change time that an earlier preparation gave the same inode."""
        if self._rebased is None:
            self._rebased = self.read("rebased") or {}
        if was is None or str(was["ino"]) not in self._rebased:
            return was
        now = self.folders.find(path) or was
        return {**was, "ctime_ns": self._rebased[str(was["ino"])] or now["ctime_ns"]}

    def remember_parent(self, path: str, folder: int) -> None:
        """The times that a directory has before anything in it is touched."""
        parent = path.rpartition("/")[0] or "/"
        if parent not in self.parents:
            found = os.fstat(folder)
            self.parents[parent] = [found.st_atime_ns, found.st_mtime_ns]

    def images_folder(self) -> int:
        """The directory of before-images, made where it is missing. Raises OSError."""
        if not self._has_images:
            with contextlib.suppress(FileExistsError):
                os.mkdir(self.images, 0o700)
            self._has_images = True
        return self.folders.folder(self.images)

    def mtime(self, path: str) -> int:
        """When a directory's entries last changed; 0 where it is not there."""
        try:
            return os.fstat(self.folders.folder(path)).st_mtime_ns
        except OSError as fault:
            if fault.errno in ABSENT_ERRNOS:
                return 0
            raise

    def set_times(self, wanted: Dict[str, List[int]]) -> None:
        """Give directories these times, as far as this user may."""
        for path, times in wanted.items():
            try:
                os.utime("/proc/self/fd/%d" % self.folders.folder(path), ns=(times[0], times[1]))
            except OSError as fault:
                if fault.errno not in (*ABSENT_ERRNOS, errno.EPERM, errno.EACCES):
                    raise

    def sync_parents(self, paths: Dict[str, List[int]]) -> None:
        """Put the entries of all touched directories on disk, each once."""
        for path in [*paths, *([self.images] if os.path.isdir(self.images) else [])]:
            try:
                sync_folder(self.folders.folder(path, again=False))
            except OSError as fault:
                if fault.errno not in ABSENT_ERRNOS:
                    raise


def shut_folders(landing: Landing, acts: List[Act]) -> Dict[str, List[int]]:
    """The directories of this user that their modes keep it out of: {path: [mode as it is, opened, as it shall be]}.

    The command may have opened such a one, changed something in it and shut it again.
    """
    if os.geteuid() == 0:
        return {}
    shut = {}
    for act in acts:
        for path in filter(None, (act["path"], act["source"])):
            parent = path.rpartition("/")[0] or "/"
            found = os.fstat(landing.folders.folder(parent))
            mode = stat.S_IMODE(found.st_mode)
            if found.st_uid == os.geteuid() and is_shut(found):
                shut[parent] = [mode, mode | 0o700, mode]
    for act in acts:
        if act["how"] == "meta" and act["path"] in shut:
            act["opened"] = True
            shut[act["path"]][MODE_AFTER] = act["meta_new"]["mode"]
    return shut


def set_modes(landing: Landing, shut: Dict[str, List[int]], which: int) -> None:
    """Give the directories of `shut_folders` one of their modes. Raises OSError."""
    for path, modes in shut.items():
        try:
            folder, name = landing.folders.at(path, again=False)
            restore_mode(folder, name, modes[which])
        except OSError as fault:
            if fault.errno not in ABSENT_ERRNOS:
                raise


def ready_act(landing: Landing, act: Act, number: int, keep: bool) -> str:
    """Make one act ready: its new entry on the target's file system, its old one held. Raises OSError, TargetChanged.

    `keep`: before-images are wanted. Why an undo will not be possible, "" where it will.
    """
    if act["how"] == "meta":
        return ""
    try:
        folder, name = landing.folders.at(act["path"])
    except OSError as fault:
        if fault.errno in ABSENT_ERRNOS:
            raise TargetChanged(act["path"])
        raise
    landing.remember_parent(act["path"], folder)
    if act["source"]:
        _ready_new(landing, act, number, folder)
    if act["old"] is None:
        return ""
    _choose_held(landing, act, number, folder)
    why = _keep_copy(landing, act, number, folder, name) if keep else ""
    if act["how"] == "replace":
        _hold(landing, act, folder, name)
    landing_step("held")
    return why


def _ready_new(landing: Landing, act: Act, number: int, folder: int) -> None:
    source, source_name = landing.folders.at(act["source"])
    act["from"] = act["source"]
    if act["move"]:
        landing.remember_parent(act["source"], source)
    if landing.mount(source) != landing.mount(folder):
        if act["move"]:
            raise OSError(errno.EXDEV, "lies on another file system", act["source"])
        name = landing.beside(number, "n")
        copy_entry(source, source_name, folder, name, ours=True)
        act["from"] = "%s/%s" % (act["path"].rpartition("/")[0], name)
        landing_step("copied")
    found = fingerprint_at(*landing.folders.at(act["from"]))
    if found is None:
        raise LayerFault("moved", "%s is not in the layer any more" % act["path"], act["path"])
    act["new"] = found


def _choose_held(landing: Landing, act: Act, number: int, folder: int) -> None:
    if landing.mount(landing.images_folder()) == landing.mount(folder):
        act["held"] = "%s/%d" % (landing.images, number)
    else:
        act["held"] = "%s/%s" % (act["path"].rpartition("/")[0], landing.beside(number, "o"))


def _keep_copy(landing: Landing, act: Act, number: int, folder: int, name: str) -> str:
    """A copy of the old entry's bytes, where a second name of its inode does not do as a before-image."""
    found = stat_at(folder, name)
    many = found is not None and stat.S_ISREG(found.st_mode) and found.st_nlink > 1
    if landing.kind != "landing" or (act["held"].startswith(landing.images + "/") and not many):
        return ""
    images, copy = landing.folders.folder(landing.images), "%d.c" % number
    try:
        copy_entry(folder, name, images, copy)
    except (PermissionError, LayerFault) as fault:
        remove_entry(images, copy)
        return "%s cannot be kept as it was: %s" % (act["path"], fault)
    act["copy"] = "%s/%s" % (landing.images, copy)
    if not is_same(act["old"], fingerprint_at(folder, name), changed_time=not many):
        raise TargetChanged(act["path"])
    return ""


def _hold(landing: Landing, act: Act, folder: int, name: str) -> None:
    """A second name of the inode that is about to lose its first; where that may not be, it will be moved instead."""
    held, held_name = landing.folders.at(act["held"])
    try:
        os.link(name, held_name, src_dir_fd=folder, dst_dir_fd=held, follow_symlinks=False)
    except FileNotFoundError:
        raise TargetChanged(act["path"])
    except OSError as fault:
        if fault.errno not in NO_LINK_ERRNOS:
            raise
        act["how"] = "swap"
        return
    found = os.stat(held_name, dir_fd=held, follow_symlinks=False)
    if not is_same(act["old"], fingerprint_of(found, link_target(held, held_name, found)), changed_time=False):
        raise TargetChanged(act["path"])
    act["alone"] = found.st_nlink == 2
    act["held_ctime_ns"] = found.st_ctime_ns


def sync_new(landing: Landing, acts: List[Act]) -> None:
    """Put all that was prepared on disk: the writing of all data starts before anything is waited for. Raises OSError.

    What was copied was synced as it was copied; a before-image that goes back was on disk before it became one.
    """
    moved = []
    if landing.kind == "landing":
        moved = [act["from"] for act in acts if act.get("from") and not act["move"] and act["from"] == act["source"]]
    if len(moved) > FILES_SYNCED_SINGLY_MAX and sync_whole(landing.images_folder()):
        moved = []
    _sync_contents(landing, moved, False)
    landing.sync_parents(landing.parents)
    _sync_contents(landing, moved, True)


def _sync_contents(landing: Landing, paths: List[str], waits: bool) -> None:
    for path in paths:
        for _, folder, name, found in walk_tree(*landing.folders.at(path), ours=True):
            if stat.S_ISREG(found.st_mode) and found.st_size:
                sync_content(folder, name, waits)
