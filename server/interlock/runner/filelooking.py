"""File looking: what lies at the targets of sets of files now, and its text. It changes nothing."""

import os
import stat
from typing import Any, Dict, List, Optional

from interlock.runner.appfolders import AppFolder, app_path, app_texts, opened_app
from interlock.runner.filesets import open_in_set, read_set, resolved_target, set_of, state_at, target_of
from interlock.runner.tree import CONTENT_FLAGS, open_parent, stat_at

TARGETS_MAX = 1_000
CONTENTS_BYTES_MAX = 256 * 1024
CONTENT_BYTES_MAX = 64 * 1024


def files_there(app: Optional[AppFolder], releases: List[str], asked: List[str]) -> Dict[str, Any]:
    """The sets of these releases, and how their targets and those that are asked about look now. Raises RunFault."""
    sets: Dict[str, Any] = {}
    targets = {target_of(target) for target in asked}
    for release in releases:
        folder = app.optional("releases/" + release) if app is not None else None
        entries = read_set(folder) if folder is not None else None
        if entries is not None and len(targets) <= TARGETS_MAX:
            sets[release] = {entry.target: [entry.sha256, entry.mode, entry.owner, entry.secret] for entry in entries}
            targets.update(entry.target for entry in entries)
    return {"sets": sets, "targets": {target: _seen_target(target) for target in sorted(targets)[:TARGETS_MAX]}}


def _seen_target(target: str) -> Dict[str, Any]:
    real = resolved_target(target)
    return {"real": real, **state_at(real)}


def contents_there(head: Dict[str, Any], body: bytes) -> Dict[str, Any]:
    """The text at each path, and of a release's set for each target; None where it is no text. Raises RunFault."""
    del body
    reals = [target_of(path) for path in app_texts(head, "reals", TARGETS_MAX)]
    left = CONTENTS_BYTES_MAX
    found: Dict[str, Any] = {}
    for real in reals:
        found[real] = _text_lying(real, left)
        left -= len(found[real] or "")
    kept: Dict[str, Any] = {}
    app = opened_app(app_path(head)) if head.get("release") else None
    if app is not None:
        try:
            folder, entries = set_of(app, str(head["release"]))
            for entry in entries:
                handle = open_in_set(folder, entry.name) if entry.name else -1
                kept[entry.target] = _text_read(handle, left) if entry.name else ""
                left -= len(kept[entry.target] or "")
        finally:
            app.close()
    return {"texts": found, "kept": kept}


def _text_lying(real: str, left: int) -> Optional[str]:
    try:
        folder, name = open_parent(real)
    except OSError:
        return None
    try:
        found = stat_at(folder, name)
        if found is None:
            return ""
        return _text_read(os.open(name, CONTENT_FLAGS, dir_fd=folder), left) if stat.S_ISREG(found.st_mode) else None
    finally:
        os.close(folder)


def _text_read(handle: int, left: int) -> Optional[str]:
    with os.fdopen(handle, "rb") as file:
        data = file.read(CONTENT_BYTES_MAX + 1)
    if len(data) > min(CONTENT_BYTES_MAX, left) or b"\0" in data:
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None
