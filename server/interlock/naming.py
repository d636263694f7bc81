"""What a person typed as a name or an id, and what was meant by it. It guesses no id, and says what is closest."""

from __future__ import annotations

from collections.abc import Iterable

from interlock.config.faults import did_you_mean
from interlock.control.faults import ControlFault
from interlock.store import SqliteStore

PREFIX_CHARS_MIN = 6
LISTED_MAX = 5


async def whole_id(store: SqliteStore, given: str, *, approval: bool = False) -> str:
    """The one id that begins with `given`, or `given` itself where none does or it is too short to say.

    Raises ControlFault where several do.
    """
    if len(given) < PREFIX_CHARS_MIN:
        return given
    found = await store.ids_beginning(given, approvals=approval, limit=LISTED_MAX + 1)
    if not found or given in found:
        return given
    if len(found) == 1:
        return found[0]
    shown = ", ".join(found[:LISTED_MAX]) + (" and more" if len(found) > LISTED_MAX else "")
    raise ControlFault("ID_AMBIGUOUS", f"more than one id begins with {given[:80]}", shown)


def unknown_name(kind: str, name: str, names: Iterable[str]) -> ControlFault:
    """The fault for a name that there is not: the closest one, or those that there are."""
    hint = did_you_mean(name, sorted(names)) or "there is none"
    return ControlFault(f"{kind.upper()}_UNKNOWN", f"there is no {kind} `{name[:80]}`", hint)
