"""Telling: what is asked of a helper without a run: who and where it is. It changes nothing."""

import os
import pwd
import sys
from typing import Any, Dict

from interlock.runner.processes import boot_id
from interlock.runner.rundirs import home_of_user


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
