"""File plans: writing, editing, moving, copying and deleting, each checked and made ready. They land nothing.

The results and refusals are those of the file tools: the same fields, codes and words, whichever way a call goes.
"""

import hashlib
import json
import os
import stat
from typing import Any, Callable, Dict, List, Optional, Tuple, Union

from interlock.runner.copying import copy_entry, copy_file, meta_at
from interlock.runner.filework import (
    NEW_FOLDER_MODE,
    SHA256_OF_NOTHING,
    WORK_PARENTS_MAX,
    Answer,
    WorkContent,
    WorkRefused,
    WorkSite,
    change_to,
    dress,
    kind_said,
    look_at,
    look_at_folder,
    new_meta,
)
from interlock.runner.tree import (
    CHUNK_READ_BYTES,
    LISTING_FLAGS,
    LayerFault,
    fingerprint_at,
    fingerprint_of,
    is_same,
    mount_of,
    open_folder,
    open_parent,
)

EDIT_BYTES_MAX = 8 * 1024 * 1024


def plan_work(rundir: str, work: Dict[str, Any], content: Union[bytes, WorkContent] = b"") -> Answer:
    """Make one piece of file work ready in a run directory: a record to land, with the tool's `result` in it.

    work: {"do": "write" | "edit" | "move" | "delete", "path", "declared": [real paths], …the tool's own arguments};
    edits that are not among these are the content, as JSON.
    Where it cannot be: {"fault", "code", "reason", "path", "allowed"?, "recovery"?}, and nothing was made ready.
    """
    plan = _PLANS.get(str(work.get("do")))
    if plan is None:
        return {"fault": "bad_request", "code": "ARGUMENT_INVALID", "reason": "no such file work", "path": "do"}
    site = WorkSite(rundir, work)
    try:
        return site.record(plan(site, content if isinstance(content, WorkContent) else WorkContent(content)))
    except WorkRefused as refused:
        refusal = refused.refusal
    except LayerFault as fault:
        refusal = {"fault": fault.code, "code": "PATH_INVALID", "reason": fault.reason, "path": "path"}
    except OSError as fault:
        refusal = site.refused(fault, str(work.get("path"))).refusal
    site.clear()
    return refusal


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def plan_write(site: WorkSite, content: WorkContent) -> Dict[str, Any]:
    """`file_write`: path, created, bytes, sha256, mode, folders_created."""
    work = site.work
    real = site.declared(str(work["path"]))
    folders = _missing_folders(site, real, bool(work.get("create_parents")))
    replaced = None if folders else site.entry(real)
    _must_be_file(real, replaced)
    _must_hold(site, real, str(work.get("expected_sha256") or ""), replaced)
    mode = work.get("mode")
    if folders:
        meta = _put_in_new_folders(site, real, folders, content, mode)
    else:
        meta = _put(site, real, content, replaced, mode)
    return {
        "path": real,
        "created": replaced is None,
        "bytes": content.size,
        "sha256": content.sha256,
        "mode": "%04o" % meta["mode"],
        "folders_created": folders,
    }


def plan_edit(site: WorkSite, content: WorkContent) -> Dict[str, Any]:
    """`file_edit`: path, replacements, bytes, sha256, previous_sha256, mode. All edits or none."""
    work = site.work
    real = site.declared(str(work["path"]))
    replaced = site.existing(real)
    _must_be_file(real, replaced)
    before = _content(site, real, replaced, int(work.get("bytes_max") or EDIT_BYTES_MAX))
    previous = hashlib.sha256(before).hexdigest()
    expected = str(work.get("expected_sha256") or "")
    if expected and expected.lower() != previous:
        raise site.stale(real, previous)
    edits = work["edits"] if "edits" in work else json.loads(content.whole().decode("ascii"))
    text, done = _edited(real, before, edits)
    after = WorkContent(text)
    meta = _put(site, real, after, replaced, None)
    return {
        "path": real,
        "replacements": done,
        "bytes": after.size,
        "sha256": after.sha256,
        "previous_sha256": previous,
        "mode": "%04o" % meta["mode"],
    }


def _put(
    site: WorkSite, real: str, content: WorkContent, replaced: Optional[os.stat_result], mode: Optional[int]
) -> Any:
    meta = site.meta_for(real, replaced, mode)
    if replaced is not None and _is_there(site, real, replaced, content, meta["mode"]):
        return meta  # nothing to land
    folder = open_folder(site.files)
    try:
        site.put_file(folder, "file", content, meta)
    finally:
        os.close(folder)
    site.stage(real, "file", replaced)
    return meta


def _is_there(site: WorkSite, real: str, found: os.stat_result, content: WorkContent, mode: int) -> bool:
    """Whether the same bytes are there already, under the same mode."""
    if (found.st_size, stat.S_IMODE(found.st_mode)) != (content.size, mode):
        return False
    try:
        return site.sha256(real) == content.sha256
    except WorkRefused:
        return False  # what may not be read may still be replaced


def _missing_folders(site: WorkSite, real: str, create: bool) -> List[str]:
    """The folders that are missing on the way, the outermost first. Raises WorkRefused."""
    missing: List[str] = []
    folder = real.rpartition("/")[0] or "/"
    found = site.entry(folder) if folder != "/" else os.stat("/")
    while found is None:
        missing.append(folder)
        folder = folder.rpartition("/")[0] or "/"
        found = site.entry(folder) if folder != "/" else os.stat("/")
        if len(missing) > WORK_PARENTS_MAX:
            reason = "more than %d folders are missing" % WORK_PARENTS_MAX
            raise WorkRefused("bad_request", "PATH_INVALID", reason)
    if not stat.S_ISDIR(found.st_mode):
        reason = "%s is a %s, not a directory" % (folder, kind_said(found))
        raise WorkRefused("bad_request", "PATH_INVALID", reason)
    if missing and not create:
        recovery = change_to({"create_parents": True}, "Its folder is missing; this makes it.")
        raise WorkRefused("absent", "PATH_INVALID", "the folder %s does not exist" % missing[0], recovery=recovery)
    return missing[::-1]


def _put_in_new_folders(
    site: WorkSite, real: str, folders: List[str], content: WorkContent, mode: Optional[int]
) -> Any:
    """A tree of new folders with the file at its end, which lands as one."""
    parent = open_folder(folders[0].rpartition("/")[0] or "/")
    above = meta_at(parent, ".")
    os.close(parent)
    folder = open_folder(site.files)
    try:
        for number, path in enumerate(folders):
            name = "tree" if number == 0 else path.rpartition("/")[2]
            os.mkdir(name, 0o700, dir_fd=folder)
            inner = os.open(name, LISTING_FLAGS, dir_fd=folder)
            os.close(folder)
            folder = inner
            above = new_meta(above, NEW_FOLDER_MODE, True)
            dress(folder, above)
        meta = new_meta(above, 0o644 if mode is None else mode, False)
        site.put_file(folder, real.rpartition("/")[2], content, meta)
    finally:
        os.close(folder)
    site.stage(folders[0], "tree", None)
    return meta


def _must_be_file(real: str, found: Optional[os.stat_result]) -> None:
    if found is None or stat.S_ISREG(found.st_mode):
        return
    kind = kind_said(found)
    recovery = look_at_folder(real)
    if kind == "directory":
        recovery = look_at("file_list", real, "It is a directory; this lists it.")
    reason = "%s is a %s, not a regular file" % (real, kind)
    raise WorkRefused("bad_request", "PATH_INVALID", reason, recovery=recovery)


def _must_hold(site: WorkSite, real: str, expected: str, found: Optional[os.stat_result]) -> None:
    if not expected:
        return
    actual = SHA256_OF_NOTHING if found is None else site.sha256(real)
    if actual != expected.lower():
        raise site.stale(real, actual)


def _content(site: WorkSite, real: str, found: os.stat_result, most: int) -> bytes:
    """What the file holds. Raises WorkRefused where that is more than can be edited."""
    parts: List[bytes] = []
    size = found.st_size
    if size <= most:
        handle = site.opened(real)
        try:
            data = os.read(handle, CHUNK_READ_BYTES)
            while data and sum(map(len, parts)) <= most:
                parts.append(data)
                data = os.read(handle, CHUNK_READ_BYTES)
        finally:
            os.close(handle)
        size = sum(map(len, parts))
    if size > most:
        reason = "%s has %d bytes, and at most %d are handled at once" % (real, size, most)
        raise WorkRefused("bad_request", "OUTPUT_LIMITED", reason, allowed=[str(most)])
    return b"".join(parts)


def _edited(real: str, before: bytes, edits: List[Dict[str, Any]]) -> Tuple[bytes, int]:
    try:
        text = before.decode("utf-8")
    except UnicodeDecodeError:
        reason = "%s is not UTF-8 text and cannot be edited as such" % real
        raise WorkRefused("bad_request", "PATH_INVALID", reason)
    done = 0
    for place, edit in enumerate(edits):
        old, wanted = str(edit["old"]), int(edit.get("count", 1))
        found = text.count(old) if old else 0
        if found == 0 or (wanted and found != wanted):
            often = str(wanted) if wanted else "at least once"
            reason = "its old text occurs %d times instead of %s; no edit was made" % (found, often)
            allowed = [str(found)] if found else []
            raise WorkRefused("bad_request", "ARGUMENT_INVALID", reason, "edits[%d]" % place, allowed=allowed)
        text = text.replace(old, str(edit["new"]))
        done += found
    return text.encode("utf-8"), done


# ── moving, copying, deleting ────────────────────────────────────────────────────────────────────────────────────────


def plan_move(site: WorkSite, content: WorkContent) -> Dict[str, Any]:
    """`file_move`: path, destination, action, replaced, entries."""
    del content
    work, copies = site.work, bool(site.work.get("copy"))
    path, destination = str(work["path"]), str(work["destination"])
    source = site.real(path) if copies else site.declared(path, follow=False)
    target = site.declared(destination, "destination")
    moved, there = site.existing(source), site.entry(target, "destination")
    _must_fit(site, moved, there, source, target)
    entries = 1
    if not copies:
        _move(site, source, target, there)
    elif stat.S_ISDIR(moved.st_mode):
        entries = _copy_tree(site, source, target)
    else:
        _copy_one(site, source, target, moved, there)
    return {
        "path": source,
        "destination": target,
        "action": "copy" if copies else "move",
        "replaced": there is not None,
        "entries": entries,
    }


def _must_fit(site: WorkSite, moved: os.stat_result, there: Optional[os.stat_result], source: str, target: str) -> None:
    work, copies, folder = site.work, bool(site.work.get("copy")), stat.S_ISDIR(moved.st_mode)
    if target == source or target.startswith(source.rstrip("/") + "/"):
        raise _unfit("bad_request", "destination", "%s lies inside %s" % (target, source))
    if there is not None and not work.get("overwrite"):
        because = "Only the caller knows whether what is there may be replaced (overwrite)."
        recovery = {"action": "ask_human", "tool": "", "arguments": {}, "because": because}
        raise _unfit("exists", "destination", "%s exists" % target, recovery=recovery)
    if there is not None and (folder or stat.S_ISDIR(there.st_mode)):
        raise _unfit("exists", "destination", "%s exists, and a folder is never replaced" % target)
    if copies and not folder and not stat.S_ISREG(moved.st_mode):
        raise _unfit("bad_request", "path", "%s is a %s and cannot be copied" % (source, kind_said(moved)))
    if copies and folder and not work.get("recursive"):
        recovery = change_to({"recursive": True}, "It is a directory; this copies all in it.")
        raise _unfit("bad_request", "path", "%s is a directory" % source, recovery=recovery)
    parent = target.rpartition("/")[0] or "/"
    if parent != "/" and site.entry(parent, "destination") is None:
        recovery = look_at_folder(parent)
        raise _unfit("absent", "destination", "the folder %s does not exist" % parent, recovery=recovery)


def _unfit(fault: str, argument: str, reason: str, **more: Any) -> WorkRefused:
    return WorkRefused(fault, "PATH_INVALID", reason, argument, **more)


def _move(site: WorkSite, source: str, target: str, there: Optional[os.stat_result]) -> None:
    old_folder, old_name = open_parent(source)
    new_folder, new_name = open_parent(target)
    try:
        if mount_of(old_folder) != mount_of(new_folder):
            copy = {"action": "copy", "recursive": True}
            because = "It may be on another file system, where it can be copied and then deleted."
            reason = "%s could not be renamed to %s; nothing was changed" % (source, target)
            raise _unfit("unavailable", "destination", reason, recovery=change_to(copy, because))
        was = fingerprint_at(new_folder, new_name) if there is not None else None
        site.reading.add_moved(old_folder, old_name, source, target, was)
        site.moves.append({"from": source, "to": target})
    finally:
        os.close(old_folder)
        os.close(new_folder)


def _copy_one(site: WorkSite, source: str, target: str, moved: os.stat_result, there: Optional[os.stat_result]) -> None:
    folder, name = open_parent(source)
    held = open_folder(site.files)
    try:
        meta = site.meta_for(target, there, stat.S_IMODE(moved.st_mode))
        now = os.stat(name, dir_fd=folder, follow_symlinks=False)
        copy_file(folder, name, held, "file", {**meta, "atime_ns": now.st_atime_ns, "mtime_ns": now.st_mtime_ns})
        os.utime("file", dir_fd=held)
    finally:
        os.close(folder)
        os.close(held)
    site.stage(target, "file", there)


def _copy_tree(site: WorkSite, source: str, target: str) -> int:
    folder, name = open_parent(source)
    held = open_folder(site.files)
    try:
        copy_entry(folder, name, held, "tree", owners=os.geteuid() == 0)
    finally:
        os.close(folder)
        os.close(held)
    site.stage(target, "tree", None)
    return site.reading.entries_of(target)


def plan_delete(site: WorkSite, content: WorkContent) -> Dict[str, Any]:
    """`file_delete`: path, kind, entries. A link itself is deleted, never its target."""
    del content
    work = site.work
    real = site.declared(str(work["path"]), follow=False)
    found = site.existing(real)
    kind = kind_said(found)
    if kind == "directory" and not work.get("recursive"):
        recovery = look_at("file_list", real, "It is a directory; this shows what recursive would delete.")
        raise WorkRefused("bad_request", "PATH_INVALID", "%s is a directory" % real, "recursive", recovery=recovery)
    expected = str(work.get("expected_sha256") or "")
    if expected:
        actual = site.sha256(real) if kind == "file" else kind
        if actual != expected.lower():
            raise site.stale(real, actual)
    folder, name = open_parent(real)
    try:
        entries = site.reading.add_gone(folder, name, real)
        if expected and not is_same(fingerprint_of(found), fingerprint_at(folder, name)):
            raise site.stale(real, site.sha256(real))  # another one than was compared
    finally:
        os.close(folder)
    return {"path": real, "kind": kind, "entries": entries}


_PLANS: Dict[str, Callable[[WorkSite, WorkContent], Dict[str, Any]]] = {
    "write": plan_write,
    "edit": plan_edit,
    "move": plan_move,
    "delete": plan_delete,
}
