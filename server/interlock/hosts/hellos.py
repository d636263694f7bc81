"""Hellos: what a host's runner said of its host last, told to the next so that it need not probe. It decides nothing.

The next runner believes it only where it is the same program, user, place and boot; it compares these itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from interlock_tools.call import Json

KNOWN_SECONDS_MAX = 3_600.0  # settings of a kernel can be changed while it runs
TOLD_FIELDS = ("digest", "uid", "gid", "boot", "node", "base", "abilities")


class Hellos:
    """The last hello of one host, in memory."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: Mapping[str, Json] = {}
        self._until = 0.0

    def known(self) -> dict[str, Json]:
        """What a hello's request carries: {"known": ...}, or nothing where nothing is known, or was for long."""
        if not self._known or self._clock() >= self._until:
            return {}
        return {"known": {name: self._known.get(name) for name in TOLD_FIELDS}}

    def keep(self, hello: Mapping[str, Json]) -> None:
        """Remember a hello. What was only repeated from an earlier one does not live longer by that."""
        if not hello.get("known"):
            self._known, self._until = hello, self._clock() + KNOWN_SECONDS_MAX

    def forget(self) -> None:
        """The host could not do what it said: the next runner probes."""
        self._known = {}
