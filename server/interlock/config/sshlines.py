"""The lines of an OpenSSH client configuration, with the Host patterns each stands under. It never runs anything."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from interlock.config.drafts import selected
from interlock.config.faults import Problem
from interlock.config.sources import at_home, inventory_text

INCLUDED_FILES_MAX = 64
_OPTION = re.compile(r"\s*([A-Za-z0-9]+)(?:\s*=\s*|\s+)(\S.*)")
EVERY_HOST: tuple[str, ...] = ("*",)


@dataclass(frozen=True, slots=True)
class Line:
    """One option. `patterns` are those of its Host block; empty inside a Match block, which applies to nobody here."""

    file: str
    number: int
    option: str  # lower case
    value: str
    patterns: tuple[str, ...]

    @property
    def words(self) -> list[str]:
        """The value's words, quotes taken off."""
        try:
            return shlex.split(self.value, comments=True)
        except ValueError:
            return self.value.split()

    @property
    def first(self) -> str:
        """The value's first word, or ""."""
        return next(iter(self.words), "")

    def applies(self, name: str) -> bool:
        """OpenSSH's own rule: a negated pattern that matches decides against, else any pattern that matches."""
        return selected(name, self.patterns)

    def problem(self, message: str, hint: str = "") -> Problem:
        """Something is wrong with this line."""
        return Problem(self.file, self.number, self.option, message, hint)


def read_lines(path: Path, problems: list[Problem], *, included: bool = False) -> Iterator[Line]:
    """Every option of a configuration and of what it includes (one level), in order; Match blocks are problems."""
    patterns = EVERY_HOST
    for number, raw in enumerate(inventory_text(path, problems).splitlines(), 1):
        if not raw.strip() or raw.lstrip().startswith("#"):
            continue
        found = _OPTION.fullmatch(raw.rstrip())
        if not found:
            problems.append(Problem(str(path), number, "", "this line is no option with a value"))
            continue
        line = Line(str(path), number, found.group(1).lower(), found.group(2), patterns)
        if line.option == "match":
            patterns = ()
            problems.append(line.problem("Match blocks are not supported", "import from a file without them"))
        elif line.option == "host":
            patterns = tuple(line.words)
            yield replace(line, patterns=patterns)
        elif line.option == "include" and included:
            problems.append(line.problem("an included file cannot include another"))
        elif line.option == "include":
            yield from _included(line, path, problems)
        else:
            yield line


def _included(include: Line, path: Path, problems: list[Problem]) -> Iterator[Line]:
    """The lines of the included files; inside a Host block an Include holds for its hosts only, as with ssh."""
    files = [file for word in include.words for file in _matching(word, path)]
    if len(files) > INCLUDED_FILES_MAX:
        problems.append(include.problem(f"more than {INCLUDED_FILES_MAX} files"))
    for file in files[:INCLUDED_FILES_MAX]:
        for line in read_lines(file, problems, included=True):
            if include.patterns == EVERY_HOST:
                yield line
            elif line.patterns == EVERY_HOST and line.option != "host":
                yield replace(line, patterns=include.patterns)
            else:
                problems.append(line.problem("a Host block inside another is not supported", "include it at the top"))


def _matching(word: str, path: Path) -> list[Path]:
    """The files an Include means: `~` is the home, a relative path is relative to the configuration's folder."""
    try:
        wanted = path.parent / at_home(word)
        return sorted(wanted.parent.glob(wanted.name))
    except (ValueError, OSError, IndexError, NotImplementedError):
        return []
