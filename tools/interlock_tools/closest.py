"""Closest names: which of some names a mistyped one stands for, and which to suggest. It changes nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

NAME_CHARS_MAX = 200
SUGGESTIONS_MAX = 5
LIKENESS_MIN = 0.4
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_BETWEEN_WORDS = re.compile(r"[\s\-_.]+")
_DIGITS = re.compile(r"\d+")


def snake(name: str) -> str:
    """A name as we write names: dryRun, dry-run and "Dry run" are dry_run."""
    return _BETWEEN_WORDS.sub("_", _HUMP.sub("_", name[:NAME_CHARS_MAX]).lower().strip()).strip("_")


def closest(name: str, names: Sequence[str], *, is_identity: bool = False) -> str | None:
    """The only name that this one can be a misspelling of, else None.

    One slip in short names, two in names of six characters and more. Digits never change: web-1 is not a misspelt
    web-2. With `is_identity` (names of hosts) one slip at most, and a letter never stands for another: eu-web is not a
    misspelt us-web.
    """
    wanted = snake(name)
    same = [entry for entry in names if snake(entry) == wanted]
    if len(same) == 1:
        return same[0]
    if len(wanted) < 3:
        return None
    slips_max = 2 if len(wanted) >= 6 and not is_identity else 1
    wrong_letter_cost = 2 if is_identity else 1
    digits = _DIGITS.findall(wanted)
    near = [
        entry
        for entry in names
        if abs(len(entry) - len(wanted)) <= slips_max
        and _DIGITS.findall(entry) == digits
        and slips(wanted, snake(entry), wrong_letter_cost) <= slips_max
    ]
    return near[0] if len(near) == 1 else None


def suggestions(name: str, names: Sequence[str]) -> tuple[str, ...]:
    """The names that look most like this one, best first; none where nothing does.

    Likeness is Dice's: twice the shared pairs of neighbouring letters, over all of them.
    """
    wanted = _pairs(snake(name))
    scored = []
    for place, entry in enumerate(names):
        pairs = _pairs(snake(entry))
        likeness = 2 * len(wanted & pairs) / (len(wanted) + len(pairs))
        if likeness >= LIKENESS_MIN:
            scored.append((-likeness, place, entry))
    return tuple(entry for _, _, entry in sorted(scored)[:SUGGESTIONS_MAX])


def _pairs(name: str) -> frozenset[str]:
    edged = f"^{name}$"
    return frozenset(map("".join, pairwise(edged)))


def slips(left: str, right: str, wrong_letter_cost: int = 1) -> int:
    """How many letters are missing, extra, wrong, or swapped with their neighbour.

    The optimal string alignment distance, row by row.
    """
    above: list[int] = []
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        before, above, row = above, row, [i]
        for j, b in enumerate(right, 1):
            cost = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a != b) * wrong_letter_cost)
            if i > 1 and j > 1 and a == right[j - 2] and left[i - 2] == b:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
    return row[-1]
