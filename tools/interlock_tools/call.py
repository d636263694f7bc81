"""A call: one validated request of one principal, and the digest that everything later is bound to. Values only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

from interlock_tools.effects import Declaration

Json = Any  # a JSON value: None, bool, int, float, str, list, dict

# What says how long to wait or how to find the answer again is not part of what was asked for.
_NOT_IN_DIGEST = frozenset({"wait_seconds", "idempotency_key"})


class Mode(StrEnum):
    """Land the effect, or only show it."""

    APPLY = "apply"
    PREVIEW = "preview"


class Confidence(StrEnum):
    """How sure the caller says it is."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


@dataclass(frozen=True, slots=True)
class Check:
    """One postcondition: `check` names its kind, `target` what is looked at, `expected` the value that passes."""

    check: str
    target: str = ""
    expected: str = ""


@dataclass(frozen=True)
class Call:
    """One request that passed validation.

    `arguments` holds the tool's own and the shared fields, complete with defaults and normalised; `host` is a name of
    the inventory, `any:GROUP` until a member is chosen, or "" for a tool that needs none.
    """

    call_id: str
    principal: str
    tool: str
    host: str
    arguments: Mapping[str, Json]
    intent: str = ""
    declaration: Declaration = field(default_factory=Declaration)
    verify: tuple[Check, ...] = ()
    mode: Mode = Mode.APPLY
    confidence: Confidence = Confidence.HIGH
    doubts: tuple[str, ...] = ()
    idempotency_key: str = ""
    timeout_seconds: int = 60
    wait_seconds: int = 50

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) over principal, tool and every argument that says what is to be done, in canonical JSON."""
        asked = {name: value for name, value in self.arguments.items() if name not in _NOT_IN_DIGEST}
        return digest_of({"principal": self.principal, "tool": self.tool, "arguments": asked})


def digest_of(value: Json) -> str:
    """SHA-256 (hex) of a JSON value in canonical form: sorted keys, no spaces, UTF-8."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
