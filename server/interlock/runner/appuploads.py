"""App uploads: artifacts on their way to an application's folder, piece by piece, by their digests. It unpacks nothing.

Pieces come in order; one that comes again is written again, and whoever was cut off asks how much is there and goes on.
Whether it is the right content is looked at when it is placed.
"""

import contextlib
import hashlib
import os
import stat
from typing import Any, Callable, Dict, List

from interlock.runner.appclaims import fenced_app
from interlock.runner.appfolders import (
    OWN_FOLDER,
    SHA256_HEX,
    UPLOAD_PREFIX,
    AppFolder,
    app_count,
    app_fault,
    app_path,
    app_text,
)
from interlock.runner.artifacts import unfit
from interlock.runner.rundirs import RunFault, write_all
from interlock.runner.steps import run_step
from interlock.runner.tree import CHUNK_READ_BYTES, CONTENT_FLAGS, stat_at

ARTIFACT_BYTES_MAX = 8 * 1024**3
FREE_BESIDE_BYTES = 16 * 1024**2
UPLOAD_AGE_SECONDS_MAX = 86_400.0


def upload_piece(head: Dict[str, Any], body: bytes) -> Dict[str, Any]:
    """One piece at its offset; without one, how much is there. Raises RunFault("no_space", "refused", "stale")."""
    sha256 = app_text(head, "sha256", SHA256_HEX)
    size = app_count(head, "bytes", 1, ARTIFACT_BYTES_MAX)
    offset = app_count(head, "offset", 0, ARTIFACT_BYTES_MAX)
    with fenced_app(head, often=True) as app:
        have = _had(app, sha256)
        if not body:
            return {"have": have}
        if offset > have:
            reason = "a piece at %d, where %d bytes are there: go on from those" % (offset, have)
            raise RunFault("bad_request", reason, have=have)
        if offset + len(body) > size:
            raise unfit("bytes", "a piece up to byte %d of an artifact of %d" % (offset + len(body), size))
        if not have:
            _must_have_room(app, size)
        have = _written(app, sha256, offset, body)
        run_step("app-uploaded")
        return {"have": have}


def upload_stream(head: Dict[str, Any], ready: Callable[[int], None], read: Callable[[int], bytes]) -> Dict[str, Any]:
    """All that is missing, as it comes: `ready` is told how much is there. Raises RunFault.

    Nothing is locked meanwhile: whoever else brings this artifact writes the same bytes, and they are verified later.
    """
    try:
        return _streamed(head, ready, read)
    except OSError as fault:
        raise app_fault(fault, app_path(head))


def _streamed(head: Dict[str, Any], ready: Callable[[int], None], read: Callable[[int], bytes]) -> Dict[str, Any]:
    sha256 = app_text(head, "sha256", SHA256_HEX)
    size = app_count(head, "bytes", 1, ARTIFACT_BYTES_MAX)
    with fenced_app(head, often=True) as app:
        have = _had(app, sha256)
        if not have:
            _must_have_room(app, size)
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(UPLOAD_PREFIX + sha256, flags, 0o600, dir_fd=app.folder(OWN_FOLDER))
    try:
        os.lseek(handle, have, os.SEEK_SET)
        ready(have)
        while have < size:
            data = read(size - have)
            if not data:
                break
            write_all(handle, data)
            have += len(data)
            run_step("app-uploaded")
        return {"have": have}
    finally:
        os.close(handle)


def _had(app: AppFolder, sha256: str) -> int:
    found = stat_at(app.folder(OWN_FOLDER), UPLOAD_PREFIX + sha256)
    return found.st_size if found is not None and stat.S_ISREG(found.st_mode) else 0


def _must_have_room(app: AppFolder, size: int) -> None:
    needed, free = 2 * size + FREE_BESIDE_BYTES, app.free_bytes()
    if needed > free:
        reason = "the artifact and its release need %d bytes in %s, and %d are free" % (needed, app.real, free)
        raise RunFault("no_space", reason, needed=needed, free=free)


def _written(app: AppFolder, sha256: str, offset: int, data: bytes) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(UPLOAD_PREFIX + sha256, flags, 0o600, dir_fd=app.folder(OWN_FOLDER))
    try:
        os.lseek(handle, offset, os.SEEK_SET)
        write_all(handle, data)
        return os.fstat(handle).st_size
    finally:
        os.close(handle)


def opened_upload(app: AppFolder, sha256: str, size: int) -> int:
    """The whole artifact, open. Raises RunFault("absent") before it is whole, "refused" for other content."""
    have = _had(app, sha256)
    if have < size:
        raise RunFault("absent", "%d of the artifact's %d bytes have come: send the rest" % (have, size), have=have)
    handle = os.open(UPLOAD_PREFIX + sha256, CONTENT_FLAGS, dir_fd=app.folder(OWN_FOLDER))
    try:
        found = "" if have > size else _digest(handle)
        if found == sha256:
            return handle
    except OSError:
        os.close(handle)
        raise
    os.close(handle)
    drop_artifact(app, sha256)
    reason = "what came has %s, and sha256 %s with %d bytes was named: it was thrown away, send it again"
    raise unfit("sha256", reason % ("%d bytes" % have if have > size else "the sha256 %s" % found, sha256, size))


def _digest(handle: int) -> str:
    digest, at = hashlib.sha256(), 0
    data = os.pread(handle, CHUNK_READ_BYTES, at)
    while data:
        digest.update(data)
        at += len(data)
        data = os.pread(handle, CHUNK_READ_BYTES, at)
    return digest.hexdigest()


def drop_artifact(app: AppFolder, sha256: str) -> None:
    """Remove an upload; one that is not there is removed already. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(UPLOAD_PREFIX + sha256, dir_fd=app.folder(OWN_FOLDER))


def uploads_there(app: AppFolder) -> List[str]:
    """The digests of what has come so far, whole or not. Raises RunFault, OSError."""
    folder = app.optional(OWN_FOLDER)
    names = [] if folder is None else sorted(os.listdir(folder))
    digests = [name[len(UPLOAD_PREFIX) :] for name in names if name.startswith(UPLOAD_PREFIX)]
    return [digest for digest in digests if SHA256_HEX.fullmatch(digest)]


def drop_old_uploads(app: AppFolder, now: float) -> None:
    """Remove what nobody came back for. Raises OSError."""
    for sha256 in uploads_there(app):
        found = stat_at(app.folder(OWN_FOLDER), UPLOAD_PREFIX + sha256)
        if found is not None and now - found.st_mtime > UPLOAD_AGE_SECONDS_MAX:
            drop_artifact(app, sha256)
