"""Honest: the declaration that covers exactly what a held layer changes, short enough to be sent. It lands nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from interlock_policies.measured import coverage, kinds_of
from interlock_policies.places import TOP
from interlock_policies.questions import ancestors
from interlock_tools.call import Json
from interlock_tools.changes import Change
from interlock_tools.declare import PATH_CHARS_MAX
from interlock_tools.effects import Declaration, Effect, EffectKind
from interlock_tools.fields import Form
from interlock_tools.forms import formed, has_utf8

PATHS_MAX = 64
DIRECTORIES_TRIED_MAX = 256
_FIELDS = (("writes", EffectKind.WRITE), ("deletes", EffectKind.DELETE))

May = Callable[[Effect], bool]


def honest_commit(declared: Declaration, changes: Sequence[Change], may: May = lambda _: True) -> dict[str, Json]:
    """The `writes` and `deletes` under which `call_commit` lands these changes; {} where none are short enough.

    Declared paths that cover something stay, the rest is named path by path; a new or vanished directory stands for all
    below it. Above PATHS_MAX paths, neighbours are gathered under their directory: never under a standard directory,
    and only where `may` (policy) would not deny that directory as a declared tree.
    """
    covers = coverage(declared)
    needed: dict[EffectKind, set[str]] = {kind: set() for _, kind in _FIELDS}
    for change in changes:
        for kind in kinds_of(change):
            needed[kind].add(covers.tree_of(change.path, kind) or change.path)
    found = _Asked(may).declared({kind: _outermost(paths) for kind, paths in needed.items()})
    return {field: sorted(found[kind]) for field, kind in _FIELDS if found.get(kind)}


def _outermost(paths: Iterable[str]) -> set[str]:
    """The paths that lie below no other one of them: a declared directory stands for all in it."""
    found = set(paths)
    return {path for path in found if found.isdisjoint(ancestors(path)[1:])}


class _Asked:
    """Asks whether a directory may be declared as a whole, a bounded number of times."""

    def __init__(self, may: May) -> None:
        self._may = may
        self._left = DIRECTORIES_TRIED_MAX

    def _allows(self, kind: EffectKind, directory: str) -> bool:
        if directory == "/" or directory in TOP or not _can_be_sent(directory) or self._left <= 0:
            return False
        self._left -= 1
        return self._may(Effect(kind, directory, "call_commit", recursive=True, exact=False))

    def declared(self, needed: dict[EffectKind, set[str]]) -> dict[EffectKind, set[str]]:
        """At most PATHS_MAX paths that cover all of these; {} where there are none."""
        few, many = sorted(needed, key=lambda kind: len(needed[kind]))
        rest = self._sendable(few, needed[few])
        most = self._sendable(many, needed[many])
        if rest is not None and most is not None and len(rest) + len(most) > PATHS_MAX:
            rest = self._gathered(few, rest, PATHS_MAX // 2)
            most = self._gathered(many, most, PATHS_MAX - len(rest or ()))
        return {} if rest is None or most is None else {few: rest, many: most}

    def _sendable(self, kind: EffectKind, paths: set[str]) -> set[str] | None:
        """The paths, and for each that no argument can hold the closest directory above it that one can."""
        found: set[str] = set()
        for path in paths:
            above = (path, *ancestors(path)[1:])
            fit = next((place for place in above if _can_be_sent(place)), "/")
            if fit != path and fit not in found and not self._allows(kind, fit):
                return None
            found.add(fit)
        return _outermost(found)

    def _gathered(self, kind: EffectKind, paths: set[str], room: int) -> set[str] | None:
        """At most `room` paths that cover these, deepest and fullest directories first; None where that is refused."""
        found = set(paths)
        for depth in range(max((path.count("/") for path in found), default=0), 1, -1):
            members: dict[str, list[str]] = defaultdict(list)
            for path in found:
                if path.count("/") == depth:
                    members[path.rpartition("/")[0]].append(path)
            for directory, inside in sorted(members.items(), key=lambda group: (-len(group[1]), group[0])):
                if len(found) <= room:
                    return _outermost(found)
                if self._allows(kind, directory):
                    found.difference_update(inside)
                    found.add(directory)
        found = _outermost(found)
        return found if len(found) <= room else None


def _can_be_sent(path: str) -> bool:
    return len(path) <= PATH_CHARS_MAX and has_utf8(path) and formed(Form.PATH, path) == path
