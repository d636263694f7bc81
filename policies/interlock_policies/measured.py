"""Measured: the changes that a host saw, as effects to decide on, and against what was declared. It asks no host."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from interlock_policies.paths import normalised
from interlock_policies.questions import CHANGED_PATHS, ancestors
from interlock_tools.changes import Change, ChangeOp
from interlock_tools.effects import Declaration, Effect, EffectKind, Effects
from interlock_tools.envelope import Changed
from interlock_tools.forms import has_control, has_utf8
from interlock_tools.visible import visible

PATHS_SHOWN_MAX = 100
_SHOWN_CHARS_MAX = 4_096
_ANYTHING = "shell_run"  # who did it where the call could not be read
_UNDONE = {ChangeOp.CREATE: ChangeOp.DELETE, ChangeOp.DELETE: ChangeOp.CREATE}
_ELSEWHERE = (EffectKind.SERVICE, EffectKind.NETWORK, EffectKind.SYSTEM)

Authors = Mapping[tuple[EffectKind, str], str]


# ── as effects ───────────────────────────────────────────────────────────────────────────────────────────────────────


def measured_effects(effects: Effects, changes: Sequence[Change]) -> Effects:
    """The same call with what it was seen to change: one exact write or delete for each change, in order, and by whom.

    What it did elsewhere (services, network, system) stays as it was inferred; what it read was decided before it ran.
    A change belongs to the program whose inferred effect covers it only where all of the call could be read.
    """
    unread = bool(effects.opaque or effects.unknown_programs)
    authors: Authors = {} if unread else _authors(effects.inferred)
    return replace(effects, inferred=(*_effects(changes, authors, _ANYTHING), *effects.of(*_ELSEWHERE)), measured=True)


def inverse_effects(changes: Sequence[Change]) -> tuple[Effect, ...]:
    """What putting these changes back would write and delete."""
    return tuple(_effects(inverse_changes(changes), {}, "call_undo"))


def inverse_changes(changes: Iterable[Change]) -> tuple[Change, ...]:
    """The changes that an undo of these makes, path by path."""
    return tuple(_inverse(change) for change in changes)


def as_trees(effects: Effects) -> Effects:
    """The same with what lies below another effect of its kind taken together with that, as one tree.

    So putting a tree back weighs what deleting it did, however many files are in it.
    """
    tops = {(effect.kind, effect.target) for effect in effects.inferred}
    above: set[tuple[EffectKind, str]] = set()
    kept = []
    for effect in effects.inferred:
        over = next(((effect.kind, at) for at in ancestors(effect.target)[:0:-1] if (effect.kind, at) in tops), None)
        if over is None or effect.kind not in CHANGED_PATHS:
            kept.append(effect)
        else:
            above.add(over)
    trees = (replace(effect, recursive=True) if (effect.kind, effect.target) in above else effect for effect in kept)
    return replace(effects, inferred=tuple(trees))


def _inverse(change: Change) -> Change:
    was = {"kind": change.kind} if change.op is not ChangeOp.DELETE else None
    kind = str((change.was or {}).get("kind") or change.kind)
    return replace(change, op=_UNDONE.get(change.op, change.op), kind=kind, was=was)


def _authors(inferred: Iterable[Effect]) -> Authors:
    found: dict[tuple[EffectKind, str], str] = {}
    for effect in inferred:
        if effect.kind in CHANGED_PATHS:
            found.setdefault((effect.kind, normalised(effect.target)), effect.by)
    return found


def _effects(changes: Sequence[Change], authors: Authors, otherwise: str) -> Iterator[Effect]:
    partly_listed = _partly_listed(changes)
    for change in changes:
        for kind in kinds_of(change):
            gone = kind is EffectKind.DELETE and change.op is not ChangeOp.DELETE
            whole = gone or change.path in partly_listed or _became_directory(change)
            yield Effect(kind, change.path, _author(change.path, kind, authors, otherwise), recursive=whole)


def kinds_of(change: Change) -> tuple[EffectKind, ...]:
    """What a change is: a write, a delete, or both where a whole directory gave way to something else."""
    if change.op is ChangeOp.DELETE:
        return (EffectKind.DELETE,)
    gave_way = change.kind != "directory" and (change.was or {}).get("kind") == "directory"
    return CHANGED_PATHS[::-1] if gave_way else (EffectKind.WRITE,)


def _became_directory(change: Change) -> bool:
    return change.op is ChangeOp.MODIFY and change.kind == "directory"


def _author(path: str, kind: EffectKind, authors: Authors, otherwise: str) -> str:
    """The program of the inferred effect that lies closest above the path."""
    if authors:
        for place in ancestors(path):
            if (kind, place) in authors:
                return authors[kind, place]
    return otherwise


def _partly_listed(changes: Sequence[Change]) -> frozenset[str]:
    """Directories that came or went with more below them than is listed: anything may have been among it."""
    below = {change.path: change.below for change in changes if change.below > 0}
    if not below:
        return frozenset()
    for change in changes:
        for directory in ancestors(change.path)[1:]:
            if directory in below:
                below[directory] -= 1
    return frozenset(path for path, left in below.items() if left > 0)


# ── against the declaration ──────────────────────────────────────────────────────────────────────────────────────────


def undeclared_changes(declared: Declaration, changes: Iterable[Change]) -> tuple[Change, ...]:
    """The changes that the declaration does not cover, in order.

    `writes` covers what was created or changed at or below it, and the directories that had to be made above it;
    `deletes` covers what disappeared at or below it. A directory that gave way to something else needs both.
    """
    covers = coverage(declared)
    return tuple(change for change in changes if not all(covers.holds(change, kind) for kind in kinds_of(change)))


def coverage(declared: Declaration) -> Coverage:
    """The declaration in a form that is asked about many paths."""
    writes, deletes = frozenset(map(normalised, declared.writes)), frozenset(map(normalised, declared.deletes))
    above = frozenset(directory for path in writes if path for directory in ancestors(path)[1:])
    return Coverage(writes - {""}, deletes - {""}, above)


class Coverage:
    """What a declaration covers. `trees` of each kind, and the directories `above` what may be written."""

    __slots__ = ("above", "trees")

    def __init__(self, writes: frozenset[str], deletes: frozenset[str], above: frozenset[str]) -> None:
        self.trees = {EffectKind.WRITE: writes, EffectKind.DELETE: deletes}
        self.above = above

    def holds(self, change: Change, kind: EffectKind) -> bool:
        """True where this side of the change is covered."""
        if self.tree_of(change.path, kind):
            return True
        made = kind is EffectKind.WRITE and change.op is ChangeOp.CREATE and change.kind == "directory"
        return made and change.path in self.above

    def tree_of(self, path: str, kind: EffectKind) -> str:
        """The declared path that lies closest above this one, or ""."""
        trees = self.trees[kind]
        return next((place for place in ancestors(path) if place in trees), "") if trees else ""


# ── as an answer shows it ────────────────────────────────────────────────────────────────────────────────────────────


def changed(changes: Sequence[Change], undeclared: Sequence[Change], observed: str) -> Changed:
    """The measured effect as an envelope has it: at most PATHS_SHOWN_MAX paths a list, and how many are left out."""
    created = [change.path for change in changes if change.op is ChangeOp.CREATE]
    modified = [change.path for change in changes if change.op in (ChangeOp.MODIFY, ChangeOp.META)]
    deleted = [change.path for change in changes if change.op is ChangeOp.DELETE]
    beyond = [change.path for change in undeclared]
    left_out = sum(max(len(paths) - PATHS_SHOWN_MAX, 0) for paths in (created, modified, deleted))
    return Changed(_shown(created), _shown(modified), _shown(deleted), _shown(beyond), observed, left_out)


def _shown(paths: Sequence[str]) -> tuple[str, ...]:
    """The first paths; what no text can hold, or what would act on a terminal, is written as an escape."""
    return tuple(
        path if has_utf8(path) and not has_control(path) else visible(path, _SHOWN_CHARS_MAX)
        for path in islice(paths, PATHS_SHOWN_MAX)
    )
