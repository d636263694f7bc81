"""Mending: the value that was surely meant by one that does not fit, where there is one. Pure; all it gives fits."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from interlock_tools.call import Json
from interlock_tools.closest import closest, snake
from interlock_tools.fields import Field, Form, Kind
from interlock_tools.unpack import holds_null, listed_json, parsed_json
from interlock_tools.values import Fault, read, weigh

IDENTITIES = frozenset({"host", "app", "service", "artifact_host"})  # what is close to another one's name is not meant
_INTEGER_MAX = 10**15
_WHOLE_NUMBER = re.compile(r"\s*([+-]?\d{1,15})(?:\.0+)?\s*", re.ASCII)
_TRUE, _FALSE = frozenset({"true", "yes", "on", "1"}), frozenset({"false", "no", "off", "0"})
# What a path may begin with and still not be meant as relative: blanks, ~, variables, drives, URLs.
_NOT_RELATIVE = re.compile(r"\s|[~$%]|[A-Za-z]:[\\/]|[A-Za-z][A-Za-z0-9+.-]*:/")
_HASH_PREFIX = re.compile(r"\s*(sha256:)?", re.IGNORECASE)
_STRIPPED = frozenset({Form.ID, Form.SERVICE, Form.LABEL, Form.LINE, Form.OCTAL, Form.PORT, Form.URL, Form.NUMBER})


@dataclass(frozen=True, slots=True)
class Place:
    """Directories of the host a call names, "" where they are not known."""

    cwd: str = ""
    home: str = ""


@dataclass(frozen=True, slots=True)
class Mended:
    """A value that fits, and what was done to get it (a verb phrase; never the value)."""

    value: Json
    how: str


Candidates = Iterator[tuple[Json, str]]


def mend(field: Field, value: Json, place: Place) -> Mended | None:
    """The first candidate that fits the field, or None where nothing can be derived without guessing."""
    for candidate, how in _CANDIDATES[field.kind](field, value, place):
        found = read(field, candidate, field.name)
        if not isinstance(found, Fault):
            return Mended(found, how)
    return None


def mend_or_keep(field: Field, value: Json, place: Place) -> Mended | None:
    """The value itself where it fits, else what mends it."""
    found = read(field, value, field.name)
    return mend(field, value, place) if isinstance(found, Fault) else Mended(found, "")


def field_meant(fields: tuple[Field, ...], name: str) -> Field | None:
    """The field this name stands for: its own, another word for it, or the only one it can be a misspelling of."""
    wanted = snake(name)
    for field in fields:
        if field.name in (name, wanted) or wanted in field.also:
            return field
    near = closest(wanted, [field.name for field in fields])
    return next((field for field in fields if field.name == near), None)


# ── strings ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _string(field: Field, value: Json, place: Place) -> Candidates:
    if isinstance(value, bool):
        yield ("true" if value else "false"), "write it as a string"
    elif isinstance(value, int) and abs(value) < _INTEGER_MAX and field.form is not Form.OCTAL:
        # A file mode is left alone: 420 and 644 can both mean 0644.
        yield str(value), "write it as a string"
    elif isinstance(value, list):
        yield from _joined(field, value, place)
    elif isinstance(value, str):
        yield from _reformed(field, value, place)


def _joined(field: Field, value: list[Json], place: Place) -> Candidates:
    words = [word for word in value if isinstance(word, str)]
    if len(words) != len(value) or not words:
        return
    if len(words) == 1:
        yield words[0], "send its only entry"
        yield from _reformed(field, words[0], place)
    elif field.name == "command" and not any(char.isspace() for char in words[0]):
        yield shlex.join(words), "quote the words into one command line"


def _reformed(field: Field, value: str, place: Place) -> Candidates:
    if field.form is Form.PATH:
        yield from _absolute(value, place)
    elif field.form in (Form.SHA256, Form.GUARD):
        yield _HASH_PREFIX.sub("", value, count=1).strip(), "leave only its digits"
    elif field.form in _STRIPPED:
        yield value.strip(), "strip the blanks around it"
        if field.form is Form.OCTAL:
            yield re.sub(r"^0o", "0", value.strip()), "write the mode as octal digits"


def _absolute(value: str, place: Place) -> Candidates:
    if value.startswith("file:///"):
        yield value.removeprefix("file://"), "send the path of the URL"
    elif place.home and (value == "~" or value.startswith("~/")):
        yield posixpath.join(place.home, value[2:]), "write the home directory out"
    elif place.cwd and value and not _NOT_RELATIVE.match(value):
        yield posixpath.join(place.cwd, value), "take it from the host's working directory"


# ── numbers, booleans, choices ───────────────────────────────────────────────────────────────────────────────────────


def _integer(field: Field, value: Json, _: Place) -> Candidates:
    found = _WHOLE_NUMBER.fullmatch(value) if isinstance(value, str) else None
    if found is not None:
        value = int(found[1])
        yield value, "send it as an integer"
    if field.clamps and isinstance(value, int | float) and not isinstance(value, bool):
        if value < field.minimum:
            yield field.minimum, "move it to its lower limit"
        elif value > field.maximum:
            yield field.maximum, "move it to its upper limit"


def _boolean(_: Field, value: Json, __: Place) -> Candidates:
    word = str(value).strip().lower() if isinstance(value, str | int) else ""  # 0 and 1 are words here too
    if word in _TRUE:
        yield True, "send it as a boolean"
    elif word in _FALSE:
        yield False, "send it as a boolean"


def _choice(field: Field, value: Json, _: Place) -> Candidates:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool):
        value = "true" if value else "false"
    if not isinstance(value, str):
        return
    if value in field.choices:
        yield value, "send its only entry"
    meant = field.means.get(snake(value)) or closest(value, field.choices, is_identity=field.name in IDENTITIES)
    if meant is not None:
        yield meant, "take the value that comes closest"


# ── lists and objects ────────────────────────────────────────────────────────────────────────────────────────────────


def _strings(field: Field, value: Json, place: Place) -> Candidates:
    entries = listed_json(value)
    if entries is None:
        return
    texts = [_text_of(field, entry, place) for entry in entries]
    if None not in texts:
        yield texts, "send a list of strings that fit"


def _text_of(field: Field, value: Json, place: Place) -> str | None:
    if not isinstance(value, str):
        return None
    candidates = [value, *(str(text) for text, _ in _reformed(field, value, place))]
    if field.choices and (near := closest(value, field.choices, is_identity=True)):
        candidates.append(near)
    for text in candidates:
        found = read(field, [text], field.name)
        if not isinstance(found, Fault):
            return str(found[0])
    return None


def _objects(field: Field, value: Json, place: Place) -> Candidates:
    entries = listed_json([value] if isinstance(value, dict) else value)
    if entries is None:
        return
    mended = [_entry(field, entry, place) for entry in entries]
    if None not in mended:
        yield mended, "send a list of objects that fit"


def _entry(listed: Field, value: Json, place: Place) -> dict[str, Json] | None:
    """One object with its fields renamed and mended, or None. What stands for no field is left out only where null."""
    if not isinstance(value, dict):
        return None
    named = _renamed(listed.fields, value)
    if named is None:
        return None
    first = listed.fields[0]
    chosen = mend_or_keep(first, named.get(first.name), place)
    entry: dict[str, Json] = {}
    for field in listed.fields_for({first.name: chosen.value} if chosen else {}):
        if field.name in named:
            fitting = mend_or_keep(field, named[field.name], place)
            if fitting is None:
                return None
            entry[field.name] = fitting.value
    return entry


def _renamed(fields: tuple[Field, ...], value: Mapping[str, Json]) -> dict[str, Json] | None:
    """The same object under the names of these fields and without its nulls; None where a name stands for no field."""
    named: dict[str, Json] = {}
    for name, sent in value.items():
        if sent is None:
            continue
        field = field_meant(fields, name)
        if field is None or field.name in named:
            return None
        named[field.name] = sent
    return named


def _object(field: Field, value: Json, _: Place) -> Candidates:
    parsed = parsed_json(value) if isinstance(value, str) else None
    if isinstance(parsed, dict) and weigh(parsed, field.chars_max) is None and not holds_null(parsed):
        yield parsed, "send it as an object instead of text"


_CANDIDATES: Mapping[Kind, Callable[[Field, Json, Place], Candidates]] = {
    Kind.STRING: _string,
    Kind.INTEGER: _integer,
    Kind.BOOLEAN: _boolean,
    Kind.CHOICE: _choice,
    Kind.STRINGS: _strings,
    Kind.OBJECTS: _objects,
    Kind.OBJECT: _object,
}
