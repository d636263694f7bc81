"""What a host measured, as values: changes, layers, how they were seen. It trusts no shape that came over a wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from interlock.ports import Bounds, Measured
from interlock_policies.facts import Level
from interlock_tools.call import Json
from interlock_tools.changes import Change, change_from_json

NOTES_MAX = 10
NOTE_CHARS_MAX = 300


def measured_of(head: Mapping[str, Json], bounds: Bounds) -> Measured:
    """The measured effect in a runner's last word. What cannot be read counts as cut short, never as no change."""
    end = head.get("end") or {}
    observed = str(end.get("observed", "none"))
    closed = not (bounds.writes or bounds.deletes)  # then there was no place that it could have changed
    if end.get("level") == "confined" and (observed == "scanned" or closed):
        observed = "confined"  # looked at before and after too, but nothing else could be written
    try:
        changes = changes_of(head.get("changes") or ())
    except (KeyError, ValueError, TypeError):
        unread = ("the host's list of changes could not be read",)
        return Measured(observed=observed, truncated=True, layer=str(head.get("layer") or "unread"), notes=unread)
    landed = "landed" in head
    return Measured(
        observed=observed,
        changes=changes,
        truncated=bool(head.get("truncated")),
        layer="" if landed or not changes or observed != "staged" else str(head.get("layer") or ""),
        landed=landed or (bool(changes) and observed != "staged"),
        scratch=int(head.get("scratch") or 0),
        bytes=int(head.get("bytes") or 0),
        undo_why=undo_why(head.get("undo") or {}),
        notes=_notes(end.get("notes") or (), end, bounds.level),
    )


def changes_of(listed: Sequence[Mapping[str, Json]]) -> tuple[Change, ...]:
    """Changes as they came over the wire. Raises KeyError, ValueError or TypeError."""
    return tuple(change_from_json(entry) for entry in listed)


def undo_why(undo: Mapping[str, Json]) -> str:
    """Why there is no undo; "" where there is one."""
    return "" if undo.get("available") else str(undo.get("why") or "nothing was kept")[:NOTE_CHARS_MAX]


def _notes(said: Sequence[Json], end: Mapping[str, Json], level: Level) -> tuple[str, ...]:
    notes = [str(note)[:NOTE_CHARS_MAX] for note in list(said)[:NOTES_MAX]]
    reached = str(end.get("level", ""))
    if level is Level.NONE and reached == "none":
        notes.append("it ran uncontained: what changed outside the watched places was not seen")
    return tuple(notes)
