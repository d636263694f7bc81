"""The guard: analysis and decision, put together for one host's facts. It asks hosts for paths; it runs nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from interlock.held import UNDO, changes_of, effects_of
from interlock.ports import Hosts, PathQuery
from interlock.records import LayerRow
from interlock.ticket import Ticket
from interlock_policies.engine import PolicyEngine
from interlock_policies.facts import Decision, HostFacts, Level, Principal, Rule, Situation, Verdict
from interlock_policies.honest import honest_commit
from interlock_policies.levels import choose_level, demanded
from interlock_policies.measured import undeclared_changes
from interlock_policies.obligations import containment_reachable
from interlock_policies.recover import correction
from interlock_policies.scope import honest_declaration, path_queries, resolved, undeclared
from interlock_policies.shell.analyse import Analyser
from interlock_tools.call import Call, Json
from interlock_tools.catalog import Tool
from interlock_tools.changes import Change
from interlock_tools.effects import Effect, EffectKind, Effects
from interlock_tools.errors import ArgumentInvalid, EffectUndeclared, PolicyDenied, Recovery, Refusal
from interlock_tools.postconditions import check_commands, check_effects

PATHS_MAX = 256
CORRECTIONS_TRIED_MAX = 4
TARGETS_SHOWN_MAX = 5
RULES_SAID_MAX = 3

_PATHS = (EffectKind.READ, EffectKind.WRITE, EffectKind.DELETE)
NONE_GIVEN = "(the caller gave no reason; this declaration was derived from the command)"


@dataclass(frozen=True, slots=True)
class Judged:
    """What policy says of a call before it runs, and how it would be contained.

    `asks_first`: a human has to agree before it runs, because a layer would not hold what they are asked about.
    """

    level: Level
    decision: Decision
    asks_first: bool


class Guard:
    """Holds the policy in force; `engine` is swapped whole, never changed."""

    def __init__(self, engine: PolicyEngine, analyser: Analyser, hosts: Hosts, command_chars_max: int) -> None:
        self.engine = engine
        self._command_chars_max = command_chars_max
        self._analyser = analyser
        self._hosts = hosts
        self._reading = asyncio.Lock()

    async def analyse(
        self, call: Call, tool: Tool, facts: HostFacts, held: LayerRow | None = None, *, fresh: bool = False
    ) -> Effects | Refusal:
        """What the call means on this host: inferred effects with every path resolved there, beside the declared.

        What a held layer holds was measured on the host: its paths are what they are. `fresh`: no path is believed to
        lead where it led a moment ago.
        """
        if held is not None and call.tool == UNDO:
            return effects_of(call, held)  # it declares, by itself, exactly what was measured
        if held is not None:
            declared = await self._resolve(Effects(declared=call.declaration), facts, recent=False)
            if isinstance(declared, Refusal):
                return declared
            return effects_of(replace(call, declaration=declared.declared), held)
        inferred = await self._inferred(call, tool, facts)
        if isinstance(inferred, Refusal):
            return inferred
        measured = await self._postconditions(call, facts)
        if isinstance(measured, Refusal):
            return measured
        whole = joined(inferred, measured)
        return await self._resolve(replace(whole, declared=call.declaration), facts, recent=tool.runs and not fresh)

    async def _inferred(self, call: Call, tool: Tool, facts: HostFacts) -> Effects | Refusal:
        command = call.arguments.get("command")
        if tool.name != "shell_run" or not isinstance(command, str):
            return Effects(inferred=tool.effects(call))
        cwd = call.arguments.get("cwd")
        meant = await self._read(command, cwd or facts.cwd, facts.home)
        if isinstance(meant, Refusal) or not cwd:
            return meant
        # Where it stands is looked at too: ls and grep -r read it without naming it.
        return replace(meant, inferred=(*meant.inferred, Effect(EffectKind.READ, cwd, "cd")))

    async def _postconditions(self, call: Call, facts: HostFacts) -> Effects | Refusal:
        """What measuring the call's checks means: they are decided together with the call."""
        whole = Effects(inferred=tuple(check_effects(call.verify)))
        for command in check_commands(call.verify):
            meant = await self._read(command, facts.cwd, facts.home)
            if isinstance(meant, Refusal):
                return replace(meant, path="verify")
            if meant.changes:
                reason = "a command_ok check may only read, and its command would do more or cannot be read"
                return ArgumentInvalid(path="verify", reason=reason)
            whole = joined(whole, meant)
        return whole

    async def _read(self, command: str, cwd: str, home: str) -> Effects | Refusal:
        known = self._analyser.known(command, cwd=cwd, home=home)
        if known is not None:
            return known
        # The first reading starts a process: it happens in a thread, one at a time, and the loop goes on meanwhile.
        async with self._reading:
            return await asyncio.to_thread(
                self._analyser.analyse, command, cwd=cwd, home=home, command_chars_max=self._command_chars_max
            )

    async def _resolve(self, effects: Effects, facts: HostFacts, *, recent: bool) -> Effects | Refusal:
        queries = path_queries(effects)
        if len(queries) > PATHS_MAX:
            return PolicyDenied(reason=f"it names {len(queries)} paths, more than {PATHS_MAX} can be decided at once")
        if not queries:
            return effects
        asked = [PathQuery(path, follow) for path, follow in queries]
        found = await self._hosts.resolve(facts.name, asked, recent=recent)
        if isinstance(found, Refusal):
            return found
        there = resolved(effects, {(query.path, query.follow): real for query, real in found.paths.items()})
        return replace(there, believed=found.believed)

    async def placed(self, effects: Effects, facts: HostFacts) -> Effects | Refusal:
        """These effects with every path as its host finds it now."""
        return await self._resolve(effects, facts, recent=False)

    def why(self, decision: Decision) -> str:
        """Why a decision is what it is, in the rules' own words."""
        return _why(decision)

    def decide(
        self, principal: Principal, facts: HostFacts, call: Call, effects: Effects, situation: Situation
    ) -> Decision:
        """The policy in force on this call, for what was granted so far."""
        return self.engine.decide(principal, facts, call, effects, situation)

    def judge(
        self,
        principal: Principal,
        facts: HostFacts,
        call: Call,
        tool: Tool,
        effects: Effects,
        situation: Situation,
        held: LayerRow | None = None,
    ) -> Judged:
        """The containment, and policy on the call in it: on its run alone, where nothing lands, and on the whole."""
        if held is not None:
            shown = replace(situation, containment=Level.STAGED.value, previewed=True)
            decision = self.engine.decide(principal, facts, call, effects, shown, measured=True)
            return Judged(Level.STAGED, decision, asks_first=decision.verdict is Verdict.ASK)
        most = Level(containment_reachable(facts))
        if not tool.runs and facts.undo:
            most = Level.STAGED  # the runner makes file work ready as a layer, whatever the kernel can do
        level = choose_level(tool, call, effects, facts, most)
        whole = self.decide(principal, facts, call, effects, replace(situation, containment=level.value))
        raised = demanded(whole)
        if whole.verdict is Verdict.ASK and level < raised and not tool.runs:
            open_ = replace(facts, containment=(Level.NONE.word,))  # no kernel contains what goes by the file channel
            whole = self.decide(principal, open_, call, effects, replace(situation, containment=level.value))
        elif whole.verdict is Verdict.ASK and level < raised <= most:
            level = raised
            whole = self.decide(principal, facts, call, effects, replace(situation, containment=level.value))
        if level is not Level.STAGED:
            return Judged(level, whole, asks_first=whole.verdict is Verdict.ASK)
        alone = replace(situation, containment=level.value, lands=False)
        run = self.decide(principal, facts, call, effects, alone)
        if Verdict.DENY in (run.verdict, whole.verdict):
            return Judged(level, run if run.verdict is Verdict.DENY else whole, asks_first=False)
        return Judged(level, whole if whole.verdict is Verdict.ASK else run, run.verdict is Verdict.ASK)

    async def refusal(
        self,
        principal: Principal,
        facts: HostFacts,
        call: Call,
        tool: Tool,
        effects: Effects,
        decision: Decision,
        level: Level = Level.NONE,
        held: LayerRow | None = None,
    ) -> Refusal | None:
        """Why this decision refuses the call, with a recovery that was tried and would pass; None = it does not.

        What a layer holds is not refused for what it may change: that is measured, and decided before it lands.
        """
        if held is not None and tool.declares and (wrong := self._misdeclared(effects, held, decision)) is not None:
            return wrong
        beyond = undeclared(effects) if "command" in call.arguments else ()
        if level is Level.STAGED and decision.verdict is not Verdict.DENY:
            beyond = tuple(effect for effect in beyond if effect.kind not in _PATHS)
        if beyond:
            return await self._undeclared(principal, facts, call, tool, effects, decision, beyond)
        if decision.verdict is not Verdict.DENY:
            return None
        return PolicyDenied(reason=_why(decision), rules=decision.rule_ids, allowed=tuple(facts.workspace))

    def _misdeclared(self, effects: Effects, held: LayerRow, decision: Decision) -> Refusal | None:
        """Why a commit's declaration does not match what is held; None where it does."""
        changes = changes_of(held)
        beyond = undeclared_changes(effects.declared, changes)
        if not beyond:
            return None
        shown = ", ".join(f"{change.op.value} {change.path}" for change in beyond[:TARGETS_SHOWN_MAX])
        refusal = EffectUndeclared(reason=f"it would {shown}, which it does not declare", rules=decision.rule_ids)
        honest = honest_commit(effects.declared, changes)
        if not honest:
            return refusal.with_recovery(Recovery.ask("No declaration that can be sent covers all that is held."))
        return refusal.with_recovery(Recovery.change(honest, "This declares exactly what is held."))

    async def _undeclared(
        self,
        principal: Principal,
        facts: HostFacts,
        call: Call,
        tool: Tool,
        effects: Effects,
        decision: Decision,
        beyond: tuple[Effect, ...],
    ) -> Refusal:
        reason = f"it would {_sentence(beyond)}"
        refusal = EffectUndeclared(reason=reason, rules=decision.rule_ids)
        corrected = await self._corrected(principal, facts, call, tool, beyond)
        if corrected:
            because = "This is the command that does what was declared; it was analysed and decided already."
            return refusal.with_recovery(Recovery.change({"command": corrected}, because))
        honest = honest_declaration(effects)
        if not call.intent:
            honest["intent"] = NONE_GIVEN
        widened = replace(effects, declared=_widened(call, honest))
        if self.decide(principal, facts, call, widened, Situation()).verdict is Verdict.DENY:
            because = f"Policy would deny it with an honest declaration too: {_why(decision)}."
            return refusal.with_recovery(Recovery.give_up(because))
        return refusal.with_recovery(Recovery.change(honest, "This declares what the command would do."))

    async def beyond_measure(
        self, ticket: Ticket, effects: Effects, changes: Sequence[Change], decision: Decision
    ) -> Recovery:
        """What to do where more was changed than declared: the command that was meant, else an honest declaration."""
        call = ticket.call
        meant = await self.meant(ticket, ticket.effects) or await self.meant(ticket, effects)
        if meant is not None:
            return meant
        if decision.verdict is Verdict.DENY:
            return Recovery.give_up(f"Policy would deny it with an honest declaration too: {self.why(decision)}.")
        if changes and not honest_commit(ticket.effects.declared, changes):
            return Recovery.ask("No declaration that can be sent covers all that it changed.")
        whole = {"call_id": call.call_id, **honest_commit(ticket.effects.declared, changes)}
        whole["intent"] = call.intent or NONE_GIVEN
        because = (
            "It lands what is held, exactly as it was shown, with a declaration that matches it; nothing runs again."
        )
        return Recovery.use("call_commit", whole, because)

    async def meant(self, ticket: Ticket, effects: Effects) -> Recovery | None:
        """The command that does what was declared, where this one would do it elsewhere; None where none is found."""
        if "command" not in ticket.call.arguments:
            return None
        beyond = undeclared(replace(effects, declared=ticket.effects.declared))
        corrected = await self._corrected(ticket.principal, ticket.facts, ticket.call, ticket.tool, beyond)
        if not corrected:
            return None
        because = "This is the command that does what was declared; it was analysed and decided already."
        return Recovery.change({"command": corrected}, because)

    async def _corrected(
        self,
        principal: Principal,
        facts: HostFacts,
        call: Call,
        tool: Tool,
        beyond: tuple[Effect, ...],
    ) -> str:
        """A command that stays within what was declared and is not denied, or "" where none is near."""
        command = str(call.arguments["command"])
        cwd = call.arguments.get("cwd") or facts.cwd
        for candidate in correction(command, call.declaration, beyond, cwd)[:CORRECTIONS_TRIED_MAX]:
            trial = replace(call, arguments={**call.arguments, "command": candidate})
            meant = await self.analyse(trial, tool, facts)
            if isinstance(meant, Refusal) or undeclared(meant):
                continue
            if self.decide(principal, facts, trial, meant, Situation()).verdict is not Verdict.DENY:
                return candidate
        return ""


def joined(first: Effects, second: Effects) -> Effects:
    """Both together: everything that either would do. The declaration is the first one's."""
    return replace(
        first,
        inferred=tuple(dict.fromkeys(first.inferred + second.inferred)),
        programs=tuple(dict.fromkeys(first.programs + second.programs)),
        unknown_programs=tuple(dict.fromkeys(first.unknown_programs + second.unknown_programs)),
        opaque=tuple(dict.fromkeys(first.opaque + second.opaque)),
        privileged=first.privileged or second.privileged,
        downloads_to_shell=first.downloads_to_shell or second.downloads_to_shell,
    )


def effects_json(effects: Effects) -> dict[str, Json]:
    """The analysis as it is recorded and shown."""
    return {
        "declared": {
            "writes": list(effects.declared.writes),
            "deletes": list(effects.declared.deletes),
            "reads": list(effects.declared.reads),
            "services": list(effects.declared.services),
            "network": effects.declared.network.value,
        },
        "inferred": [
            {"kind": e.kind.value, "target": e.target, "by": e.by, "recursive": e.recursive, "exact": e.exact}
            for e in effects.inferred
        ],
        "programs": list(effects.programs),
        "unknown_programs": list(effects.unknown_programs),
        "opaque": list(effects.opaque),
        "privileged": effects.privileged,
    }


def _widened(call: Call, honest: dict[str, Json]) -> Json:
    return replace(
        call.declaration,
        writes=tuple(honest.get("writes", call.declaration.writes)),
        deletes=tuple(honest.get("deletes", call.declaration.deletes)),
        services=tuple(honest.get("services", call.declaration.services)),
        network=type(call.declaration.network)(honest.get("network", call.declaration.network)),
    )


def _sentence(effects: tuple[Effect, ...]) -> str:
    shown = ", ".join(f"{effect.kind.value} {effect.target}" for effect in effects[:TARGETS_SHOWN_MAX])
    more = len(effects) - TARGETS_SHOWN_MAX
    return shown + (f" and {more} more" if more > 0 else "") + ", which it does not declare"


def _why(decision: Decision) -> str:
    """Why a decision is what it is, in the rules' own words."""
    if decision.errors:
        return "the policy engine met an error, and an error denies"
    if not decision.rules:
        return "no rule permits it, and what nothing permits is denied"
    return "; ".join(_said(rule) for rule in decision.rules[:RULES_SAID_MAX])


def _said(rule: Rule) -> str:
    """A rule in words: its title, and what would help."""
    title, hint = rule.title.rstrip("."), rule.hint.rstrip(".")
    return f"{title} ({hint})" if title and hint else title or hint or rule.id
