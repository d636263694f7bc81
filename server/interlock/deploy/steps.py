"""Steps: one step of a deployment on one host, on record before it happens and after. It decides no order.

A step that the record has as begun is never guessed about: what may be sent again is sent again, and of a command the
host is asked what became of it. Only what it says never began is tried anew, as a run of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from interlock.authorize import Authority
from interlock.deploy.asking import Asked, Deployment, app_plan, command_of
from interlock.deploy.measuring import HOOKS, kept_of
from interlock.deploy.ports import DeployStore
from interlock.deploy.records import StepRow
from interlock.ports import LEFT, Executed, Hosts, Run
from interlock_policies.redact import Redactor
from interlock_tools.app_plans import AppPlan
from interlock_tools.apps import App, HealthCheck
from interlock_tools.call import Json
from interlock_tools.errors import (
    Cancelled,
    CommandFailed,
    ConcurrencyLimited,
    ContainmentUnavailable,
    HostFault,
    Internal,
    OutcomeUnknown,
    Refusal,
    VerificationFailed,
    refusal_codes,
)
from interlock_tools.rollout import BACK_STEPS, HostPlan, StepName
from interlock_tools.service_words import health_check

APP_STEP_SECONDS = 600.0
AUTHORIZED_SECONDS = 60.0
OUTPUT_SHOWN_CHARS_MAX = 2_000
BUSY_SECONDS_MAX = 120.0
BUSY_AGAIN_SECONDS = 1.0
HALT_SECONDS = 1.0  # what is about to end by itself is let

CHECKING = (StepName.CHECK, StepName.SOAK, StepName.CHECK_BACK)

OnStep = Callable[[StepName, str, str], None]  # the step, its host, and "begin", "on record", "done" or "end"


def unwatched(step: StepName, host: str, moment: str) -> None:
    """The observer that does nothing."""


@dataclass(frozen=True, slots=True)
class StepEnd:
    """How a step ended. `refusal` None = well. `detail` is what the record keeps of it."""

    refusal: Refusal | None
    detail: Mapping[str, Json]

    def state_of(self, step: StepName) -> str:
        """As the record has it: done, failed, or unknown.

        A step back that its host could not be asked for is not given up: it is asked for again.
        """
        if self.refusal is None:
            return "done"
        unheard = isinstance(self.refusal, HostFault) and not isinstance(self.refusal, ContainmentUnavailable)
        later = unheard or isinstance(self.refusal, ConcurrencyLimited)
        unknown = isinstance(self.refusal, OutcomeUnknown) or (later and step in BACK_STEPS)
        return "unknown" if unknown else "failed"


@dataclass(frozen=True)
class Steps:
    """Carries steps out. It holds no state but its parts."""

    store: DeployStore
    hosts: Hosts
    authority: Authority
    policy_version: Callable[[], str]
    clock: Callable[[], float]
    redactor: Redactor
    on_step: OnStep = unwatched

    async def run(self, deployment: Deployment, plan: HostPlan, step: StepName, known: StepRow | None) -> StepEnd:
        """Have a step happen once: what is `known` of it from before goes on from there."""
        if known is not None and known.state in ("done", "failed"):
            return _as_known(known)
        self.on_step(step, plan.host, "begin")
        end = None if known is None else await self._found(deployment, plan, step, known)
        if end is None or known is None:
            known = await self._begun(deployment, plan.host, step)
            end = await self._happen(deployment, plan, step, known.attempt)
        self.on_step(step, plan.host, "done")
        await self._ended(known, end)
        self.on_step(step, plan.host, "end")
        await deployment.report(f"{plan.host}: {step.value} {end.state_of(step)}")
        return end

    async def _begun(self, deployment: Deployment, host: str, step: StepName) -> StepRow:
        call_id, now = deployment.call.call_id, self.clock()
        attempt = await self.store.begin_step(call_id, host, step.value, now)
        self.on_step(step, host, "on record")
        return StepRow(call_id, host, step.value, attempt, began=now)

    async def _ended(self, row: StepRow, end: StepEnd) -> None:
        now = self.clock()
        await self.store.end_step(
            replace(
                row, state=end.state_of(StepName(row.step)), ended=now, detail=self.redactor.json(dict(end.detail))
            ),
            now,
        )

    # ── what a step does ─────────────────────────────────────────────────────────────────────────────────────────────

    async def _happen(self, deployment: Deployment, plan: HostPlan, step: StepName, attempt: int) -> StepEnd:
        if step in CHECKING:
            return await self._checked(deployment.app, plan.host)
        asked = command_of(deployment, plan, step)
        if asked is None:
            work = self._app_step_back if step in BACK_STEPS else self._app_step
            return await work(deployment, plan, app_plan(deployment, plan, step))
        return self._of_command(step, await self._execute(deployment, plan, step, attempt, asked))

    async def _found(self, deployment: Deployment, plan: HostPlan, step: StepName, known: StepRow) -> StepEnd | None:
        """How a step ended that was begun before; None where its host never began it, and now never will."""
        asked = command_of(deployment, plan, step)
        if asked is None or step in CHECKING:
            return await self._happen(deployment, plan, step, known.attempt)
        run = self._run(deployment, plan, step, known.attempt, asked)
        found = await self.hosts.collect(run)
        if found is not None:
            return await self._known_now(plan.host, run, self._of_command(step, found))
        never = StepEnd(Cancelled(reason="its host never began it"), {"began": False})
        await self._ended(known, never)
        return None

    async def _known_now(self, host: str, run: Run, end: StepEnd) -> StepEnd:
        """A run that its host lost, at a reboot for one, is over and failed; one that cannot be asked about is not."""
        if not isinstance(end.refusal, OutcomeUnknown):
            return end
        left = await self.hosts.end(host, run.call_id)
        if isinstance(left, Refusal) or left.left:
            return end
        lost = CommandFailed(reason=f"{host} does not know any more how it ended; nothing of it runs there")
        return StepEnd(lost, {**end.detail, **_said(lost)})

    async def halted(self, deployment: Deployment, plan: HostPlan, step: StepName, known: StepRow) -> bool:
        """See that a step of the way forward does not go on while it is taken back; False where nobody can tell.

        Work on the app's place needs no more than the newer fence. A command is ended, and its end put on record.
        """
        asked = command_of(deployment, plan, step) if known.state in ("begun", "unknown") else None
        if asked is None:
            return True
        run = self._run(deployment, plan, step, known.attempt, asked)
        found = await _ended_soon(self.hosts.collect(run))
        end = StepEnd(Cancelled(reason="it never began"), {"began": False})
        if found is not None:
            end = await self._known_now(plan.host, run, self._of_command(step, found))
        if isinstance(end.refusal, OutcomeUnknown):
            return False
        await self._ended(known, end)
        return True

    async def _app_step(self, deployment: Deployment, plan: HostPlan, asked: AppPlan) -> StepEnd:
        call = deployment.call
        run = Run(call.call_id, call.digest, plan.host, asked, APP_STEP_SECONDS)
        leave = self.authority.issue(
            call, asked, host=plan.host, policy_version=self.policy_version(), lifetime_seconds=AUTHORIZED_SECONDS
        )

        async def heard(sentence: str, _: int) -> None:
            await deployment.report(sentence)

        executed = await self.hosts.execute(leave, run, heard)
        return StepEnd(executed.refusal, dict(executed.result) | _said(executed.refusal))

    async def _app_step_back(self, deployment: Deployment, plan: HostPlan, asked: AppPlan) -> StepEnd:
        """A step back waits for what still works there: the way forward may have left a long one behind."""
        until = asyncio.get_running_loop().time() + BUSY_SECONDS_MAX
        while True:
            end = await self._app_step(deployment, plan, asked)
            if not isinstance(end.refusal, ConcurrencyLimited) or asyncio.get_running_loop().time() > until:
                return end
            await asyncio.sleep(BUSY_AGAIN_SECONDS)

    def _run(self, deployment: Deployment, plan: HostPlan, step: StepName, attempt: int, asked: Asked) -> Run:
        place = [entry.host for entry in deployment.rollout.hosts].index(plan.host)
        run_id = f"{deployment.call.call_id}-{place}-{step.value}-{attempt}"
        return Run(run_id, deployment.call.digest, plan.host, asked.plan, asked.seconds, (), asked.bounds)

    async def _execute(
        self, deployment: Deployment, plan: HostPlan, step: StepName, attempt: int, asked: Asked
    ) -> Executed:
        run = self._run(deployment, plan, step, attempt, asked)
        leave = self.authority.issue(
            replace(deployment.call, call_id=run.call_id), asked.plan, host=plan.host,
            policy_version=self.policy_version(), lifetime_seconds=AUTHORIZED_SECONDS,
        )  # fmt: skip
        return await self.hosts.execute(leave, run)

    async def asked_status(self, deployment: Deployment, plan: HostPlan) -> dict[str, Json]:
        """What the manager says of the service on one host, and whether it runs. No step: it changes nothing."""
        asked = command_of(deployment, plan, StepName.SERVICE)
        if asked is None:
            return {"host": plan.host, "active": False, "said": "the app has no service"}
        end = self._of_command(StepName.SERVICE, await self._execute(deployment, plan, StepName.SERVICE, 0, asked))
        active, _ = await self.looked(deployment.app, plan.host, HealthCheck("service"))
        said = end.detail.get("stdout") or end.detail.get("stderr") or end.detail.get("reason", "")
        return {"host": plan.host, "active": active, "said": said}

    def _of_command(self, step: StepName, executed: Executed) -> StepEnd:
        said = {
            name: str(executed.result[name])[-OUTPUT_SHOWN_CHARS_MAX:]
            for name in ("stdout", "stderr")
            if executed.result.get(name)
        }
        kept = kept_of(executed) if step in HOOKS else {}
        return StepEnd(executed.refusal, {**said, **kept, **_said(executed.refusal)})

    # ── health ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _checked(self, app: App, host: str) -> StepEnd:
        """Every check of the app, each as often as it may be tried; the first that does not hold ends it."""
        found: list[Json] = []
        for check in app.checks:
            passed, shown = await self._held(app, host, check)
            found.append(shown)
            if not passed:
                reason = f"{host}: {shown['check']} {shown['target']}: {shown['detail']}"
                return StepEnd(VerificationFailed(reason=reason), {"checks": found})
        return StepEnd(None, {"checks": found})

    async def _held(self, app: App, host: str, check: HealthCheck) -> tuple[bool, dict[str, Json]]:
        await asyncio.sleep(check.warm_up_seconds)
        tries = 0
        while True:
            tries += 1
            passed, detail = await self.looked(app, host, check)
            if passed or tries >= check.tries:
                shown = {"check": check.kind, "target": check.target, "passed": passed, "detail": detail}
                return passed, {**shown, "tries": tries}
            await asyncio.sleep(check.interval_seconds)

    async def looked(self, app: App, host: str, check: HealthCheck) -> tuple[bool, str]:
        """Whether a check holds now, and what was seen."""
        asked = health_check(check, app.service)
        try:
            async with asyncio.timeout(check.timeout_seconds):
                found = (await self.hosts.check(host, (asked,), None, wait_seconds=0))[0]
        except TimeoutError:
            return False, f"no answer within {check.timeout_seconds:g} s"
        return found.passed, found.detail


async def _ended_soon(asked: Awaitable[Executed | None]) -> Executed | None:
    """The end of a run that is asked about, which is ended where it still goes on."""
    task = asyncio.ensure_future(asked)
    try:
        await asyncio.wait({task}, timeout=HALT_SECONDS)
        if not task.done():
            task.cancel("the deployment, which is taken back")
        return await task
    except asyncio.CancelledError:
        if not task.cancelled():
            task.cancel(LEFT)
            raise
        return Executed({}, OutcomeUnknown(reason="its host could not be asked"), started=True)


def _as_known(row: StepRow) -> StepEnd:
    """The end of a step that is on record."""
    if row.state == "done":
        return StepEnd(None, row.detail)
    kind = refusal_codes().get(str(row.detail.get("code", "")), Internal)
    return StepEnd(kind(reason=str(row.detail.get("reason", ""))), row.detail)


def _said(refusal: Refusal | None) -> dict[str, Json]:
    return {} if refusal is None else {"code": refusal.code, "reason": refusal.reason}
