"""What can be wrong with a configuration, as values that say where and how to mend it; it checks nothing itself."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

PROBLEMS_MAX = 200
_NAME_CHARS_MAX = 80
_CLOSE_ENOUGH = 0.55
_KEY_CHARS_MAX = 200


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `line` is 1-based, 0 where none is known; no field ever holds a configured value."""

    file: str
    line: int
    key: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        subject = f"{self.key}: " if self.key else ""
        ending = f" ({self.hint})" if self.hint else ""
        return f"{place}: {subject}{self.message}{ending}"


class ConfigFault(Exception):
    """The configuration cannot be used. `problems` holds everything that is wrong with it, at most PROBLEMS_MAX."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems[:PROBLEMS_MAX])
        super().__init__("\n".join(str(problem) for problem in self.problems))


def closest(name: str, names: Iterable[str]) -> str:
    """The one of `names` that was most likely meant, or "" where none is near."""
    found = difflib.get_close_matches(name[:_NAME_CHARS_MAX], list(names), n=1, cutoff=_CLOSE_ENOUGH)
    return found[0] if found else ""


def did_you_mean(name: str, names: Sequence[str], shown_max: int = 20) -> str:
    """A hint: the closest name, else the first `shown_max` names that there are."""
    near = closest(name, names)
    if near:
        return f"did you mean '{near}'?"
    if not names:
        return ""
    more = f" and {len(names) - shown_max} more" if len(names) > shown_max else ""
    return f"there are: {', '.join(sorted(names)[:shown_max])}{more}"


def dotted(where: Sequence[str | int]) -> str:
    """A path as it is written in TOML: hosts.web1.labels, redact.values[0]; at most 200 characters."""
    text = ""
    for part in where:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            quoted = part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else '"' + part.replace('"', '\\"') + '"'
            text += f".{quoted}" if text else quoted
    return text[:_KEY_CHARS_MAX]
