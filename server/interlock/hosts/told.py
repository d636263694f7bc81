"""What a host told of a plain run, as values and in words. It asks nothing and follows nothing."""

from __future__ import annotations

from dataclasses import dataclass

from interlock.hosts.faults import unreachable
from interlock_tools.errors import ContainmentUnavailable, Internal, Refusal

OVER = ("ended", "lost", "void", "foreign", "expired")  # the words after which nothing more comes


@dataclass(frozen=True, slots=True)
class Told:
    """The last line of an answer: a state's word and what belongs to it, or what was refused."""

    word: str
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class End:
    """How a run ended on its host, and how long its streams were."""

    code: int
    why: str
    began: bool
    found: int
    left: int
    totals: tuple[int, int]

    @staticmethod
    def of(told: Told) -> End:
        """What the words say. Raises ValueError where they are not an end's."""
        code, why, began, found, left, out, err = told.fields
        return End(int(code), why, began == "1", int(found), int(left), (int(out), int(err)))


def refusal_of(told: Told) -> Refusal:
    """The refusal of a host that started nothing."""
    code, reason = (*told.fields, "")[0], " ".join(told.fields[1:])
    if code == "no_space":
        return ContainmentUnavailable(reason=f"the host has no room for a run: {reason}")
    if code in ("unavailable", "short"):
        return unreachable(reason).refusal
    return Internal(reason=f"the host refused it: {reason or code}")


def what_is_known(told: Told | None, by: str) -> str:
    """In words, what became of a run without an end."""
    if told is None:
        known = "the connection was lost while it ran, and the host could not be asked what became of it"
    elif told.word == "foreign":
        known = "it was begun through the host's Python, which is not there any more"
    elif told.word == "expired":
        known = "it was over, and what the host kept of it has expired"
    elif told.fields:
        pids = ", ".join(told.fields[:5])
        known = f"its supervisor on the host ended without a word; it still runs there as process {pids}"
    else:
        known = "its supervisor on the host ended without a word; none of its processes is there any more"
    return f"cancelled by {by}; {known}" if by else known


def one_line(text: str) -> str:
    """Printable text, cut."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:200]
