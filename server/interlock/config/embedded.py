"""The settings that hold where nothing was configured: one sandbox host, one agent. It reads no file."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterable
from pathlib import Path

from interlock.config.guarded import code_folders
from interlock.config.places import config_dir, scratch_dir
from interlock.config.places import state_dir as default_state_dir
from interlock.settings import HostSettings, Settings
from interlock_policies.facts import LOCAL_OPERATOR, Principal

SANDBOX = "sandbox"
AGENT = "agent"


def embedded(state_dir: Path | None = None, scratch: Path | None = None) -> Settings:
    """Settings with the one host `sandbox` (embedded, env=sandbox) and the one principal `agent` (operator).

    `scratch` is the folder the sandbox works in; by default in the user's data folder, or beside a `state_dir` of one's
    own. It is created by the host, not here.
    """
    state = (state_dir or default_state_dir()).expanduser().absolute()
    agent = Principal(AGENT, roles=frozenset({LOCAL_OPERATOR}), hosts=("*",))
    return Settings(
        state_dir=state,
        hosts={SANDBOX: sandbox_host(SANDBOX, scratch or scratch_dir(state), (state, config_dir(), *code_folders()))},
        principals={AGENT: agent},
        default_principal=AGENT,
    )


def sandbox_host(name: str, scratch: Path, protected: Iterable[Path]) -> HostSettings:
    """The embedded host. It is this very machine: `protected` holds Interlock's own folders."""
    return HostSettings(
        name=name,
        address="127.0.0.1",
        port=0,
        user=_current_user(),
        labels={"env": "sandbox"},
        cwd=str(scratch),
        workspace=(str(scratch),),
        protected=tuple(str(path) for path in protected),
        embedded=True,
    )


def _current_user() -> str:
    """The login name, or the number of a user without one (in a bare container)."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
