"""The environment: where a host's commands run, and with which variables. It asks no host."""

from __future__ import annotations

from dataclasses import dataclass

from interlock.hosts.dial import login_user
from interlock.hosts.link import Link


@dataclass(frozen=True)
class Surroundings:
    """Where a command runs: the home of whom it runs as, and the directory it starts in."""

    home: str
    cwd: str


# A repository may name programs that git runs by itself; ours do not run them (git 2.31 and newer heed this).
_GIT_RUNS_NOTHING = {
    "GIT_CONFIG_COUNT": "4",
    "GIT_CONFIG_KEY_0": "core.hooksPath",
    "GIT_CONFIG_VALUE_0": "/dev/null",
    "GIT_CONFIG_KEY_1": "core.fsmonitor",
    "GIT_CONFIG_VALUE_1": "false",
    "GIT_CONFIG_KEY_2": "safe.bareRepository",
    "GIT_CONFIG_VALUE_2": "explicit",
    "GIT_CONFIG_KEY_3": "log.showSignature",
    "GIT_CONFIG_VALUE_3": "false",
}


def environment_of(link: Link, home: str) -> dict[str, str]:
    """The clean environment in which every command of this host starts."""
    host = link.host
    user = host.become or login_user(host)
    return {
        "PATH": host.path,
        "HOME": home,
        "USER": user,
        "LOGNAME": user,
        "SHELL": host.shell,
        "LANG": "C.UTF-8",
        **_GIT_RUNS_NOTHING,
    }
