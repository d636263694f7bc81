"""Asking: what a deployment's step asks of its host: a command in its bounds, or work on the app's place. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from interlock.ports import Bounds
from interlock_policies.facts import Level
from interlock_tools.app_plans import (
    AppPlace,
    AppPlan,
    ClaimApp,
    DropRelease,
    FreeApp,
    LandFiles,
    NoteRelease,
    PlaceRelease,
    PruneReleases,
    SwitchRelease,
    UploadArtifact,
)
from interlock_tools.apps import App, Container, Hook, Strategy
from interlock_tools.call import Call
from interlock_tools.container_words import pull_command, replace_command, return_command
from interlock_tools.effects import Network
from interlock_tools.plan import RunCommand
from interlock_tools.rollout import BACK_STEPS, HostPlan, Kind, Rollout, StepName
from interlock_tools.service_words import service_command

LEASE_SECONDS = 300
LEASE_SECONDS_MAX = 7_200
COMMAND_SLACK_SECONDS = 10.0
ENGINE_SECONDS = 60.0

Report = Callable[[str], Awaitable[None]]


@dataclass(frozen=True)
class Deployment:
    """One deployment under way: the call, the app as it is configured, the rollout, and its fencing token."""

    call: Call
    app: App
    rollout: Rollout
    fence: int
    report: Report

    def place(self, step: StepName) -> AppPlace:
        """Where the app lies, and by which token it may be changed: going back has a newer one than going forward."""
        fence = self.fence + (step in BACK_STEPS)
        hooks = [hook.timeout_seconds for hook in (self.app.prepare, self.app.activate, self.app.after) if hook]
        longest = LEASE_SECONDS + max(hooks, default=0) + int(self.app.batches.pause_seconds)
        return AppPlace(self.app.path, self.call.call_id, fence, min(longest, LEASE_SECONDS_MAX))


@dataclass(frozen=True, slots=True)
class Asked:
    """A step that is a command on its host."""

    plan: RunCommand
    bounds: Bounds
    seconds: float


_HOOKS = {
    StepName.PREPARE: "prepare",
    StepName.ACTIVATE: "activate",
    StepName.AFTER: "after",
    StepName.ACTIVATE_BACK: "activate",
}


def command_of(deployment: Deployment, plan: HostPlan, step: StepName) -> Asked | None:
    """The command that this step is on its host; None where it is no command."""
    app, rollout = deployment.app, deployment.rollout
    if app.container is not None and rollout.kind is not Kind.SERVICE and step in _ENGINE_STEPS:
        return _of_engine(deployment, app.container, plan, step)
    if step in (StepName.SERVICE, StepName.SERVICE_BACK) and app.service is not None:
        action = rollout.action if rollout.kind is Kind.SERVICE else app.service.on_release
        seconds = app.service.timeout_seconds + COMMAND_SLACK_SECONDS
        return Asked(RunCommand(service_command(app.service, action), "/"), Bounds(Level.NONE), seconds)
    hook: Hook | None = getattr(app, _HOOKS[step]) if step in _HOOKS else None
    if hook is None:
        return None
    back = step is StepName.ACTIVATE_BACK
    return _hooked(app, hook, plan.before if back else rollout.release, rollout.release if back else plan.before)


_ENGINE_STEPS = (StepName.UPLOAD, StepName.SERVICE, StepName.SERVICE_BACK)


def _of_engine(deployment: Deployment, container: Container, plan: HostPlan, step: StepName) -> Asked:
    """What the engine is told: to pull, to replace the container, or to bring the one before back."""
    sha256 = plan.artifact.sha256 if plan.artifact is not None else ""
    by, seconds = deployment.call.call_id, container.stop_seconds + ENGINE_SECONDS
    if step is StepName.UPLOAD:
        command, seconds = pull_command(container, sha256), float(container.pull_seconds)
    elif step is StepName.SERVICE:
        command = replace_command(deployment.app, container, deployment.rollout.release, sha256, by)
    else:
        command = return_command(container, by)
    return Asked(RunCommand(command, "/"), Bounds(Level.NONE), seconds)


def _hooked(app: App, hook: Hook, release: str, before: str) -> Asked:
    folder = f"{app.path}/releases/{release}"
    shared = (f"{app.path}/shared",) if app.shared else ()
    bounds = Bounds(Level[hook.containment.upper()], Network(hook.network), (folder, *shared, *hook.writes))
    told = (("INTERLOCK_APP", app.name), ("INTERLOCK_RELEASE", release), ("INTERLOCK_BEFORE", before))
    command = RunCommand(shlex.join(hook.argv), folder, environment=told)
    return Asked(command, bounds, hook.timeout_seconds)


def app_plan(deployment: Deployment, plan: HostPlan, step: StepName) -> AppPlan:
    """What this step asks of the app's place on its host."""
    rollout, place = deployment.rollout, deployment.place(step)
    artifact = plan.artifact or rollout.artifact
    is_set = deployment.app.strategy is Strategy.FILES
    match step:
        case StepName.CLAIM | StepName.CLAIM_BACK:
            return ClaimApp(place)
        case StepName.PLACE if deployment.app.container is not None and artifact is not None:
            return NoteRelease(place, rollout.release, artifact.sha256)
        case StepName.UPLOAD if artifact is not None:
            return UploadArtifact(place, artifact.sha256, artifact.size)
        case StepName.PLACE if artifact is not None:
            return PlaceRelease(
                place,
                rollout.release,
                artifact.sha256,
                artifact.size,
                artifact.name,
                deployment.app.shared,
                deployment.app.unpack,
                private=is_set,
            )
        case StepName.SWITCH if is_set:
            return LandFiles(place, rollout.release, plan.before, _landed(plan))
        case StepName.SWITCH_BACK if is_set:
            return LandFiles(place, plan.before, rollout.release, _landed(plan), back=True)
        case StepName.SWITCH:
            return SwitchRelease(place, rollout.release, plan.before)
        case StepName.PRUNE:
            spare, container = (rollout.release, *filter(None, (plan.before,))), deployment.app.container
            about = (container.engine, container.name, container.image) if container is not None else None
            return PruneReleases(place, deployment.app.keep, spare, about)
        case StepName.SWITCH_BACK:
            return SwitchRelease(place, plan.before, rollout.release)
        case StepName.DROP:
            return DropRelease(place, rollout.release)
        case StepName.FREE | StepName.FREE_BACK:
            return FreeApp(place)
    raise ValueError(f"the step {step.value} asks nothing of an app's place")


def _landed(plan: HostPlan) -> tuple[tuple[str, str, str, str], ...]:
    return tuple((file.target, file.real, file.before, file.after) for file in plan.files)
