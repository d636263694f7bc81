"""Unknown arguments: what becomes of a name that no field has. What may limit or guard a call is never dropped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from interlock_tools.call import Json
from interlock_tools.closest import snake
from interlock_tools.fields import Field
from interlock_tools.mend import Place, field_meant, mend_or_keep
from interlock_tools.shared import PREVIEW_WORDS
from interlock_tools.tool import Tool

# "Really do it": any of these, switched off, makes the call a preview.
_GO_AHEAD = frozenset({"apply", "execute", "commit", "confirm", "confirmed", "run", "live", "really"})
# Switched on, these only allow a call more than it does without them.
_ALLOWING = frozenset({"allow", "force", "overwrite", "replace", "sudo", "become", "privileged", "yes"})
# One of these words in a name may limit or guard what a call does: without it the call could do more than was meant.
_LIMITING = frozenset(
    {
        *("only", "exclude", "excludes", "excluded", "except", "ignore", "include", "includes", "filter", "filters"),
        *("pattern", "glob", "match", "matching", "max", "min", "limit", "depth", "until", "since", "before", "after"),
        *("older", "newer", "size", "count", "confirm", "confirmation", "approve", "approved", "approval", "ask"),
        *("sandbox", "sandboxed", "safe", "safely", "safety", "secure", "isolated", "isolation", "restrict", "scope"),
        *("user", "username", "uid", "gid", "owner", "group", "as", "account", "profile", "role", "identity"),
        *("backup", "backups", "keep", "preserve", "retain", "trash", "undo", "rollback", "revert", "atomic"),
        *("transaction", "transactional", "if", "unless", "when", "where", "condition", "guard", "lock", "version"),
        *("revision", "etag", "hash", "checksum", "interactive", "prompt", "env", "environ", "environment"),
        *("variables", "shell", "interpreter", "skip", "without", "no", "not", "never", "dont", "chroot", "container"),
        *("docker", "namespace", "append", "prepend", "insert", "exclusive", "position", "start", "end", "line"),
        *("lines", "range", "follow", "symlink", "symlinks", "links", "dereference", "mode", "restricted", "allowed"),
        *("deny", "denied", "forbid", "require", "required", "stop", "fail", "abort", "schedule", "delay", "at"),
        *("host", "hosts", "target", "targets", "path", "paths", "cluster", "region", "context", "timeout", "deadline"),
        *("ttl", "expected", "expect", "assert", "verify", "validate", "read", "readonly", "quota", "budget"),
    }
    | _ALLOWING
)
_OFF = frozenset({"false", "no", "off", "0", "none", "never", ""})
_UNSURE = "Without this argument the call could do more than was meant; only the caller knows."
_UNREAD = "leave out what nothing here reads"


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an unknown argument goes: `changes` are set beside removing it. `solved` False: only the caller can say.

    `meant` is the field it seems to stand for, or "".
    """

    solved: bool
    how: str
    meant: str = ""
    changes: Mapping[str, Json] = field(default_factory=dict)


def place_unknown(tool: Tool, name: str, sent: Mapping[str, Json], place: Place) -> Placement:
    """What becomes of `sent[name]`, which no field of the tool is called."""
    value = sent[name]
    previewed = _preview(tool, snake(name), value)
    if previewed is not None:
        return previewed
    meant = field_meant(tool.fields, name)
    if meant is None:
        solved = tool.hints.read_only or _says_nothing(value) or not _limits(snake(name), value)
        return Placement(solved, _UNREAD if solved else _UNSURE)
    if _says_nothing(value):
        return Placement(solved=True, how=_UNREAD, meant=meant.name)
    return _renamed(tool, meant, value, sent, place)


def _preview(tool: Tool, word: str, value: Json) -> Placement | None:
    """A word that asks to be shown first becomes `mode`, whatever `mode` says already: the stricter of the two wins."""
    if word not in PREVIEW_WORDS and word not in _GO_AHEAD:
        return None
    meant = "mode" if any(entry.name == "mode" for entry in tool.fields) else ""
    if value is None or _switched_off(value) is (word in PREVIEW_WORDS):
        return Placement(solved=True, how="leave out what says nothing new", meant=meant)
    if tool.hints.read_only:
        return Placement(solved=True, how="leave it out, as this tool only reads")
    if meant:
        return Placement(solved=True, how="ask for a preview by 'mode'", meant=meant, changes={"mode": "preview"})
    return Placement(solved=False, how="This tool has no preview; only the caller knows whether it should be called.")


def _renamed(tool: Tool, meant: Field, value: Json, sent: Mapping[str, Json], place: Place) -> Placement:
    free = meant.name not in sent or sent[meant.name] is None
    if free and mend_or_keep(meant, value, place) is not None:
        return Placement(solved=True, how=f"call it '{meant.name}'", meant=meant.name, changes={meant.name: value})
    if not free and sent[meant.name] == value:
        return Placement(solved=True, how=f"leave out what '{meant.name}' says already", meant=meant.name)
    # It stands for a field and cannot be put there. Only where nothing can change is it safe to go on without it.
    return Placement(tool.hints.read_only, _UNREAD if tool.hints.read_only else _UNSURE, meant=meant.name)


def _limits(word: str, value: Json) -> bool:
    words = set(word.split("_")) & _LIMITING
    return bool(words) and (_switched_off(value) or not words <= _ALLOWING)


def _switched_off(value: Json) -> bool:
    if isinstance(value, str):
        return value.strip().lower() in _OFF
    return value is None or value is False or value == 0 or value in ([], {})


def _says_nothing(value: Json) -> bool:
    """True for what says nothing, whatever its name. False is not among it: `overwrite: false` is a guard."""
    return value is None or value in ("", [], {})
