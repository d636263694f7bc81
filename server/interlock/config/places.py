"""Where Interlock's files live: which configuration is read, where state and sandbox are. It reads none of them.

The working directory is never looked at. A client starts the server in an agent's workspace, so an `interlock.toml`
found there could have been written by the very agent it is to guard.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

CONFIG_NAME = "interlock.toml"
CONFIG_VARIABLE = "INTERLOCK_CONFIG"


def config_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """`$XDG_CONFIG_HOME/interlock`."""
    return _xdg(environ, "XDG_CONFIG_HOME", ".config")


def state_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """`$XDG_STATE_HOME/interlock`: store, keys, socket, spools. No tool may reach it."""
    return _xdg(environ, "XDG_STATE_HOME", ".local/state")


def scratch_dir(state: Path, environ: Mapping[str, str] = os.environ) -> Path:
    """Where the sandbox works: in the user's data folder, or beside a state folder of one's own; never inside it."""
    if state == state_dir(environ):
        return _xdg(environ, "XDG_DATA_HOME", ".local/share") / "sandbox"
    return state.with_name(f"{state.name}-sandbox")


def discover(given: Path | None = None, environ: Mapping[str, str] = os.environ) -> Path | None:
    """The configuration to read: `given`, else $INTERLOCK_CONFIG, else the user's own file; None = embedded default.

    What was named explicitly is returned even where it does not exist: reading it then says so.
    """
    if given is not None:
        return given.expanduser().absolute()
    named = environ.get(CONFIG_VARIABLE, "")
    if named:
        return Path(named).expanduser().absolute()
    own = config_dir(environ) / CONFIG_NAME
    return own if own.exists() else None


def _xdg(environ: Mapping[str, str], variable: str, fallback: str) -> Path:
    """The XDG rule: a value that is not absolute is ignored."""
    named = environ.get(variable, "")
    root = Path(named) if named.startswith("/") else Path.home() / fallback
    return root / "interlock"
