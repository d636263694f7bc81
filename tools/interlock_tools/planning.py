"""Planning: from an app and what its hosts say of themselves to a rollout, its effects, and its words. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from interlock_tools.apps import App
from interlock_tools.effects import Effect, EffectKind
from interlock_tools.file_planning import ORIGINAL, file_effects, file_plans, file_words
from interlock_tools.found import HostState
from interlock_tools.rollout import CLOSE_STEPS, Artifact, HostPlan, HostSet, Kind, Rollout, StepName


def release_rollout(
    app: App,
    release: str,
    artifact: Artifact,
    states: Sequence[HostState],
    sets: Mapping[str, HostSet] | None = None,
) -> Rollout:
    """Ship the artifact as this release to every host that was reached; the others come as skipped.

    `sets`: where the app is a set of files, what each host is to have. A host whose files drifted is changed too.
    """
    plans = []
    for state in states:
        made = sets[state.host] if sets is not None and not state.why else None
        files = file_plans(state, made.files) if made is not None else ()
        if not state.why and (state.live != release or files or not _runs(app, state, artifact.sha256)):
            own = made.artifact if made is not None else artifact if app.container is not None else None
            plans.append(replace(_ships(app, release, state), files=files, artifact=own))
    return _rollout(Kind.RELEASE, app, release, tuple(plans), states, artifact)


def _ships(app: App, release: str, state: HostState) -> HostPlan:
    has = state.release(release) is not None
    stage = [StepName.CLAIM, *(() if has else (StepName.UPLOAD, StepName.PLACE))]
    if has and app.container is not None:
        stage.append(StepName.UPLOAD)  # the engine may have lost the image of a release that is kept
    stage += [StepName.PREPARE] if app.prepare is not None else []
    drops = _dropped(app, release, state)
    return HostPlan(state.host, state.live, has, tuple(stage), _switching(app), CLOSE_STEPS, drops)


def _runs(app: App, state: HostState, sha256: str) -> bool:
    """False where the app is a container and another image runs than this one, or none."""
    return app.container is None or (state.container is not None and state.container.running == sha256)


def not_running(state: HostState) -> tuple[str, ...]:
    """Of an app that is a container: what keeps its live release from running, in words."""
    kept, found = state.release(state.live), state.container
    if found is None or kept is None:
        return ()
    if not found.engine or found.foreign:
        return (f"the container: {found.why or 'another one has its name'}",)
    return () if found.running == kept.sha256 else ("the container: it does not run the live release",)


def _dropped(app: App, release: str, state: HostState) -> tuple[str, ...]:
    """The releases beyond `keep`, once this one is the newest. The live one was just left: it is spared once."""
    newest = [kept.release for kept in state.kept if kept.release != release and kept.sha256]
    return tuple(name for name in newest[max(0, app.keep - 1) :] if name != state.live)


def rollback_rollout(app: App, release: str, states: Sequence[HostState]) -> Rollout:
    """Back to a release that every reached host keeps."""
    plans = []
    for state in states:
        kept = None if state.why else state.release(release)
        files = file_plans(state, kept.files) if kept is not None else ()
        sha256 = kept.sha256 if kept is not None else ""
        if not state.why and (state.live != release or files or not _runs(app, state, sha256)):
            own = Artifact(app.container.image, sha256, 0) if app.container is not None else None
            stage = (StepName.CLAIM, *((StepName.UPLOAD,) if own is not None else ()))
            steps = stage, _switching(app), (StepName.FREE,)
            plans.append(HostPlan(state.host, state.live, True, *steps, files=files, artifact=own))
    return _rollout(Kind.ROLLBACK, app, release, tuple(plans), states, None)


def service_rollout(app: App, action: str, states: Sequence[HostState]) -> Rollout:
    """One action of the app's service, host by host."""
    checked = bool(app.checks) and action in ("start", "restart", "reload")
    steps = (StepName.SERVICE, *((StepName.CHECK,) if checked else ()))
    plans = tuple(HostPlan(state.host, state.live, True, (), steps, ()) for state in states if not state.why)
    made = _rollout(Kind.SERVICE, app, "", plans, states, None)
    one_by_one = tuple((plan.host,) for plan in plans)
    return Rollout(Kind.SERVICE, app.name, "", plans, one_by_one, False, None, action, made.skipped)


def previous_release(state: HostState) -> str:
    """The newest kept release that was placed before the live one; "" where there is none."""
    live = state.release(state.live)
    earlier = [kept for kept in state.kept if kept.release != state.live and kept.sha256]
    if live is not None:
        earlier = [kept for kept in earlier if kept.placed_at <= live.placed_at]
    return max(earlier, key=lambda kept: kept.placed_at).release if earlier else ""


def _switching(app: App) -> tuple[StepName, ...]:
    steps = [StepName.SWITCH]
    steps += [StepName.ACTIVATE] if app.activate is not None else []
    serves = app.service is not None and app.service.on_release != "none"
    steps += [StepName.SERVICE] if serves or app.container is not None else []
    steps += [StepName.CHECK] if app.checks else []
    steps += [StepName.AFTER] if app.after is not None else []
    return tuple(steps)


def _rollout(
    kind: Kind,
    app: App,
    release: str,
    plans: tuple[HostPlan, ...],
    states: Sequence[HostState],
    artifact: Artifact | None,
) -> Rollout:
    skipped = tuple((state.host, state.why) for state in states if state.why)
    changed = {plan.host for plan in plans}
    unchanged = tuple(state.host for state in states if not state.why and state.host not in changed and release)
    batches, canary = batches_of(app, tuple(plan.host for plan in plans))
    return Rollout(kind, app.name, release, plans, batches, canary, artifact, "", skipped, unchanged)


def batches_of(app: App, hosts: tuple[str, ...]) -> tuple[tuple[tuple[str, ...], ...], bool]:
    """The hosts in the order in which they are switched, and whether the first batch is a canary.

    A share is one of the whole app's hosts, rounded up.
    """
    canary = min(_count(app.batches.canary, len(app.hosts)), len(hosts))
    size = max(1, _count(app.batches.size, len(app.hosts)))
    if canary >= len(hosts):  # whoever is alone is no canary of anybody
        return ((hosts,) if hosts else ()), False
    first = (hosts[:canary],) if canary else ()
    rest = hosts[canary:]
    return (*first, *(rest[at : at + size] for at in range(0, len(rest), size))), bool(canary)


def _count(text: str, whole: int) -> int:
    if text.endswith("%"):
        return math.ceil(whole * float(text[:-1]) / 100)
    return int(text)


def at_once_percent(app: App, rollout: Rollout) -> int:
    """The largest share of the app's hosts that is switched before any of them was checked (100 = all), 0 for none."""
    largest = max((len(batch) for batch in rollout.batches), default=0)
    return math.ceil(100 * largest / max(1, len(app.hosts)))


# ── what it means ────────────────────────────────────────────────────────────────────────────────────────────────────


def effects_on(app: App, rollout: Rollout, plan: HostPlan) -> tuple[Effect, ...]:
    """What the rollout changes on one host: paths, the service, what hooks may write and reach."""
    by = f"deploy_{rollout.kind.value}"
    if rollout.kind is Kind.SERVICE:
        return _service_effects(app, rollout.action, by)
    found = [
        Effect(EffectKind.WRITE, f"{app.path}/.interlock", by, recursive=True),
        Effect(EffectKind.WRITE, f"{app.path}/current", by),
    ]
    if not plan.has:
        found.append(Effect(EffectKind.WRITE, f"{app.path}/releases/{rollout.release}", by, recursive=True))
    found += file_effects(plan, by)
    if plan.files and not plan.before:
        found.append(Effect(EffectKind.WRITE, f"{app.path}/releases/{ORIGINAL}", by, recursive=True))
    if app.shared:
        found.append(Effect(EffectKind.WRITE, f"{app.path}/shared", by, recursive=True))
    found += [Effect(EffectKind.DELETE, f"{app.path}/releases/{name}", by, recursive=True) for name in plan.drops]
    for hook in (app.prepare, app.activate, app.after):
        if hook is not None:
            found += [Effect(EffectKind.WRITE, path, by, recursive=True) for path in hook.writes]
            found += [Effect(EffectKind.NETWORK, "?", by)] if hook.network == "outbound" else []
    if app.container is not None:  # the engine pulls the image over the network
        found += [Effect(EffectKind.NETWORK, "?", by), Effect(EffectKind.SERVICE, f"restart {app.container.name}", by)]
    on_release = app.service.on_release if app.service is not None else "none"
    return (*dict.fromkeys(found), *(_service_effects(app, on_release, by) if on_release != "none" else ()))


def _service_effects(app: App, action: str, by: str) -> tuple[Effect, ...]:
    if app.service is None or action == "status":
        return ()
    return (Effect(EffectKind.SERVICE, f"{action} {app.service.unit.rpartition('/')[2]}", by),)


def words_of(rollout: Rollout, *, files: bool = True) -> tuple[str, ...]:
    """The plan in lines, for a person: first what, then each host in the order in which it is switched.

    `files` False: a diff that stands beside it names the files.
    """
    what = rollout.release if rollout.kind is not Kind.SERVICE else rollout.action
    lines = [f"{rollout.kind.value} of {rollout.app}: {what}"]
    if rollout.artifact is not None:
        artifact = rollout.artifact
        size = f"{artifact.size} bytes, " if artifact.size else ""
        lines.append(f"artifact {artifact.name}, {size}sha256 {artifact.sha256}")
    for number, batch in enumerate(rollout.batches):
        name = "canary" if rollout.canary and number == 0 else f"batch {number + (0 if rollout.canary else 1)}"
        for host in batch:
            plan = rollout.host(host)
            steps = " ".join(step.value for step in (*plan.stage, *plan.switch, *plan.close))
            change = f"{plan.before or '(nothing)'} → {what}" if rollout.release else what
            removed = f", removes {' '.join(plan.drops)}" if plan.drops else ""
            lines.append(f"{name}: {host}: {change}: {steps}{removed}")
    lines += file_words(rollout) if files else ()
    lines += [f"unchanged: {host}: it is live there" for host in rollout.unchanged]
    lines += [f"skipped: {host}: {why}" for host, why in rollout.skipped]
    return tuple(lines)
