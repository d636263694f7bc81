"""Proposing: the rollout that a call asks for, from what its app's hosts say now. Policy is asked by others."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from interlock.deploy.artifacts import Artifacts
from interlock.deploy.ports import DeployStore
from interlock.deploy.rendering import Rendering, Sets, release_of
from interlock.deploy.returning import rollback_of
from interlock.deploy.standing import engineless, image_named, misplaced, reached
from interlock.ports import Hosts, Store
from interlock_policies.facts import HostFacts
from interlock_tools.apps import App, Strategy
from interlock_tools.call import Call, Json
from interlock_tools.errors import ArgumentInvalid, Recovery, Refusal, StaleState
from interlock_tools.file_planning import unfit_files
from interlock_tools.found import HostState
from interlock_tools.plan import Deploy
from interlock_tools.planning import release_rollout, service_rollout
from interlock_tools.rollout import Artifact, Rollout

RELEASE_DIGITS = 12
Known = Mapping[str, HostFacts | Refusal]  # what is known of each host, or why it cannot be asked


@dataclass(frozen=True)
class Proposal:
    """What would be done (None = a look at the status), and of a set of files what each host is to have."""

    rollout: Rollout | None
    sets: Sets = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Proposing:
    """Makes rollouts. It changes nothing."""

    store: Store
    deployments: DeployStore
    hosts: Hosts
    artifacts: Artifacts
    rendering: Rendering

    async def states(self, app: App, known: Known, sets: Sets | None = None) -> tuple[HostState, ...]:
        """What each host says of the app; of a set of files also what lies at the places of these sets."""

        def more(host: str) -> Mapping[str, Json]:
            if app.strategy is Strategy.FILES:
                return {"targets": list(sets[host].files) if sets and host in sets else []}
            about = app.container
            return {} if about is None else {"container": {"engine": about.engine, "name": about.name, "app": app.name}}

        async def state(host: str, facts: HostFacts | Refusal) -> HostState:
            if isinstance(facts, Refusal):
                return HostState(host, why=f"{facts.code}: {facts.reason}")
            return await self.hosts.app_state(host, app.path, more(host))

        return tuple(await asyncio.gather(*(state(host, facts) for host, facts in known.items())))

    async def propose(self, app: App, plan: Deploy, call: Call, known: Known) -> Proposal | Refusal:
        """The rollout that is asked for, or why there can be none."""
        if plan.action == "status" and not plan.service:
            return Proposal(None)
        if plan.service:
            whys = {
                host: f"{facts.code}: {facts.reason}" for host, facts in known.items() if isinstance(facts, Refusal)
            }
            states = tuple(HostState(host, why=whys.get(host, "")) for host in known)
            return reached(app, states) or Proposal(service_rollout(app, plan.action, states))
        if plan.action == "rollback":
            states = await self.states(app, known)
            refused = reached(app, states) or misplaced(states) or engineless(app, states)
            rollout = refused or await rollback_of(app, plan.release, states, self.deployments)
            return rollout if isinstance(rollout, Refusal) else self._fit(app, Proposal(rollout))
        if plan.artifact_call and not await self._is_own(plan.artifact_call, call.principal):
            return ArgumentInvalid(path="artifact_call", reason="no call of this principal that succeeded has this id")
        return await self._release(app, plan, known)

    async def _release(self, app: App, plan: Deploy, known: Known) -> Proposal | Refusal:
        made = await self.prepared(app, plan)
        if isinstance(made, Refusal):
            return made
        artifact, sets = made
        states = await self.states(app, known, sets)
        refused = reached(app, states) or misplaced(states) or engineless(app, states)
        if refused is not None:
            return refused
        release = plan.release or (release_of(sets) if sets else artifact.sha256)[:RELEASE_DIGITS]
        for state in states:
            kept = state.release(release)
            sha256 = sets[state.host].artifact.sha256 if sets else artifact.sha256
            if kept is not None and kept.sha256 != sha256:
                other = {"release": f"{release}-{sha256[:4]}"}
                step = Recovery.change(other, "Under a name of its own it takes no other release's place.")
                reason = f"{state.host} keeps another release under the name {release}; nothing was sent"
                return StaleState(path="release", reason=reason, recovery=step)
        return self._fit(app, Proposal(release_rollout(app, release, artifact, states, sets or None), sets))

    async def prepared(self, app: App, plan: Deploy) -> tuple[Artifact, Sets] | Refusal:
        """The artifact that is named, and of a set of files what is made of it; from then on its bytes can be sent."""
        if app.strategy is Strategy.FILES and plan.artifact_host:
            step = Recovery.ask("It is put into the server's folder of artifacts, or printed by a call.")
            reason = "the files of an app are made on the server, of what lies there"
            return ArgumentInvalid(path="artifact_host", reason=reason, recovery=step)
        if app.container is not None:
            image = image_named(app.container, plan)
            return image if isinstance(image, Refusal) else (image, {})
        artifact = await self.artifacts.find(plan)
        if isinstance(artifact, Refusal) or app.strategy is not Strategy.FILES:
            return artifact if isinstance(artifact, Refusal) else (artifact, {})
        sets = await self.rendering.render(app, artifact)
        return sets if isinstance(sets, Refusal) else (artifact, sets)

    def _fit(self, app: App, proposal: Proposal) -> Proposal | Refusal:
        why = unfit_files(app, proposal.rollout.hosts) if proposal.rollout is not None else ""
        if not why:
            return proposal
        step = Recovery.ask("A person moves away what lies there, or changes the files of the app.")
        return StaleState(path="app", reason=f"{why}; nothing was changed", recovery=step)

    async def _is_own(self, call_id: str, principal: str) -> bool:
        row = await self.store.call(call_id)
        return row is not None and row.principal == principal and row.state.value == "succeeded"
