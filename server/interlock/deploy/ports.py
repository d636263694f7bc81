"""The seams of this room: what a deployment asks of the store. What it asks of the hosts is `interlock.ports.Hosts`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from interlock.deploy.records import DeploymentRow, StepRow
from interlock.records import NotAdmitted
from interlock_tools.call import Json


class DeployStore(Protocol):
    """The record of deployments. Every method that writes returns only after its transaction is durable."""

    async def begin_deployment(self, row: DeploymentRow, now: float) -> DeploymentRow | NotAdmitted:
        """Take the app for this deployment, with a fence; NotAdmitted where another one has it."""
        ...

    async def turn_deployment(self, call_id: str, code: str, reason: str, now: float) -> bool: ...
    async def close_deployment(self, call_id: str, now: float) -> bool: ...
    async def stopped(self, principal: str, hosts: Sequence[str]) -> str:
        """Why the kill switch holds these hosts, or this principal; "" where it does not."""
        ...

    async def end_deployment(self, call_id: str, outcome: str, result: Json, now: float) -> bool: ...
    async def begin_step(self, call_id: str, host: str, step: str, now: float) -> int:
        """Put a step on record before it happens; which try of it that is, from 1."""
        ...

    async def end_step(self, step: StepRow, now: float) -> bool: ...
    async def deployment(self, call_id: str) -> DeploymentRow | None: ...
    async def deployments(self, app: str = "", limit: int = 50) -> Sequence[DeploymentRow]: ...
    async def steps(self, call_id: str) -> Sequence[StepRow]: ...
