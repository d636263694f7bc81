"""Sharing: what outlives releases lies in `shared`, and each release has a link to it. It never empties what is there.

The first release that brings something at such a path gives it to `shared`; that of later ones is dropped.
"""

import contextlib
import errno
import os
import stat
from typing import List

from interlock.runner.appfolders import AppFolder
from interlock.runner.artifacts import member_parts
from interlock.runner.copying import copy_entry, remove_entry
from interlock.runner.rundirs import RunFault
from interlock.runner.tree import LISTING_FLAGS, stat_at

SHARED_PATHS_MAX = 64
SHARED_COPY = ".interlock-copy"


def shared_parts(paths: List[str]) -> List[List[str]]:
    """The components of each shared path. Raises RunFault("bad_request") where one is none, or lies in another."""
    found: List[List[str]] = []
    for path in paths:
        try:
            parts = member_parts(path)
        except RunFault as fault:
            raise RunFault("bad_request", "a shared path: %s" % fault.reason)
        if not parts:
            raise RunFault("bad_request", "a shared path names something within the release, not all of it")
        if any(parts[: len(other)] == other[: len(parts)] for other in found):
            raise RunFault("bad_request", "%r is shared twice, or lies in another shared path" % path)
        found.append(parts)
    return found


def shared_lacks(app: AppFolder, paths: List[List[str]]) -> List[str]:
    """What has to be made in `shared` for these paths, as it is called below the app's folder; of each the highest."""
    lacks = []
    for parts in paths:
        ways = ["/".join(parts[: depth + 1]) for depth in range(len(parts))]
        lacks += ["shared/" + way for way in ways if stat_at(app.folder("shared"), way) is None][:1]
    return sorted(set(lacks))


def share_paths(app: AppFolder, release: int, paths: List[List[str]]) -> None:
    """Put each shared path's link into an open release. Raises RunFault("exists"), OSError."""
    for parts in paths:
        _must_lead(release, parts, "the release")
        _must_lead(app.folder("shared"), parts, "%s/shared" % app.real)
    for parts in paths:
        above, beside = _way(release, parts), _way(app.folder("shared"), parts)
        try:
            _share(above, beside, parts)
        finally:
            os.close(above)
            os.close(beside)


def _must_lead(root: int, parts: List[str], where: str) -> None:
    """Raises RunFault("exists") where something on the way to a shared path is no folder."""
    for depth in range(1, len(parts)):
        way = "/".join(parts[:depth])
        found = stat_at(root, way)
        if found is not None and not stat.S_ISDIR(found.st_mode):
            raise RunFault("exists", "%r in %s is no folder: %r cannot be shared" % (way, where, "/".join(parts)))


def _way(root: int, parts: List[str]) -> int:
    """The folder that holds a shared path, open, made where it is missing. Raises OSError."""
    held = os.open(".", LISTING_FLAGS, dir_fd=root)
    for part in parts[:-1]:
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=held)
                os.fsync(held)
            deeper = os.open(part, LISTING_FLAGS, dir_fd=held)
        finally:
            os.close(held)
        held = deeper
    return held


def _share(above: int, beside: int, parts: List[str]) -> None:
    name = parts[-1]
    own = stat_at(above, name)
    if stat_at(beside, name) is None:
        if own is None or stat.S_ISLNK(own.st_mode):
            os.mkdir(name, 0o755, dir_fd=beside)
        else:
            _give(above, name, beside)
        os.fsync(beside)
    remove_entry(above, name)
    os.symlink("../" * (len(parts) + 1) + "shared/" + "/".join(parts), name, dir_fd=above)
    os.fsync(above)


def _give(above: int, name: str, beside: int) -> None:
    """Move the release's own to where nothing is; `shared` may be another file system."""
    try:
        os.rename(name, name, src_dir_fd=above, dst_dir_fd=beside)
    except OSError as fault:
        if fault.errno != errno.EXDEV:
            raise
        copy = "%s-%s" % (SHARED_COPY, name)[:250]
        remove_entry(beside, copy)
        copy_entry(above, name, beside, copy, owners=False)
        os.rename(copy, name, src_dir_fd=beside, dst_dir_fd=beside)
