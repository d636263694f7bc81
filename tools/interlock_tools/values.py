"""Values: whether one sent value fits its field, and what it is once normalised. Pure; no reason repeats a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from interlock_tools.call import Json
from interlock_tools.errors import (
    AppUnknown,
    ArgumentInvalid,
    ArgumentMissing,
    ArgumentUnknown,
    HostUnknown,
    Invalid,
    PathInvalid,
    Recovery,
)
from interlock_tools.fields import Field, Form, Kind
from interlock_tools.forms import Unfit, formed, has_utf8
from interlock_tools.visible import visible

NODES_MAX = 5_000
DEPTH_MAX = 12
NAME_CHARS_MAX = 64


@dataclass(frozen=True, slots=True)
class Fault:
    """What does not fit. `fix`: values that mend it; `step`: the recovery where it is not a change of arguments."""

    kind: type[Invalid]
    path: str
    reason: str
    allowed: tuple[str, ...] = ()
    fix: Mapping[str, Json] | None = None
    step: Recovery | None = None


def read(field: Field, value: Json, at: str) -> Json | Fault:
    """The normalised value, or what does not fit. `at` is the argument's path as an error names it."""
    return _READERS[field.kind](field, value, at)


def read_entry(listed: Field, value: Json, at: str) -> dict[str, Json] | Fault:
    """One flat object of a list, complete with the defaults of its fields."""
    if not isinstance(value, dict):
        return Fault(ArgumentInvalid, at, "an object is expected")
    fields = listed.fields_for(value)
    known = {field.name for field in fields}
    for name in value:
        if name not in known:
            shown = visible(str(name), NAME_CHARS_MAX)
            return Fault(
                ArgumentUnknown, f"{at}.{shown}", "the fields of such an entry are in 'allowed'", tuple(sorted(known))
            )
    entry: dict[str, Json] = {}
    for field in fields:
        if field.name not in value:
            if field.required:
                return Fault(ArgumentMissing, f"{at}.{field.name}", "it has no default")
            entry[field.name] = field.fallback
            continue
        found = read(field, value[field.name], f"{at}.{field.name}")
        if isinstance(found, Fault):
            return found
        entry[field.name] = found
    return entry


def weigh(value: Json, chars_max: int) -> str | None:
    """Why a JSON value is too large to look at (values, depth, characters), or None. Never recursive."""
    todo: list[tuple[Json, int]] = [(value, 0)]
    nodes = chars = 0
    while todo:
        node, depth = todo.pop()
        nodes += 1
        if isinstance(node, str):
            chars += len(node)
        elif isinstance(node, dict):
            if not all(isinstance(name, str) for name in node):
                return "every name has to be a string"
            chars += sum(map(len, node))
            todo.extend((entry, depth + 1) for entry in node.values())
        elif isinstance(node, list):
            todo.extend((entry, depth + 1) for entry in node)
        if nodes + len(todo) > NODES_MAX or depth > DEPTH_MAX:
            return f"at most {NODES_MAX} values, {DEPTH_MAX} levels deep, fit"
        if chars > chars_max:
            return f"at most {chars_max} characters in all fit"
    return None


# ── kinds ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _read_string(field: Field, value: Json, at: str) -> Json | Fault:
    kind: type[Invalid] = PathInvalid if field.form is Form.PATH else ArgumentInvalid
    if not isinstance(value, str):
        return Fault(kind, at, "a string is expected")
    if len(value) > field.chars_max:
        return Fault(kind, at, f"at most {field.chars_max} characters fit")
    if len(value) < field.chars_min or (field.form is Form.PROSE and len(value.strip()) < field.chars_min):
        return Fault(kind, at, f"at least {field.chars_min} characters beside blanks are needed")
    if not has_utf8(value):
        return Fault(kind, at, "it holds half a character (a lone surrogate)")
    found = formed(field.form, value)
    return Fault(kind, at, found.reason) if isinstance(found, Unfit) else found


def _read_integer(field: Field, value: Json, at: str) -> Json | Fault:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return Fault(ArgumentInvalid, at, "an integer is expected")
    if not field.minimum <= value <= field.maximum:
        return Fault(ArgumentInvalid, at, f"it has to be from {field.minimum} to {field.maximum}")
    return value


def _read_boolean(_: Field, value: Json, at: str) -> Json | Fault:
    return value if isinstance(value, bool) else Fault(ArgumentInvalid, at, "true or false is expected")


def _read_choice(field: Field, value: Json, at: str) -> Json | Fault:
    if isinstance(value, str) and value in field.choices:
        return value
    if field.name in ("app", "service"):
        return Fault(AppUnknown, at, "those that are configured are in 'allowed'", field.choices)
    if field.name != "host":
        return Fault(ArgumentInvalid, at, "it has to be one of 'allowed'", field.choices)
    step = Recovery.use("hosts_list", {}, "It lists every host this principal may see.")
    return Fault(HostUnknown, at, "the names that come closest are in 'allowed'", field.choices, step=step)


def _read_list(field: Field, value: Json, at: str) -> Fault | None:
    if not isinstance(value, list):
        return Fault(ArgumentInvalid, at, "a list is expected")
    if not field.items_min <= len(value) <= field.items_max:
        return Fault(ArgumentInvalid, at, f"it has to hold {field.items_min} to {field.items_max} entries")
    return None


def _read_strings(field: Field, value: Json, at: str) -> Json | Fault:
    fault = _read_list(field, value, at)
    if fault is not None:
        return fault
    texts = []
    for index, entry in enumerate(value):
        text = _read_string(field, entry, f"{at}[{index}]")
        if isinstance(text, Fault):
            return text
        if field.choices and text not in field.choices:
            return Fault(AppUnknown, f"{at}[{index}]", "those that are configured are in 'allowed'", field.choices)
        texts.append(text)
    return texts


def _read_objects(field: Field, value: Json, at: str) -> Json | Fault:
    fault = _read_list(field, value, at)
    if fault is not None:
        return fault
    entries = []
    for index, entry in enumerate(value):
        found = read_entry(field, entry, f"{at}[{index}]")
        if isinstance(found, Fault):
            return found
        entries.append(found)
    return entries


def _read_object(field: Field, value: Json, at: str) -> Json | Fault:
    if not isinstance(value, dict):
        return Fault(ArgumentInvalid, at, "an object is expected")
    heavy = weigh(value, field.chars_max)
    return value if heavy is None else Fault(ArgumentInvalid, at, heavy)


_READERS: Mapping[Kind, Callable[[Field, Json, str], Json | Fault]] = {
    Kind.STRING: _read_string,
    Kind.INTEGER: _read_integer,
    Kind.BOOLEAN: _read_boolean,
    Kind.CHOICE: _read_choice,
    Kind.STRINGS: _read_strings,
    Kind.OBJECTS: _read_objects,
    Kind.OBJECT: _read_object,
}
