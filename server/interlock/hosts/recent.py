"""Recent paths: where paths of one host led a moment ago. It asks the host nothing, and whoever believes it has to."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from interlock.hosts.resolve import is_steady
from interlock.ports import PathQuery

RECENT_SECONDS = 30.0
RECENT_PATHS_MAX = 2_048


class RecentPaths:
    """At most RECENT_PATHS_MAX answers, each believed for RECENT_SECONDS or until something may have changed."""

    def __init__(self) -> None:
        self._known: dict[PathQuery, tuple[float, str]] = {}

    def find(self, queries: Sequence[PathQuery]) -> Mapping[PathQuery, str] | None:
        """Where all of these led; None where one is not known."""
        since = time.monotonic() - RECENT_SECONDS
        found: dict[PathQuery, str] = {}
        for query in queries:
            at, found[query] = self._known.get(query, (float("-inf"), ""))
            if at < since:
                return None
        return found

    def keep(self, found: Mapping[PathQuery, str]) -> None:
        """Remember where these lead, as far as that is the same for everybody who asks."""
        if len(self._known) + len(found) > RECENT_PATHS_MAX:
            self._known.clear()
        now = time.monotonic()
        self._known.update({query: (now, real) for query, real in found.items() if is_steady(query, real)})

    def forget(self) -> None:
        """Something may have changed on the host."""
        self._known.clear()
