"""Costs: grave things weigh more, and nothing that a caller says weighs anything."""

from interlock_policies.cost import COST_UNITS_MAX, cost_units
from interlock_policies.facts import HostFacts
from interlock_tools.effects import Declaration, Effect, EffectKind, Effects, Network


def host(env: str) -> HostFacts:
    return HostFacts("h", labels={"env": env} if env else {}, workspace=("/srv/app",), home="/home/agent")


def of(*effects: Effect) -> Effects:
    return Effects(inferred=effects)


WRITE = Effect(EffectKind.WRITE, "/srv/app/x", "tool")
DELETE = Effect(EffectKind.DELETE, "/srv/app/x", "tool")


def test_reading_costs_one_unit_anywhere() -> None:
    reads = of(*(Effect(EffectKind.READ, f"/etc/{n}", "cat") for n in range(50)))
    assert cost_units(reads, host("prod")) == cost_units(Effects(), host("")) == 1


def test_the_formula_is_the_documented_one() -> None:
    tree = Effect(EffectKind.DELETE, "/var/lib/x", "rm", recursive=True)
    assert cost_units(of(WRITE), host("dev")) == 1 + 5
    assert cost_units(of(DELETE), host("staging")) == 1 + 2 * 10
    assert cost_units(of(tree), host("prod")) == 1 + 3 * 10 * 2 * 2
    assert cost_units(Effects(opaque=("x",), unknown_programs=("a", "b"), privileged=True), host("dev")) == 1 + 50


def test_a_host_without_an_environment_costs_like_production() -> None:
    assert cost_units(of(WRITE), host("")) == cost_units(of(WRITE), host("prod")) == cost_units(of(WRITE), host("live"))


def test_what_was_declared_costs_nothing_and_saves_nothing() -> None:
    wide = Declaration(("/srv",), ("/srv",), ("nginx",), Network.OUTBOUND)
    assert cost_units(Effects(wide, (WRITE,)), host("dev")) == cost_units(of(WRITE), host("dev"))


def test_writing_to_nowhere_is_no_change_and_the_same_effect_counts_once() -> None:
    nowhere = Effect(EffectKind.WRITE, "/dev/null", "cat")
    assert cost_units(of(nowhere, WRITE, WRITE), host("dev")) == cost_units(of(WRITE), host("dev"))


def test_the_cost_is_bounded() -> None:
    many = of(*(Effect(EffectKind.DELETE, f"/opt/{n}", "rm") for n in range(500)))
    assert cost_units(many, host("prod")) == COST_UNITS_MAX
