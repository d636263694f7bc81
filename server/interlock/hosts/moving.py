"""Moving, copying and deleting: by one rename where it can be one, never through a link out of what was declared."""

from __future__ import annotations

from collections.abc import Mapping

import asyncssh

from interlock.hosts.sftp import refuse
from interlock.hosts.site import Site, folder_of, kind_of, mode_text
from interlock.hosts.trees import copy_tree, delete_tree
from interlock.hosts.writing import ABSENT, Content, put
from interlock_tools.call import Json
from interlock_tools.errors import PathInvalid, Recovery
from interlock_tools.plan import DeleteFile, MoveFile


async def move_file(site: Site, plan: MoveFile) -> Mapping[str, Json]:
    """The `file_move` result: path, destination, action, replaced, entries. Raises Faulted."""
    source = await site.real(plan.path) if plan.copy else await site.declared(plan.path, follow=False)
    target = await site.declared(plan.destination, "destination")
    moved = await site.existing(source)
    there = await site.entry(target, "destination")
    await _must_fit(site, plan, moved, there, source, target)
    if not plan.copy:
        await _rename(site, plan, source, target)
        entries = 1
    elif kind_of(moved) == "directory":
        entries = (await copy_tree(site, source, target)).entries
    else:
        content = Content(source=source, source_bytes=moved.size or 0)
        mode = int(mode_text(moved), 8)
        guard = "" if plan.overwrite else ABSENT
        await put(site, plan.destination, target, content, there, mode, guard, "destination")
        entries = 1
    return {
        "path": source,
        "destination": target,
        "action": "copy" if plan.copy else "move",
        "replaced": there is not None,
        "entries": entries,
    }


async def _must_fit(
    site: Site,
    plan: MoveFile,
    moved: asyncssh.SFTPAttrs,
    there: asyncssh.SFTPAttrs | None,
    source: str,
    target: str,
) -> None:
    if target == source or target.startswith(source.rstrip("/") + "/"):
        raise refuse(PathInvalid(path="destination", reason=f"{target} lies inside {source}"))
    if there is not None and not plan.overwrite:
        recovery = Recovery.ask("Only the caller knows whether what is there may be replaced (overwrite).")
        raise refuse(PathInvalid(path="destination", reason=f"{target} exists", recovery=recovery))
    if there is not None and "directory" in (kind_of(there), kind_of(moved)):
        raise refuse(PathInvalid(path="destination", reason=f"{target} exists, and a folder is never replaced"))
    if plan.copy and kind_of(moved) not in ("file", "directory"):
        raise refuse(PathInvalid(path="path", reason=f"{source} is a {kind_of(moved)} and cannot be copied"))
    if plan.copy and kind_of(moved) == "directory" and not plan.recursive:
        recovery = Recovery.change({"recursive": True}, "It is a directory; this copies all in it.")
        raise refuse(PathInvalid(path="path", reason=f"{source} is a directory", recovery=recovery))
    if await site.entry(folder_of(target), "destination") is None:
        reason = f"the folder {folder_of(target)} does not exist"
        raise refuse(PathInvalid(path="destination", reason=reason, recovery=site.look(folder_of(target))))


async def _rename(site: Site, plan: MoveFile, source: str, target: str) -> None:
    await site.still(plan.path, source, follow=False)
    await site.still(plan.destination, target, "destination")
    change = site.sftp.posix_rename(source, target) if plan.overwrite else site.sftp.rename(source, target)
    try:
        await site.commit(change)
    except (asyncssh.SFTPFailure, asyncssh.SFTPOpUnsupported):
        site.begun = False
        copy = {"action": "copy", "recursive": True}
        recovery = Recovery.change(copy, "It may be on another file system, where it can be copied and then deleted.")
        reason = f"{source} could not be renamed to {target}; nothing was changed"
        raise refuse(PathInvalid(path="destination", reason=reason, recovery=recovery)) from None
    except asyncssh.SFTPError as fault:
        raise site.fault(fault, "path", source) from None


async def delete_file(site: Site, plan: DeleteFile) -> Mapping[str, Json]:
    """The `file_delete` result: path, kind, entries. A link itself is deleted, never its target. Raises Faulted."""
    real = await site.declared(plan.path, follow=False)
    found = await site.existing(real)
    kind = kind_of(found)
    if kind == "directory" and not plan.recursive:
        arguments = {"host": site.run.host, "path": real}
        recovery = Recovery.use("file_list", arguments, "It is a directory; this shows what recursive would delete.")
        raise refuse(PathInvalid(path="recursive", reason=f"{real} is a directory", recovery=recovery))
    if plan.expected_sha256:
        actual = await site.sha256(real) if kind == "file" else kind
        if actual != plan.expected_sha256.lower():
            raise refuse(site.stale(real, actual))
    await site.still(plan.path, real, follow=False)
    if kind == "directory":
        entries = (await delete_tree(site, real)).entries
    else:
        await _remove(site, real)
        entries = 1
    return {"path": real, "kind": kind, "entries": entries}


async def _remove(site: Site, real: str) -> None:
    try:
        await site.commit(site.sftp.remove(real))
    except asyncssh.SFTPError as fault:
        site.begun = False
        raise site.fault(fault, "path", real) from None
