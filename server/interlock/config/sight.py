"""What every check of one file needs: where things stand in it, what relative paths mean, and the problems so far."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from interlock.config.faults import Problem, dotted
from interlock.config.lines import Lines
from interlock.config.references import absent
from interlock.config.sources import at_home
from interlock.settings import SecretRef


class Sight:
    """Collects problems of one configuration file; `problems` in the order they were found."""

    def __init__(self, path: Path, lines: Lines) -> None:
        self.problems: list[Problem] = []
        self.sources: list[Path] = []  # files beside this one that hosts came from
        self.path = path
        self._lines = lines

    def problem(self, where: Sequence[str | int], message: str, hint: str = "") -> None:
        """Something is wrong with this key of the file."""
        self.problems.append(Problem(str(self.path), self._lines.at(where), dotted(where), message, hint))

    def line(self, where: Sequence[str | int]) -> int:
        """The line this key stands on; 0 where it stands nowhere."""
        return self._lines.at(where)

    def local(self, name: str) -> Path:
        """A path of this machine: `~` is the home, a relative one is relative to the file."""
        return self.path.parent.absolute() / at_home(name)

    def secret(self, reference: SecretRef, where: Sequence[str | int]) -> SecretRef:
        """The reference with its path made absolute; a problem where what it points to is not there or not private."""
        if reference.kind == "file":
            reference = dataclasses.replace(reference, name=str(self.local(reference.name)))
        fault = absent(reference)
        if fault:
            self.problem(where, *fault)
        return reference
