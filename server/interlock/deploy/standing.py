"""Standing: what hosts as they stand mean for a deployment: unreachable, misplaced, held, strictest. Pure."""

from __future__ import annotations

from dataclasses import replace

from interlock_policies.facts import Decision, HostFacts, Level, Verdict
from interlock_tools.apps import App
from interlock_tools.call import Call, Mode
from interlock_tools.errors import ConcurrencyLimited, HostUnreachable, Recovery, Refusal, StaleState
from interlock_tools.rollout import HostState

HOSTS_SAID_MAX = 5
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


def strictest(app: App, reached: list[HostFacts]) -> HostFacts:
    """The facts under which the whole call is recorded: the environment that policy takes most seriously."""

    def relaxed(facts: HostFacts) -> int:
        return 2 if facts.environment in _RELAXED else int(facts.environment == "staging")

    strictest = min(reached, key=relaxed)
    return replace(strictest, name=f"app:{app.name}")
