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
    for section, field in ConfigFile.model_fields.items():
        model, named = _section(field.annotation)
        prefix = f"{section}.NAME" if named else section
        found += [_setting(f"{prefix}.{key}", inner) for key, inner in model.model_fields.items()]
    return tuple(found)


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
    return _KINDS.get(annotation, "text")


def _shown(default: object) -> str:
    """A default as TOML; "" where there is none."""
    if default is None or default is PydanticUndefined:
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, str):
        return f'"{default}"'
    if isinstance(default, list):
        return "[" + ", ".join(_shown(entry) for entry in default) + "]"
    return "{}" if default == {} else str(default)
