"""A site: one file operation's place on its host, and what it may change there. It follows no link out of that."""

from __future__ import annotations

import asyncio
import hashlib
import posixpath
import stat
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar, cast

import asyncssh

from interlock.hosts.cancelling import Interrupted, see_through
from interlock.hosts.faults import Faulted
from interlock.hosts.link import Link, Live
from interlock.hosts.resolve import LinkLoop, resolve_path
from interlock.hosts.sftp import look_again, missing, refuse, sftp_refusal
from interlock.ports import Run
from interlock.settings import Limits, facts_of
from interlock_policies.facts import HostFacts
from interlock_tools.errors import PathInvalid, Recovery, Refusal, StaleState

CHUNK_BYTES = 256 * 1024
SAFE_WRITE_BYTES = 32 * 1024
COMMIT_SECONDS = 10.0
Result = TypeVar("Result")


@dataclass(eq=False)
class Site:
    """Everything one file operation needs. `begun` turns True right before the first change that others can see."""

    link: Link
    live: Live
    sftp: asyncssh.SFTPClient
    run: Run
    limits: Limits
    redact: Callable[[str], str]
    begun: bool = False

    @property
    def facts(self) -> HostFacts:
        """What is known of the host, its places resolved where they were asked for."""
        return self.live.facts or facts_of(self.link.host)

    async def real(self, path: str, argument: str = "path", *, follow: bool = True) -> str:
        """Where the path leads on the host now. Raises Faulted."""
        try:
            return await resolve_path(self.sftp, path, follow=follow, lenient=not self.live.is_openssh)
        except LinkLoop:
            raise refuse(PathInvalid(path=argument, reason=f"{path} is a loop of symbolic links")) from None
        except asyncssh.SFTPError as fault:
            raise self.fault(fault, argument, path) from None

    async def declared(self, path: str, argument: str = "path", *, follow: bool = True) -> str:
        """Like `real`, for a path that is to be changed. Raises Faulted where it leads out of what was declared."""
        real = await self.real(path, argument, follow=follow)
        for allowed in self.run.declared:
            if real == allowed or real.startswith(allowed.rstrip("/") + "/"):
                return real
        reason = f"{path} leads to {real} on the host, which was not declared"
        raise refuse(StaleState(path=argument, reason=reason, allowed=self.run.declared, recovery=self.look(path)))

    async def still(self, path: str, real: str, argument: str = "path", *, follow: bool = True) -> None:
        """Look again right before a change: the path must lead where it led. Raises Faulted."""
        now = await self.real(path, argument, follow=follow)
        if now != real:
            reason = f"{path} led to {real} and leads to {now} now; nothing was changed"
            raise refuse(StaleState(path=argument, reason=reason, recovery=self.look(path)))

    async def entry(self, path: str, argument: str = "path") -> asyncssh.SFTPAttrs | None:
        """What is at a resolved path, links not followed; None where nothing is. Raises Faulted."""
        try:
            return await self.sftp.lstat(path)
        except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
            return None
        except asyncssh.SFTPError as fault:
            raise self.fault(fault, argument, path) from None

    async def existing(self, path: str, argument: str = "path") -> asyncssh.SFTPAttrs:
        """Like `entry`, where nothing there is a refusal."""
        found = await self.entry(path, argument)
        if found is None:
            raise refuse(missing(self.run.host, argument, path))
        return found

    async def sha256(self, path: str) -> str:
        """The hash of a file's content, read as it is now; "absent" where there is none."""
        digest, offset = hashlib.sha256(), 0
        try:
            async with self.open(path, "rb") as file:
                while data := await read_at(file, CHUNK_BYTES, offset):
                    offset += len(data)
                    digest.update(data)
        except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
            return "absent"
        return digest.hexdigest()

    def open(
        self, path: str, mode: str, attributes: asyncssh.SFTPAttrs | None = None
    ) -> AbstractAsyncContextManager[asyncssh.SFTPClientFile]:
        """Open a file for bytes. Each read or write is one request: many at once, cancelled, leave tasks behind."""
        return self.sftp.open(path, mode, attributes or asyncssh.SFTPAttrs(), encoding=None, block_size=0)

    async def write_all(self, file: asyncssh.SFTPClientFile, data: bytes, offset: int = 0) -> None:
        """Write all of the data from `offset`, in requests that the server takes."""
        most = min(CHUNK_BYTES, self.sftp.limits.max_write_len or SAFE_WRITE_BYTES)
        for start in range(0, len(data), most):
            await file.write(data[start : start + most], offset + start)

    async def commit(self, change: Awaitable[Result], *, last: bool = True) -> Result:
        """Make one change that others can see. A cancellation that comes now does not stop it halfway.

        Where it is the last change, such a cancellation came too late; else the operation ends after it.
        """
        self.begun = True
        try:
            result, by = await see_through(asyncio.wait_for(change, COMMIT_SECONDS))
        except Interrupted as both:
            raise both.fault from None
        if by and not last:
            raise asyncio.CancelledError(by)
        return result

    def fault(self, fault: asyncssh.SFTPError, argument: str, path: str) -> Faulted:
        """An SFTP error as this room's fault."""
        return refuse(sftp_refusal(fault, self.run.host, argument, path))

    def look(self, path: str) -> Recovery:
        """Look at the folder again."""
        return look_again(self.run.host, path)

    def stale(self, path: str, actual: str) -> Refusal:
        """The content is not the one that was expected."""
        what = "there is no such file" if actual == "absent" else f"its sha256 is {actual}"
        arguments = {"host": self.run.host, "path": path}
        again = Recovery.use("file_read", arguments, "It was changed since it was read; this shows what it holds now.")
        if actual == "absent":
            again = self.look(path)
        return StaleState(path="expected_sha256", reason=f"{path}: {what}", allowed=(actual,), recovery=again)


async def read_at(file: asyncssh.SFTPClientFile, length: int, offset: int) -> bytes:
    """At most `length` bytes from `offset`; empty at the end. The file was opened for bytes."""
    return cast(bytes, await file.read(length, offset))


async def read_all(file: asyncssh.SFTPClientFile, bytes_max: int) -> bytes | None:
    """All of the file, or None where it is larger than allowed."""
    found = bytearray()
    while data := await read_at(file, CHUNK_BYTES, len(found)):
        found += data
        if len(found) > bytes_max:
            return None
    return bytes(found)


def kind_of(attributes: asyncssh.SFTPAttrs) -> str:
    """file, directory, link, or what kind of special file it is."""
    mode = attributes.permissions or 0
    kinds = {
        stat.S_IFREG: "file",
        stat.S_IFDIR: "directory",
        stat.S_IFLNK: "link",
        stat.S_IFIFO: "fifo",
        stat.S_IFSOCK: "socket",
        stat.S_IFBLK: "block device",
        stat.S_IFCHR: "character device",
    }
    return kinds.get(stat.S_IFMT(mode), "other")


def mode_text(attributes: asyncssh.SFTPAttrs) -> str:
    """The permission bits as four octal digits."""
    return f"{stat.S_IMODE(attributes.permissions or 0):04o}"


def when(attributes: asyncssh.SFTPAttrs) -> str | None:
    """When the content last changed: ISO 8601, UTC, to the second."""
    if attributes.mtime is None:
        return None
    return datetime.fromtimestamp(attributes.mtime, UTC).isoformat(timespec="seconds")


def folder_of(path: str) -> str:
    """The folder that holds this path."""
    return posixpath.dirname(path)
