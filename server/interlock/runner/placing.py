"""Placing: an upload becomes a release: verified, unpacked aside, on disk, then under its name. It makes nothing live.

What a killed worker left aside is removed and made anew; what was placed already is said to be, and not touched.
"""

import os
import stat
import time
from typing import Any, Dict, List, NamedTuple

from interlock.runner.appchanges import Noting
from interlock.runner.appclaims import fenced_app
from interlock.runner.appfolders import (
    MANIFESTS_FOLDER,
    RELEASE_ID,
    SHA256_HEX,
    AppFolder,
    app_count,
    app_text,
    app_texts,
    manifest_of,
    write_record,
)
from interlock.runner.appuploads import ARTIFACT_BYTES_MAX, drop_artifact, opened_upload
from interlock.runner.artifacts import member_parts
from interlock.runner.copying import remove_entry
from interlock.runner.rundirs import RunFault
from interlock.runner.sharing import SHARED_PATHS_MAX, share_paths, shared_lacks, shared_parts
from interlock.runner.steps import run_step
from interlock.runner.tree import CONTENT_FLAGS, LISTING_FLAGS, LayerFault, stat_at, walk_tree
from interlock.runner.unpacking import Unpacking, contents_of

NEW_RELEASE = ".new-"
SYNC_EACH_ENTRIES_MAX = 100


class Placing(NamedTuple):
    """What is to be placed."""

    release: str
    sha256: str
    bytes: int
    name: str
    shared: List[List[str]]
    keep_upload: bool
    whole: bool
    private: bool

    @classmethod
    def asked(cls, head: Dict[str, Any]) -> "Placing":
        """As the request names it. Raises RunFault("bad_request")."""
        name = head.get("name")
        try:
            is_name = isinstance(name, str) and "/" not in name and len(member_parts(name)) == 1
        except RunFault:
            is_name = False
        if not is_name:
            raise RunFault("bad_request", "name is the name of the artifact's file, without a folder")
        return cls(
            app_text(head, "release", RELEASE_ID),
            app_text(head, "sha256", SHA256_HEX),
            app_count(head, "bytes", 1, ARTIFACT_BYTES_MAX),
            str(name),
            shared_parts(app_texts(head, "shared", SHARED_PATHS_MAX)),
            head.get("keep_upload") is True,
            head.get("unpack") is False,
            head.get("private") is True,
        )


def place_release(head: Dict[str, Any], body: bytes) -> Dict[str, Any]:
    """Make the release that was uploaded; once more it changes nothing. Raises RunFault("refused", "exists", …)."""
    del body
    asked = Placing.asked(head)
    with fenced_app(head) as app:
        noting, step = Noting(app, head), "place %s" % asked.release
        known = manifest_of(app, asked.release)
        found = stat_at(app.folder("releases"), asked.release)
        already = found is not None and stat.S_ISDIR(found.st_mode) and (known or {}).get("sha256") == asked.sha256
        if found is not None and not already:
            reason = "%s/releases/%s is there with other content: choose another id" % (app.real, asked.release)
            raise RunFault("exists", reason)
        if not already:
            known = _placed(app, asked, str(head["deployment"]), noting)
        elif (known or {}).get("deployment") == head["deployment"]:
            noting.made(step, "releases/" + asked.release)  # by its first try, where that could not note it
        os.fsync(app.folder("releases"))  # also for a worker that was killed before it came to it
        if not asked.keep_upload:
            drop_artifact(app, asked.sha256)
        return {**(known or {}), "placed": True, "already": already, "release": asked.release, **noting.told(step)}


def _placed(app: AppFolder, asked: Placing, deployment: str, noting: Noting) -> Dict[str, Any]:
    """The manifest of the release that is there now."""
    releases, aside = app.folder("releases"), NEW_RELEASE + asked.release
    artifact = opened_upload(app, asked.sha256, asked.bytes)
    try:
        remove_entry(releases, aside)
        os.mkdir(aside, 0o755, dir_fd=releases)
        try:
            made = _made(app, asked, artifact, aside, noting)
            run_step("app-unpacked")
            manifest = {
                "id": asked.release, "sha256": asked.sha256, "bytes": asked.bytes, "deployment": deployment,
                "placed_at": time.time(), **made,
            }  # fmt: skip
            write_record(app.folder(MANIFESTS_FOLDER), "%s.json" % asked.release, manifest)
            os.rename(aside, asked.release, src_dir_fd=releases, dst_dir_fd=releases)
        except (RunFault, LayerFault, OSError) as fault:
            remove_entry(releases, aside)
            if isinstance(fault, RunFault) and fault.code == "refused":
                drop_artifact(app, asked.sha256)  # it will not be fit at any other time
            raise
    finally:
        os.close(artifact)
    run_step("app-placed")
    return manifest


def _made(app: AppFolder, asked: Placing, artifact: int, aside: str, noting: Noting) -> Dict[str, Any]:
    """Unpack it, give it its shared paths, and wait until all of it is on disk."""
    root = os.open(aside, LISTING_FLAGS, dir_fd=app.folder("releases"))
    try:
        os.fchmod(root, 0o700 if asked.private else 0o755)
        kind, contents = contents_of(artifact, asked.bytes, asked.name, asked.whole)
        unpacking = Unpacking(root, "%s/releases/%s/" % (app.real, aside), asked.bytes)
        unpacking.unpack(contents)
        if unpacking.entries <= SYNC_EACH_ENTRIES_MAX or not _is_synced_at_once(root):
            _sync_each(app.folder("releases"), aside)
        lacks = shared_lacks(app, asked.shared)
        noting.note("place %s" % asked.release, "releases/" + asked.release, *lacks)
        share_paths(app, root, asked.shared)
    finally:
        os.close(root)
    return {"kind": kind, "entries": unpacking.entries, "content_bytes": unpacking.bytes}


def _is_synced_at_once(folder: int) -> bool:
    """Put the whole file system on disk: cheaper than many files one by one; False where this Python cannot."""
    try:
        import ctypes

        return bool(ctypes.CDLL(None).syncfs(folder) == 0)
    except (ImportError, AttributeError, OSError):
        return False


def _sync_each(releases: int, aside: str) -> None:
    """Put a new release on disk, entry by entry. Raises OSError."""
    for _, folder, name, found in walk_tree(releases, aside):
        if not stat.S_ISLNK(found.st_mode):
            handle = os.open(name, CONTENT_FLAGS, dir_fd=folder)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
