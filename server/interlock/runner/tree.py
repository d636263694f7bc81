"""Trees of a host, by directory descriptors: opened without following a link, fingerprinted. It changes nothing.

A path is walked component by component with O_NOFOLLOW; whatever is done then is done relative to the open directory. A
fingerprint tells whether one entry is still what it was, a seal tells the same of a whole tree in one digest.
"""

import contextlib
import errno
import hashlib
import operator
import os
import stat
from typing import Any, Dict, Iterator, List, Optional, Tuple

FOLDER_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
LISTING_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
CONTENT_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
TREE_DEPTH_MAX = 256
FOLDERS_OPEN_MAX = 200
LINKS_WALKED_MAX = 40
CHUNK_READ_BYTES = 1024 * 1024
ABSENT_ERRNOS = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE)
NO_SPACE_ERRNOS = (errno.ENOSPC, errno.EDQUOT)

Print = Dict[str, Any]
Entry = Tuple[str, int, str, os.stat_result]


class LayerFault(Exception):
    """Something that cannot be read, landed or undone: a code of the runner's faults, a reason, and the path."""

    def __init__(self, code: str, reason: str, path: str = "", unchanged: bool = False) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.path = path
        self.unchanged = unchanged  # for sure nothing of the host was changed, or all of it was put back


def layer_fault(fault: OSError, path: str) -> LayerFault:
    """An error of the file system as a fault of the runner."""
    code = "unavailable"
    if fault.errno in NO_SPACE_ERRNOS:
        code = "no_space"
    elif fault.errno in (errno.EBUSY, errno.ETXTBSY):
        code = "busy"
    return LayerFault(code, "%s: %s" % (path, fault.strerror or fault), path)


# ── one entry ────────────────────────────────────────────────────────────────────────────────────────────────────────

_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}


def kind_of_mode(mode: int) -> str:
    """file, directory, link, fifo, socket or device."""
    return _KINDS.get(stat.S_IFMT(mode), "device")


def stat_at(folder: int, name: str) -> Optional[os.stat_result]:
    """What lies under a name of an open directory, links not followed; None where nothing does."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError as fault:
        if fault.errno in ABSENT_ERRNOS:
            return None
        raise


def fingerprint_of(found: os.stat_result, target: str = "") -> Print:
    """What tells this entry from another, and from itself after a change. A directory's size says nothing: 0."""
    kind = kind_of_mode(found.st_mode)
    return {
        "kind": kind,
        "size": 0 if kind == "directory" else found.st_size,
        "mode": stat.S_IMODE(found.st_mode),
        "uid": found.st_uid,
        "gid": found.st_gid,
        "mtime_ns": found.st_mtime_ns,
        "ctime_ns": found.st_ctime_ns,
        "ino": found.st_ino,
        "target": target,
    }


def fingerprint_at(folder: int, name: str) -> Optional[Print]:
    """The fingerprint of a name in an open directory; None where nothing is."""
    found = stat_at(folder, name)
    return None if found is None else fingerprint_of(found, link_target(folder, name, found))


def link_target(folder: int, name: str, found: os.stat_result) -> str:
    """Where a link points; "" for what is none."""
    return os.readlink(name, dir_fd=folder) if stat.S_ISLNK(found.st_mode) else ""


_lasting = operator.itemgetter("ino", "size", "mode", "uid", "gid", "kind", "target")


def is_same(was: Print, now: Optional[Print], changed_time: bool = True) -> bool:
    """Whether an entry is what it was. Of a directory its times follow from its entries, so they do not count.

    `changed_time`: the inode's own change time counts too (not where we ourselves gave it another name).
    """
    if now is None or _lasting(was) != _lasting(now):
        return False
    if was["kind"] == "directory":
        return True
    return bool(was["mtime_ns"] == now["mtime_ns"] and (not changed_time or was["ctime_ns"] == now["ctime_ns"]))


# ── the way to an entry ──────────────────────────────────────────────────────────────────────────────────────────────


def open_folder(path: str) -> int:
    """A descriptor of the directory at an absolute path, no link followed anywhere on the way. Raises OSError."""
    folder = os.open("/", FOLDER_FLAGS)
    for part in path.split("/"):
        if not part:
            continue
        if part in (".", ".."):
            os.close(folder)
            raise OSError(errno.EINVAL, "not a resolved path", path)
        try:
            deeper = os.open(part, FOLDER_FLAGS, dir_fd=folder)
        finally:
            os.close(folder)
        folder = deeper
    return folder


def open_parent(path: str) -> Tuple[int, str]:
    """A descriptor of the directory that holds this absolute path, and the name in it. Raises OSError."""
    folder, _, name = path.rpartition("/")
    if name in ("", ".", ".."):
        raise OSError(errno.EINVAL, "no name in a directory", path)
    return open_folder(folder or "/"), name


class Folders:
    """The directories that one landing works in, each held open and looked at again before each use of it.

    `at` raises ESTALE where the path of a directory leads to another one by now: swapped for a link, moved, replaced.
    """

    def __init__(self, private: str = "") -> None:
        self._private = private + "/"  # only we can change anything below this: no second look
        self._open: Dict[str, int] = {}
        self._known: Dict[str, Tuple[int, int]] = {}

    def at(self, path: str, again: bool = True) -> Tuple[int, str]:
        """The open directory that holds the path, and the name in it; it stays ours to close. Raises OSError."""
        folder, _, name = path.rpartition("/")
        return self.folder(folder or "/", again), name or "."

    def folder(self, path: str, again: bool = True) -> int:
        """The open directory itself. `again`: look whether the path still leads there."""
        held = self._open.get(path)
        if held is None:
            held = self._opened(path)
        elif again and not (path + "/").startswith(self._private):
            self._must_be(path, os.stat(path, follow_symlinks=False))
        return held

    def _opened(self, path: str) -> int:
        if len(self._open) >= FOLDERS_OPEN_MAX:
            os.close(self._open.pop(next(iter(self._open))))
        held = open_folder(path)
        found = os.fstat(held)
        self._known.setdefault(path, (found.st_dev, found.st_ino))
        try:
            self._must_be(path, found)
        except OSError:
            os.close(held)
            raise
        self._open[path] = held
        return held

    def _must_be(self, path: str, now: os.stat_result) -> None:
        if self._known[path] != (now.st_dev, now.st_ino):
            raise OSError(errno.ESTALE, "leads elsewhere now", path)

    def find(self, path: str, again: bool = True) -> Optional[Print]:
        """The fingerprint of a path; None where nothing is, or its directory is not there. Raises OSError."""
        try:
            folder, name = self.at(path, again)
        except OSError as fault:
            if fault.errno in ABSENT_ERRNOS:
                return None
            raise
        return fingerprint_at(folder, name)

    def close(self) -> None:
        """Close them all."""
        for held in self._open.values():
            os.close(held)
        self._open.clear()


def place_of(folder: int, name: str = ".") -> str:
    """A path to an open directory, or to a name in it, that no rename above it can lead astray."""
    return "/proc/self/fd/%d/%s" % (folder, name)


def mount_of(folder: int) -> Tuple[int, str]:
    """Which mount an open descriptor lies on: within one a rename is a rename, across two it is a copy."""
    device, mount = os.fstat(folder).st_dev, ""
    try:
        with open("/proc/self/fdinfo/%d" % folder, encoding="ascii") as file:
            for line in file:
                if line.startswith("mnt_id:"):
                    mount = line.split()[1]
    except OSError:
        pass  # an old kernel does not tell; the device has to do
    return device, mount


def resolve_here(path: str, follow: bool = True) -> str:
    """Where an absolute path leads on this host now; a tail that is missing is kept. Raises OSError(ELOOP)."""
    todo = [part for part in path.split("/") if part not in ("", ".")]
    real, links = "", 0
    while todo:
        part = todo.pop(0)
        if part == "..":
            real = real.rpartition("/")[0]
            continue
        here = real + "/" + part
        try:
            target = None if not todo and not follow else os.readlink(here)
        except OSError as fault:
            if fault.errno != errno.EINVAL:  # nothing there, or nothing this user may see
                return os.path.normpath("/".join([here, *todo]))
            target = None
        if target is None:
            real = here
            continue
        links += 1
        if links > LINKS_WALKED_MAX:
            raise OSError(errno.ELOOP, "a loop of symbolic links", path)
        real = "" if target.startswith("/") else real
        todo = [step for step in target.split("/") if step not in ("", ".")] + todo
    return real or "/"


def is_within(path: str, folder: str) -> bool:
    """Whether a path is this folder or lies below it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


# ── whole trees ──────────────────────────────────────────────────────────────────────────────────────────────────────


def walk_tree(folder: int, name: str, ours: bool = False) -> Iterator[Entry]:
    """A name and all below it, parents first: (path below it, open directory, name there, stat). Raises OSError.

    The directory is open only until the next entry is asked for. What lies in a directory that may not be read is left
    out, but where it is `ours` (a layer's) it is read all the same. Deeper than TREE_DEPTH_MAX is a LayerFault.
    """
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    yield "", folder, name, found
    if stat.S_ISDIR(found.st_mode):
        for entry in _walk_below(folder, name, "", 1, ours):
            yield entry


def _walk_below(folder: int, name: str, rel: str, depth: int, ours: bool) -> Iterator[Entry]:
    if depth > TREE_DEPTH_MAX:
        raise LayerFault("too_many_changes", "deeper than %d directories: %s" % (TREE_DEPTH_MAX, rel), rel)
    with reachable(folder, name, ours):
        try:
            listing = os.open(name, LISTING_FLAGS, dir_fd=folder)
        except PermissionError:
            return
        try:
            for child in sorted(os.listdir(listing)):
                found = stat_at(listing, child)
                if found is None:
                    continue
                below = rel + "/" + child
                yield below, listing, child, found
                if stat.S_ISDIR(found.st_mode):
                    for entry in _walk_below(listing, child, below, depth + 1, ours):
                        yield entry
        finally:
            os.close(listing)


@contextlib.contextmanager
def reachable(folder: int, name: str, ours: bool = True) -> Iterator[None]:
    """For as long as it takes, let the owner into what is `ours` whatever its mode says; then the mode is put back."""
    found = stat_at(folder, name) if ours and os.geteuid() != 0 else None
    if found is None or stat.S_ISLNK(found.st_mode) or not is_shut(found) or found.st_uid != os.geteuid():
        yield
        return
    handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.chmod("/proc/self/fd/%d" % handle, stat.S_IMODE(found.st_mode) | 0o700)
        yield
    finally:
        os.chmod("/proc/self/fd/%d" % handle, stat.S_IMODE(found.st_mode))
        os.close(handle)


def is_shut(found: os.stat_result) -> bool:
    """Whether the mode keeps the owner itself from reading or writing (root it never does)."""
    needed = 0o700 if stat.S_ISDIR(found.st_mode) else 0o600
    return os.geteuid() != 0 and found.st_mode & needed != needed


def open_readable(folder: int, name: str, flags: int, ours: bool) -> int:
    """Open for reading; what is `ours` also where its mode keeps us out (the mode is put back). Raises OSError."""
    try:
        return os.open(name, flags, dir_fd=folder)
    except PermissionError:
        with reachable(folder, name, ours):
            return os.open(name, flags, dir_fd=folder)


class Seal:
    """A digest over the fingerprints of a tree, fed in the order of walk_tree; it has the tree's size as well.

    The top's own times do not count (a rename touches them), nor does the change time of an inode of many names.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self.entries = 0
        self.bytes = 0

    def add(self, rel: str, found: os.stat_result, target: str) -> None:
        """Take in the next entry."""
        folder = stat.S_ISDIR(found.st_mode)
        top = not rel and folder
        # The change time of a name among many moves with the others; so does that of an entry that is opened by force.
        loose = (found.st_nlink > 1 and not folder) or is_shut(found)
        line = "%s\0%o\0%d\0%d\0%d\0%d\0%d\0%d\0%s\0" % (
            rel,
            found.st_mode,
            found.st_uid,
            found.st_gid,
            0 if folder else found.st_size,
            found.st_ino,
            0 if top else found.st_mtime_ns,
            0 if top or loose else found.st_ctime_ns,
            target,
        )
        self._digest.update(line.encode("utf-8", "surrogateescape"))
        self.entries += 1
        self.bytes += found.st_size if stat.S_ISREG(found.st_mode) else 0

    def text(self) -> str:
        """The digest so far, as hexadecimal text."""
        return self._digest.hexdigest()


def seal_tree(folder: int, name: str, ours: bool = False) -> Seal:
    """The seal of a name and all below it. Raises OSError, LayerFault."""
    seal = Seal()
    for rel, held, child, found in walk_tree(folder, name, ours):
        seal.add(rel, found, link_target(held, child, found))
    return seal


def list_folder(folder: int, name: str = ".") -> List[str]:
    """The sorted names in a directory of an open directory ("." the directory itself). Raises OSError."""
    listing = os.open(name, LISTING_FLAGS, dir_fd=folder)
    try:
        return sorted(os.listdir(listing))
    finally:
        os.close(listing)
