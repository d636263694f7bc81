"""The configuration: one `interlock.toml` becomes `Settings`, or a list of everything that is wrong with it."""

from __future__ import annotations

from pathlib import Path

from interlock.config.embedded import embedded
from interlock.config.faults import ConfigFault, Problem
from interlock.config.places import discover
from interlock.settings import Settings

__all__ = ["ConfigFault", "Problem", "discover", "embedded", "load", "settings_for"]


def load(path: Path) -> Settings:
    """Read one configuration file. Raises ConfigFault with every problem found; never anything else."""
    from interlock.config.reading import read_settings

    return read_settings(path.absolute())


def settings_for(given: Path | None = None) -> Settings:
    """The settings that hold here: of the file `discover` finds, else the embedded default. Raises ConfigFault."""
    path = discover(given)
    return load(path) if path else embedded()
