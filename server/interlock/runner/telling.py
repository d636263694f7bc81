"""Telling: what is asked of a helper without a run: who and where it is, and where paths lead. It changes nothing."""

import os
import pwd
import sys
from typing import Any, Dict

from interlock.runner.looping import Asked
from interlock.runner.recording import boot_id
from interlock.runner.rundirs import RunFault, home_of_user

RESOLVE_PATHS_MAX = 256


def identity(digest: str, place: str) -> Dict[str, Any]:
    """What has to be the same for one helper to believe another."""
    return {
        "digest": digest, "uid": os.geteuid(), "gid": os.getegid(), "boot": boot_id(),
        "node": os.uname().nodename, "base": place,
    }  # fmt: skip


def about_user() -> Dict[str, Any]:
    """The login, and the Python that serves it."""
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        name = str(os.geteuid())
    return {"user": name, "home": home_of_user(), "python": "%d.%d.%d" % sys.version_info[:3]}


def believed_abilities(known: Any, own: Dict[str, Any]) -> Dict[str, Any]:
    """The abilities in what an earlier helper said, where it was this very program, user, place and boot; else none."""
    if not isinstance(known, dict) or not own["boot"] or any(known.get(name) != own[name] for name in own):
        return {}
    abilities = known.get("abilities")
    if not isinstance(abilities, dict) or "none" not in (abilities.get("levels") or ()):
        return {}
    return abilities


def resolve_paths(asked: Asked) -> Dict[str, Any]:
    """Where paths lead on this host; the last part is kept as it is where it is not to be followed."""
    paths = asked.head.get("paths")
    if not isinstance(paths, list) or len(paths) > RESOLVE_PATHS_MAX:
        raise RunFault("bad_request", "paths is a list of at most %d" % RESOLVE_PATHS_MAX)
    return {"real": [_real_path(path, bool(follow)) for path, follow in paths]}


def _real_path(path: str, follow: bool) -> str:
    if not isinstance(path, str) or "\0" in path or not os.path.isabs(path):
        raise RunFault("bad_request", "no absolute path: %r" % (path,))
    if follow:
        return os.path.realpath(path)
    parent, name = os.path.split(path.rstrip("/") or "/")
    return os.path.normpath(os.path.join(os.path.realpath(parent), name))
