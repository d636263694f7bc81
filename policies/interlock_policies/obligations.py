"""Obligations: what lifts a rule that says `@requires`, in which order it is tried, and the situation it would make.

The form is `approval:ROLE`, `containment:LEVEL` or `preview`; `&` joins what is needed together, `|` separates
alternatives: `containment:2|preview&approval:operator`. Nothing here grants anything: it only says what to try.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import replace

from interlock_policies.facts import HostFacts, Level, Situation

Alternative = frozenset[str]

CONTAINMENT_LEVELS = {level.word: level for level in Level}
COMBINATIONS_MAX = 8
_PRODUCT_MAX = 256
_APPROVAL = re.compile(r"approval:[a-z][a-z0-9_-]{0,39}")
_CONTAINMENT = re.compile(r"containment:[0-2]")
_COST = {"containment": 1, "preview": 3, "approval": 100}


def alternatives_of(requires: str) -> tuple[Alternative, ...]:
    """The alternatives of a `@requires` text. Raises ValueError, with the part that cannot be read."""
    found: list[Alternative] = []
    for alternative in requires.split("|"):
        parts = [part.strip() for part in alternative.split("&")]
        for part in parts:
            if part != "preview" and not _APPROVAL.fullmatch(part) and not _CONTAINMENT.fullmatch(part):
                raise ValueError(part)
        found.append(frozenset(parts))
    return tuple(found)


def containment_reachable(host: HostFacts) -> Level:
    """The strongest level that this host was seen to reach. An unknown name counts as none."""
    return max((CONTAINMENT_LEVELS.get(name, Level.NONE) for name in host.containment), default=Level.NONE)


def demanded(obligations: Sequence[str]) -> Level:
    """The weakest level that meets these obligations; a preview is one of a staged run."""
    levels = [Level(_level(part)) for part in obligations if part.startswith("containment:")]
    return max([*levels, Level.STAGED if "preview" in obligations else Level.NONE])


def combinations(requirements: Sequence[Sequence[Alternative]], host: HostFacts) -> tuple[Alternative, ...]:
    """One alternative of each requirement, joined; cheapest first, at most COMBINATIONS_MAX, only what the host can do.

    Few approvals come before many, and containment before preview before any approval.
    """
    distinct = list(dict.fromkeys(tuple(alternatives) for alternatives in requirements))
    product = itertools.islice(itertools.product(*distinct), _PRODUCT_MAX)
    joined = {_simplified(frozenset().union(*choice)) for choice in product}
    feasible = [choice for choice in joined if _can(choice, host)]
    return tuple(sorted(feasible, key=lambda choice: (_cost(choice), sorted(choice)))[:COMBINATIONS_MAX])


def granted(situation: Situation, obligations: Alternative) -> Situation:
    """The situation in which these obligations are met."""
    approvals = {part.partition(":")[2] for part in obligations if part.startswith("approval:")}
    levels = [_level(part) for part in obligations if part.startswith("containment:")]
    return replace(
        situation,
        approvals=situation.approvals | approvals,
        containment=max([situation.containment, *levels]),
        previewed=situation.previewed or "preview" in obligations,
    )


def _simplified(choice: Alternative) -> Alternative:
    """Only the strongest of several containment levels."""
    levels = sorted((part for part in choice if part.startswith("containment:")), key=_level)
    return choice - set(levels[:-1])


def _can(choice: Alternative, host: HostFacts) -> bool:
    reachable = containment_reachable(host)
    if "preview" in choice and reachable < Level.STAGED:
        return False
    return all(_level(part) <= reachable for part in choice if part.startswith("containment:"))


def _level(part: str) -> int:
    return int(part.partition(":")[2])


def _cost(choice: Alternative) -> int:
    return sum(
        _COST[part.partition(":")[0]] + (_level(part) if part.startswith("containment:") else 0) for part in choice
    )
