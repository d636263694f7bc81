"""Lint: whether a contract keeps to what every client accepts. It reads contracts; it changes and publishes none."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

from interlock_tools.call import Json
from interlock_tools.fields import INLINE_CHARS_MAX, INLINE_MAX
from interlock_tools.tool import Contract

TOOLS_MAX = 20
CATALOG_CHARS_MAX = 20_000  # with the deploy family; without it 16,000 are enough
DESCRIPTION_CHARS_MAX = 1_024
NESTING_MAX = 2  # a list of flat objects, or one flat object, below the root

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_REFUSED = ("$ref", "$defs", "definitions", "anyOf", "oneOf", "allOf", "not", "const", "if", "patternProperties")
_SCALARS = ("string", "integer", "number", "boolean")


@dataclass(frozen=True, slots=True)
class Problem:
    """What some client would refuse: the tool, the place in its contract, and a sentence."""

    tool: str
    path: str
    text: str


def lint(contract: Contract) -> tuple[Problem, ...]:
    """Every problem of one contract; empty where every client accepts it."""
    found = [*_outside(contract), *_input(contract.input_schema), *_output(contract.output_schema)]
    return tuple(Problem(contract.name, path, text) for path, text in found)


def lint_all(contracts: Sequence[Contract]) -> tuple[Problem, ...]:
    """Every problem of these contracts, each and together."""
    found = [problem for contract in contracts for problem in lint(contract)]
    names = [contract.name for contract in contracts]
    found += [Problem(name, "name", "two tools have this name") for name in sorted(set(names)) if names.count(name) > 1]
    if len(contracts) > TOOLS_MAX:
        found.append(Problem("", "", f"{len(contracts)} tools; clients work best with at most {TOOLS_MAX}"))
    chars = sum(map(wire_chars, contracts))
    if chars > CATALOG_CHARS_MAX:
        found.append(Problem("", "", f"all tools together take {chars} characters; at most {CATALOG_CHARS_MAX} should"))
    return tuple(found)


def wire_chars(contract: Contract) -> int:
    """How many characters a contract takes of a model's context: name, description and both schemas, compact."""
    parts = (contract.name, contract.description, contract.input_schema, contract.output_schema)
    return len(json.dumps(parts, separators=(",", ":"), ensure_ascii=False))


Found = Iterator[tuple[str, str]]


def _outside(contract: Contract) -> Found:
    if not _NAME.fullmatch(contract.name):
        yield "name", "a name is a lower-case letter, then at most 39 letters, digits and underscores"
    if not contract.title:
        yield "title", "a title is missing"
    yield from _described("description", contract.description)
    for hint in fields(contract.hints):
        if not isinstance(getattr(contract.hints, hint.name), bool):
            yield f"hints.{hint.name}", "every hint has to be set; some clients ask a human where one is not"
    if contract.hints.read_only and contract.hints.destructive:
        yield "hints", "a tool that only reads cannot be destructive"


def _input(schema: Mapping[str, Json]) -> Found:
    if schema.get("type") != "object":
        yield "input_schema", "the root has to be an object"
        return
    if schema.get("additionalProperties") is not False:
        yield "input_schema", "the root has to be closed (additionalProperties: false)"
    yield from _object("input_schema", schema, 0)


def _output(schema: Mapping[str, Json]) -> Found:
    if schema.get("type") != "object":
        yield "output_schema", "the root has to be an object"
    for word in _REFUSED:
        if word in schema:
            yield "output_schema", f"no client-safe schema has {word} at its root"


def _object(path: str, schema: Mapping[str, Json], depth: int) -> Found:
    if depth > NESTING_MAX:
        yield path, "it is nested too deeply"
        return
    properties = schema.get("properties", {})
    if depth and not properties:
        yield path, "some clients refuse an object that names no property"
    for missing in sorted(set(schema.get("required", ())) - set(properties)):
        yield path, f"it requires '{missing}', which it does not have"
    yield from _words(path, schema)
    for name, entry in properties.items():
        if not _NAME.fullmatch(name):
            yield f"{path}.{name}", "a name is a lower-case letter, then at most 39 letters, digits and underscores"
        yield from _described(f"{path}.{name}", entry.get("description", ""))
        yield from _property(f"{path}.{name}", entry, depth)


def _property(path: str, schema: Mapping[str, Json], depth: int) -> Found:
    kind = schema.get("type")
    if kind == "object":
        yield from _object(path, schema, depth + 1)
        return
    yield from _words(path, schema)
    if kind == "array":
        items = schema.get("items")
        if not isinstance(items, Mapping):
            yield path, "a list has to say what it holds"
        elif items.get("type") == "array":
            yield path, "a list of lists is refused by some clients"
        else:
            yield from _property(f"{path}[]", items, depth)
    elif kind not in _SCALARS:
        yield path, "its type has to be one of string, integer, number, boolean, array, object"
    yield from _enum(path, schema)


def _enum(path: str, schema: Mapping[str, Json]) -> Found:
    choices = schema.get("enum")
    if choices is None:
        return
    if schema.get("type") != "string" or not choices or not all(isinstance(choice, str) for choice in choices):
        yield path, "an enum has to be of strings, at least one"
    elif len(choices) > INLINE_MAX or sum(map(len, choices)) > INLINE_CHARS_MAX:
        yield path, f"an enum may hold at most {INLINE_MAX} values and {INLINE_CHARS_MAX} characters"
    elif len(set(choices)) != len(choices):
        yield path, "an enum may hold each value once"


def _words(path: str, schema: Mapping[str, Json]) -> Found:
    for word in _REFUSED:
        if word in schema:
            yield path, f"some clients refuse {word}"
    if isinstance(schema.get("type"), list):
        yield path, "some clients refuse a list of types"


def _described(path: str, text: str) -> Found:
    if not text:
        yield path, "a description is missing"
    elif len(text) > DESCRIPTION_CHARS_MAX:
        yield path, f"its description is longer than {DESCRIPTION_CHARS_MAX} characters"
