"""File landing: a set of files comes to its targets, or what was there before comes back. It decides nothing.

checked → before-images on disk → each file by one rename → what the last set had more is removed → `current`
What was there before lies in `.interlock/before/DEPLOYMENT`, a set of files too, until newer ones push it out. A worker
that is killed in between is followed by one that goes on: what is as it was is landed, what is landed is left. What is
neither was changed by somebody else, and is never written over.
"""

import os
import time
from typing import Any, Dict, List, Optional, Tuple

from interlock.runner.appchanges import Noting
from interlock.runner.appclaims import fenced_app
from interlock.runner.appfolders import RELEASE_ID, app_text
from interlock.runner.contents import sha256_of
from interlock.runner.copying import Meta, copy_file, meta_at, remove_entry, sync_folder
from interlock.runner.currents import CURRENT_NAME, current_link, must_be_live, switch_current
from interlock.runner.fileimages import (
    ORIGINAL,
    before_of,
    forget_old_images,
    keep_original,
    make_way,
    save_images,
    unmake_way,
    ways_missing,
)
from interlock.runner.filesets import (
    ABSENT_FILE,
    SetEntry,
    Wanted,
    folder_in_set,
    ids_of,
    open_in_set,
    read_set,
    resolved_target,
    set_of,
    state_at,
)
from interlock.runner.rundirs import RunFault
from interlock.runner.steps import run_step
from interlock.runner.tree import open_parent, stat_at

LAID_NEW = ".interlock-new-"
SAID_MAX = 5
FILE_MODE_DEFAULT = 0o644
NAME_CHARS_KEPT = 60


def land_set(head: Dict[str, Any], body: bytes) -> Dict[str, Any]:
    """Make a set of files live at its targets; once more it goes on.

    Raises RunFault("stale", "absent", "refused") where nothing was changed, "broken_off" where it has to go back.
    """
    del body
    release, deployment = app_text(head, "release", RELEASE_ID), str(head.get("deployment"))
    expected = "" if head.get("expect") == "" else app_text(head, "expect", RELEASE_ID)
    files = Wanted.asked(head)
    with fenced_app(head) as app:
        before = before_of(app, deployment)
        try:
            source, entries = set_of(app, release)
            metas = _checked_set(source, entries, files)
            live = current_link(app).live
        except RunFault as fault:
            if before is None:
                raise
            raise RunFault("broken_off", fault.reason)  # its first try may have landed some of it
        if before is None:
            must_be_live(app, live, expected)
            _must_lie({file.real: (file.expect,) for file in files})
            before = save_images(app, deployment, files)
            run_step("app-saved")
        noting, step = Noting(app, head), "land %s" % release
        noting.note(step, *_touched(files, () if live else (ORIGINAL,)))
        if not live:
            keep_original(app, deployment)
        may_be = {file.real: (file.expect, file.after) for file in files}
        for file in files:
            _must_lie({file.real: may_be[file.real]}, "broken_off")
            if file.after == ABSENT_FILE:
                _remove_file(file.real)
            else:
                entry = next(entry for entry in entries if entry.target == file.target)
                make_way(before, file.real)
                _lay_file(source, entry, file.real, metas[file.target])
            run_step("app-landed")
        if live != release:
            switch_current(app, release)
            run_step("app-switched")
        os.fsync(app.top)
        forget_old_images(app, deployment)
        return {"live": release, "before": expected, "already": False, **noting.told(step)}


def return_set(head: Dict[str, Any], body: bytes) -> Dict[str, Any]:
    """Put back what this deployment found. What somebody else changed since is left, and said. Raises RunFault."""
    del body
    release, deployment = str(head.get("release") or ""), str(head.get("deployment"))
    left = "" if head.get("expect") == "" else app_text(head, "expect", RELEASE_ID)
    files = Wanted.asked(head)
    with fenced_app(head) as app:
        live = current_link(app).live
        before = before_of(app, deployment)
        if before is None:  # then nothing had been touched
            must_be_live(app, live, release)
            return {"live": release, "already": True, "changes": []}
        noting, step = Noting(app, head), "return %s" % release
        noting.note(step, *_touched(files))
        entries = {entry.target: entry for entry in read_set(before) or []}
        foreign = []
        for file in reversed(files):
            entry = entries.get(file.target)
            now = state_at(file.real)["state"]
            if entry is None or now not in (file.after, entry.sha256):
                foreign.append(file.target)
            elif now != file.after:
                continue  # it was not come to: it is as it was
            elif entry.sha256 == ABSENT_FILE:
                _remove_file(file.real)
            else:
                _lay_file(before, entry, file.real, None)
            run_step("app-returned")
        unmake_way(before)
        if live == left:
            switch_current(app, release)
            run_step("app-switched")
        elif live != release:
            must_be_live(app, live, left)
        os.fsync(app.top)
        if foreign:
            reason = "changed by somebody else since, and left as it is: %s" % ", ".join(foreign[:SAID_MAX])
            raise RunFault("stale", reason)
        return {"live": release, "already": False, **noting.told(step)}


# ── before anything is changed ───────────────────────────────────────────────────────────────────────────────────────


def _checked_set(source: int, entries: List[SetEntry], files: List[Wanted]) -> Dict[str, Optional[Meta]]:
    """The meta that each file is to have, once all of the set was found to be what was decided on. Raises RunFault."""
    known = {entry.target: entry for entry in entries}
    metas: Dict[str, Optional[Meta]] = {}
    for file in files:
        entry = known.get(file.target)
        if (entry.sha256 if entry is not None else ABSENT_FILE) != file.after:
            raise RunFault("stale", "the set is not the one that was decided on: %s" % file.target)
        if resolved_target(file.target) != file.real:
            raise RunFault("stale", "%s leads elsewhere now: look again" % file.target)
        if entry is not None and entry.name:
            if not _is_set_intact(source, entry):
                raise RunFault("stale", "%s of the set was changed since it was placed: ship it again" % entry.name)
            metas[file.target] = None if entry.exact else _meta_for(entry, file.real)
    return metas


def _is_set_intact(source: int, entry: SetEntry) -> bool:
    try:
        return sha256_of(open_in_set(source, entry.name)) == entry.sha256
    except OSError:
        return False


def _meta_for(entry: SetEntry, real: str) -> Meta:
    """What it is to have: what is configured, else what lies there has, else what a new file of ours has."""
    there = _meta_lying(real)
    uid, gid = ids_of(entry.owner)
    meta = there or {"mode": FILE_MODE_DEFAULT, "uid": os.geteuid(), "gid": os.getegid(), "xattrs": {}}
    if there is not None and os.geteuid() != 0 and there["uid"] != os.geteuid():
        raise RunFault("unavailable", "%s belongs to uid %d: deploy as that user, or as root" % (real, there["uid"]))
    if entry.mode is not None:
        meta["mode"] = entry.mode
    now = int(time.time() * 1_000_000_000)
    uid, gid = meta["uid"] if uid < 0 else uid, meta["gid"] if gid < 0 else gid
    return {**meta, "uid": uid, "gid": gid, "atime_ns": now, "mtime_ns": now}


def _meta_lying(real: str) -> Optional[Meta]:
    try:
        folder, name = open_parent(real)
    except OSError:
        return None
    try:
        return meta_at(folder, name) if stat_at(folder, name) is not None else None
    finally:
        os.close(folder)


def _must_lie(allowed: Dict[str, Any], code: str = "stale") -> None:
    """Raises RunFault(code) where what lies at one of these places is none of what it may be."""
    for real, states in allowed.items():
        if state_at(real)["state"] not in states:
            raise RunFault(code, "%s was changed by somebody else since it was looked at: look again" % real)


# ── one file ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _lay_file(source: int, entry: SetEntry, real: str, meta: Optional[Meta]) -> None:
    """Put one file of a set in its place by a rename, with this meta (None = its own). Raises OSError."""
    held, name = folder_in_set(source, entry.name)
    try:
        folder, there = open_parent(real)
        try:
            new = LAID_NEW + there[:NAME_CHARS_KEPT]
            remove_entry(folder, new)
            try:
                copy_file(held, name, folder, new, meta_at(held, name) if meta is None else meta)
                os.rename(new, there, src_dir_fd=folder, dst_dir_fd=folder)
            except OSError:
                remove_entry(folder, new)
                raise
            sync_folder(folder)
        finally:
            os.close(folder)
    finally:
        os.close(held)


def _remove_file(real: str) -> None:
    try:
        folder, name = open_parent(real)
    except FileNotFoundError:
        return
    try:
        if stat_at(folder, name) is not None:
            os.unlink(name, dir_fd=folder)
            sync_folder(folder)
    finally:
        os.close(folder)


def _touched(files: List[Wanted], releases: Tuple[str, ...] = ()) -> List[str]:
    """Every path that a landing or a return may change, as changes are noted."""
    ways = [way for file in files for way in ways_missing(file.real)]
    places = dict.fromkeys([*ways, *(file.real for file in files)])
    return [*places, *("releases/" + release for release in releases), CURRENT_NAME]
