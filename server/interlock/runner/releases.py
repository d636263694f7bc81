"""Releases: which one of an application is live, and which ones go. It reads no artifact and restarts no service.

The live release is what the relative link `current` names; it changes by one rename, so whoever looks finds the old one
or the new one. A `current` that is not such a link is somebody else's, and is left alone.
"""

import contextlib
import os
import stat
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from interlock.runner.appchanges import Noting
from interlock.runner.appclaims import app_claim, claim_app, fenced_app, free_app
from interlock.runner.appfolders import (
    MANIFESTS_FOLDER,
    RELEASE_ID,
    AppFolder,
    app_count,
    app_fault,
    app_path,
    app_text,
    app_texts,
    manifest_of,
    opened_app,
)
from interlock.runner.appuploads import drop_old_uploads, upload_piece, uploads_there
from interlock.runner.copying import remove_entry
from interlock.runner.currents import ABSENT, CURRENT_NAME, current_link, current_of, must_be_live, switch_current
from interlock.runner.engines import clear_containers, container_there, note_release
from interlock.runner.filelanding import land_set, return_set
from interlock.runner.filelooking import TARGETS_MAX, contents_there, files_there
from interlock.runner.placing import NEW_RELEASE, place_release
from interlock.runner.probe import free_bytes
from interlock.runner.rundirs import RunFault
from interlock.runner.steps import run_step
from interlock.runner.tree import stat_at

OLD_RELEASE = ".old-"
RELEASES_TOLD_MAX = 200
RELEASES_KEPT_MAX = 10_000


# ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def look_app(head: Dict[str, Any], body: bytes) -> Dict[str, Any]:
    """What is there; nothing is changed or made. Raises RunFault("exists", "unavailable"), OSError."""
    del body
    path = app_path(head)
    app = opened_app(path)
    if app is None:
        return {
            "exists": False, "real": os.path.realpath(path), "live": "", "current": ABSENT, "releases": [],
            "claim": None, "free_bytes": free_bytes(path), "uploads": [], **_more_told(None, [], head),
        }  # fmt: skip
    try:
        current = current_of(app)
        told = [_release_told(known, current.live) for known in _releases(app)[:RELEASES_TOLD_MAX]]
        return {
            "exists": True, "real": app.real, "live": current.live, "current": current.state, "releases": told,
            "claim": _claim_told(app), "free_bytes": app.free_bytes(),
            "uploads": uploads_there(app)[:RELEASES_TOLD_MAX], **_more_told(app, told, head),
        }  # fmt: skip
    finally:
        app.close()


def _more_told(app: Optional[AppFolder], told: List[Dict[str, Any]], head: Dict[str, Any]) -> Dict[str, Any]:
    """What is asked of an application that is a set of files, or a container. Raises RunFault, OSError."""
    found: Dict[str, Any] = {}
    if "targets" in head:
        targets = app_texts(head, "targets", TARGETS_MAX)
        found.update(files_there(app, [known["id"] for known in told], targets))
    if "container" in head:
        found["container"] = container_there(head)
    return found


def _claim_told(app: AppFolder) -> Optional[Dict[str, Any]]:
    """The claim, and whether it keeps another deployment away now, by this host's clock."""
    claim = app_claim(app)
    return None if claim is None else {**claim, "held": claim["open"] and claim["until"] > time.time()}


def _releases(app: AppFolder) -> List[Dict[str, Any]]:
    """The releases that are there, the newest first; those that nobody placed have no sha256."""
    folder = app.optional("releases")
    found = []
    for name in [] if folder is None else os.listdir(folder):
        looks = stat_at(folder or 0, name) if RELEASE_ID.fullmatch(name) else None
        if looks is not None and stat.S_ISDIR(looks.st_mode):
            known = {"sha256": "", "bytes": 0, "entries": 0, "placed_at": looks.st_mtime}
            found.append({**known, **(manifest_of(app, name) or {}), "id": name})
    return sorted(found, key=lambda known: (float(known["placed_at"]), known["id"]), reverse=True)


def _release_told(known: Dict[str, Any], live: str) -> Dict[str, Any]:
    told = {name: known[name] for name in ("id", "sha256", "bytes", "entries", "placed_at")}
    return {**told, "content_bytes": known.get("content_bytes", 0), "live": known["id"] == live}


# ── switching ────────────────────────────────────────────────────────────────────────────────────────────────────────


def switch_release(head: Dict[str, Any], body: bytes) -> Dict[str, Any]:
    """Make another release live, or none. Raises RunFault("exists", "stale", "absent")."""
    del body
    wanted = "" if head.get("release") == "" else app_text(head, "release", RELEASE_ID)
    expected = "" if head.get("expect") == "" else app_text(head, "expect", RELEASE_ID)
    with fenced_app(head) as app:
        current = current_link(app)
        noting, step = Noting(app, head), "switch %s" % wanted
        if current.live != wanted:
            must_be_live(app, current.live, expected)
            noting.note(step, CURRENT_NAME)
            switch_current(app, wanted)
            run_step("app-switched")
        os.fsync(app.top)  # also for a worker that was killed before it came to it
        return {"live": wanted, "before": current.live, "already": current.live == wanted, **noting.told(step)}


# ── removing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def prune_releases(head: Dict[str, Any], body: bytes) -> Dict[str, Any]:
    """Remove what is older than the newest `keep`, and what was left over; never what is live. Raises RunFault."""
    del body
    keep = app_count(head, "keep", 0, RELEASES_KEPT_MAX)
    spare = app_texts(head, "spare", RELEASES_KEPT_MAX)
    with fenced_app(head) as app:
        removed = _clear_left_over(app)
        current = current_of(app)
        placed = [known["id"] for known in _releases(app) if known["sha256"]]
        going = [name for name in placed[keep:] if name not in spare and not current.is_in(app, name)]
        hashes = {known["sha256"] for known in _releases(app) if known["id"] in going}
        noting = Noting(app, head)
        noting.note("prune", *("releases/" + release for release in going))
        for release in reversed(going):
            _remove(app, release)
        clear_containers(head, sorted(hashes - {known["sha256"] for known in _releases(app)}))
        drop_old_uploads(app, time.time())
        return {"removed": sorted({*removed, *going}), "kept": len(placed) - len(going), **noting.told("prune")}


def drop_release(head: Dict[str, Any], body: bytes) -> Dict[str, Any]:
    """Take back a release that is not live; one that is not there is taken back. Raises RunFault("stale", "exists")."""
    del body
    release = app_text(head, "release", RELEASE_ID)
    with fenced_app(head) as app:
        current = current_of(app)
        if current.is_in(app, release):
            reason = "%s is live in %s: switch to another one first" % (release, app.real)
            raise RunFault("stale", reason, live=current.live)
        is_there = stat_at(app.folder("releases"), release) is not None
        if is_there and manifest_of(app, release) is None:
            raise RunFault("exists", "%s/releases/%s was not placed by us: it stays" % (app.real, release))
        noting, step = Noting(app, head), "drop %s" % release
        noting.note(step, "releases/" + release)
        for name in (NEW_RELEASE + release, OLD_RELEASE + release):
            remove_entry(app.folder("releases"), name)
        _remove(app, release)
        return {"dropped": is_there, **noting.told(step)}


def _remove(app: AppFolder, release: str) -> None:
    """Take a release out of sight, then delete it, then forget it."""
    releases, gone = app.folder("releases"), OLD_RELEASE + release
    if stat_at(releases, release) is not None:
        remove_entry(releases, gone)
        os.rename(release, gone, src_dir_fd=releases, dst_dir_fd=releases)
        os.fsync(releases)
        run_step("app-pruned")
    remove_entry(releases, gone)
    with contextlib.suppress(FileNotFoundError):
        os.unlink("%s.json" % release, dir_fd=app.folder(MANIFESTS_FOLDER))


def _clear_left_over(app: AppFolder) -> List[str]:
    """Finish what killed workers left; the releases that are gone with it. Nobody else works here: the lock is held."""
    finished = []
    releases, manifests = app.folder("releases"), app.folder(MANIFESTS_FOLDER)
    for name in os.listdir(releases):
        if name.startswith((NEW_RELEASE, OLD_RELEASE)):
            remove_entry(releases, name)
        if name.startswith(OLD_RELEASE) and stat_at(releases, name[len(OLD_RELEASE) :]) is None:
            finished.append(name[len(OLD_RELEASE) :])
    for name in os.listdir(manifests):
        release, dot, _ = name.rpartition(".json")
        if dot and stat_at(releases, release) is None:
            os.unlink(name, dir_fd=manifests)
    return finished


# ── one verb ─────────────────────────────────────────────────────────────────────────────────────────────────────────

APP_OPS: Dict[str, Callable[[Dict[str, Any], bytes], Dict[str, Any]]] = {
    "look": look_app, "claim": claim_app, "free": free_app, "upload": upload_piece, "place": place_release,
    "switch": switch_release, "prune": prune_releases, "drop": drop_release,
    "land": land_set, "return": return_set, "contents": contents_there, "note": note_release,
}  # fmt: skip


def do_app(head: Dict[str, Any], body: bytes) -> Tuple[Dict[str, Any], bytes]:
    """One piece of work on an application's folder, as the request names it. Raises RunFault."""
    op = APP_OPS.get(str(head.get("op")))
    if op is None:
        raise RunFault("bad_request", "op is one of %s" % ", ".join(APP_OPS))
    os.umask(0o022)
    try:
        return op(head, body), b""
    except OSError as fault:
        raise app_fault(fault, app_path(head))
