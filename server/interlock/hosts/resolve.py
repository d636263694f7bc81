"""Resolving: where a path really leads on its host, links followed and a missing tail kept. It changes nothing."""

from __future__ import annotations

import asyncio
import posixpath
import stat
from collections.abc import Mapping, Sequence

import asyncssh

from interlock.hosts.faults import describe, unreachable
from interlock.hosts.sftp import LOST, sftp_refusal
from interlock.ports import PathQuery
from interlock_tools.errors import PathInvalid, Refusal

QUERIES_MAX = 512
LINKS_FOLLOWED_MAX = 40
PATH_BYTES_MAX = 4_096
_VARYING = ("/proc", "/dev")  # /proc/self, /dev/stdin: another one in every process
_GONE = (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath, asyncssh.SFTPPermissionDenied)


def is_steady(query: PathQuery, real: str) -> bool:
    """Whether this means the same to every process of the host, and to everybody who looks it up."""
    name = posixpath.basename(query.path)
    varies = any(place == tree or place.startswith(tree + "/") for place in (query.path, real) for tree in _VARYING)
    return not varies and (query.follow or name not in ("", ".", ".."))


class LinkLoop(Exception):
    """A path leads through more links than a kernel follows."""


async def resolve_paths(
    sftp: asyncssh.SFTPClient, queries: Sequence[PathQuery], timeout_seconds: float, *, lenient: bool = True
) -> Mapping[PathQuery, str] | Refusal:
    """Every query's path as the host's kernel would find it; all are asked at once over the one channel.

    A tail that is missing, or hidden from the login's user, is kept as it was written: that user cannot go through it
    either. A loop of links is PathInvalid. `lenient`: the server may leave a link in its answers, so they are looked at
    again (OpenSSH's never do). Raises Faulted where the host stops answering.
    """
    if len(queries) > QUERIES_MAX:
        return PathInvalid(
            path="path", reason=f"{len(queries)} paths at once, and at most {QUERIES_MAX} can be resolved"
        )
    for query in queries:
        if not query.path.startswith("/") or "\0" in query.path or len(query.path) > PATH_BYTES_MAX:
            return PathInvalid(path="path", reason=f"{query.path[:80]!r} is not an absolute path")
    try:
        async with asyncio.timeout(timeout_seconds):
            found = await asyncio.gather(*(_settled(sftp, query, lenient) for query in queries))
    except TimeoutError:
        raise unreachable("the host did not resolve the paths in time") from None
    for answer in found:
        if isinstance(answer, Refusal):
            return answer
    return {query: str(answer) for query, answer in zip(queries, found, strict=True)}


async def _settled(sftp: asyncssh.SFTPClient, query: PathQuery, lenient: bool) -> str | Refusal:
    try:
        return await resolve_path(sftp, query.path, follow=query.follow, lenient=lenient)
    except LinkLoop:
        return PathInvalid(path="path", reason=f"{query.path} is a loop of symbolic links")
    except (*LOST, OSError) as fault:
        raise unreachable(f"the file channel was lost: {describe(fault)}") from None
    except asyncssh.SFTPError as fault:
        return sftp_refusal(fault, "", "path", query.path)


async def resolve_path(sftp: asyncssh.SFTPClient, path: str, *, follow: bool = True, lenient: bool = True) -> str:
    """One path. Raises LinkLoop, and asyncssh.SFTPError where the host fails otherwise."""
    parent, name = posixpath.split(path.rstrip("/") or "/")
    if follow or name in ("", ".", ".."):
        return await _followed(sftp, path, lenient)
    return posixpath.join(await _followed(sftp, parent, lenient), name)


async def _followed(sftp: asyncssh.SFTPClient, path: str, lenient: bool) -> str:
    """The host's own realpath where all of it (or all but its end) is there, else component by component."""
    real = await _realpath(sftp, path)
    if real is not None and (not lenient or await _link_target(sftp, real) in (None, real)):
        return real
    return await _walked(sftp, path)


async def _walked(sftp: asyncssh.SFTPClient, path: str) -> str:
    todo = [part for part in path.split("/") if part not in ("", ".")]
    real, links = "/", 0
    while todo:
        part = todo.pop(0)
        if part == "..":
            real = posixpath.dirname(real)
            continue
        here = posixpath.join(real, part)
        target = await _link_target(sftp, here)
        if target == here:
            real = here
            continue
        if target is None:
            # Nothing there, or nothing that this user may see: the rest stays as it was written.
            return posixpath.normpath(posixpath.join(here, *todo))
        links += 1
        if links > LINKS_FOLLOWED_MAX:
            raise LinkLoop
        real = "/" if target.startswith("/") else real
        todo = [step for step in target.split("/") if step not in ("", ".")] + todo
    return real


async def _link_target(sftp: asyncssh.SFTPClient, path: str) -> str | None:
    """The target of a link, the path itself where it is no link, None where nothing can be seen there."""
    try:
        attributes = await sftp.lstat(path)
        if not stat.S_ISLNK(attributes.permissions or 0):
            return path
        return str(await sftp.readlink(path))
    except _GONE:
        return None


async def _realpath(sftp: asyncssh.SFTPClient, path: str) -> str | None:
    try:
        real = await sftp.realpath(path)
    except (asyncssh.SFTPFailure, *_GONE):
        return None
    return str(real)
