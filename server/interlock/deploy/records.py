"""What the record says of deployments and their steps. Values only; times are seconds since the epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from interlock_tools.call import Json


@dataclass(frozen=True, slots=True)
class DeploymentRow:
    """One deployment.

    `phase`: forward, closing (all of it is live), back (it is taken back; `code` and `reason` say why) or ended.
    `plan` holds the rollout and the app as they were decided on. `outcome` and `result` are there once it ended: what
    its call answers.
    """

    call_id: str
    app: str
    kind: str
    release: str
    principal: str
    plan: Mapping[str, Json]
    fence: int = 0
    phase: str = "forward"
    code: str = ""
    reason: str = ""
    created: float = 0.0
    ended: float | None = None
    outcome: str = ""
    result: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StepRow:
    """One try of one step on one host. `state`: begun, done, failed, or unknown (its host could not be asked)."""

    call_id: str
    host: str
    step: str
    attempt: int = 1
    state: str = "begun"
    began: float = 0.0
    ended: float | None = None
    detail: Mapping[str, Json] = field(default_factory=dict)
