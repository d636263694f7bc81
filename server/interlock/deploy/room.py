"""The deploy room: carries an admitted deployment out, takes it back, goes on with it after a restart, tells of it.

begin → forward ──all live──────────────> end
           └─failed, timed out, cancelled─> turn → back ─all known─> end
                                                     └─a host silent─> unknown: asked again, until it is known
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import TypeAdapter

from interlock.deploy.asking import Deployment
from interlock.deploy.driving import Drive, Progressed, Record
from interlock.deploy.looking import Looking
from interlock.deploy.ports import DeployStore
from interlock.deploy.records import DeploymentRow, StepRow
from interlock.deploy.steps import Steps
from interlock.deploy.telling import is_live, is_settled, result_of, sentence_of
from interlock.deploy.views import Views
from interlock.deploy.weighing import measured_effect
from interlock.hosts.cancelling import ended, see_through, taken
from interlock.ports import LEFT, SHUTDOWN, Executed, Progress, Request
from interlock.records import NotAdmitted
from interlock.ticket import Ticket
from interlock.trail import Trail
from interlock_policies.facts import Verdict
from interlock_policies.redact import Redactor
from interlock_tools.apps import App
from interlock_tools.call import Call, Json, Mode
from interlock_tools.errors import (
    ApprovalExpired,
    Cancelled,
    Internal,
    OutcomeUnknown,
    Recovery,
    Refusal,
    Stopped,
    TimedOut,
    refusal_codes,
)
from interlock_tools.plan import Deploy
from interlock_tools.rollout import Kind, StepName, rollout_from_json

log = logging.getLogger("interlock")

_APPS = TypeAdapter(App)
_GOES_ON = (LEFT, SHUTDOWN)  # who cancels so leaves the deployment as it is: it is gone on with later
HOSTS_SAID_MAX = 10


@dataclass(frozen=True)
class Deploys:
    """Deployments. Everything that it knows of one is on record: it holds no state of its own."""

    looking: Looking
    store: DeployStore
    steps: Steps
    views: Views
    redactor: Redactor
    clock: Callable[[], float]

    # ── deciding ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def look(self, request: Request, call: Call, trail: Trail, validity: float | None) -> Ticket | Refusal:
        """What it would do, and what policy says of it; a refusal where it cannot be planned."""
        return await self.looking.look(request, call, trail, validity)

    async def still_good(self, ticket: Ticket, approvals: frozenset[str]) -> Refusal | None:
        """Why what was approved is not what would be done now; None where it is."""
        again = await self.looking.look(ticket.request, ticket.call, Trail(self.clock), ticket.validity, approvals)
        if isinstance(again, Refusal):
            return again
        if _digest(again) != _digest(ticket) or again.effects != ticket.effects:
            return ApprovalExpired(
                reason="its hosts are not as they were when it was asked; it would do something else"
            )
        if again.decision.verdict is not Verdict.ALLOW:
            return ApprovalExpired(reason="policy does not allow it with this approval", rules=again.decision.rule_ids)
        return None

    # ── a call ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def carry_out(self, ticket: Ticket, progress: Progress | None) -> Executed:
        """An admitted call of the deploy family, to its end. A cancellation takes back what was begun."""
        plan = ticket.tool.plan(ticket.call)
        rollout = ticket.rollout
        if rollout is None or not isinstance(plan, Deploy):
            return await self._status(plan, ticket.call.principal)
        if ticket.call.mode is Mode.PREVIEW:
            return self.views.preview(ticket, rollout)
        app = self.looking.app_of(plan, ticket.call.principal)
        if app is None:
            return Executed({}, Internal(reason="the app is not configured any more"), started=False)
        if rollout.is_empty:
            return await self.views.unchanged(app, rollout)
        if rollout.action == "status":
            return await self.views.service_status(ticket.call, app, rollout)
        if plan.artifact_host and rollout.artifact is not None and not rollout.artifact.size:
            artifact = await self.looking.proposing.artifacts.fetched(plan, self.looking.hosts)
            if isinstance(artifact, Refusal):
                return Executed({}, artifact, started=False)
            rollout = replace(rollout, artifact=artifact)
        recorded: dict[str, Json] = {"rollout": rollout.to_json(), "app": _APPS.dump_python(app, mode="json")}
        call = ticket.call
        row = DeploymentRow(call.call_id, app.name, rollout.kind.value, rollout.release, call.principal, recorded)
        begun, by = await see_through(self.store.begin_deployment(row, self.clock()))
        if isinstance(begun, NotAdmitted):
            return Executed({}, self.looking.entry.not_admitted(begun), started=False)
        deployment = Deployment(call, app, rollout, begun.fence, _report(progress))
        if by and rollout.kind is Kind.SERVICE:
            return await self._end(deployment, begun, "failed", Cancelled(reason=f"by {by}; nothing ran"))
        if by:
            begun = await self._turned(begun, Cancelled(reason=f"by {by}"))
        return await self._drive(ticket, deployment, begun)

    async def go_on(self, ticket: Ticket, progress: Progress | None = None) -> Executed:
        """A deployment that an earlier server began: continued or taken back, as its app says, from the record."""
        row = await self.store.deployment(ticket.call.call_id)
        if row is None:
            return Executed({}, Cancelled(reason="the server stopped before anything of it began"), started=False)
        app, rollout = _APPS.validate_python(row.plan["app"]), rollout_from_json(row.plan["rollout"])
        deployment = Deployment(ticket.call, app, rollout, row.fence, _report(progress))
        if row.phase == "ended":
            return await self._measured(deployment, _as_recorded(row), await self.store.steps(row.call_id))
        plan = ticket.tool.plan(ticket.call)
        if row.phase == "forward" and isinstance(plan, Deploy) and rollout.artifact is not None:
            await self.looking.proposing.prepared(app, plan)  # where its bytes lie was known to the server that died
        if row.phase == "forward" and app.on_restart == "take_back" and rollout.kind is not Kind.SERVICE:
            record = Record.of(await self.store.steps(row.call_id))
            if not is_live(rollout, record):
                reason = "the server stopped in the middle of it, and the app is taken back then"
                row = await self._turned(row, Cancelled(reason=reason))
        return await self._drive(ticket, deployment, row)

    # ── forward and back ─────────────────────────────────────────────────────────────────────────────────────────────

    async def _drive(self, ticket: Ticket, deployment: Deployment, row: DeploymentRow) -> Executed:
        """To its end. A fault of our own ends nothing: it stays on record as it is, and is gone on with."""
        try:
            return await self._driven(ticket, deployment, row)
        except Exception as fault:  # settled as failed it would leave a fleet half way, and nobody would go on with it
            log.exception("the deployment %s broke inside, and is gone on with", row.call_id)
            rows = await self.store.steps(row.call_id)
            result = result_of(deployment.rollout, rows, "unknown", self.clock() - row.created)
            reason = f"it broke off inside ({type(fault).__name__}); it is gone on with from its record"
            return Executed(result, OutcomeUnknown(reason=reason, call_id=row.call_id), started=True)

    async def _driven(self, ticket: Ticket, deployment: Deployment, row: DeploymentRow) -> Executed:
        if row.phase == "forward":
            why = await self._forward(ticket, deployment, row)
            if deployment.rollout.kind is Kind.SERVICE:
                return await self._service_ended(deployment, row, why)
            if why is None:
                await self.store.close_deployment(row.call_id, self.clock())
                row = replace(row, phase="closing")
            else:
                row = await self._turned(row, why)
        drive = await self._walk_of(deployment, row)
        if row.phase == "closing":
            await _seen_through(drive.close())
            return await self._end(deployment, row, "live", None)
        await _seen_through(drive.back())
        return await self._taken_back(deployment, row)

    async def _walk_of(self, deployment: Deployment, row: DeploymentRow) -> Drive:
        async def stopped(hosts: tuple[str, ...]) -> Refusal | None:
            reason = await self.store.stopped(row.principal, hosts)
            return Stopped(reason=reason) if reason else None

        return Drive(deployment, self.steps, Record.of(await self.store.steps(row.call_id)), stopped)

    async def _forward(self, ticket: Ticket, deployment: Deployment, row: DeploymentRow) -> Refusal | None:
        """Why it did not come to its end, or None. Each host ends with the step that it is at."""
        drive = await self._walk_of(deployment, row)
        walk = asyncio.ensure_future(drive.forward())
        seconds = ticket.call.timeout_seconds
        try:
            done, _ = await asyncio.wait({walk}, timeout=seconds)
            why: Refusal = TimedOut(reason=f"after {seconds} s")
            if done:
                return walk.result().refusal
        except asyncio.CancelledError as cancelled:
            if any(word in cancelled.args for word in _GOES_ON):
                walk.cancel(LEFT)
                await asyncio.wait({walk})
                raise
            why = Cancelled(reason=f"by {taken(cancelled)}")
        drive.stop(why)
        walk.cancel("the deployment, which is taken back")
        await ended(walk, *_GOES_ON)
        return drive.progress.refusal or why

    async def _service_ended(self, deployment: Deployment, row: DeploymentRow, why: Refusal | None) -> Executed:
        """A service action has no way back; but it has not ended while nobody knows what became of it on a host."""
        rows = await self.store.steps(row.call_id)
        result = result_of(deployment.rollout, rows, "unknown", self.clock() - row.created)
        open_ = [row for row in Record.of(rows).rows.values() if row.state in ("unknown", "begun")]
        if why is not None and any(row.step == StepName.SERVICE.value for row in open_):
            reason = f"{why.reason}; the host is asked again until it answers"
            return Executed(result, OutcomeUnknown(reason=reason, call_id=row.call_id), started=True)
        return await self._end(deployment, row, "failed" if why is not None else "done", why)

    async def _turned(self, row: DeploymentRow, why: Refusal) -> DeploymentRow:
        reason = self.redactor.text(why.reason)
        await self.store.turn_deployment(row.call_id, why.code, reason, self.clock())
        return replace(row, phase="back", code=why.code, reason=reason)

    async def _taken_back(self, deployment: Deployment, row: DeploymentRow) -> Executed:
        rows = await self.store.steps(row.call_id)
        result = result_of(deployment.rollout, rows, "taken_back", self.clock() - row.created)
        said = sentence_of(result["hosts"])
        if not is_settled(deployment.rollout, Record.of(rows)):
            reason = f"{row.reason}; {said}: those hosts are asked again until they answer"
            unknown = OutcomeUnknown(reason=self.redactor.text(reason), call_id=row.call_id)
            return await self._measured(
                deployment, Executed({**result, "outcome": "unknown"}, unknown, started=True), rows
            )
        kind = refusal_codes().get(row.code, Internal)
        because = "It shows what is live and healthy now. A release that failed is mended and shipped as a new one."
        step = Recovery.use("deploy_status", {"app": deployment.app.name}, because)
        why = kind(reason=f"{row.reason}; {said}", recovery=step)
        return await self._end(deployment, row, "taken_back", why)

    async def _end(self, deployment: Deployment, row: DeploymentRow, outcome: str, why: Refusal | None) -> Executed:
        """Its end on record, which gives the app free; then its answer."""
        rows = await self.store.steps(row.call_id)
        result = result_of(deployment.rollout, rows, outcome, self.clock() - row.created)
        error = {} if why is None else {"code": why.code, "reason": why.reason}
        kept = self.redactor.json({**result, "error": error})
        await self.store.end_deployment(row.call_id, outcome, kept, self.clock())
        return await self._measured(deployment, Executed(result, why, started=True), rows)

    async def _measured(self, deployment: Deployment, executed: Executed, rows: Sequence[StepRow]) -> Executed:
        """The same with what it changed on its hosts, and what is said of those that it left out."""
        notes = _left_out(executed.result)
        measured = await measured_effect(deployment, rows, self.looking.facts, notes)
        return replace(executed, measured=measured)

    async def _status(self, plan: object, principal: str) -> Executed:
        app = self.looking.app_of(plan, principal) if isinstance(plan, Deploy) else None
        if app is None:
            return Executed({}, Internal(reason="the app is not configured any more"), started=False)
        return Executed(await self.views.status(app), None, started=True)


def _digest(ticket: Ticket) -> str:
    return ticket.rollout.digest if ticket.rollout is not None else ""


def _left_out(result: Mapping[str, Json]) -> tuple[str, ...]:
    """What is said of hosts that a deployment left out: they have what they had before."""
    return tuple(
        f"{entry['host']} was left out ({entry['why']}); a further deploy_release ships to it once it is there"
        for entry in result["skipped"][:HOSTS_SAID_MAX]
    )


def _as_recorded(row: DeploymentRow) -> Executed:
    """The answer of a deployment whose end is on record."""
    result = {name: value for name, value in row.result.items() if name != "error"}
    error: Mapping[str, Json] = row.result.get("error") or {}
    if not error:
        return Executed(result, None, started=True)
    kind = refusal_codes().get(str(error.get("code")), Internal)
    return Executed(result, kind(reason=str(error.get("reason", ""))), started=True)


def _report(progress: Progress | None) -> Callable[[str], Coroutine[Any, Any, None]]:
    async def report(sentence: str) -> None:
        if progress is not None:
            await progress(sentence, 0)

    return report


async def _seen_through(work: Coroutine[Any, Any, Progressed]) -> Progressed:
    """The work to its end, whoever gives up waiting for it; a server that stops leaves it on record as it is."""
    task = asyncio.ensure_future(work)
    await ended(task, *_GOES_ON)
    return task.result()
