"""The changing half of the file family: write, edit, move, delete. Effects follow from arguments; nothing is run."""

from __future__ import annotations

import base64
import binascii
from functools import partial

from interlock_tools.declare import choice, flag, number, path, text
from interlock_tools.effects import Effect, EffectKind
from interlock_tools.errors import ArgumentInvalid
from interlock_tools.fields import Field, Form, Kind
from interlock_tools.files import FILE_NAMES, changing_file_fields, encoding_field, guard_field
from interlock_tools.plan import DeleteFile, EditFile, MoveFile, Plan, Replacement, WriteFile
from interlock_tools.shared import FieldLimits, Inventory
from interlock_tools.tool import Arguments, Hints, Tool
from interlock_tools.values import Fault

_CHANGES = Hints(read_only=False, destructive=True, idempotent=False, open_world=False)
_REPLACES = Hints(read_only=False, destructive=True, idempotent=True, open_world=False)


def changing_file_tools(inventory: Inventory, limits: FieldLimits) -> tuple[Tool, ...]:
    """file_write, file_edit, file_move, file_delete."""
    return (
        _file_write(inventory, limits),
        _file_edit(inventory, limits),
        _file_move(inventory, limits),
        _file_delete(inventory, limits),
    )


# ── file_write ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _file_write(inventory: Inventory, limits: FieldLimits) -> Tool:
    content_chars_max = limits.file_bytes_max * 4 // 3 + 4  # base64 is a third longer than its bytes
    content = ("contents", "text", "data", "body")
    modes = ("permissions", "perms", "chmod", "permission")
    own = (
        path("path", "Absolute.", *FILE_NAMES, "destination"),
        text("content", "New content.", *content, required=True, chars_max=content_chars_max),
        encoding_field(),
        text("file_mode", "Octal; default: kept, else 0644.", *modes, form=Form.OCTAL, chars_max=4),
        flag("create_parents", "Make directories.", "parents", "mkdir", "make_parents"),
        guard_field("Refuse if changed; 'absent': only create."),
    )
    fields = changing_file_fields(inventory, limits, *own)
    words = "Create or replace a file atomically."
    review = partial(_review_content, limits.file_bytes_max)
    return Tool("file_write", "Write file", words, fields, _REPLACES, _plan_write, _write_effects, review)


def _review_content(file_bytes_max: int, arguments: Arguments) -> Fault | None:
    content: str = arguments["content"]
    if arguments["encoding"] == "text":
        fits = len(content.encode()) <= file_bytes_max
    else:
        try:
            fits = len(base64.b64decode(content, validate=True)) <= file_bytes_max
        except ValueError:
            return Fault(ArgumentInvalid, "content", "base64 is expected", fix=_mended_base64(content))
    return None if fits else Fault(ArgumentInvalid, "content", f"at most {file_bytes_max} bytes fit")


def _mended_base64(content: str) -> dict[str, str] | None:
    """Line breaks and missing padding change nothing that is encoded."""
    packed = "".join(content.split()).rstrip("=")
    padded = packed + "=" * (-len(packed) % 4)
    try:
        base64.b64decode(padded, validate=True)
    except (binascii.Error, ValueError):
        return None
    return {"content": padded}


def _plan_write(arguments: Arguments) -> Plan:
    sent: str = arguments["content"]
    content = base64.b64decode(sent) if arguments["encoding"] == "base64" else sent.encode()
    mode = int(arguments["file_mode"], 8) if arguments["file_mode"] else None
    return WriteFile(arguments["path"], content, mode, arguments["create_parents"], arguments["expected_sha256"])


def _write_effects(arguments: Arguments) -> tuple[Effect, ...]:
    return (Effect(EffectKind.WRITE, arguments["path"], "file_write"),)


# ── file_edit ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _file_edit(inventory: Inventory, limits: FieldLimits) -> Tool:
    chars_max = limits.edit_chars_max
    old, new = ("old_string", "old_text", "search", "find"), ("new_string", "new_text", "replace", "replacement")
    edits = Field(
        "edits",
        Kind.OBJECTS,
        "In order, all or none.",
        required=True,
        items_min=1,
        fields=(
            text("old", "Text as it is.", *old, required=True, chars_min=1, chars_max=chars_max),
            text("new", "Text to be.", *new, required=True, chars_max=chars_max),
            # 0 means any number, so that moving a number to its bound would change what is asked for.
            number("count", "Times it must occur; 0: any.", "occurrences", default=1, maximum=100_000, clamps=False),
        ),
        also=("edit", "replacements", "changes"),
    )
    own = (path("path", "Absolute.", *FILE_NAMES), edits, guard_field("Refuse if changed."))
    fields = changing_file_fields(inventory, limits, *own)
    words = "Replace exact texts in a file."
    review = partial(_review_edits, limits.file_bytes_max)
    return Tool("file_edit", "Edit file", words, fields, _CHANGES, _plan_edit, _edit_effects, review)


def _review_edits(chars_max: int, arguments: Arguments) -> Fault | None:
    if sum(len(edit["old"]) + len(edit["new"]) for edit in arguments["edits"]) <= chars_max:
        return None
    return Fault(ArgumentInvalid, "edits", f"at most {chars_max} characters in all fit")


def _plan_edit(arguments: Arguments) -> Plan:
    replacements = tuple(Replacement(edit["old"], edit["new"], edit["count"]) for edit in arguments["edits"])
    return EditFile(arguments["path"], replacements, arguments["expected_sha256"])


def _edit_effects(arguments: Arguments) -> tuple[Effect, ...]:
    target = arguments["path"]
    return (Effect(EffectKind.READ, target, "file_edit"), Effect(EffectKind.WRITE, target, "file_edit"))


# ── file_move ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _file_move(inventory: Inventory, limits: FieldLimits) -> Tool:
    targets = ("dest", "dst", "to", "target", "new_path", "destination_path", "target_path")
    means = {"mv": "move", "rename": "move", "cp": "copy", "duplicate": "copy"}
    sources = tuple(name for name in FILE_NAMES if name not in targets)
    own = (
        path("path", "Absolute source.", *sources, "source_path", "old_path"),
        path("destination", "Absolute.", *targets),
        choice("action", "What to do.", ("move", "copy"), "operation", "op", default="move", means=means),
        flag("overwrite", "Replace what is there.", "replace", "force", "clobber"),
        flag("recursive", "Copy a whole tree.", "recurse"),
    )
    fields = changing_file_fields(inventory, limits, *own)
    words = "Move or copy a file or directory."
    return Tool("file_move", "Move or copy", words, fields, _CHANGES, _plan_move, _move_effects)


def _plan_move(arguments: Arguments) -> Plan:
    return MoveFile(
        arguments["path"],
        arguments["destination"],
        arguments["action"] == "copy",
        arguments["overwrite"],
        arguments["recursive"],
    )


def _move_effects(arguments: Arguments) -> tuple[Effect, ...]:
    source, target, copies = arguments["path"], arguments["destination"], arguments["action"] == "copy"
    # A rename takes the whole tree along whether `recursive` says so or not.
    tree = arguments["recursive"] or not copies
    reads = Effect(EffectKind.READ, source, "file_move", recursive=tree)
    writes = Effect(EffectKind.WRITE, target, "file_move", recursive=tree)
    if copies:
        return (reads, writes)
    return (reads, Effect(EffectKind.DELETE, source, "file_move", recursive=True), writes)


# ── file_delete ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _file_delete(inventory: Inventory, limits: FieldLimits) -> Tool:
    own = (
        path("path", "Absolute.", *FILE_NAMES, "directory", "dir", "folder"),
        flag("recursive", "A whole tree.", "recurse"),
        guard_field("Refuse if changed."),
    )
    fields = changing_file_fields(inventory, limits, *own)
    words = "Delete a file, a link or a tree."
    return Tool("file_delete", "Delete", words, fields, _CHANGES, _plan_delete, _delete_effects)


def _plan_delete(arguments: Arguments) -> Plan:
    return DeleteFile(arguments["path"], arguments["recursive"], arguments["expected_sha256"])


def _delete_effects(arguments: Arguments) -> tuple[Effect, ...]:
    return (Effect(EffectKind.DELETE, arguments["path"], "file_delete", recursive=arguments["recursive"]),)
