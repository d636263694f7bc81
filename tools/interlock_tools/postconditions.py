"""Postconditions as effects: what measuring a check would read, reach or run. A check is no way around the guard."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from interlock_tools.call import Check
from interlock_tools.effects import Effect, EffectKind

NAMES_ONLY_CHECKS = frozenset({"path_exists", "path_absent"})
CONTENT_CHECKS = frozenset({"path_contains", "path_sha256"})
_LOOPBACK = frozenset({"", "localhost", "127.0.0.1", "[::1]"})


def check_effects(checks: Iterable[Check]) -> Iterator[Effect]:
    """The effects of measuring these checks, but for the commands of `command_ok` (those are analysed as commands)."""
    for check in checks:
        if check.check in NAMES_ONLY_CHECKS:
            yield Effect(EffectKind.READ, check.target, "stat")
        elif check.check in CONTENT_CHECKS:
            yield Effect(EffectKind.READ, check.target, check.check)
        elif check.check == "http_ok":
            # Who is reached is said by the same parser that the measuring uses: user names may look like addresses.
            yield from _reached(urlsplit(check.target).netloc.rpartition("@")[2], check)
        elif check.check == "port_open":
            yield from _reached(check.target, check)


def check_commands(checks: Iterable[Check]) -> tuple[str, ...]:
    """The commands that measuring these checks would run."""
    return tuple(check.target for check in checks if check.check == "command_ok")


def _reached(place: str, check: Check) -> Iterator[Effect]:
    """Looking at the host's own loopback reaches nothing else."""
    host = place.rpartition(":")[0] if ":" in place.rpartition("]")[2] else place
    if place.isdigit() or host in _LOOPBACK:
        return
    yield Effect(EffectKind.NETWORK, check.target, check.check)
