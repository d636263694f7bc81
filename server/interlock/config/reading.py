"""From the text of an `interlock.toml` to settings: syntax, shape, then meaning; it collects every problem."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from interlock.config.building import build
from interlock.config.faults import PROBLEMS_MAX, ConfigFault, Problem, did_you_mean, dotted
from interlock.config.lines import Lines, scan
from interlock.config.models import NAME_PATTERN, ConfigFile
from interlock.config.references import REFERENCE_FORMS
from interlock.settings import Settings

FILE_BYTES_MAX = 1024 * 1024
_SYNTAX_LINE = re.compile(r"at line (\d+)")
_SECRET_NAMES = re.compile(r"pass(word|phrase)?|secret|token|private_key", re.IGNORECASE)


def read_settings(path: Path) -> Settings:
    """The settings of one file. Raises ConfigFault with everything that is wrong; never anything else."""
    text = _text(path)
    try:
        data = tomllib.loads(text)
        lines = scan(text)
    except tomllib.TOMLDecodeError as fault:
        raise _syntax_fault(path, fault) from None
    except (RecursionError, ValueError, OverflowError):
        raise ConfigFault([Problem(str(path), 0, "", "a value cannot be read: nested too deep or too large")]) from None
    try:
        shape = ConfigFile.model_validate(data)
    except ValidationError as fault:
        details = fault.errors(include_url=False, include_context=True, include_input=False)
        raise ConfigFault([_problem(path, detail, lines) for detail in details[:PROBLEMS_MAX]]) from None
    except RecursionError:
        raise ConfigFault([Problem(str(path), 0, "", "nested too deep")]) from None
    settings, problems = build(shape, path, lines)
    if problems:
        raise ConfigFault(problems)
    return settings


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as fault:
        reason = (fault.strerror if isinstance(fault, OSError) else None) or "not a path"
        hint = "'interlock init' writes one to start from"
        raise ConfigFault([Problem(str(path), 0, "", f"cannot be read: {reason}", hint)]) from None
    if len(data) > FILE_BYTES_MAX:
        raise ConfigFault([Problem(str(path), 0, "", f"is larger than {FILE_BYTES_MAX} bytes")])
    try:
        return data.decode()
    except UnicodeDecodeError as fault:
        line = data.count(b"\n", 0, fault.start) + 1
        raise ConfigFault([Problem(str(path), line, "", "is not UTF-8 text")]) from None


def _syntax_fault(path: Path, fault: tomllib.TOMLDecodeError) -> ConfigFault:
    """What tomllib says, but for the key names and characters it quotes: a stray line may be a secret."""
    found = _SYNTAX_LINE.search(str(fault))
    message = "this is not TOML: " + re.sub(r"['\"(].*", "", str(fault)).strip().rstrip(":").lower()
    hint = 'values are written as key = "text", numbers, true, false, [lists] or {tables}'
    return ConfigFault([Problem(str(path), int(found.group(1)) if found else 0, "", message, hint)])


def _problem(path: Path, detail: ErrorDetails, lines: Lines) -> Problem:
    """One finding of pydantic in our words, without the value that was found."""
    plain = tuple(part for part in detail["loc"] if part != "[key]")
    key = dotted(plain)
    line = lines.at(plain)
    kind = detail["type"]
    if kind == "extra_forbidden":
        return Problem(str(path), line, key, "unknown key", _unknown_hint(plain))
    if kind == "secret_reference":
        return Problem(str(path), line, key, detail["msg"], REFERENCE_FORMS)
    if "[key]" in detail["loc"]:
        message, hint = "not a name", f"names match {NAME_PATTERN}"
        return Problem(str(path), line, key, message, hint)
    return Problem(str(path), line, key, "bad value", _allowed(detail))


def _allowed(detail: ErrorDetails) -> str:
    """What would be allowed instead."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "string_pattern_mismatch":
        return f"text that matches {context.get('pattern', '')}"
    said = re.sub(r"^Input should be ", "", detail["msg"])
    return said.replace("a valid dictionary", "a table").replace("a valid ", "a ").replace("a integer", "an integer")


def _unknown_hint(where: tuple[str | int, ...]) -> str:
    names = valid_keys(where[:-1])
    hint = did_you_mean(str(where[-1]), names)
    if _SECRET_NAMES.search(str(where[-1])) and not hint.startswith("did"):
        return "passwords are never configured: keys by reference in 'identities', or the ssh-agent"
    return hint


def valid_keys(where: Sequence[str | int]) -> list[str]:
    """The keys that the table at this path may have."""
    model: type[BaseModel] = ConfigFile
    parts = iter(where)
    for part in parts:
        field = model.model_fields.get(str(part))
        inner = _model_in(field.annotation) if field else None
        if field is not None and getattr(field.annotation, "__origin__", None) in (dict, list):
            next(parts, None)  # a name that the operator chose, or a place in a list
        model = inner or model
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that this annotation is, or that its table's values are."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    arguments = getattr(annotation, "__args__", ())
    return next((found for argument in arguments if (found := _model_in(argument))), None)
