"""Fields: what one argument may be, and how it is printed in the schema subset of all clients. They check nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from interlock_tools.call import Json

INLINE_MAX = 100
INLINE_CHARS_MAX = 2_000
ANY_PREFIX = "any:"


class Kind(StrEnum):
    """The JSON shapes an argument may have."""

    STRING = "string"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    CHOICE = "choice"  # one of `choices`
    STRINGS = "strings"  # a list of strings
    OBJECTS = "objects"  # a list of flat objects with `fields`
    OBJECT = "object"  # an open object: the arguments of another call


class Form(StrEnum):
    """What the text of a string (or of each string of a list) has to look like."""

    TEXT = "text"  # anything that has a UTF-8 form
    PROSE = "prose"  # not blank
    LINE = "line"  # one line; no control character but the tab
    PATH = "path"  # absolute; comes out lexically normalised
    GLOB = "glob"  # a relative pattern of names
    ID = "id"  # letters, digits and ._:-
    LABEL = "label"  # key=value
    SERVICE = "service"  # a unit's name
    PORT = "port"  # [host:]port
    URL = "url"  # http or https
    NUMBER = "number"  # digits, as a string
    SHA256 = "sha256"  # 64 hex digits
    GUARD = "guard"  # 64 hex digits or "absent"
    OCTAL = "octal"  # a file mode up to 0777


_EMPTY: Mapping[Kind, Json] = {
    Kind.STRING: "",
    Kind.INTEGER: -1,
    Kind.BOOLEAN: False,
    Kind.CHOICE: "",
    Kind.STRINGS: (),
    Kind.OBJECTS: (),
    Kind.OBJECT: {},
}


@dataclass(frozen=True, slots=True)
class Field:
    """One argument, with every limit it has.

    `bounds_published`: its upper bound is printed too. `choices_published` False: the choices are too many to print and
    only checked. `clamps`: a number out of bounds may be moved to its bound without changing what is asked for.
    `fields` are those of each object of a list; `variants` replace them by the value of the first of them.
    `also` are other names that clients use for this field, `means` other words for its choices.
    """

    name: str
    kind: Kind
    description: str
    required: bool = False
    default: Json = None
    form: Form = Form.TEXT
    chars_min: int = 0
    chars_max: int = 1_000
    minimum: int = 0
    maximum: int = 0
    bounds_published: bool = False
    clamps: bool = True
    items_min: int = 0
    items_max: int = 100
    choices: tuple[str, ...] = ()
    choices_published: bool = True
    fields: tuple[Field, ...] = ()
    variants: Mapping[str, tuple[Field, ...]] = field(default_factory=dict)
    also: tuple[str, ...] = ()
    means: Mapping[str, str] = field(default_factory=dict)

    @property
    def fallback(self) -> Json:
        """The value of an argument that was not sent: its default, else its kind's empty value (-1 for integers)."""
        value = _EMPTY[self.kind] if self.default is None else self.default
        if self.kind is Kind.OBJECT:
            return dict(value)
        return list(value) if self.kind in (Kind.STRINGS, Kind.OBJECTS) else value

    def fields_for(self, entry: Mapping[str, Json]) -> tuple[Field, ...]:
        """The fields that one object of the list has to have."""
        chosen = entry.get(self.fields[0].name)
        return self.variants.get(chosen, self.fields) if isinstance(chosen, str) else self.fields

    def schema(self) -> dict[str, Json]:
        """Its JSON schema: no reference, no union, no constant; a description always."""
        shape = _SHAPES[self.kind](self)
        if self.default:
            shape["default"] = self.default
        shape["description"] = self.description
        return shape


def object_schema(fields: Iterable[Field]) -> dict[str, Json]:
    """A closed object with these fields."""
    listed = tuple(fields)
    schema: dict[str, Json] = {"type": "object", "properties": {entry.name: entry.schema() for entry in listed}}
    required = [entry.name for entry in listed if entry.required]
    if required:
        schema["required"] = required
    schema["additionalProperties"] = False
    return schema


def fits_inline(names: Sequence[str]) -> bool:
    """True where these names may stand in a published enum."""
    return 0 < len(names) <= INLINE_MAX and sum(map(len, names)) <= INLINE_CHARS_MAX


# ── shapes ───────────────────────────────────────────────────────────────────────────────────────────────────────────
# A bound is printed only where a caller is likely to run into it. All are checked; a refusal for one mends itself.


def _string(shown: Field) -> dict[str, Json]:
    shape: dict[str, Json] = {"type": "string"}
    if shown.bounds_published:
        shape["maxLength"] = shown.chars_max
    return shape


def _choice(shown: Field) -> dict[str, Json]:
    shape: dict[str, Json] = {"type": "string"}
    if shown.choices and shown.choices_published:
        shape["enum"] = list(shown.choices)
    return shape


def _integer(shown: Field) -> dict[str, Json]:
    return {"type": "integer", "maximum": shown.maximum} if shown.bounds_published else {"type": "integer"}


def _boolean(_: Field) -> dict[str, Json]:
    return {"type": "boolean"}


def _strings(shown: Field) -> dict[str, Json]:
    return {"type": "array", "items": _choice(shown)}


def _objects(shown: Field) -> dict[str, Json]:
    return {"type": "array", "items": object_schema(shown.fields)}


def _object(shown: Field) -> dict[str, Json]:
    # Open on purpose: it holds another tool's arguments. One of them is named, as some clients refuse an empty object.
    return {"type": "object", "properties": {entry.name: entry.schema() for entry in shown.fields}}


_SHAPES = {
    Kind.STRING: _string,
    Kind.INTEGER: _integer,
    Kind.BOOLEAN: _boolean,
    Kind.CHOICE: _choice,
    Kind.STRINGS: _strings,
    Kind.OBJECTS: _objects,
    Kind.OBJECT: _object,
}
