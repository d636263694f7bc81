"""Costs: what a call weighs in risk units, from what was inferred and the host; never from what a caller says.

units     = 1                                       for a call that only reads, anywhere
units     = 1 + environment × (Σ effects + unread)  else, at most COST_UNITS_MAX
effect    = base × 2 where it is recursive or a glob × 2 where its path lies outside workspace and scratch
base      = write 5 · delete 10 · service 10 · network 5 · system 15      (what cannot be put back weighs more)
unread    = 20 where a part is opaque + 10 for each unknown program + 10 where it becomes another user
environment = sandbox, dev 1 · staging 2 · everything else, also no environment at all, 3
"""

from __future__ import annotations

from collections.abc import Sequence

from interlock_policies.facts import HostFacts
from interlock_policies.paths import PathClass, reach
from interlock_policies.scope import is_sink
from interlock_tools.effects import Effect, EffectKind, Effects

COST_UNITS_MAX = 1_000
_BASE = {
    EffectKind.READ: 0,
    EffectKind.WRITE: 5,
    EffectKind.DELETE: 10,
    EffectKind.SERVICE: 10,
    EffectKind.NETWORK: 5,
    EffectKind.SYSTEM: 15,
}
_ENVIRONMENT = {"sandbox": 1, "dev": 1, "staging": 2}
_STRICTEST = 3
_OPAQUE = 20
_UNKNOWN_PROGRAM = 10
_PRIVILEGED = 10
_MOST_PERCENT = 50
_FURTHER = 4


def cost_units(effects: Effects, host: HostFacts) -> int:
    """The call's cost in risk units, 1 to COST_UNITS_MAX. `effects` are expected resolved on the host."""
    weight = sum(_effect(effect, host) for effect in dict.fromkeys(effects.inferred))
    weight += _OPAQUE if effects.opaque or effects.downloads_to_shell else 0
    weight += _UNKNOWN_PROGRAM * len(set(effects.unknown_programs))
    weight += _PRIVILEGED if effects.privileged else 0
    return min(1 + weight * _ENVIRONMENT.get(host.environment, _STRICTEST), COST_UNITS_MAX)


def fleet_units(units_per_host: Sequence[int], at_once_percent: int) -> int:
    """What one call on many hosts costs in risk units, 1 to COST_UNITS_MAX, by how much of the fleet it can break.

    units = m + (Σ units_per_host - m) / 4, where m is the most of units_per_host: each further host goes a road that
    was checked on the one before. Doubled where at_once_percent is over 50: more than half of the fleet changes
    before anything is checked. `units_per_host` holds `cost_units` of each host that the call touches.
    """
    most = max(units_per_host, default=0)
    weight = most + (sum(units_per_host) - most + _FURTHER - 1) // _FURTHER
    return max(1, min(weight * (2 if at_once_percent > _MOST_PERCENT else 1), COST_UNITS_MAX))


def _effect(effect: Effect, host: HostFacts) -> int:
    if is_sink(effect):
        return 0
    units = _BASE[effect.kind] * (2 if effect.recursive or not effect.exact else 1)
    if effect.kind not in (EffectKind.WRITE, EffectKind.DELETE):
        return units
    own = reach(effect.target, host, recursive=effect.recursive, exact=effect.exact).own
    return units if own & {PathClass.WORKSPACE, PathClass.SCRATCH} else units * 2
