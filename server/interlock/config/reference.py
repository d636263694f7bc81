"""Every setting there is, read off the models themselves: what the documentation is checked against."""

from __future__ import annotations

import types
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from interlock.config.models import ConfigFile
from interlock.settings import SecretRef

_KINDS = {str: "text", int: "integer", float: "number", bool: "true or false", SecretRef: "reference to a secret"}


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of `interlock.toml`: its dotted name (NAME stands for a name of one's own), type, default and meaning."""

    key: str
    type: str
    default: str
    description: str


def settings_reference() -> tuple[Setting, ...]:
    """Every setting, section by section, in the order of the file."""
    found: list[Setting] = []
    for section, (model, named) in _sections().items():
        prefix = f"{section}.NAME" if named else section
        found += [_setting(f"{prefix}.{key}", inner) for key, inner in model.model_fields.items()]
    return tuple(found)


def inner_reference() -> dict[str, tuple[Setting, ...]]:
    """The settings of every table inside a section's own, by its dotted name; their keys are plain. Each kind once."""
    found: dict[str, tuple[Setting, ...]] = {}
    todo = [(f"{name}.NAME" if named else name, model) for name, (model, named) in _sections().items()]
    seen = {model for _, model in todo}
    while todo:
        name, model = todo.pop(0)
        for key, field in model.model_fields.items():
            inner = _inner(field.annotation)
            if inner and inner not in seen:
                seen.add(inner)
                todo.append((f"{name}.{key}", inner))
                found[f"{name}.{key}"] = tuple(_setting(*entry) for entry in inner.model_fields.items())
    return found


def _sections() -> dict[str, tuple[type[BaseModel], bool]]:
    return {name: _section(field.annotation) for name, field in ConfigFile.model_fields.items()}


def _inner(annotation: Any) -> type[BaseModel] | None:
    """The model of a table inside a table, or of a list of such; None for a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _inner(part))), None)


def _section(annotation: Any) -> tuple[type[BaseModel], bool]:
    """The model of a section, and whether the file has one such table for each name."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    return get_args(annotation)[1], True


def _setting(key: str, field: FieldInfo) -> Setting:
    default = field.get_default(call_default_factory=True, validated_data={})
    return Setting(key, _type(field.annotation), _shown(default), field.description or "")


def _type(annotation: Any) -> str:
    """A type in words."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(inner[0])
    if origin is Literal:
        return " or ".join(f'"{value}"' for value in inner)
    if origin in (Union, types.UnionType):
        return _type(next(kind for kind in inner if kind is not type(None)))
    if origin is list:
        return f"list of {_type(inner[0])}"
    if origin is dict:
        return f"table of {_type(inner[1])}"
    return "table" if _inner(annotation) else _KINDS.get(annotation, "text")


def _shown(default: object) -> str:
    """A default as TOML; "" where there is none, or one for each key of a table."""
    if default is None or default is PydanticUndefined or isinstance(default, BaseModel):
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, str):
        return f'"{default}"'
    if isinstance(default, list):
        return "[" + ", ".join(_shown(entry) for entry in default) + "]"
    return "{}" if default == {} else str(default)
