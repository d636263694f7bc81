"""A ticket: an admitted call with everything that was found out about it on the way. A value only."""

from __future__ import annotations

from dataclasses import dataclass

from interlock.ports import Request
from interlock.trail import Trail
from interlock_policies.facts import Decision, HostFacts, Principal
from interlock_tools.call import Call
from interlock_tools.catalog import Tool
from interlock_tools.effects import Effects
from interlock_tools.envelope import Attempt


@dataclass(frozen=True)
class Ticket:
    """An admitted call with everything that was found out about it."""

    request: Request
    call: Call
    tool: Tool
    principal: Principal
    facts: HostFacts
    effects: Effects
    decision: Decision
    trail: Trail
    validity: float | None
    approval_id: str = ""
    cost_units: int = 0
    attempts: tuple[Attempt, ...] = ()
    notices: tuple[str, ...] = ()
    spares: tuple[str, ...] = ()  # other members of the group that was addressed, for failover
