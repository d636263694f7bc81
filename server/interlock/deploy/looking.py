"""Looking: what a deployment would do and whether policy lets it, from what its hosts say now. It changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from interlock.deploy.diffs import diff_of
from interlock.deploy.proposing import Proposing
from interlock.deploy.standing import contained, for_mode, strictest
from interlock.entry import Entry
from interlock.guard import Guard
from interlock.hosts.secret_files import is_secret
from interlock.ports import Hosts, Request
from interlock.ticket import Ticket
from interlock.trail import Step, Trail
from interlock_policies.calendar import frozen, in_window, local_time
from interlock_policies.cost import cost_units, fleet_units
from interlock_policies.facts import Fleet, HostFacts, Situation, Verdict
from interlock_policies.together import together
from interlock_tools.apps import App
from interlock_tools.call import Call, Mode
from interlock_tools.effects import Effect, EffectKind, Effects, declaration_of
from interlock_tools.errors import (
    AppUnknown,
    HostUnreachable,
    Internal,
    Refusal,
)
from interlock_tools.plan import Deploy
from interlock_tools.planning import (
    at_once_percent,
    effects_on,
)
from interlock_tools.rollout import Rollout


@dataclass(frozen=True)
class Looking:
    """Plans and weighs deployments."""

    entry: Entry
    guard: Guard
    hosts: Hosts
    proposing: Proposing
    clock: Callable[[], float]

    async def look(
        self,
        request: Request,
        call: Call,
        trail: Trail,
        validity: float | None,
        approvals: frozenset[str] = frozenset(),
    ) -> Ticket | Refusal:
        """The ticket of a deployment: its rollout, effects on each host, and one decision for all; or why not."""
        tool, principal = self.entry.tool(request), self.entry.principal(request.principal)
        plan = tool.plan(call)
        if not isinstance(plan, Deploy):
            return Internal(reason="a deploy tool without a deployment")
        app = self.app_of(plan, call.principal)
        if app is None:
            return AppUnknown(path="app", reason="it is not configured any more")
        with trail.step(Step.ANALYSE) as seen:
            known = await self.facts(app, plan.host)
            proposal = await self.proposing.propose(app, plan, call, known)
            if isinstance(proposal, Refusal):
                return proposal
            rollout = proposal.rollout
            effects = await self._effects(app, rollout, known)
            if isinstance(effects, Refusal):
                return effects
            source = await self._source(plan, call)
            if isinstance(source, Refusal):
                return source
            seen.update(hosts=len(effects), inferred=sum(len(found.inferred) for found in effects.values()))
        with trail.step(Step.DECIDE) as seen:
            reached = {host: facts for host, facts in known.items() if isinstance(facts, HostFacts)}
            situation = replace(self._situation(app, rollout), approvals=approvals)
            decisions = [
                self.guard.decide(principal, reached[host], call, found, situation) for host, found in effects.items()
            ]
            if source is not None:
                decisions.append(self.guard.decide(principal, *source, self.entry.situation()))
            decision = for_mode(together(decisions), call)
            seen.update(verdict=decision.verdict.value, rules=list(decision.rule_ids))
        asks = decision.verdict is Verdict.ASK
        shows = rollout is not None and (asks or call.mode is Mode.PREVIEW)

        def may_read(host: str, path: str) -> bool:
            reads = Effects(inferred=(Effect(EffectKind.READ, path, call.tool),))
            return self.guard.decide(principal, reached[host], call, reads, situation).verdict is Verdict.ALLOW

        def sees(host: str, path: str) -> bool:
            """What is a secret by its place is shown to nobody; whoever only looks sees what they may read."""
            return not is_secret(path, reached[host]) and (call.mode is not Mode.PREVIEW or may_read(host, path))

        diff = await diff_of(self.hosts, app, rollout, proposal.sets, sees) if rollout and shows else ()
        units = [cost_units(found, reached[host]) for host, found in effects.items()]
        whole = Effects(inferred=tuple(dict.fromkeys(each for found in effects.values() for each in found.inferred)))
        return Ticket(
            request,
            replace(call, host=f"app:{app.name}", declaration=declaration_of(whole.inferred)),
            tool,
            principal,
            strictest(app, list(reached.values())),
            replace(whole, declared=declaration_of(whole.inferred)),
            decision,
            trail,
            validity,
            level=contained(app),
            asks_first=asks and call.mode is Mode.APPLY,
            rollout=rollout,
            diff=diff,
            units=fleet_units(units, at_once_percent(app, rollout) if rollout is not None else 0),
        )

    # ── which app, which hosts ───────────────────────────────────────────────────────────────────────────────────────

    def app_of(self, plan: Deploy, principal: str) -> App | None:
        """The app that is meant, of those that the principal may name.

        Of a service the first app that has it, on every host on which an app has the very same one.
        """
        seen = self.entry.catalogs.apps(principal)
        if not plan.service:
            return next((app for app in seen if app.name == plan.app), None)
        having = [app for app in seen if app.service is not None and app.service.unit == plan.service]
        having = [app for app in having if not plan.host or plan.host in app.hosts]
        having = [app for app in having if app.service == having[0].service]
        if not having:
            return None
        hosts = tuple(dict.fromkeys(host for app in having for host in app.hosts))
        checks = having[0].checks if len(having) == 1 else ()
        return replace(having[0], hosts=hosts, checks=checks)

    async def facts(self, app: App, host: str = "") -> dict[str, HostFacts | Refusal]:
        """What is known of each host of the app, or of this one alone, or why it cannot be asked."""
        wanted = [host] if host else list(app.hosts)
        found = await asyncio.gather(*(self.hosts.facts(host) for host in wanted))
        for facts in found:
            if isinstance(facts, HostFacts):
                self.entry.learn(facts)
        return dict(zip(wanted, found, strict=True))

    async def _source(self, plan: Deploy, call: Call) -> tuple[HostFacts, Call, Effects] | Refusal | None:
        """The host that an artifact is read from, and what that means there; None where it lies here."""
        if not plan.artifact_host:
            return None
        facts = await self.hosts.facts(plan.artifact_host)
        if isinstance(facts, Refusal):
            return facts
        reads = Effects(inferred=(Effect(EffectKind.READ, plan.artifact, "deploy_release"),))
        placed = await self.guard.placed(reads, facts)
        return placed if isinstance(placed, Refusal) else (facts, call, placed)

    # ── effects and policy ───────────────────────────────────────────────────────────────────────────────────────────

    async def _effects(
        self, app: App, rollout: Rollout | None, known: Mapping[str, HostFacts | Refusal]
    ) -> dict[str, Effects] | Refusal:
        """What it means on each host that it touches, every path as that host finds it."""
        reads = Effects(inferred=(Effect(EffectKind.READ, app.path, "deploy_status"),))
        if rollout is None or rollout.is_empty:
            meant = {host: reads for host, facts in known.items() if isinstance(facts, HostFacts)}
        else:
            meant = {plan.host: Effects(inferred=effects_on(app, rollout, plan)) for plan in rollout.hosts}
        asked = [(host, facts) for host in meant if isinstance(facts := known[host], HostFacts)]
        placed = await asyncio.gather(*(self.guard.placed(meant[host], facts) for host, facts in asked))
        found: dict[str, Effects] = {}
        for (host, _), effects in zip(asked, placed, strict=True):
            if isinstance(effects, Refusal):
                return effects
            found[host] = effects
        return found or HostUnreachable(reason="none of the app's hosts can be reached; nothing was changed")

    def _situation(self, app: App, rollout: Rollout | None) -> Situation:
        now = self.entry.situation()
        if rollout is None or rollout.is_empty:
            return now
        moment = local_time(self.clock(), app.timezone)
        fleet = Fleet(
            app=app.name,
            owner=app.owner,
            release=rollout.release,
            hosts=len(rollout.hosts),
            fleet=len(app.hosts),
            share=at_once_percent(app, rollout),
            canary=rollout.canary,
            frozen=frozen(app.freezes, moment),
            in_window=in_window(app.windows, moment),
        )
        return replace(now, fleet=fleet, containment=contained(app))
