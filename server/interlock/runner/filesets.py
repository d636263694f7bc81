"""File sets: a release that is a set of files, each for a place of its own on the host. It reads; it changes nothing.

In `releases/ID` of such a release lie the files below `files`, and `.set.json`, which says for each one its target, its
hash, and which mode and owner it is to have. A file that is `exact` has its own: what was there before somebody came.
"""

import contextlib
import errno
import grp
import json
import os
import pwd
import re
import stat
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from interlock.runner.appfolders import SHA256_HEX, AppFolder, app_text, write_record
from interlock.runner.artifacts import member_parts
from interlock.runner.contents import sha256_of
from interlock.runner.rundirs import RunFault
from interlock.runner.tree import (
    ABSENT_ERRNOS,
    CONTENT_FLAGS,
    LISTING_FLAGS,
    kind_of_mode,
    open_parent,
    resolve_here,
    stat_at,
)

SET_NAME, SET_FILES = ".set.json", "files"
SET_BYTES_MAX = 4 * 1024 * 1024
SET_FILES_MAX = 500
LANDED_FILES_MAX = 2 * SET_FILES_MAX  # those of one set, and those of the one before that go
FILE_BYTES_MAX = 8 * 1024 * 1024
ABSENT_FILE = "absent"
OWNER = re.compile(r"[A-Za-z0-9_.-]{1,64}(?::[A-Za-z0-9_.-]{1,64})?")


class SetEntry(NamedTuple):
    """One file of a set. `sha256` ABSENT_FILE: nothing is to lie at its target. `mode` None, `owner` "": as it is."""

    target: str
    name: str
    sha256: str
    mode: Optional[int] = None
    owner: str = ""
    exact: bool = False
    secret: bool = False


class Wanted(NamedTuple):
    """One file of a landing: where it really lies, what is expected there, and what it is to become."""

    target: str
    real: str
    expect: str
    after: str

    @classmethod
    def asked(cls, head: Dict[str, Any]) -> "List[Wanted]":
        """As a request names them. Raises RunFault("bad_request")."""
        files = head.get("files")
        if not isinstance(files, list) or len(files) > LANDED_FILES_MAX:
            raise RunFault("bad_request", "files is a list of at most %d files" % LANDED_FILES_MAX)
        found = []
        for file in files:
            if not isinstance(file, dict) or not all(isinstance(file.get(name), str) for name in ("expect", "after")):
                raise RunFault("bad_request", "a file has target, real, expect and after")
            real = target_of(file.get("real"))
            found.append(cls(target_of(file.get("target")), real, file["expect"], file["after"]))
        return found


def read_set(folder: int) -> Optional[List[SetEntry]]:
    """The set in an open folder; None where there is none that can be understood. Raises OSError."""
    try:
        handle = os.open(SET_NAME, CONTENT_FLAGS, dir_fd=folder)
    except OSError as fault:
        if fault.errno not in ABSENT_ERRNOS:
            raise
        return None
    with os.fdopen(handle, "rb") as file:
        text = file.read(SET_BYTES_MAX + 1)
    try:
        known = json.loads(text.decode("ascii"))["files"]
        entries = [_set_entry(each) for each in known]
    except (ValueError, KeyError, TypeError, RunFault):
        return None
    return entries if len(entries) <= LANDED_FILES_MAX and len(text) <= SET_BYTES_MAX else None


def write_set(folder: int, entries: List[SetEntry]) -> None:
    """Write a set down in an open folder. Raises RunFault("refused") where it could not be read again, OSError."""
    record = {"files": [entry._asdict() for entry in entries]}
    if len(json.dumps(record)) > SET_BYTES_MAX:
        raise RunFault("refused", "the names of these files are too long to be written down together")
    write_record(folder, SET_NAME, record)


def _set_entry(known: Dict[str, Any]) -> SetEntry:
    """One file as it was written down. Raises RunFault, KeyError or TypeError where it is none."""
    mode = known.get("mode")
    if mode is not None and (not isinstance(mode, int) or not 0 <= mode <= 0o777):
        raise RunFault("bad_request", "a mode is a number up to 0o777")
    owner = "" if not known.get("owner") else app_text(known, "owner", OWNER)
    sha256 = known["sha256"] if known["sha256"] == ABSENT_FILE else app_text(known, "sha256", SHA256_HEX)
    name = "/".join(member_parts(known["name"])) if sha256 != ABSENT_FILE else ""
    exact, secret = known.get("exact") is True, known.get("secret") is True
    return SetEntry(target_of(known.get("target")), name, sha256, mode, owner, exact, secret)


def target_of(value: Any) -> str:
    """A place on this host. Raises RunFault("bad_request")."""
    if not isinstance(value, str) or "\0" in value or value != os.path.normpath(value) or value.count("/") < 2:
        raise RunFault("bad_request", "a target is an absolute path, at least two deep, without . and ..")
    if not value.startswith("/") or value.startswith("//"):
        raise RunFault("bad_request", "a target is an absolute path")
    return value


def set_of(app: AppFolder, release: str) -> Tuple[int, List[SetEntry]]:
    """The open folder of a release that is a set of files, and the set. Raises RunFault("absent"), OSError."""
    path = "releases/" + release
    entries = read_set(app.folder(path)) if app.optional(path) is not None else None
    if entries is None:
        raise RunFault("absent", "%s/%s holds no set of files: ship it again" % (app.real, path))
    return app.folder(path), entries


def folder_in_set(folder: int, name: str) -> Tuple[int, str]:
    """The open folder that holds a file of a set, no link followed on the way, and its name there. Raises OSError."""
    held = os.dup(folder)
    for part in [SET_FILES, *name.split("/")[:-1]]:
        try:
            deeper = os.open(part, LISTING_FLAGS, dir_fd=held)
        finally:
            os.close(held)
        held = deeper
    return held, name.rpartition("/")[2]


def open_in_set(folder: int, name: str) -> int:
    """A file of a set, open for reading. Raises OSError."""
    held, leaf = folder_in_set(folder, name)
    try:
        return os.open(leaf, CONTENT_FLAGS, dir_fd=held)
    finally:
        os.close(held)


# ── targets ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def resolved_target(target: str) -> str:
    """Where a target really lies: the links of its folders are followed, and it may be a link itself."""
    return resolve_here(target, follow=False)


def state_at(real: str) -> Dict[str, Any]:
    """What lies at a resolved path: the hash of a file, "absent", or what else it is; its mode and owner."""
    try:
        folder, name = open_parent(real)
    except OSError as fault:
        if fault.errno not in ABSENT_ERRNOS:
            raise
        return {"state": ABSENT_FILE if fault.errno == errno.ENOENT else "other"}
    try:
        found = stat_at(folder, name)
        if found is None:
            return {"state": ABSENT_FILE}
        about = {"mode": stat.S_IMODE(found.st_mode), "owner": owner_of(found), "size": found.st_size}
        if not stat.S_ISREG(found.st_mode) or found.st_size > FILE_BYTES_MAX:
            kind = kind_of_mode(found.st_mode)
            return {**about, "state": "large" if kind == "file" else kind}
        return {**about, "state": sha256_of(os.open(name, CONTENT_FLAGS, dir_fd=folder))}
    finally:
        os.close(folder)


def owner_of(found: os.stat_result) -> str:
    """Whose an entry is: user:group, by their names where they have some."""
    user, group = str(found.st_uid), str(found.st_gid)
    with contextlib.suppress(KeyError):
        user = pwd.getpwuid(found.st_uid).pw_name
    with contextlib.suppress(KeyError):
        group = grp.getgrgid(found.st_gid).gr_name
    return "%s:%s" % (user, group)


def ids_of(owner: str) -> Tuple[int, int]:
    """The numbers of a user and a group, -1 for what is not said. Raises RunFault("refused")."""
    user, _, group = owner.partition(":")
    try:
        uid = int(user) if user.isdigit() else pwd.getpwnam(user).pw_uid if user else -1
        gid = int(group) if group.isdigit() else grp.getgrnam(group).gr_gid if group else -1
    except KeyError:
        raise RunFault("refused", "there is no user or group %r on this host: make it, or name another owner" % owner)
    return uid, gid
