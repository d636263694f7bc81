"""Unpacking: values that a client wrapped once too often, as JSON in a text or as one entry of a list. Pure."""

from __future__ import annotations

import json

from interlock_tools.call import Json

JSON_CHARS_MAX = 1_000_000


def listed_json(value: Json) -> list[Json] | None:
    """A list as it is, one written as JSON text, or a string as a list of itself."""
    if isinstance(value, list):
        return value
    if not isinstance(value, str):
        return None
    parsed = parsed_json(value) if value.lstrip().startswith(("[", "{")) else None
    if isinstance(parsed, list):
        return parsed
    return [parsed] if isinstance(parsed, dict) else [value]


def parsed_json(text: str) -> Json:
    """The value that a JSON text holds, or None."""
    if len(text) > JSON_CHARS_MAX:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def holds_null(value: Json) -> bool:
    """True where an object holds a null, at any depth of objects: a merge patch cannot hand such an object back."""
    return isinstance(value, dict) and any(entry is None or holds_null(entry) for entry in value.values())
