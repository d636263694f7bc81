"""Telling: what became of a deployment, host by host, from its record. It asks nobody, and invents no success."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from interlock.deploy.driving import Record
from interlock.deploy.records import DeploymentRow, StepRow
from interlock_tools.call import Json
from interlock_tools.rollout import BACK_STEPS, HostPlan, Kind, Rollout, StepName

_PROOF = (StepName.ACTIVATE_BACK.value, StepName.SERVICE_BACK.value, StepName.CHECK_BACK.value)


def result_of(rollout: Rollout, rows: Sequence[StepRow], outcome: str, seconds: float) -> dict[str, Json]:
    """The result of a deployment: its `outcome`, and for each host the release before and after, checks, seconds."""
    record = Record.of(rows)
    hosts = [_host(rollout, plan, record, rows, outcome) for plan in rollout.hosts]
    skipped = dict(rollout.skipped) | {entry["host"]: entry["why"] for entry in hosts if entry["state"] == "skipped"}
    return {
        "app": rollout.app,
        "kind": rollout.kind.value,
        "release": rollout.release,
        **({"action": rollout.action} if rollout.action else {}),
        "outcome": outcome,
        "hosts": hosts,
        "unchanged": list(rollout.unchanged),
        "skipped": [{"host": host, "why": why} for host, why in skipped.items()],
        "seconds": round(seconds, 3),
    }


def _host(rollout: Rollout, plan: HostPlan, record: Record, rows: Sequence[StepRow], outcome: str) -> dict[str, Json]:
    own = [row for row in rows if row.host == plan.host]
    state, why = state_of(rollout, plan, record)
    if outcome in ("taken_back", "unknown") and rollout.kind is not Kind.SERVICE and not record.switched(plan.host):
        state = "untouched"  # at worst what was staged is left there
    after = {"live": rollout.release, "unknown": "?"}.get(state, plan.before)
    checks = [check for row in own if row.step in ("check", "soak", "check_back") for check in _checks(row)]
    seconds = sum(row.ended - row.began for row in own if row.ended is not None)
    shown: dict[str, Json] = {"host": plan.host, "state": state, "seconds": round(seconds, 3)}
    if rollout.release:
        shown |= {"before": plan.before, "after": after}
    said = record.known(plan.host, StepName.SERVICE) if rollout.kind is Kind.SERVICE else None
    shown |= {"said": said.detail.get("stdout", "")} if said is not None else {}
    return shown | ({"checks": checks} if checks else {}) | ({"why": why} if why else {})


def _checks(row: StepRow) -> Sequence[Json]:
    found = row.detail.get("checks")
    return found if isinstance(found, list) else ()


def state_of(rollout: Rollout, plan: HostPlan, record: Record) -> tuple[str, str]:
    """Where one host stands, and why; docs/deploy.md has the states."""
    back = [row for step in BACK_STEPS if (row := record.known(plan.host, step)) is not None]
    if back:
        return _taken_back(plan, record, back)
    steps = (*plan.stage, *plan.switch)
    rows = [record.known(plan.host, step) for step in steps]
    bad = next((row for row in rows if row is not None and row.state in ("failed", "unknown")), None)
    if bad is not None:
        switched = record.switched(plan.host) or rollout.kind is Kind.SERVICE
        state = "unknown" if bad.state == "unknown" else "failed" if switched else "skipped"
        return state, f"{bad.step}: {bad.detail.get('reason', '')}"
    if all(row is not None and row.state == "done" for row in rows):
        return ("done" if rollout.kind is Kind.SERVICE else "live"), ""
    return ("begun" if any(rows) else "untouched"), ""


def _taken_back(plan: HostPlan, record: Record, back: list[StepRow]) -> tuple[str, str]:
    """A host on which the release was taken back, as far as that is proven."""
    switched = record.switched(plan.host)
    said = {row.step: f"{row.step}: {row.detail.get('reason', '')}" for row in back if row.state != "done"}
    unknown = [row for row in back if row.state in ("unknown", "begun")]
    failed = {row.step: row for row in back if row.state == "failed"}
    whole = "; ".join(said.values())
    if not switched:  # at worst what was staged is left there
        return "untouched", whole
    if unknown:
        return "unknown", whole
    if {StepName.CLAIM_BACK.value, StepName.SWITCH_BACK.value} & set(failed):
        return "other", whole
    if plan.before and set(failed) & set(_PROOF):
        return "unhealthy", whole
    ended = any(row.step == StepName.FREE_BACK.value for row in back)
    return ("taken_back", whole) if ended else ("unknown", whole or "it is not done yet")


def is_settled(rollout: Rollout, record: Record) -> bool:
    """Whether of a deployment that is taken back no host is left on which the release may be live still."""
    ends = ("taken_back", "unhealthy", "other")
    return all(state_of(rollout, plan, record)[0] in ends for plan in rollout.hosts if record.switched(plan.host))


def is_live(rollout: Rollout, record: Record) -> bool:
    """Whether every host that was not left out went through its last step that matters: then only closing is left."""
    states = [state_of(rollout, plan, record)[0] for plan in rollout.hosts]
    return "live" in states and set(states) <= {"live", "skipped"}


def sentence_of(hosts: Sequence[Mapping[str, Json]]) -> str:
    """How a deployment that was taken back stands, in words."""
    said = []
    for state, words in _WORDS:
        names = [str(entry["host"]) for entry in hosts if entry["state"] == state]
        if names:
            said.append(f"{words} on {', '.join(names)}")
    return "; ".join(said) or "no host was touched"


_WORDS = (
    ("taken_back", "what was live before is live again"),
    ("untouched", "nothing that is live was changed"),
    ("other", "somebody else changed what is live, and it was left as it is,"),
    ("unhealthy", "the release before is back, but not proven healthy,"),
    ("unknown", "it is not known what is live"),
    ("live", "it is live"),
    ("skipped", "it was left out"),
)


def progress_of(row: DeploymentRow, rollout: Rollout, rows: Sequence[StepRow]) -> dict[str, Json]:
    """Where a deployment stands that has not ended: each host and its newest step."""
    record = Record.of(rows)
    hosts = []
    for plan in rollout.hosts:
        newest = next((entry for entry in reversed(rows) if entry.host == plan.host), None)
        step = f"{newest.step} {newest.state}" if newest is not None else ""
        hosts.append({"host": plan.host, "state": state_of(rollout, plan, record)[0], "step": step})
    shown = {"call_id": row.call_id, "kind": row.kind, "release": row.release, "phase": row.phase}
    return {**shown, "why": row.reason, "hosts": hosts}
