"""What a deployment asks of the store: its lease, its steps, its end. It only carries them to the writer."""

from __future__ import annotations

from collections.abc import Sequence

from interlock.deploy.records import DeploymentRow, StepRow
from interlock.records import NotAdmitted
from interlock.store import deploying
from interlock.store.keeping import Keeping
from interlock.store.reads import PAGE_CALLS_MAX
from interlock.store.rows import dump, storable
from interlock_tools.call import Json


class Deployments(Keeping):
    """The deployments' part of the store."""

    async def begin_deployment(self, row: DeploymentRow, now: float) -> DeploymentRow | NotAdmitted:
        """Take the app for this deployment, durably; NotAdmitted where another one has it."""
        plan = dump(dict(row.plan))
        return await self._writer.submit(lambda tx: deploying.begin(tx, row, plan, now))

    async def turn_deployment(self, call_id: str, code: str, reason: str, now: float) -> bool:
        """From here on it is taken back; False where it was already."""
        return await self._writer.submit(lambda tx: deploying.turn(tx, call_id, code, reason, now))

    async def close_deployment(self, call_id: str, now: float) -> bool:
        """All of it is live: only closing is left. False where it is not on its way forward any more."""
        return await self._writer.submit(lambda tx: deploying.close(tx, call_id, now))

    async def stopped(self, principal: str, hosts: Sequence[str]) -> str:
        """Why the kill switch holds these hosts, or this principal; "" where it does not."""
        scopes = {"all", f"principal:{principal}", *(f"host:{host}" for host in hosts)}
        pulled = [row for row in await self.stops() if row.scope in scopes]
        return f"{pulled[0].scope} was stopped by {pulled[0].by}: {pulled[0].reason}" if pulled else ""

    async def end_deployment(self, call_id: str, outcome: str, result: Json, now: float) -> bool:
        """Write its end down and give the app free; False where it had ended."""
        return await self._writer.submit(lambda tx: deploying.end(tx, call_id, outcome, result, now))

    async def begin_step(self, call_id: str, host: str, step: str, now: float) -> int:
        """Put a step on record before it happens; which try of it that is, from 1."""
        return await self._writer.submit(lambda tx: deploying.begin_step(tx, call_id, host, step, now))

    async def end_step(self, step: StepRow, now: float) -> bool:
        """How a step ended; False where that was known."""
        return await self._writer.submit(lambda tx: deploying.end_step(tx, step, now))

    async def deployment(self, call_id: str) -> DeploymentRow | None:
        """The deployment that this call made."""
        rows = await self._read("deployment_of", call_id=storable(call_id))
        return deploying.deployment_row(rows[0]) if rows else None

    async def deployments(self, app: str = "", limit: int = 50) -> Sequence[DeploymentRow]:
        """The newest deployments first, at most 500; "" = of any app."""
        rows = await self._read("deployments_page", app=storable(app), limit=min(max(1, limit), PAGE_CALLS_MAX))
        return [deploying.deployment_row(row) for row in rows]

    async def steps(self, call_id: str) -> Sequence[StepRow]:
        """The steps of a deployment in the order in which they began."""
        return [deploying.step_row(row) for row in await self._read("steps_of", call_id=storable(call_id))]
