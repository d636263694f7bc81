"""A tool as a value: its fields, its hints, and the pure ways from arguments to effects and plan. It never connects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from interlock_tools.call import Call, Json
from interlock_tools.effects import Declaration, Effect, Network, declaration_of
from interlock_tools.fields import Field
from interlock_tools.plan import Plan
from interlock_tools.values import Fault

Arguments = Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Hints:
    """The four hints of MCP; all are always set."""

    read_only: bool
    destructive: bool
    idempotent: bool
    open_world: bool


READS = Hints(read_only=True, destructive=False, idempotent=True, open_world=False)


@dataclass(frozen=True, slots=True)
class Contract:
    """One tool as a client sees it."""

    name: str
    title: str
    description: str
    input_schema: Mapping[str, Json]
    output_schema: Mapping[str, Json]
    hints: Hints


def _no_plan(_: Arguments) -> Plan | None:
    return None


def _no_effects(_: Arguments) -> tuple[Effect, ...]:
    return ()


def _no_fault(_: Arguments) -> Fault | None:
    return None


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool. `plan_of`, `effects_of` and `review` take complete, normalised arguments.

    `review` finds what a look at one field alone cannot. `declares`: the caller declares the expected effect in fields
    of its own (shell_run, call_commit); for every other tool it follows from `effects_of`. `runs`: it runs a command,
    which is analysed, and contained by the host's kernel. `deploys`: it names an app or a service, and the operator's
    configuration says on which hosts.
    """

    name: str
    title: str
    description: str
    fields: tuple[Field, ...]
    hints: Hints
    plan_of: Callable[[Arguments], Plan | None] = _no_plan
    effects_of: Callable[[Arguments], tuple[Effect, ...]] = _no_effects
    review: Callable[[Arguments], Fault | None] = _no_fault
    declares: bool = False
    runs: bool = False
    deploys: bool = False

    def plan(self, call: Call) -> Plan | None:
        """What it asks of a host; None where the server answers the call itself."""
        return self.plan_of(call.arguments)

    def effects(self, call: Call) -> tuple[Effect, ...]:
        """What the call's own arguments mean; empty for shell_run, whose command is analysed instead."""
        return self.effects_of(call.arguments)

    def reads_only(self, call: Call) -> bool:
        """True where the call, as its arguments stand, is not meant to change anything on a host."""
        return self.hints.read_only or (self.runs and call.declaration.is_empty)

    def declaration(self, arguments: Arguments) -> Declaration:
        """The expected effect: from the caller's own fields, else from what the arguments mean."""
        if self.declares:
            return Declaration(
                tuple(arguments["writes"]),
                tuple(arguments["deletes"]),
                tuple(arguments.get("services", ())),
                Network(arguments.get("network", Network.NONE)),
                tuple(arguments.get("reads", ())),
            )
        return declaration_of(self.effects_of(arguments))
