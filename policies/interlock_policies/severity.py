"""Severity: how far a call's measured effect stayed within what was expected, as one score. It decides nothing.

score  = 0                        where any undeclared change is severe
score  = Π over changes (1 - w)   else; 1 where every change was declared and inferred
w      = op × place               of an undeclared change
w      = op × place × 0.1         of a declared one that analysis, complete as it was, did not infer
op     = deleted 1.0 · modified 0.6 · only its mode, owner, times or attributes 0.5 · created 0.3
place  = configuration and what git runs by itself 0.8 · data, workspace, homes and anything else 0.5 · scratch 0
severe = identity, secrets, the system and its devices, audit, Interlock's own files, a standard directory as a whole;
         anywhere: a file that runs with another user's rights (setuid, setgid), or a new device
None   = nothing was observed

A link that was there and is another one, or has another owner or time, counts as inferred: what analysis reads of such
a command is asked of the host through the link, and names what it leads to.
A directory that gave way to something else counts as deleted. What was held counts like what landed: the attempt does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from interlock_policies.facts import HostFacts
from interlock_policies.measured import Coverage, coverage, kinds_of
from interlock_policies.paths import PathClass, classify
from interlock_tools.changes import Change, ChangeOp
from interlock_tools.effects import Declaration, Effect, EffectKind, declaration_of

SCORE_DIGITS = 4
NOT_INFERRED = 0.1
OPS = {ChangeOp.DELETE: 1.0, ChangeOp.MODIFY: 0.6, ChangeOp.META: 0.5, ChangeOp.CREATE: 0.3}
PLACES = {PathClass.SCRATCH: 0.0, PathClass.CONFIG: 0.8, PathClass.REPOSITORY: 0.8}
ANYWHERE_ELSE = 0.5
SEVERE = frozenset(
    {
        PathClass.ROOT,
        PathClass.TOP,
        PathClass.SYSTEM,
        PathClass.BOOT,
        PathClass.BLOCK_DEVICE,
        PathClass.IDENTITY,
        PathClass.SECRET,
        PathClass.AUDIT,
        PathClass.INTERLOCK,
    }
)
_OTHERS_RIGHTS = 0o6000


def side_effects_score(
    declared: Declaration,
    inferred: Sequence[Effect],
    changes: Sequence[Change],
    observed: str,
    facts: HostFacts,
    *,
    complete: bool = True,
) -> float | None:
    """The score by the formula above, 0 to 1, or None where nothing was observed.

    `complete`: analysis read all of the call. False (a script, an unknown program) and what it did not infer is no
    surprise within the declaration.
    """
    if observed == "none":
        return None
    allowed, expected = coverage(declared), _inferred(inferred)
    weights: Counter[float] = Counter()
    for change in changes:
        if not all(allowed.holds(change, kind) for kind in kinds_of(change)):
            classes = classify(change.path, facts)
            if _is_severe(change, classes):
                return 0.0
            weights[_weight(change, classes)] += 1
        elif complete and not _is_expected(change, expected):
            weights[_weight(change, classify(change.path, facts)) * NOT_INFERRED] += 1
    score = 1.0
    for weight in sorted(weights):
        score *= (1.0 - weight) ** weights[weight]
    return round(score, SCORE_DIGITS)


def _is_severe(change: Change, classes: frozenset[PathClass]) -> bool:
    others_rights = change.op is not ChangeOp.DELETE and change.kind == "file" and bool(change.mode & _OTHERS_RIGHTS)
    return others_rights or change.kind == "device" or bool(SEVERE & classes)


def _is_expected(change: Change, expected: Coverage) -> bool:
    itself = change.op in (ChangeOp.MODIFY, ChangeOp.META) and (change.was or {}).get("kind") == "link"
    return itself or all(expected.holds(change, kind) for kind in kinds_of(change))


def _weight(change: Change, classes: frozenset[PathClass]) -> float:
    place = max((weight for kind, weight in PLACES.items() if kind in classes), default=ANYWHERE_ELSE)
    op = ChangeOp.DELETE if EffectKind.DELETE in kinds_of(change) else change.op
    return OPS[op] * place


def _inferred(effects: Sequence[Effect]) -> Coverage:
    """What was inferred, as a declaration: whoever rewrites a whole tree may drop things from it."""
    exact = declaration_of(effects)
    trees = tuple(e.target for e in effects if e.kind is EffectKind.WRITE and (e.recursive or not e.exact))
    return coverage(Declaration(exact.writes, (*exact.deletes, *trees)))
