"""App folders: one application's folder held open, and the small records in it. It decides nothing about releases.

`PATH` is opened once, wherever the operator's links lead; everything below it is reached from there by descriptors that
follow no link, so that nobody can swap a folder for one. In it lie
- `releases/ID`: what was unpacked; `current`: a relative link to the live one; `shared`: what outlives releases,
- `.interlock`, of the login's user alone: `lock`, `claim.json`, `changes.json` (what its deployment changed),
  `upload-SHA256`, `releases/ID.json` (the manifests).
"""

import contextlib
import errno
import json
import os
import re
import stat
from typing import Any, Dict, List, Optional, Tuple

from interlock.runner.rundirs import RunFault, write_all
from interlock.runner.tree import CONTENT_FLAGS, LISTING_FLAGS, NO_SPACE_ERRNOS

RELEASE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SHA256_HEX = re.compile(r"[0-9a-f]{64}")
APP_PATH_BYTES_MAX = 4095
APP_RECORD_BYTES_MAX = 64 * 1024
UPLOAD_PREFIX = "upload-"
MANIFEST_FORMS: Tuple[Tuple[str, Any], ...] = (
    ("sha256", str), ("bytes", int), ("entries", int), ("placed_at", (int, float)),
)  # fmt: skip
OWN_FOLDER, MANIFESTS_FOLDER = ".interlock", ".interlock/releases"
APP_FOLDERS = (("releases", 0o755), ("shared", 0o755), (OWN_FOLDER, 0o700), (MANIFESTS_FOLDER, 0o700))


class AppFolder:
    """An application's folder, open; `real` is where it really lies."""

    def __init__(self, top: int) -> None:
        self.top = top
        self.real = os.readlink("/proc/self/fd/%d" % top)
        self._open: Dict[str, int] = {}

    def folder(self, path: str) -> int:
        """A folder below it, open until the end, no link followed. Raises RunFault("absent", "exists"), OSError."""
        if path not in self._open:
            above, _, name = path.rpartition("/")
            try:
                held = os.open(name, LISTING_FLAGS, dir_fd=self.folder(above) if above else self.top)
            except FileNotFoundError:
                raise RunFault("absent", "%s/%s is not there: claim the folder first" % (self.real, path))
            except OSError as fault:
                if fault.errno not in (errno.ENOTDIR, errno.ELOOP):
                    raise
                raise RunFault("exists", "%s/%s is no folder: rename or remove it on the host" % (self.real, path))
            self._open[path] = held
        return self._open[path]

    def optional(self, path: str) -> Optional[int]:
        """Like `folder`; None where nothing is there. Raises RunFault("exists"), OSError."""
        try:
            return self.folder(path)
        except RunFault as fault:
            if fault.code != "absent":
                raise
            return None

    def make(self) -> List[str]:
        """Make what is missing of its folders, on disk at the end; which it was. Raises RunFault("exists"), OSError."""
        made = []
        for path, mode in APP_FOLDERS:
            above, _, name = path.rpartition("/")
            held = self.folder(above) if above else self.top
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, mode, dir_fd=held)
                os.fsync(held)
                made.append(path)
            self.folder(path)
        return made

    def free_bytes(self) -> int:
        """How much room there is for this user."""
        room = os.fstatvfs(self.top)
        return room.f_bavail * room.f_frsize

    def close(self) -> None:
        """Let go of all of it."""
        for held in [*self._open.values(), self.top]:
            os.close(held)
        self._open.clear()


def opened_app(path: str) -> Optional[AppFolder]:
    """The folder of an application; None where it is not there. Raises RunFault("exists"), OSError."""
    try:
        return AppFolder(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise RunFault("exists", "%s is no folder: rename or remove it on the host, or configure another path" % path)


def app_fault(fault: OSError, path: str) -> RunFault:
    """An error of the file system under an application's folder."""
    named = os.fsdecode(fault.filename) if isinstance(fault.filename, (str, bytes)) else ""
    where = "%s (in %s)" % (named, path) if named else path
    if fault.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        reason = "%s: %s: the folder has to belong to the user that this login becomes" % (where, fault.strerror)
        return RunFault("unavailable", reason)
    code = "no_space" if fault.errno in NO_SPACE_ERRNOS else "unavailable"
    return RunFault(code, "%s: %s" % (where, fault.strerror or fault))


# ── what a request names ─────────────────────────────────────────────────────────────────────────────────────────────


def app_path(head: Dict[str, Any]) -> str:
    """The configured path. Raises RunFault("bad_request")."""
    path = head.get("path")
    if not isinstance(path, str) or not path.startswith("/") or "\0" in path or not path.strip("/"):
        raise RunFault("bad_request", "an application's folder is an absolute path below /")
    if len(os.fsencode(path)) > APP_PATH_BYTES_MAX:
        raise RunFault("bad_request", "an application's path has at most %d bytes" % APP_PATH_BYTES_MAX)
    return path.rstrip("/")


def app_text(head: Dict[str, Any], name: str, form: "re.Pattern[str]") -> str:
    """A text of this form. Raises RunFault("bad_request")."""
    value = head.get(name)
    if not isinstance(value, str) or not form.fullmatch(value):
        raise RunFault("bad_request", "%s has to be of the form %s" % (name, form.pattern))
    return value


def app_count(head: Dict[str, Any], name: str, least: int, most: int) -> int:
    """A number within these bounds. Raises RunFault("bad_request")."""
    value = head.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise RunFault("bad_request", "%s is a number from %d to %d" % (name, least, most))
    return value


def app_texts(head: Dict[str, Any], name: str, most: int) -> List[str]:
    """A list of texts, none where it is left out. Raises RunFault("bad_request")."""
    value = head.get(name, [])
    if not isinstance(value, list) or len(value) > most or not all(isinstance(item, str) for item in value):
        raise RunFault("bad_request", "%s is a list of at most %d texts" % (name, most))
    return value


# ── small records ────────────────────────────────────────────────────────────────────────────────────────────────────


def write_record(folder: int, name: str, value: Dict[str, Any]) -> None:
    """Put a JSON record in its place as a whole, on disk at the end; whoever calls holds the lock. Raises OSError."""
    new = ".%s.new" % name
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(new, flags, 0o600, dir_fd=folder)
    try:
        write_all(handle, json.dumps(value, separators=(",", ":")).encode("ascii"))
        os.fsync(handle)
    finally:
        os.close(handle)
    os.rename(new, name, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)


def read_record(folder: int, name: str) -> Optional[Dict[str, Any]]:
    """A JSON record; None where there is none that can be understood. Raises OSError."""
    try:
        handle = os.open(name, CONTENT_FLAGS, dir_fd=folder)
    except FileNotFoundError:
        return None
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        text = file.read(APP_RECORD_BYTES_MAX)
    try:
        value = json.loads(text.decode("ascii"))
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def manifest_of(app: AppFolder, release: str) -> Optional[Dict[str, Any]]:
    """What was written down about a release when it was placed; None where nothing was. Raises RunFault, OSError."""
    folder = app.optional(MANIFESTS_FOLDER)
    known = None if folder is None else read_record(folder, "%s.json" % release)
    if known is None or not all(isinstance(known.get(name), form) for name, form in MANIFEST_FORMS):
        return None
    return known
