"""The shipped rule packs and the schema they share, as texts. It reads only its own files; it decides nothing."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

SHIPPED = ("baseline", "environments", "confidence", "containment", "deploy")


@dataclass(frozen=True, slots=True)
class PolicySource:
    """One file of Cedar rules: a name for messages (a path, or `pack:NAME`) and its text."""

    name: str
    text: str = ""


def shipped(name: str) -> PolicySource:
    """A shipped pack. Raises KeyError, with the names there are, where there is none of this name."""
    if name not in SHIPPED:
        raise KeyError(f"there is no pack {name!r}; shipped are {', '.join(SHIPPED)}")
    return PolicySource(f"pack:{name}", _read(f"{name}.cedar"))


def schema_text() -> str:
    """The Cedar schema: every entity, action and attribute that a rule can speak of."""
    return _read("schema.cedarschema")


def _read(file: str) -> str:
    return resources.files(__package__).joinpath(file).read_text(encoding="utf-8")
