"""Writing a file, whole or not at all: a temporary file beside it, checked, then one rename. It loses no owner or mode.

Extended attributes and further hard links are not carried over: the new content is a new file under the old name.
"""

from __future__ import annotations

import hashlib
import posixpath
import secrets
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import asyncssh

from interlock.hosts.sftp import missing, not_a_file, refuse, too_large
from interlock.hosts.site import CHUNK_BYTES, Site, folder_of, kind_of, mode_text, read_all, read_at
from interlock_tools.call import Json
from interlock_tools.errors import ArgumentInvalid, PathInvalid, Recovery, Refusal
from interlock_tools.plan import EditFile, Replacement, WriteFile

NEW_FILE_MODE = 0o644
NEW_FOLDER_MODE = 0o755
PRIVATE_MODE = 0o600
PARENTS_MAX = 64
ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Content:
    """What is to be in the file: bytes, or another file's content where `source` names one."""

    data: bytes = b""
    source: str = ""
    source_bytes: int = 0


async def write_file(site: Site, plan: WriteFile) -> Mapping[str, Json]:
    """The `file_write` result: path, created, bytes, sha256, mode, folders_created. Raises Faulted, nothing changed."""
    real = await site.declared(plan.path)
    folders = await _parents(site, real, create=plan.create_parents)
    replaced = await site.entry(real)
    _must_be_replaceable(site, real, replaced)
    await put(site, plan.path, real, Content(plan.content), replaced, plan.mode, plan.expected_sha256)
    return {
        "path": real,
        "created": replaced is None,
        "bytes": len(plan.content),
        "sha256": hashlib.sha256(plan.content).hexdigest(),
        "mode": f"{_mode(plan.mode, replaced):04o}",
        "folders_created": folders,
    }


async def edit_file(site: Site, plan: EditFile) -> Mapping[str, Json]:
    """The `file_edit` result: path, replacements, bytes, sha256, previous_sha256, mode. All edits or none."""
    real = await site.declared(plan.path)
    replaced = await site.existing(real)
    _must_be_replaceable(site, real, replaced)
    before = await _content(site, real, replaced)
    previous = hashlib.sha256(before).hexdigest()
    if plan.expected_sha256 and plan.expected_sha256.lower() != previous:
        raise refuse(site.stale(real, previous))
    after, done = _edited(real, before, plan.replacements)
    await put(site, plan.path, real, Content(after), replaced, None, previous)
    return {
        "path": real,
        "replacements": done,
        "bytes": len(after),
        "sha256": hashlib.sha256(after).hexdigest(),
        "previous_sha256": previous,
        "mode": mode_text(replaced),
    }


async def _content(site: Site, real: str, replaced: asyncssh.SFTPAttrs) -> bytes:
    """What the file holds now. Raises Faulted where that is more than can be edited."""
    most = site.limits.file_bytes_max
    try:
        async with site.open(real, "rb") as file:
            before = await read_all(file, most) if (replaced.size or 0) <= most else None
    except asyncssh.SFTPError as fault:
        raise site.fault(fault, "path", real) from None
    if before is None:
        raise refuse(too_large(real, replaced.size or most, most))
    return before


def _edited(path: str, before: bytes, replacements: tuple[Replacement, ...]) -> tuple[bytes, int]:
    try:
        text = before.decode("utf-8")
    except UnicodeDecodeError:
        raise refuse(
            PathInvalid(path="path", reason=f"{path} is not UTF-8 text and cannot be edited as such")
        ) from None
    done = 0
    for place, edit in enumerate(replacements):
        found = text.count(edit.old) if edit.old else 0
        if found == 0 or (edit.count and found != edit.count):
            raise refuse(_not_so_often(f"edits[{place}]", edit, found))
        text = text.replace(edit.old, edit.new)
        done += found
    return text.encode("utf-8"), done


def _not_so_often(where: str, edit: Replacement, found: int) -> Refusal:
    """The text does not occur as often as it must; no edit was made."""
    wanted = str(edit.count) if edit.count else "at least once"
    reason = f"its old text occurs {found} times instead of {wanted}; no edit was made"
    return ArgumentInvalid(path=where, reason=reason, allowed=(str(found),) if found else ())


def _must_be_replaceable(site: Site, real: str, found: asyncssh.SFTPAttrs | None) -> None:
    if found is not None and kind_of(found) != "file":
        raise refuse(not_a_file(site.run.host, "path", real, kind_of(found)))


def _mode(wanted: int | None, replaced: asyncssh.SFTPAttrs | None) -> int:
    if wanted is not None:
        return wanted
    return NEW_FILE_MODE if replaced is None else stat.S_IMODE(replaced.permissions or PRIVATE_MODE)


async def _parents(site: Site, real: str, *, create: bool) -> list[str]:
    """Make the missing folders on the way to a declared path; which were made. Raises Faulted."""
    missing_folders: list[str] = []
    folder = folder_of(real)
    while (found := await site.entry(folder)) is None:
        missing_folders.append(folder)
        folder = folder_of(folder)
        if len(missing_folders) > PARENTS_MAX:
            raise refuse(PathInvalid(path="path", reason=f"more than {PARENTS_MAX} folders are missing"))
    if kind_of(found) != "directory":
        raise refuse(PathInvalid(path="path", reason=f"{folder} is a {kind_of(found)}, not a directory"))
    if missing_folders and not create:
        recovery = Recovery.change({"create_parents": True}, "Its folder is missing; this makes it.")
        reason = f"the folder {missing_folders[0]} does not exist"
        raise refuse(PathInvalid(path="path", reason=reason, recovery=recovery))
    for folder in reversed(missing_folders):
        try:
            making = site.sftp.mkdir(folder, asyncssh.SFTPAttrs(permissions=NEW_FOLDER_MODE))
            await site.commit(making, last=False)
        except asyncssh.SFTPError as fault:
            raise site.fault(fault, "path", folder) from None
    return missing_folders[::-1]


# ── one atomic replacement ───────────────────────────────────────────────────────────────────────────────────────────


async def put(
    site: Site,
    path: str,
    real: str,
    content: Content,
    replaced: asyncssh.SFTPAttrs | None,
    mode: int | None,
    expected_sha256: str,
    argument: str = "path",
) -> None:
    """Put the content at the resolved path in one step.

    The temporary file has a random name in the same folder. Both names share their folder's path, so that a folder that
    is swapped for a link in between makes the rename fail instead of landing elsewhere. Raises Faulted; the temporary
    file is removed on every way out.
    """
    temporary = posixpath.join(folder_of(real), f".interlock-{secrets.token_hex(12)}")
    try:
        try:
            await _upload(site, temporary, content, replaced, _mode(mode, replaced))
            await _must_hold(site, real, expected_sha256)
            await site.still(path, real, argument)
            await _rename(site, temporary, real, exclusive=expected_sha256 == ABSENT)
        except BaseException:
            with suppress(asyncssh.Error, OSError, TimeoutError):
                await site.sftp.remove(temporary)
            raise
    except asyncssh.SFTPError as fault:
        raise site.fault(fault, argument, real) from None


async def _upload(site: Site, temporary: str, content: Content, replaced: asyncssh.SFTPAttrs | None, mode: int) -> None:
    attributes = asyncssh.SFTPAttrs(permissions=PRIVATE_MODE)
    size = content.source_bytes if content.source else len(content.data)
    async with site.open(temporary, "xb+", attributes) as file:
        if replaced is not None:
            await _keep_owner(file, replaced)
        await file.chmod(mode)
        if content.source:
            await _copy_in(site, content.source, file)
        else:
            await site.write_all(file, content.data)
        with suppress(asyncssh.SFTPOpUnsupported):
            await file.fsync()
        arrived = (await file.stat()).size
        if arrived != size:
            raise refuse(PathInvalid(path="path", reason=f"{arrived} of {size} bytes arrived; nothing was changed"))
        if not content.source and await _read_back(file) != hashlib.sha256(content.data).digest():
            raise refuse(PathInvalid(path="path", reason="other bytes arrived than were sent; nothing was changed"))


async def _copy_in(site: Site, source: str, target: asyncssh.SFTPClientFile) -> None:
    offset = 0
    async with site.open(source, "rb") as file:
        while data := await read_at(file, CHUNK_BYTES, offset):
            await site.write_all(target, data, offset)
            offset += len(data)


async def _read_back(file: asyncssh.SFTPClientFile) -> bytes:
    digest, offset = hashlib.sha256(), 0
    while data := await read_at(file, CHUNK_BYTES, offset):
        digest.update(data)
        offset += len(data)
    return digest.digest()


async def _keep_owner(file: asyncssh.SFTPClientFile, replaced: asyncssh.SFTPAttrs) -> None:
    made = await file.stat()
    if replaced.uid is None or replaced.gid is None or (made.uid, made.gid) == (replaced.uid, replaced.gid):
        return
    try:
        await file.chown(replaced.uid, replaced.gid)
    except asyncssh.SFTPError:
        reason = f"this login cannot keep its owner ({replaced.uid}:{replaced.gid}); nothing was changed"
        raise refuse(PathInvalid(path="path", reason=reason)) from None


async def _must_hold(site: Site, real: str, expected_sha256: str) -> None:
    """Compare with what is there now. Raises Faulted(StaleState) with the actual hash."""
    if not expected_sha256:
        return
    if expected_sha256 == ABSENT:
        if await site.entry(real) is not None:
            raise refuse(site.stale(real, await site.sha256(real)))
        return
    actual = await site.sha256(real)
    if actual != expected_sha256.lower():
        raise refuse(site.stale(real, actual))


async def _rename(site: Site, temporary: str, real: str, *, exclusive: bool) -> None:
    # The plain rename of SFTP refuses where the target exists; the POSIX one replaces it in one step.
    change = site.sftp.rename(temporary, real) if exclusive else site.sftp.posix_rename(temporary, real)
    try:
        await site.commit(change)
    except asyncssh.SFTPOpUnsupported:
        site.begun = False
        reason = "the host's file server cannot replace a file in one step"
        raise refuse(PathInvalid(path="path", reason=reason)) from None
    except (asyncssh.SFTPFailure, asyncssh.SFTPFileAlreadyExists):
        if exclusive and await site.entry(real) is not None:
            site.begun = False
            raise refuse(site.stale(real, await site.sha256(real))) from None
        raise
    except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
        site.begun = False
        raise refuse(missing(site.run.host, "path", folder_of(real))) from None
