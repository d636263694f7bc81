"""One table of the configuration file while it is checked: what is wrong with its keys is said there, with its line."""

from __future__ import annotations

from dataclasses import dataclass

from interlock.config.sight import Sight


@dataclass(frozen=True, slots=True)
class Spot:
    """A table, by its path in the file."""

    sight: Sight
    where: tuple[str | int, ...]

    def at(self, *keys: str | int) -> Spot:
        """A table inside this one."""
        return Spot(self.sight, (*self.where, *keys))

    def say(self, fault: tuple[str, str] | None, *keys: str | int) -> None:
        """Something may be wrong with this key: what, and what to do. Nothing is said where nothing is."""
        if fault:
            self.sight.problem((*self.where, *keys), *fault)

    def demanded(self, key: str, value: str | None, example: str) -> str:
        """The value of a key that has to be there; a problem and "" where it is not."""
        if value is None:
            self.say((f"{key} is missing", example))
        return value or ""
