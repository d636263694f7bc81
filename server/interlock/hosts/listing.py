"""Listing: a folder's entries, or those of its tree whose names match, page by page. It changes nothing."""

from __future__ import annotations

import asyncio
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass

import asyncssh

from interlock.hosts.site import Site, kind_of, mode_text, when
from interlock_tools.call import Json
from interlock_tools.plan import ListFiles

ENTRIES_SCANNED_MAX = 20_000
DEPTH_MAX = 32
FOLDERS_AT_ONCE_MAX = 8
LONGNAME_OWNER, LONGNAME_GROUP, LONGNAME_FIELDS = 2, 3, 9


@dataclass(frozen=True, slots=True)
class Found:
    """One entry, its name relative to the folder that was listed."""

    name: str
    attributes: asyncssh.SFTPAttrs
    owner: str
    group: str


async def list_files(site: Site, plan: ListFiles) -> Mapping[str, Json]:
    """The `file_list` result: path, entries, truncated, next_after, incomplete. Raises Faulted.

    An entry: name, type, size_bytes, mode, owner, group, modified, target (of a link, else null). `incomplete` is True
    where the tree held more than can be scanned; narrow the path or the glob then.
    """
    real = await site.real(plan.path)
    folder = await site.existing(real)
    if kind_of(folder) != "directory":
        found, complete = [Found(posixpath.basename(real), folder, str(folder.uid), str(folder.gid))], True
        real = posixpath.dirname(real)
    else:
        found, complete = await _scan(site, real, plan)
    matching = sorted((entry for entry in found if _wanted(entry.name, plan)), key=lambda entry: entry.name)
    rest = [entry for entry in matching if entry.name > plan.after] if plan.after else matching
    shown = rest[: plan.limit]
    targets = await asyncio.gather(*(_target(site, real, entry) for entry in shown))
    return {
        "path": real,
        "entries": [_entry(entry, target) for entry, target in zip(shown, targets, strict=True)],
        "truncated": len(rest) > len(shown) or not complete,
        "next_after": shown[-1].name if shown and len(rest) > len(shown) else None,
        "incomplete": not complete,
    }


def _wanted(name: str, plan: ListFiles) -> bool:
    if not plan.hidden and any(part.startswith(".") for part in name.split("/")):
        return False
    return (
        not plan.glob
        or glob_pattern(plan.glob).fullmatch(name if "/" in plan.glob else posixpath.basename(name)) is not None
    )


def glob_pattern(glob: str) -> re.Pattern[str]:
    """A glob as a regular expression: `*` and `?` stay within a name, `**` goes over folders, `[…]` is a set."""
    parts = re.findall(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]|.", glob, re.DOTALL)
    simple = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(simple.get(part) or _literal(part) for part in parts), re.DOTALL)


def _literal(part: str) -> str:
    if len(part) > 2 and part.startswith("["):
        inner = part[1:-1].replace("\\", "\\\\")
        inner = "^" + inner[1:] if inner.startswith("!") else inner.replace("^", "\\^", 1)
        try:
            re.compile(f"[{inner}]")
        except re.error:
            return re.escape(part)
        return f"[{inner}]"
    return re.escape(part)


def _is_deep(plan: ListFiles) -> bool:
    return plan.recursive or "/" in plan.glob or "**" in plan.glob


async def _scan(site: Site, real: str, plan: ListFiles) -> tuple[list[Found], bool]:
    """Every entry below the folder, and whether that is all. Links are listed, never entered."""
    found: list[Found] = []
    level = [""]
    for _ in range(DEPTH_MAX if _is_deep(plan) else 1):
        deeper: list[str] = []
        while level:
            batch, level = level[:FOLDERS_AT_ONCE_MAX], level[FOLDERS_AT_ONCE_MAX:]
            lists = await asyncio.gather(*(_folder(site, real, name, top=not name) for name in batch))
            for entries in lists:
                found.extend(entries)
                deeper.extend(entry.name for entry in entries if kind_of(entry.attributes) == "directory")
            if len(found) >= ENTRIES_SCANNED_MAX:
                return found[:ENTRIES_SCANNED_MAX], False
        level = deeper
        if not level:
            return found, True
    return found, not _is_deep(plan)


async def _folder(site: Site, real: str, name: str, *, top: bool) -> list[Found]:
    path = posixpath.join(real, name)
    found: list[Found] = []
    try:
        async for entry in site.sftp.scandir(path):
            label = str(entry.filename)
            if label not in (".", ".."):
                owner, group = _owners(entry)
                found.append(Found(posixpath.join(name, label), entry.attrs, owner, group))
            if len(found) >= ENTRIES_SCANNED_MAX:
                break
    except asyncssh.SFTPError as fault:
        if top or isinstance(fault, asyncssh.SFTPConnectionLost | asyncssh.SFTPNoConnection):
            raise site.fault(fault, "path", path) from None
    return found  # a folder of the tree that may not be read, or is gone by now, has nothing to show


def _owners(entry: asyncssh.SFTPName) -> tuple[str, str]:
    """Names from the server's own long line, where it has that form; else the numbers."""
    line = (
        entry.longname if isinstance(entry.longname, str) else bytes(entry.longname or b"").decode("utf-8", "replace")
    )
    fields = line.split(None, LONGNAME_FIELDS - 1)
    if len(fields) == LONGNAME_FIELDS:
        return fields[LONGNAME_OWNER], fields[LONGNAME_GROUP]
    return str(entry.attrs.uid), str(entry.attrs.gid)


async def _target(site: Site, real: str, entry: Found) -> str | None:
    if kind_of(entry.attributes) != "link":
        return None
    try:
        return _shown(str(await site.sftp.readlink(posixpath.join(real, entry.name))))
    except asyncssh.SFTPError:
        return None


def _entry(entry: Found, target: str | None) -> dict[str, Json]:
    return {
        "name": _shown(entry.name),
        "type": kind_of(entry.attributes),
        "size_bytes": entry.attributes.size or 0,
        "mode": mode_text(entry.attributes),
        "owner": entry.owner,
        "group": entry.group,
        "modified": when(entry.attributes),
        "target": target,
    }


def _shown(name: str) -> str:
    """A name as JSON can carry it: bytes that are not UTF-8 become replacement characters."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
