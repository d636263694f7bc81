"""Weighing: a deployment's net effect against what was expected on each host: what is beyond that, and its score.

Every host is weighed by itself, and the lowest score is the deployment's. It has none where a host was not seen whole.
All of it is pure, but that the facts of hosts are asked for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from interlock.deploy.asking import Deployment, command_of
from interlock.deploy.measuring import HOOKS, Seen, seen_on_hosts
from interlock.deploy.records import StepRow
from interlock.ports import Measured
from interlock_policies.facts import HostFacts
from interlock_policies.measured import undeclared_changes
from interlock_policies.severity import side_effects_score
from interlock_tools.apps import App
from interlock_tools.changes import Change, Weighed
from interlock_tools.effects import Effect, EffectKind, declaration_of
from interlock_tools.errors import Refusal
from interlock_tools.planning import effects_on
from interlock_tools.rollout import HostPlan, Kind, StepName

HOSTS_SAID_MAX = 10

Facts = Callable[[App], Awaitable[Mapping[str, HostFacts | Refusal]]]


async def measured_effect(
    deployment: Deployment, rows: Sequence[StepRow], facts_of: Facts, notes: tuple[str, ...] = ()
) -> Measured:
    """What the deployment changed, as its envelope has it. Its hosts' facts are asked for only where something is odd.

    An action of a service is not measured: its manager carries it out, and the plan declares it.
    """
    seen = () if deployment.rollout.kind is Kind.SERVICE else seen_on_hosts(rows)
    if not seen:
        return Measured(notes=notes)
    expected = {
        one.host: expected_on(deployment, deployment.rollout.host(one.host), real_of(rows, one)) for one in seen
    }
    beyond = {one.host: undeclared_changes(declaration_of(expected[one.host]), one.changes) for one in seen}
    facts = await facts_of(deployment.app) if any(beyond.values()) else {}
    unseen = [f"{one.host}: not all that changed there was seen ({one.why})" for one in seen if one.why]
    return Measured(
        observed=min((one.observed for one in seen), key=("none", "scanned", "confined").index),
        changes=tuple(_on(one.host, change) for one in seen for change in one.changes),
        notes=(*notes, *unseen[:HOSTS_SAID_MAX]),
        weighed=Weighed(
            tuple(_on(host, change) for host, changes in beyond.items() for change in changes),
            lowest([score_on(one, expected[one.host], facts.get(one.host, HostFacts(one.host))) for one in seen]),
        ),
    )


def _on(host: str, change: Change) -> Change:
    return replace(change, path=f"{host}:{change.path}")


def real_of(rows: Sequence[StepRow], seen: Seen) -> str:
    """Where the app's folder really lies on a host, as the host said when it was claimed; "" where it did not."""
    said = (row.detail.get("real") for row in rows if row.host == seen.host and row.step == StepName.CLAIM.value)
    return next((str(real) for real in said if real), "")


def expected_on(deployment: Deployment, plan: HostPlan, real: str = "") -> tuple[Effect, ...]:
    """What the plan means on this host, and what its hooks may change; in the words of the host itself as well.

    The folder `shared` is every app's, whether or not something is shared.
    """
    app, by = deployment.app, f"deploy_{deployment.rollout.kind.value}"
    trees = dict.fromkeys(tree for step in HOOKS for tree in _bounds_of(deployment, plan, step))
    found = [*effects_on(app, deployment.rollout, plan), Effect(EffectKind.WRITE, f"{app.path}/shared", by)]
    for tree in trees:
        found += [Effect(kind, tree, by, recursive=True) for kind in (EffectKind.WRITE, EffectKind.DELETE)]
    if real and real != app.path:
        found += [replace(effect, target=_moved(effect.target, app.path, real)) for effect in found]
    return tuple(dict.fromkeys(found))


def _bounds_of(deployment: Deployment, plan: HostPlan, step: StepName) -> tuple[str, ...]:
    """What this hook may write on the host; nothing where there is none, or nothing to go back to."""
    asked = command_of(deployment, plan, step) if plan.before or step is not StepName.ACTIVATE_BACK else None
    return asked.bounds.writes if asked is not None else ()


def _moved(path: str, place: str, real: str) -> str:
    return real + path[len(place) :] if path == place or path.startswith(place + "/") else path


def score_on(seen: Seen, expected: Sequence[Effect], facts: HostFacts | Refusal) -> float | None:
    """How far one host's effect stayed within what was expected; None where it was not seen, or cannot be weighed."""
    if seen.observed != "confined" or not isinstance(facts, HostFacts):
        return None
    return side_effects_score(declaration_of(expected), expected, seen.changes, seen.observed, facts)


def lowest(scores: Sequence[float | None]) -> float | None:
    """The lowest of all hosts; None where one of them has none."""
    known = [score for score in scores if score is not None]
    return min(known) if known and len(known) == len(scores) else None
