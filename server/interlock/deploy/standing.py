"""Standing: what hosts as they stand mean for a deployment: unreachable, misplaced, held, strictest. Pure."""

from __future__ import annotations

import re
from dataclasses import replace

from interlock_policies.facts import Decision, HostFacts, Level, Verdict
from interlock_tools.apps import App, Container
from interlock_tools.call import Call, Mode
from interlock_tools.errors import (
    ArgumentInvalid,
    ConcurrencyLimited,
    EngineUnavailable,
    HostUnreachable,
    Recovery,
    Refusal,
    StaleState,
)
from interlock_tools.found import HostState
from interlock_tools.plan import Deploy
from interlock_tools.rollout import Artifact

HOSTS_SAID_MAX = 5
_IMAGE = re.compile(r"(?:([^@]{1,400})@)?sha256:([0-9a-f]{64})")
_RELAXED = ("dev", "sandbox")


def for_mode(decision: Decision, call: Call) -> Decision:
    """A preview changes nothing: what would only ask a human shows itself without asking."""
    if call.mode is Mode.PREVIEW and decision.verdict is Verdict.ASK:
        return replace(decision, verdict=Verdict.ALLOW)
    return decision


def contained(app: App) -> Level:
    """How the hooks of a release run, as far as that holds for all of them."""
    hooks = [hook for hook in (app.prepare, app.activate, app.after) if hook is not None]
    return min((Level[hook.containment.upper()] for hook in hooks), default=Level.CONFINED)


def reached(app: App, states: tuple[HostState, ...]) -> Refusal | None:
    """Why hosts that cannot be reached stop it; None where they do not."""
    away = [state for state in states if state.why]
    if not away or (app.unreachable == "skip" and len(away) < len(states)):
        return None
    said = "; ".join(f"{state.host}: {state.why}" for state in away[:HOSTS_SAID_MAX])
    return HostUnreachable(reason=f"{len(away)} of {len(states)} hosts cannot be reached, nothing was changed ({said})")


def misplaced(states: tuple[HostState, ...]) -> Refusal | None:
    """Why the app's place cannot be used on some host; None where it can on all."""
    for state in states:
        if state.current == "other":
            step = Recovery.ask("A person moves away what lies there, or names another path for the app.")
            reason = f"{state.host}: 'current' is no link to one of its releases; nothing was changed"
            return StaleState(path="app", reason=reason, recovery=step)
        if state.holder:
            reason = f"{state.host}: the deployment {state.holder} holds the app there"
            return ConcurrencyLimited(path="app", reason=reason, retry_after_seconds=30)
    return None


def engineless(app: App, states: tuple[HostState, ...]) -> Refusal | None:
    """Why an app that is a container cannot be replaced on some host; None where it can on all."""
    for state in states:
        found = state.container
        if app.container is None or state.why or found is None:
            continue
        if not found.engine:
            return EngineUnavailable(reason=f"{state.host}: {found.why}")
        if found.foreign:
            step = Recovery.ask("A person renames or removes it, or names another container for the app.")
            reason = (
                f"{state.host}: a container {app.container.name} is there that is not this app's; nothing was changed"
            )
            return StaleState(path="app", reason=reason, recovery=step)
    return None


def image_named(container: Container, plan: Deploy) -> Artifact | Refusal:
    """The image that a release names by its digest; a refusal where it is another one's, or named by a tag."""
    named = _IMAGE.fullmatch(plan.artifact)
    if plan.artifact_host or plan.artifact_call or named is None or named[1] not in (None, container.image):
        step = Recovery.ask("Whoever built the image says its digest; a tag may lead to another image tomorrow.")
        reason = f"an image of {container.image} is named by its digest: sha256: and 64 hexadecimal digits"
        return ArgumentInvalid(path="artifact", reason=reason, recovery=step)
    if plan.sha256 and plan.sha256.lower() != named[2]:
        return ArgumentInvalid(path="sha256", reason="it is another digest than that of the artifact")
    return Artifact(container.image, named[2], 0)


def strictest(app: App, reached: list[HostFacts]) -> HostFacts:
    """The facts under which the whole call is recorded: the environment that policy takes most seriously."""

    def relaxed(facts: HostFacts) -> int:
        return 2 if facts.environment in _RELAXED else int(facts.environment == "staging")

    strictest = min(reached, key=relaxed)
    return replace(strictest, name=f"app:{app.name}")
