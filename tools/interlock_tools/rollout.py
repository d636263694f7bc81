"""Rollouts: what a deployment does on which host in which order, and how each step is taken back. Values, made purely.

stage    claim → upload → place → prepare             side by side on every host; nothing is live yet
switch   switch → activate → service → check → after  the canary, then batch after batch
close    prune → free                                 once all of them are healthy

back     claim_back → switch_back → activate_back → service_back → check_back → drop → free_back    in reverse
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from interlock_tools.call import Json, digest_of
from interlock_tools.found import ABSENT, KeptFile


class StepName(StrEnum):
    """Every step of a deployment. A new step is a new fault point: tests walk this enumeration."""

    CLAIM = "claim"
    UPLOAD = "upload"
    PLACE = "place"
    PREPARE = "prepare"
    SWITCH = "switch"
    ACTIVATE = "activate"
    SERVICE = "service"
    CHECK = "check"
    AFTER = "after"
    SOAK = "soak"  # checked once more, when the pause after its batch is over
    PRUNE = "prune"
    FREE = "free"
    CLAIM_BACK = "claim_back"  # with a newer fence, so that nothing of the way forward can come late
    SWITCH_BACK = "switch_back"
    ACTIVATE_BACK = "activate_back"
    SERVICE_BACK = "service_back"
    CHECK_BACK = "check_back"
    DROP = "drop"
    FREE_BACK = "free_back"


class Kind(StrEnum):
    """What a deployment is."""

    RELEASE = "release"
    ROLLBACK = "rollback"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class Artifact:
    """What is shipped: its name, SHA-256 (hex) and size (bytes). Where its bytes lie is the server's business."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class HostSet:
    """The set of files that one host is to have: as what it is sent, and each file by its target."""

    artifact: Artifact
    files: Mapping[str, KeptFile]


@dataclass(frozen=True, slots=True)
class FilePlan:
    """One file on one host: from `before` to `after`, each a SHA-256 or "absent". `real`: where it really lies."""

    target: str
    real: str
    before: str
    after: str
    secret: bool = False

    @property
    def word(self) -> str:
        """What becomes of it."""
        if self.before == ABSENT:
            return "create"
        return "delete" if self.after == ABSENT else "modify"


@dataclass(frozen=True, slots=True)
class HostPlan:
    """What one host goes through. `before`: the release that is live there ("" = none). `has`: it keeps the release.

    `files` are there where the app is a set of files; the host's own `artifact` there too, and where it is a container.
    """

    host: str
    before: str
    has: bool
    stage: tuple[StepName, ...]
    switch: tuple[StepName, ...]
    close: tuple[StepName, ...]
    drops: tuple[str, ...] = ()  # kept releases that go when it has succeeded
    files: tuple[FilePlan, ...] = ()
    artifact: Artifact | None = None


@dataclass(frozen=True, slots=True)
class Rollout:
    """A whole deployment. `batches`: names of hosts, in order; the first is the canary where `canary`."""

    kind: Kind
    app: str
    release: str
    hosts: tuple[HostPlan, ...]
    batches: tuple[tuple[str, ...], ...]
    canary: bool = False
    artifact: Artifact | None = None
    action: str = ""  # of a service
    skipped: tuple[tuple[str, str], ...] = ()  # hosts that are left out, and why
    unchanged: tuple[str, ...] = ()  # hosts on which it is live already

    def host(self, name: str) -> HostPlan:
        """The plan of this host."""
        return next(plan for plan in self.hosts if plan.host == name)

    @property
    def is_empty(self) -> bool:
        """True where nothing is left to do: it is live everywhere."""
        return not self.hosts

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over everything that a person approves."""
        return digest_of(self.to_json())

    def to_json(self) -> dict[str, Json]:
        """The plan host by host, as it is shown and recorded."""
        return {
            "kind": self.kind.value,
            "app": self.app,
            "release": self.release,
            "action": self.action,
            "artifact": _artifact_json(self.artifact),
            "canary": self.canary,
            "batches": [list(batch) for batch in self.batches],
            "hosts": [_plan_json(plan) for plan in self.hosts],
            "skipped": [{"host": host, "why": why} for host, why in self.skipped],
            "unchanged": list(self.unchanged),
        }


def _plan_json(plan: HostPlan) -> dict[str, Json]:
    return {
        "host": plan.host,
        "before": plan.before,
        "has": plan.has,
        "steps": [step.value for step in (*plan.stage, *plan.switch, *plan.close)],
        "drops": list(plan.drops),
        **({"artifact": _artifact_json(plan.artifact)} if plan.artifact is not None else {}),
        **({"files": [_file_json(file) for file in plan.files]} if plan.files else {}),
    }


def _artifact_json(artifact: Artifact | None) -> Json:
    return None if artifact is None else {"name": artifact.name, "sha256": artifact.sha256, "bytes": artifact.size}


def _artifact_from_json(value: Json) -> Artifact | None:
    return None if value is None else Artifact(value["name"], value["sha256"], int(value["bytes"]))


def _file_json(file: FilePlan) -> Json:
    return {
        "target": file.target,
        "real": file.real,
        "before": file.before,
        "after": file.after,
        "secret": file.secret,
    }


def _file_from_json(value: Mapping[str, Json]) -> FilePlan:
    target, real, before, after = (str(value[name]) for name in ("target", "real", "before", "after"))
    return FilePlan(target, real, before, after, bool(value["secret"]))


def rollout_from_json(value: Mapping[str, Json]) -> Rollout:
    """A recorded rollout as a value again. Raises KeyError, TypeError or ValueError where it is none."""
    return Rollout(
        kind=Kind(value["kind"]),
        app=str(value["app"]),
        release=str(value["release"]),
        hosts=tuple(_plan_from_json(plan) for plan in value["hosts"]),
        batches=tuple(tuple(str(name) for name in batch) for batch in value["batches"]),
        canary=bool(value["canary"]),
        artifact=_artifact_from_json(value["artifact"]),
        action=str(value["action"]),
        skipped=tuple((str(entry["host"]), str(entry["why"])) for entry in value["skipped"]),
        unchanged=tuple(str(name) for name in value["unchanged"]),
    )


BACK_STEPS = (
    StepName.CLAIM_BACK,
    StepName.SWITCH_BACK,
    StepName.ACTIVATE_BACK,
    StepName.SERVICE_BACK,
    StepName.CHECK_BACK,
    StepName.DROP,
    StepName.FREE_BACK,
)
STAGE_STEPS = (StepName.CLAIM, StepName.UPLOAD, StepName.PLACE, StepName.PREPARE)
CLOSE_STEPS = (StepName.PRUNE, StepName.FREE)


def _plan_from_json(value: Mapping[str, Json]) -> HostPlan:
    steps = [StepName(step) for step in value["steps"]]
    return HostPlan(
        host=str(value["host"]),
        before=str(value["before"]),
        has=bool(value["has"]),
        stage=tuple(step for step in steps if step in STAGE_STEPS),
        switch=tuple(step for step in steps if step not in (*STAGE_STEPS, *CLOSE_STEPS)),
        close=tuple(step for step in steps if step in CLOSE_STEPS),
        drops=tuple(str(name) for name in value["drops"]),
        files=tuple(_file_from_json(file) for file in value.get("files") or ()),
        artifact=_artifact_from_json(value.get("artifact")),
    )
