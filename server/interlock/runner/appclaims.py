"""App claims: who may change an application's folder now, and until when. It changes nothing but the claim.

All that changes anything holds one lock, and a claim: a deployment with its fence. A newer fence takes over from an
older one, another deployment only once the lease has run out or the claim was given back; whoever comes with any other
claim than the one on disk is told that it is stale.
"""

import contextlib
import fcntl
import os
import re
import time
from typing import Any, Dict, Iterator, List, Optional, Tuple

from interlock.runner.appchanges import Noting
from interlock.runner.appfolders import (
    OWN_FOLDER,
    AppFolder,
    app_count,
    app_path,
    app_text,
    opened_app,
    read_record,
    write_record,
)
from interlock.runner.rundirs import RunFault
from interlock.runner.steps import run_step
from interlock.runner.tree import NO_SPACE_ERRNOS

CLAIM_FORMS: Tuple[Tuple[str, Any], ...] = (
    ("deployment", str), ("fence", int), ("until", (int, float)), ("open", bool),
)  # fmt: skip
CLAIM_NAME, LOCK_NAME = "claim.json", "lock"
DEPLOYMENT_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
FENCE_MAX = 2**63 - 1
LEASE_SECONDS_DEFAULT = 120.0
LEASE_SECONDS_MAX = 86_400.0
LOCK_WAIT_SECONDS = 10.0
LOCK_LOOK_SECONDS = 0.05


class Claimant:
    """Who asks: a deployment, its fence, and for how long it wants to be left alone."""

    def __init__(self, head: Dict[str, Any]) -> None:
        self.deployment = app_text(head, "deployment", DEPLOYMENT_ID)
        self.fence = app_count(head, "fence", 0, FENCE_MAX)
        lease = head.get("lease_seconds", LEASE_SECONDS_DEFAULT)
        if not isinstance(lease, (int, float)) or isinstance(lease, bool) or not 0 < lease <= LEASE_SECONDS_MAX:
            raise RunFault("bad_request", "a lease is above 0 and at most %d seconds" % LEASE_SECONDS_MAX)
        self.lease_seconds = float(lease)

    def is_of(self, claim: Dict[str, Any]) -> bool:
        """Whether a claim is exactly this one's."""
        return (claim.get("deployment"), claim.get("fence")) == (self.deployment, self.fence)

    def claim(self, is_open: bool = True) -> Dict[str, Any]:
        """The claim as it is written down."""
        until = time.time() + self.lease_seconds
        return {"deployment": self.deployment, "fence": self.fence, "until": until, "open": is_open}


def claim_app(head: Dict[str, Any], body: bytes) -> Dict[str, Any]:
    """Make the folder where it is missing, and claim it. Raises RunFault("stale", "busy", "absent"), OSError."""
    del body
    who = Claimant(head)
    app, made = _made_app(app_path(head))
    try:
        made += [path for path in app.make() if not path.startswith(OWN_FOLDER)]
        _must_be_ours(app)
        with _locked(app):
            held = app_claim(app)
            if held is not None:
                _must_give_way(held, who)
            noting = Noting(app, head)
            noting.made("claim", *made)
            write_record(app.folder(OWN_FOLDER), CLAIM_NAME, who.claim())
            run_step("app-claimed")
            told = {"real": app.real, "claim": app_claim(app), "free_bytes": app.free_bytes()}
            return {**told, **noting.told()}
    finally:
        app.close()


def _made_app(path: str) -> Tuple[AppFolder, List[str]]:
    """The folder, and [""] where it was made just now."""
    made = []
    with contextlib.suppress(FileExistsError):
        try:
            os.mkdir(path, 0o755)
        except FileNotFoundError:
            raise RunFault("absent", "%s is not there: make it on the host first" % os.path.dirname(path))
        above = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(above)
        finally:
            os.close(above)
        made.append("")
    app = opened_app(path)
    if app is None:
        raise RunFault("absent", "%s is a link that leads nowhere: make what it leads to on the host" % path)
    return app, made


def _must_give_way(held: Dict[str, Any], who: Claimant) -> None:
    """Raises RunFault("stale", "busy") where the claim on disk stands in the way of this one."""
    if who.is_of(held):
        return
    about = {"holder": held["deployment"], "until": held["until"]}
    if held["fence"] >= who.fence:
        raise RunFault("stale", "deployment %s was here with a newer fence" % held["deployment"], **about)
    left = held["until"] - time.time()
    # A lease that ends later than any can was written before the clock was set back: nobody waits for that.
    if held["open"] and held["deployment"] != who.deployment and 0 < left <= LEASE_SECONDS_MAX:
        reason = "deployment %s works on it, for at most %d seconds more" % (held["deployment"], left + 1)
        raise RunFault("busy", reason, **about)


def app_claim(app: AppFolder) -> Optional[Dict[str, Any]]:
    """The claim on disk; None where nobody has claimed it. Raises RunFault("unavailable"), OSError."""
    folder = app.optional(OWN_FOLDER)
    if folder is None:
        return None
    held = read_record(folder, CLAIM_NAME)
    if held is None:
        try:
            os.stat(CLAIM_NAME, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return None
    if held is None or not all(isinstance(held.get(name), form) for name, form in CLAIM_FORMS):
        path = "%s/%s/%s" % (app.real, OWN_FOLDER, CLAIM_NAME)
        raise RunFault("unavailable", "%s is damaged: look that nobody deploys there, and remove it" % path)
    return held


def free_app(head: Dict[str, Any], body: bytes) -> Dict[str, Any]:
    """Give the claim back; once more it changes nothing. Raises RunFault("stale")."""
    del body
    who = Claimant(head)
    with _claimed(app_path(head)) as app:
        held = _claim_held(app, who)
        if held["open"]:
            write_record(app.folder(OWN_FOLDER), CLAIM_NAME, {**held, "open": False})
        return {"freed": True, **Noting(app, head).told()}


@contextlib.contextmanager
def fenced_app(head: Dict[str, Any], often: bool = False) -> Iterator[AppFolder]:
    """The folder, locked, for whoever holds the claim; the lease begins anew, and again when it took long.

    `often`: it is asked for so often that the lease is renewed only once half of it is over. Raises RunFault.
    """
    who = Claimant(head)
    with _claimed(app_path(head)) as app:
        held = _claim_held(app, who)
        if not held["open"]:
            raise RunFault("stale", "deployment %s has given its claim back: claim again" % who.deployment)
        _renew(app, who, held["until"] if often else 0.0)
        yield app
        _renew(app, who, float((app_claim(app) or held)["until"]))


def _renew(app: AppFolder, who: Claimant, until: float) -> None:
    """Begin the lease anew, once half of it is over. A full disk keeps nobody from going back or making room."""
    left = until - time.time()
    if not who.lease_seconds / 2 <= left <= who.lease_seconds:
        try:
            write_record(app.folder(OWN_FOLDER), CLAIM_NAME, who.claim())
        except OSError as fault:
            if fault.errno not in NO_SPACE_ERRNOS:
                raise


@contextlib.contextmanager
def _claimed(path: str) -> Iterator[AppFolder]:
    app = opened_app(path)
    if app is None:
        raise RunFault("stale", "nobody has claimed %s: it is not there" % path)
    try:
        if app.optional(OWN_FOLDER) is None:
            raise RunFault("stale", "nobody has claimed %s" % app.real)
        _must_be_ours(app)
        with _locked(app):
            yield app
    finally:
        app.close()


def _must_be_ours(app: AppFolder) -> None:
    found = os.fstat(app.folder(OWN_FOLDER))
    if found.st_uid != os.geteuid():
        reason = "%s/%s belongs to uid %d: deploy as that user" % (app.real, OWN_FOLDER, found.st_uid)
        raise RunFault("unavailable", reason)
    if found.st_mode & 0o077:
        os.fchmod(app.folder(OWN_FOLDER), 0o700)


def _claim_held(app: AppFolder, who: Claimant) -> Dict[str, Any]:
    held = app_claim(app)
    if held is None:
        raise RunFault("stale", "nobody has claimed %s" % app.real)
    if not who.is_of(held):
        reason = "deployment %s has claimed it since, with fence %d" % (held["deployment"], held["fence"])
        raise RunFault("stale", reason, holder=held["deployment"], until=held["until"])
    return held


@contextlib.contextmanager
def _locked(app: AppFolder) -> Iterator[None]:
    """Alone with the folder. Raises RunFault("busy") where another does not end in time."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    lock = os.open(LOCK_NAME, flags, 0o600, dir_fd=app.folder(OWN_FOLDER))
    until = time.monotonic() + LOCK_WAIT_SECONDS
    try:
        while not _is_taken(lock):
            if time.monotonic() > until:
                raise RunFault("busy", "another step of a deployment still works in %s: ask again" % app.real)
            time.sleep(LOCK_LOOK_SECONDS)  # a lock that is waited for in the kernel has no end to the wait
        yield
    finally:
        os.close(lock)


def _is_taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
