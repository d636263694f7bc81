"""Callers: who makes a request, as its transport established it. Values only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mcp.server.context import ServerRequestContext

Context = ServerRequestContext[Any, Any]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. `session` names one conversation; it is no secret."""

    principal: str
    session: str


CallerOf = Callable[[Context], Caller]
