"""Currents: which release of an application is live, and how that changes: by one rename of a relative link."""

import os
import re
import stat
from typing import NamedTuple

from interlock.runner.appfolders import RELEASE_ID, AppFolder, manifest_of
from interlock.runner.rundirs import RunFault
from interlock.runner.tree import is_within, stat_at

CURRENT_NAME, CURRENT_NEW = "current", ".current-"
CURRENT_LEFT = re.compile(r"\.current-[0-9a-f]{16}")
ABSENT, LINK, OTHER = "absent", "link", "other"


class Current(NamedTuple):
    """What `current` is: a link of ours, with the release that is live, nothing, or something else."""

    state: str
    live: str
    real: str  # where it really leads, whatever it is

    def is_in(self, app: AppFolder, release: str) -> bool:
        """Whether what is live lies in this release."""
        return self.live == release or is_within(self.real, "%s/releases/%s" % (app.real, release))


def current_of(app: AppFolder) -> Current:
    """What is live. Raises OSError."""
    found = stat_at(app.top, CURRENT_NAME)
    if found is None:
        return Current(ABSENT, "", "")
    real = os.path.realpath("%s/%s" % (app.real, CURRENT_NAME))
    if not stat.S_ISLNK(found.st_mode):
        return Current(OTHER, "", real)
    named = os.path.normpath(os.path.join(app.real, os.readlink(CURRENT_NAME, dir_fd=app.top)))
    for target in (named, real):  # an absolute link through other links leads there too
        above, _, release = target.rpartition("/")
        if above == app.real + "/releases" and RELEASE_ID.fullmatch(release):
            return Current(LINK, release, real)
    return Current(OTHER, "", real)


def current_link(app: AppFolder) -> Current:
    """What is live. Raises RunFault("exists") where `current` is somebody else's, OSError."""
    current = current_of(app)
    if current.state == OTHER:
        reason = "%s/%s is not a link to one of the releases: move it away on the host" % (app.real, CURRENT_NAME)
        raise RunFault("exists", reason)
    return current


def must_be_live(app: AppFolder, live: str, expected: str) -> None:
    """Raises RunFault("stale") where another release is live than was expected."""
    if live != expected:
        reason = "%s is live in %s, not %s: look again" % (live or "nothing", app.real, expected or "nothing")
        raise RunFault("stale", reason, live=live)


def switch_current(app: AppFolder, release: str) -> None:
    """Let `current` lead to another release, or to none ("" = remove it). Raises RunFault("absent"), OSError."""
    for name in os.listdir(app.top):
        if CURRENT_LEFT.fullmatch(name):  # of a worker that was killed in between
            os.unlink(name, dir_fd=app.top)
    if not release:
        os.unlink(CURRENT_NAME, dir_fd=app.top)
    else:
        found = stat_at(app.folder("releases"), release)
        if found is None or not stat.S_ISDIR(found.st_mode) or manifest_of(app, release) is None:
            raise RunFault("absent", "%s/releases/%s was not placed: place it first" % (app.real, release))
        new = CURRENT_NEW + os.urandom(8).hex()
        os.symlink("releases/" + release, new, dir_fd=app.top)
        os.rename(new, CURRENT_NAME, src_dir_fd=app.top, dst_dir_fd=app.top)
