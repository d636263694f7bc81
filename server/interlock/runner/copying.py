"""Copies of entries with all that belongs to them: content, owner, mode, times, attributes. It chooses no place.

What is made here is made under a new name, created exclusively and filled through its own descriptor, so that nobody
who swaps the name meanwhile is written through.
"""

import errno
import hashlib
import json
import os
import stat
from typing import Any, Dict, Tuple

try:
    import ctypes
except ImportError:  # a minimal Python has none: then every file is synced by itself
    ctypes = None  # type: ignore[assignment]  # absent is a value here

from interlock.runner.tree import (
    CHUNK_READ_BYTES,
    CONTENT_FLAGS,
    LISTING_FLAGS,
    TREE_DEPTH_MAX,
    LayerFault,
    kind_of_mode,
    open_readable,
    place_of,
    reachable,
    stat_at,
)

OVERLAY_OWN = ("trusted.overlay.", "user.overlay.")
NO_XATTRS_ERRNOS = (errno.ENOTSUP, errno.ENODATA, errno.ENOENT, errno.EPERM, errno.EACCES, errno.ENOSYS)
DIRTY_KIB_MAX = 64 * 1024
HANDLE_FLAGS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
Meta = Dict[str, Any]


def overlay_prefix(userxattr: bool) -> str:
    """Under which names an overlay keeps its own notes: trusted ones as root, a user's own where it was mounted so."""
    return OVERLAY_OWN[1] if userxattr else OVERLAY_OWN[0]


def read_xattrs(place: str, left_out: Tuple[str, ...] = OVERLAY_OWN) -> Dict[str, str]:
    """The extended attributes (ACLs among them) of a place, values as hexadecimal text, an overlay's own left out."""
    try:
        names = os.listxattr(place, follow_symlinks=False)
    except OSError as fault:
        if fault.errno in NO_XATTRS_ERRNOS:
            return {}
        raise
    found = {}
    for name in sorted(names):
        if not name.startswith(left_out):
            try:
                found[name] = os.getxattr(place, name, follow_symlinks=False).hex()
            except OSError as fault:
                if fault.errno not in NO_XATTRS_ERRNOS:
                    raise
    return found


def strip_overlay(place: str, prefix: str) -> Tuple[Dict[str, str], Dict[str, str]]:
    """Take the overlay's own notes off an entry that is to leave the layer: (its other attributes, these notes)."""
    found = read_xattrs(place, ())
    notes = {name: value for name, value in found.items() if name.startswith(prefix)}
    for name in notes:
        os.removexattr(place, name, follow_symlinks=False)
    return {name: value for name, value in found.items() if not name.startswith(OVERLAY_OWN)}, notes


def meta_at(folder: int, name: str) -> Meta:
    """Mode, owner, times and extended attributes of an entry; its content is none of it."""
    return meta_of(os.stat(name, dir_fd=folder, follow_symlinks=False), place_of(folder, name))


def meta_of(found: os.stat_result, place: str) -> Meta:
    """The meta of an entry whose stat is known already."""
    return {
        "mode": stat.S_IMODE(found.st_mode),
        "uid": found.st_uid,
        "gid": found.st_gid,
        "atime_ns": found.st_atime_ns,
        "mtime_ns": found.st_mtime_ns,
        "xattrs": read_xattrs(place),
    }


def meta_seal(meta: Meta) -> str:
    """A digest of mode, owner and attributes: what of a directory can land without its entries."""
    text = json.dumps([meta["mode"], meta["uid"], meta["gid"], meta["xattrs"]], sort_keys=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def set_meta(handle: int, meta: Meta, times: bool = True) -> None:
    """Make an open entry (no link) have this meta. A new owner drops bits, so the mode comes after. Raises OSError."""
    place = "/proc/self/fd/%d" % handle
    found = os.fstat(handle)
    if (found.st_uid, found.st_gid) != (meta["uid"], meta["gid"]):
        os.chown(place, meta["uid"], meta["gid"])
    _set_xattrs(place, meta["xattrs"])
    if stat.S_IMODE(os.stat(place).st_mode) != meta["mode"]:
        os.chmod(place, meta["mode"])
    if times:
        os.utime(place, ns=(meta["atime_ns"], meta["mtime_ns"]))


def _set_xattrs(place: str, wanted: Dict[str, str]) -> None:
    # The magic link of /proc is followed: it leads to the open entry itself, whatever its name is by now.
    try:
        there = [name for name in os.listxattr(place) if not name.startswith(OVERLAY_OWN)]
    except OSError as fault:
        if fault.errno not in NO_XATTRS_ERRNOS:
            raise
        there = []
    for name in there:
        if name not in wanted:
            os.removexattr(place, name)
    for name, value in wanted.items():
        data = bytes.fromhex(value)
        if name not in there or os.getxattr(place, name) != data:
            os.setxattr(place, name, data)


# ── copying ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def copy_entry(
    source: int, name: str, folder: int, new: str, ours: bool = False, owners: bool = True, depth: int = 0
) -> None:
    """Copy a name and all below it to a new name, exactly; the new data is on disk at the end. Raises OSError.

    `ours`: it comes out of a layer, and is read whatever its modes say. Without `owners` the copy belongs to this user.
    """
    found = os.stat(name, dir_fd=source, follow_symlinks=False)
    kind = kind_of_mode(found.st_mode)
    if depth > TREE_DEPTH_MAX:
        raise LayerFault("too_many_changes", "deeper than %d directories: %s" % (TREE_DEPTH_MAX, name), name)
    if kind == "file":
        with reachable(source, name, ours):
            copy_file(source, name, folder, new, _meta_copied(source, name, found, owners))
    elif kind == "directory":
        with reachable(source, name, ours):
            _copy_folder(source, name, folder, new, ours, owners, depth)
        restore_mode(folder, new, stat.S_IMODE(found.st_mode))
    elif kind == "link":
        os.symlink(os.readlink(name, dir_fd=source), new, dir_fd=folder)
        if owners and (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()):
            os.chown(new, found.st_uid, found.st_gid, dir_fd=folder, follow_symlinks=False)
        os.utime(new, ns=(found.st_atime_ns, found.st_mtime_ns), dir_fd=folder, follow_symlinks=False)
    else:
        os.mknod(new, stat.S_IFMT(found.st_mode) | 0o600, found.st_rdev, dir_fd=folder)
        _dress(folder, new, _meta_copied(source, name, found, owners))


def _meta_copied(source: int, name: str, found: os.stat_result, owners: bool) -> Meta:
    meta = {**meta_at(source, name), "mode": stat.S_IMODE(found.st_mode)}  # it may be open to us only for the moment
    if not owners:
        meta.update(uid=os.geteuid(), gid=os.getegid())
    return meta


def _copy_folder(source: int, name: str, folder: int, new: str, ours: bool, owners: bool, depth: int) -> None:
    os.mkdir(new, 0o700, dir_fd=folder)
    old_listing = os.open(name, LISTING_FLAGS, dir_fd=source)
    new_listing = os.open(new, LISTING_FLAGS, dir_fd=folder)
    try:
        for child in sorted(os.listdir(old_listing)):
            copy_entry(old_listing, child, new_listing, child, ours, owners, depth + 1)
        set_meta(new_listing, _meta_copied(source, name, os.fstat(old_listing), owners))
        os.fsync(new_listing)
    finally:
        os.close(old_listing)
        os.close(new_listing)


def copy_file(source: int, name: str, folder: int, new: str, meta: Meta) -> None:
    """Copy the content of one regular file and give it this meta; holes stay holes. Raises OSError."""
    reader = os.open(name, CONTENT_FLAGS, dir_fd=source)
    try:
        writer = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
        try:
            _pour(reader, writer)
            set_meta(writer, meta)
            os.fsync(writer)
        finally:
            os.close(writer)
    finally:
        os.close(reader)


def _pour(reader: int, writer: int) -> None:
    size = os.fstat(reader).st_size
    offset = 0
    while offset < size:
        try:
            offset = os.lseek(reader, offset, os.SEEK_DATA)
            end = os.lseek(reader, offset, os.SEEK_HOLE)
        except OSError as fault:
            if fault.errno == errno.ENXIO:
                break  # nothing but a hole is left
            end = size
        while offset < end:
            data = os.pread(reader, min(CHUNK_READ_BYTES, end - offset), offset)
            if not data:
                return
            offset += os.pwrite(writer, data, offset)
    os.ftruncate(writer, size)


def _dress(folder: int, new: str, meta: Meta) -> None:
    handle = os.open(new, HANDLE_FLAGS, dir_fd=folder)
    try:
        set_meta(handle, meta)
    finally:
        os.close(handle)


# ── removing, renaming, syncing ──────────────────────────────────────────────────────────────────────────────────────


def remove_entry(folder: int, name: str) -> None:
    """Remove a name and all below it; what is not there is removed already. Raises OSError."""
    found = stat_at(folder, name)
    if found is None:
        return
    if not stat.S_ISDIR(found.st_mode):
        os.unlink(name, dir_fd=folder)
        return
    if found.st_mode & 0o700 != 0o700 and found.st_uid == os.geteuid():
        loosen_folder(folder, name)
    listing = os.open(name, LISTING_FLAGS, dir_fd=folder)
    try:
        for child in os.listdir(listing):
            try:
                os.unlink(child, dir_fd=listing)
            except OSError as fault:
                if fault.errno not in (errno.EISDIR, errno.EPERM, errno.ENOENT):
                    raise
                remove_entry(listing, child)
    finally:
        os.close(listing)
    os.rmdir(name, dir_fd=folder)


def loosen_folder(folder: int, name: str) -> int:
    """Let the owner into a directory, links not followed; the mode it had. Raises OSError."""
    handle = os.open(name, HANDLE_FLAGS | os.O_DIRECTORY, dir_fd=folder)
    try:
        mode = stat.S_IMODE(os.fstat(handle).st_mode)
        os.chmod("/proc/self/fd/%d" % handle, mode | 0o700)
    finally:
        os.close(handle)
    return mode


def restore_mode(folder: int, name: str, mode: int) -> None:
    """Give a directory the mode it is to have, where it has another. Raises OSError."""
    handle = os.open(name, HANDLE_FLAGS | os.O_DIRECTORY, dir_fd=folder)
    try:
        if stat.S_IMODE(os.fstat(handle).st_mode) != mode:
            os.chmod("/proc/self/fd/%d" % handle, mode)
    finally:
        os.close(handle)


def rename_entry(source: int, name: str, folder: int, new: str) -> None:
    """Rename, also a directory of ours that its own mode would keep in its place. Raises OSError."""
    try:
        os.rename(name, new, src_dir_fd=source, dst_dir_fd=folder)
    except PermissionError:
        found = stat_at(source, name)
        if found is None or not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o300 == 0o300:
            raise
        mode = loosen_folder(source, name)
        try:
            os.rename(name, new, src_dir_fd=source, dst_dir_fd=folder)
        except OSError:
            restore_mode(source, name, mode)
            raise
        restore_mode(folder, new, mode)


def sync_content(folder: int, name: str, waits: bool) -> None:
    """Let the data of a file of ours be written to disk, or wait until it is there. Raises OSError."""
    handle = open_readable(folder, name, CONTENT_FLAGS, True)
    try:
        if waits:
            os.fsync(handle)
        else:
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)


def sync_whole(folder: int) -> bool:
    """Put all that waits for this file system on disk, in one go; False where that would wait for much of others'."""
    if ctypes is None or not _is_quiet():
        return False
    handle = os.open(".", LISTING_FLAGS, dir_fd=folder)
    try:
        return bool(ctypes.CDLL(None).syncfs(handle) == 0)
    except AttributeError:  # a C library without the call
        return False
    finally:
        os.close(handle)


def _is_quiet() -> bool:
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            return any(line.startswith("Dirty:") and int(line.split()[1]) <= DIRTY_KIB_MAX for line in file)
    except (OSError, ValueError):
        return False


def sync_folder(folder: int) -> None:
    """Put the entries of a directory that is open (perhaps for its path only) on disk, where its user may read it."""
    try:
        handle = os.open(".", LISTING_FLAGS, dir_fd=folder)
    except PermissionError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
