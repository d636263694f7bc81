"""File images: what lay at the targets of a set before it landed, kept as a set of files. It lands and returns nothing.

`.interlock/before/DEPLOYMENT` is there as a whole or not at all. Newer ones push out older ones. What was there before
the first release of all is kept as a release too, under the name `original`.
"""

import contextlib
import os
from typing import List, Optional

from interlock.runner.appfolders import MANIFESTS_FOLDER, OWN_FOLDER, AppFolder, read_record, write_record
from interlock.runner.contents import content_sha256
from interlock.runner.copying import copy_entry, copy_file, meta_at, remove_entry, sync_folder
from interlock.runner.filesets import ABSENT_FILE, SET_FILES, SET_NAME, SetEntry, Wanted, read_set, write_set
from interlock.runner.tree import LISTING_FLAGS, open_parent, stat_at

BEFORE_FOLDER = OWN_FOLDER + "/before"
BEFORE_KEPT_MAX = 10
ORIGINAL = "original"
MADE_NAME = ".made.json"


def before_of(app: AppFolder, deployment: str) -> Optional[int]:
    """The open folder of what this deployment found; None where it has not saved it. Raises RunFault, OSError."""
    return app.optional("%s/%s" % (BEFORE_FOLDER, deployment)) if app.optional(BEFORE_FOLDER) is not None else None


def save_images(app: AppFolder, deployment: str, files: List[Wanted]) -> int:
    """Copy what is there, all of it on disk before it has its name; the open folder. Raises OSError."""
    own = app.folder(OWN_FOLDER)
    if app.optional(BEFORE_FOLDER) is None:
        os.mkdir("before", 0o700, dir_fd=own)
        os.fsync(own)
    folder, new = app.folder(BEFORE_FOLDER), ".new"
    remove_entry(folder, new)
    os.mkdir(new, 0o700, dir_fd=folder)
    made = os.open(new, LISTING_FLAGS, dir_fd=folder)
    try:
        os.mkdir(SET_FILES, 0o700, dir_fd=made)
        images = os.open(SET_FILES, LISTING_FLAGS, dir_fd=made)
        try:
            entries = [_image_of_file(images, str(number), file) for number, file in enumerate(files)]
            os.fsync(images)
        finally:
            os.close(images)
        write_set(made, entries)
    finally:
        os.close(made)
    os.rename(new, deployment, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)
    return app.folder("%s/%s" % (BEFORE_FOLDER, deployment))


def _image_of_file(images: int, name: str, file: Wanted) -> SetEntry:
    if file.expect == ABSENT_FILE:
        return SetEntry(file.target, "", ABSENT_FILE)
    folder, there = open_parent(file.real)
    try:
        copy_file(folder, there, images, name, meta_at(folder, there))
    finally:
        os.close(folder)
    return SetEntry(file.target, name, content_sha256(images, name), exact=True)


def keep_original(app: AppFolder, deployment: str) -> None:
    """Keep what was there before the first release as a release, where anything was. Raises OSError."""
    folder, releases = app.folder(BEFORE_FOLDER), app.folder("releases")
    before = app.folder("%s/%s" % (BEFORE_FOLDER, deployment))
    entries = read_set(before) or []
    if not any(entry.name for entry in entries) or stat_at(releases, ORIGINAL) is not None:
        return
    new = ".new-" + ORIGINAL
    remove_entry(releases, new)
    copy_entry(folder, deployment, releases, new)
    sha256 = content_sha256(before, SET_NAME)
    record = {"id": ORIGINAL, "sha256": sha256, "bytes": 0, "entries": len(entries), "placed_at": 0.0}
    write_record(app.folder(MANIFESTS_FOLDER), ORIGINAL + ".json", record)
    os.rename(new, ORIGINAL, src_dir_fd=releases, dst_dir_fd=releases)
    os.fsync(releases)


def forget_old_images(app: AppFolder, deployment: str) -> None:
    """Remove the oldest images beyond what is kept, never this deployment's. Raises OSError."""
    folder = app.folder(BEFORE_FOLDER)
    found = sorted((os.stat(name, dir_fd=folder).st_mtime, name) for name in os.listdir(folder) if name != deployment)
    for _, name in found[: max(0, len(found) + 1 - BEFORE_KEPT_MAX)]:
        remove_entry(folder, name)


# ── folders on the way ───────────────────────────────────────────────────────────────────────────────────────────────


def ways_missing(real: str) -> List[str]:
    """The folders that a file needs and that are not there, the highest first."""
    above = os.path.dirname(real)
    missing: List[str] = []
    while not os.path.lexists(above):
        missing.insert(0, above)
        above = os.path.dirname(above)
    return missing


def make_way(before: int, real: str) -> None:
    """Make the folders that a file needs, each on record first, so that they go again with it. Raises OSError."""
    missing = ways_missing(real)
    if not missing:
        return
    write_record(before, MADE_NAME, {"made": [*_ways_made(before), *missing]})
    for path in missing:
        folder, name = open_parent(path)
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o755, dir_fd=folder)
            sync_folder(folder)
        finally:
            os.close(folder)


def unmake_way(before: int) -> None:
    """Remove the folders that were made, as far as nothing else lies in them by now. Raises OSError."""
    for path in reversed(_ways_made(before)):
        with contextlib.suppress(OSError):
            folder, name = open_parent(path)
            try:
                os.rmdir(name, dir_fd=folder)
            finally:
                os.close(folder)


def _ways_made(before: int) -> List[str]:
    made = (read_record(before, MADE_NAME) or {}).get("made")
    return [path for path in made if isinstance(path, str)] if isinstance(made, list) else []
