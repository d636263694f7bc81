"""The file family as a whole, and the fields that several of its tools take. Nothing is touched here."""

from __future__ import annotations

from interlock_tools.declare import choice, text
from interlock_tools.fields import Field, Form
from interlock_tools.shared import (
    STATE_CHECKS,
    FieldLimits,
    Inventory,
    changing_fields,
    host_field,
    intent_field,
    time_fields,
)

FILE_NAMES = ("file", "filename", "file_name", "file_path", "filepath", "target", "name", "source", "src", "from")
FOLDER_NAMES = ("directory", "dir", "folder", "root", "paths", "file_path", "file")

_ENCODINGS = {"utf_8": "text", "utf8": "text", "ascii": "text", "plain": "text", "b64": "base64"}


def reading_fields(inventory: Inventory, limits: FieldLimits, *own: Field) -> tuple[Field, ...]:
    """A reading tool's own fields between the shared ones."""
    return (
        host_field(inventory, any_member=True),
        *own,
        intent_field(required=False),
        *time_fields(limits),
    )


def changing_file_fields(inventory: Inventory, limits: FieldLimits, *own: Field) -> tuple[Field, ...]:
    """A changing tool's own fields between the shared ones."""
    shared = changing_fields(limits, STATE_CHECKS)
    return (host_field(inventory, any_member=False), *own, intent_field(required=True), *shared)


def encoding_field() -> Field:
    """How bytes are written as a string."""
    return choice("encoding", "Of content.", ("text", "base64"), default="text", means=_ENCODINGS)


def glob_field(words: str, *also: str) -> Field:
    """A pattern of names below the path."""
    return text("glob", words, *also, form=Form.GLOB, chars_min=1, chars_max=400)


def guard_field(words: str) -> Field:
    """What the file has to be now, against lost updates."""
    aliases = ("sha256", "expected_hash", "checksum", "if_match", "expected_sha")
    return text("expected_sha256", words, *aliases, form=Form.GUARD, chars_max=80)
