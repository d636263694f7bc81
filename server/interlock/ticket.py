"""A ticket: an admitted call with everything that was found out about it on the way. A value only."""

from __future__ import annotations

from dataclasses import dataclass

from interlock.ports import Bounds, Request
from interlock.records import LayerRow
from interlock.trail import Trail
from interlock_policies.cost import cost_units
from interlock_policies.facts import Decision, HostFacts, Level, Principal
from interlock_policies.measured import as_trees
from interlock_tools.call import Call
from interlock_tools.catalog import Tool
from interlock_tools.effects import Effects
from interlock_tools.envelope import Attempt
from interlock_tools.rollout import Rollout


@dataclass(frozen=True)
class Ticket:
    """An admitted call with everything that was found out about it.

    `decision` is on the whole call; `asks_first`: a human has to agree before anything of it runs, because a layer
    would not hold what they are asked about. `granted`: the approvals that were really given. `held`: the layer that
    this call lands or undoes. `landing`: its own layer, whose landing had begun when the server died. `rollout`: what a
    deployment does on which hosts; `units` is its cost then, and `facts` are those of its strictest host. `diff`: what
    it would change in files, line by line, where that is shown to somebody.
    """

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
    level: Level = Level.NONE
    asks_first: bool = False
    granted: frozenset[str] = frozenset()
    held: LayerRow | None = None
    landing: LayerRow | None = None
    rollout: Rollout | None = None
    diff: tuple[str, ...] = ()
    units: int = 0

    @property
    def cost(self) -> int:
        """What it costs in risk units."""
        return self.units or cost_units(self.weight, self.facts)

    @property
    def weight(self) -> Effects:
        """What its cost is reckoned from: of a held change each tree counts once, not each file in it."""
        return self.effects if self.held is None else as_trees(self.effects)

    @property
    def bounds(self) -> Bounds:
        """What the host's kernel is told to enforce."""
        declared = self.effects.declared
        shown = tuple(self.call.arguments.get("reads") or ())
        return Bounds(
            self.level, declared.network, declared.writes, declared.deletes, declared.services, shown,
            self.effects.paths, self.effects.believed,
        )  # fmt: skip
