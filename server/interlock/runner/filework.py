"""File work: what a file tool asks for, made ready like the layer of a run, which then lands, is held or undone as one.

It changes nothing but its run directory. New content lies in `u/files`; the record has the same form as that of
`read_changes`, so that everything after it is the same, a move being the one thing that a layer has not: its `moves`
name an entry of the host that takes another name by one rename. Links are followed once, here; what was found must lie
within what was declared, and from then on no link is followed.
"""

import errno
import hashlib
import os
import stat
from typing import Any, Dict, Iterator, List, Optional

from interlock.runner.changes import LayerReading
from interlock.runner.contents import sha256_of
from interlock.runner.copying import Meta, meta_at, remove_entry, set_meta
from interlock.runner.tree import (
    ABSENT_ERRNOS,
    CHUNK_READ_BYTES,
    CONTENT_FLAGS,
    NO_SPACE_ERRNOS,
    fingerprint_of,
    is_within,
    kind_of_mode,
    open_folder,
    open_parent,
    resolve_here,
    stat_at,
)

WORK_CHANGES_MAX = 20_000
WORK_PARENTS_MAX = 64
WORK_FOLDER = "u/files"
NEW_FILE_MODE = 0o644
NEW_FOLDER_MODE = 0o755
SHA256_OF_NOTHING = "absent"
DEFAULT_ACL, ACCESS_ACL, LABEL = "system.posix_acl_default", "system.posix_acl_access", "security.selinux"
NOT_INHERITED = ("security.capability", "security.ima", "security.evm")
Answer = Dict[str, Any]


class WorkRefused(Exception):
    """File work that is refused before anything was made ready; `refusal` says why, in the words of the contract."""

    def __init__(self, fault: str, code: str, reason: str, path: str = "path", **more: Any) -> None:
        super().__init__(reason)
        self.refusal = {"fault": fault, "code": code, "reason": reason, "path": path, **more}


def look_at(tool: str, path: str, because: str) -> Dict[str, Any]:
    """A recovery: another call that shows what is there. The server names the host in it."""
    return {"action": "use_tool", "tool": tool, "arguments": {"path": path}, "because": because}


def look_at_folder(path: str) -> Dict[str, Any]:
    """A recovery: the list of the folder."""
    return look_at("file_list", path.rpartition("/")[0] or "/", "The folder's list shows what is there now.")


def change_to(arguments: Dict[str, Any], because: str) -> Dict[str, Any]:
    """A recovery: the same call with these arguments merged into it."""
    return {"action": "change_arguments", "tool": "", "arguments": arguments, "because": because}


def kind_said(found: os.stat_result) -> str:
    """The kind of an entry in words for a reader."""
    if stat.S_ISBLK(found.st_mode):
        return "block device"
    return "character device" if stat.S_ISCHR(found.st_mode) else kind_of_mode(found.st_mode)


class WorkContent:
    """What is to be written: bytes that came with the request, or a file of the run directory that came before it."""

    def __init__(self, data: bytes = b"", path: str = "") -> None:
        self._data = data
        self._path = path
        digest, self.size = hashlib.sha256(), 0
        for piece in self.pieces():
            digest.update(piece)
            self.size += len(piece)
        self.sha256 = digest.hexdigest()

    def pieces(self) -> Iterator[bytes]:
        """All of it, piece by piece. Raises OSError."""
        if not self._path:
            yield self._data
            return
        handle = os.open(self._path, CONTENT_FLAGS)
        try:
            data = os.read(handle, CHUNK_READ_BYTES)
            while data:
                yield data
                data = os.read(handle, CHUNK_READ_BYTES)
        finally:
            os.close(handle)

    def whole(self) -> bytes:
        """All of it at once."""
        return b"".join(self.pieces())


class WorkSite:
    """One piece of file work: what may be changed, and what was made ready for it so far."""

    def __init__(self, rundir: str, work: Dict[str, Any]) -> None:
        self.work = work
        self._declared: List[str] = list(work.get("declared", ()))
        most = int(work.get("changes_max") or WORK_CHANGES_MAX)
        self.reading = LayerReading({}, {"changes_max": most})
        self.moves: List[Dict[str, str]] = []
        self.files = os.path.join(os.path.realpath(rundir), WORK_FOLDER)
        os.makedirs(self.files, 0o700, exist_ok=True)

    def record(self, result: Dict[str, Any]) -> Answer:
        """What is ready, as a record to land, with what the tool will answer then."""
        return {**self.reading.record(), "moves": self.moves, "result": result}

    def clear(self) -> None:
        """Throw away what was made ready. Raises OSError."""
        above, name = open_parent(self.files)
        try:
            remove_entry(above, name)
        finally:
            os.close(above)

    # ── where things are ──

    def real(self, path: str, argument: str = "path", follow: bool = True) -> str:
        """Where a path leads now. Raises WorkRefused."""
        if not path.startswith("/") or "\0" in path:
            raise WorkRefused("bad_request", "PATH_INVALID", "%r is not an absolute path" % path[:80], argument)
        parent, _, name = path.rstrip("/").rpartition("/")
        try:
            if follow or name in ("", ".", ".."):
                return resolve_here(path)
            return resolve_here(parent or "/").rstrip("/") + "/" + name
        except OSError:
            raise WorkRefused("bad_request", "PATH_INVALID", "%s is a loop of symbolic links" % path, argument)

    def declared(self, path: str, argument: str = "path", follow: bool = True) -> str:
        """Like `real`, for a path that is to be changed. Raises WorkRefused where it leads out of what was declared."""
        real = self.real(path, argument, follow)
        if real == "/" or not any(is_within(real, allowed) for allowed in self._declared):
            reason = "%s leads to %s on the host, which was not declared" % (path, real)
            again = look_at_folder(path)
            raise WorkRefused("moved", "STALE_STATE", reason, argument, allowed=self._declared, recovery=again)
        self._must_be_allowed(real, argument)
        return real

    def _must_be_allowed(self, real: str, argument: str) -> None:
        """What could not land is refused before it is made ready, as far as it can be seen by now."""
        folder = os.path.dirname(real)
        while folder != "/" and not os.path.lexists(folder):
            folder = os.path.dirname(folder)
        if os.path.isdir(folder) and not may_make_entries(folder):
            reason = "%s: permission denied for the login's user" % real
            raise WorkRefused("unavailable", "PATH_INVALID", reason, argument)

    def entry(self, real: str, argument: str = "path") -> Optional[os.stat_result]:
        """What lies at a resolved path; None where nothing does. Raises WorkRefused."""
        try:
            folder, name = open_parent(real)
            try:
                return stat_at(folder, name)
            finally:
                os.close(folder)
        except OSError as fault:
            if fault.errno in ABSENT_ERRNOS:
                return None
            raise self.refused(fault, real, argument)

    def existing(self, real: str, argument: str = "path") -> os.stat_result:
        """Like `entry`, where nothing there is a refusal."""
        found = self.entry(real, argument)
        if found is None:
            raise WorkRefused(
                "absent", "PATH_INVALID", "%s does not exist" % real, argument, recovery=look_at_folder(real)
            )
        return found

    def refused(self, fault: OSError, path: str, argument: str = "path") -> WorkRefused:
        """An error of the file system in the words of the contract."""
        if fault.errno in (errno.EACCES, errno.EPERM):
            reason = "%s: permission denied for the login's user" % path
            return WorkRefused("unavailable", "PATH_INVALID", reason, argument)
        code = "no_space" if fault.errno in NO_SPACE_ERRNOS else "unavailable"
        reason = "%s: %s" % (path, fault.strerror or fault)
        return WorkRefused(code, "STALE_STATE", reason, argument, recovery=look_at_folder(path))

    # ── what it holds ──

    def sha256(self, real: str) -> str:
        """The hash of a file as it is now; "absent" where there is none. Raises WorkRefused."""
        try:
            handle = self.opened(real)
        except FileNotFoundError:
            return SHA256_OF_NOTHING
        return sha256_of(handle)

    def opened(self, real: str) -> int:
        """A resolved path open for reading. Raises FileNotFoundError, WorkRefused."""
        try:
            folder, name = open_parent(real)
            try:
                return os.open(name, CONTENT_FLAGS, dir_fd=folder)
            finally:
                os.close(folder)
        except FileNotFoundError:
            raise
        except OSError as fault:
            raise self.refused(fault, real)

    def stale(self, real: str, actual: str) -> WorkRefused:
        """The content is not the one that was expected."""
        if actual == SHA256_OF_NOTHING:
            what, again = "there is no such file", look_at_folder(real)
        else:
            because = "It was changed since it was read; this shows what it holds now."
            what, again = "its sha256 is %s" % actual, look_at("file_read", real, because)
        reason = "%s: %s" % (real, what)
        return WorkRefused("stale", "STALE_STATE", reason, "expected_sha256", allowed=[actual], recovery=again)

    # ── what is made ready ──

    def stage(self, real: str, name: str, found: Optional[os.stat_result], detail: str = "") -> None:
        """What lies in `files` under this name is to land at the resolved path, over what was found there."""
        held = open_folder(self.files)
        try:
            # As it was when it was looked at first: whatever changed since then is found out when it is to land.
            was = None if found is None else fingerprint_of(found)
            self.reading.add_new(held, name, real, "%s/%s" % (self.files, name), was, detail)
        finally:
            os.close(held)

    def meta_for(self, real: str, replaced: Optional[os.stat_result], mode: Optional[int]) -> Meta:
        """The meta of new content: of what it replaces, else as if it were made in its folder."""
        folder, name = open_parent(real)
        try:
            if replaced is not None:
                meta = meta_at(folder, name)
                meta["xattrs"] = {key: value for key, value in meta["xattrs"].items() if key not in NOT_INHERITED}
                meta["mode"] = meta["mode"] if mode is None else mode
                return meta
            return new_meta(meta_at(folder, "."), NEW_FILE_MODE if mode is None else mode, False)
        finally:
            os.close(folder)

    def put_file(self, folder: int, name: str, content: WorkContent, meta: Meta) -> None:
        """New content under a new name of an open folder of ours, with this meta. Raises OSError."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(name, flags, 0o600, dir_fd=folder)
        try:
            for piece in content.pieces():
                view = memoryview(piece)
                while view:
                    view = view[os.write(handle, view) :]
            dress(handle, meta)
        finally:
            os.close(handle)


def may_make_entries(folder: str) -> bool:
    """Whether this login may make and rename entries there, as far as the host's own answer goes."""
    return os.access(folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)


def new_meta(parent: Meta, mode: int, is_folder: bool) -> Meta:
    """The meta of an entry as the kernel would give it in this folder: group, default ACL and label come from there."""
    shared = bool(parent["mode"] & stat.S_ISGID)
    xattrs = {}
    default = parent["xattrs"].get(DEFAULT_ACL)
    if default:
        xattrs[ACCESS_ACL] = default
        if is_folder:
            xattrs[DEFAULT_ACL] = default
    if LABEL in parent["xattrs"]:
        xattrs[LABEL] = parent["xattrs"][LABEL]
    return {
        "mode": mode | (stat.S_ISGID if shared and is_folder else 0),
        "uid": os.geteuid(),
        "gid": parent["gid"] if shared else os.getegid(),
        "xattrs": xattrs,
    }  # fmt: skip


def dress(handle: int, meta: Meta) -> None:
    """Give an open new entry its meta but for its times. Raises WorkRefused where its owner cannot be kept, OSError."""
    try:
        set_meta(handle, meta, times=False)
    except PermissionError:
        found = os.fstat(handle)
        if (found.st_uid, found.st_gid) == (meta["uid"], meta["gid"]):
            raise
        reason = "this login cannot keep its owner (%d:%d); nothing was changed" % (meta["uid"], meta["gid"])
        raise WorkRefused("unavailable", "PATH_INVALID", reason)
