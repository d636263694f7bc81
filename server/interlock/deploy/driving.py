"""Driving: a deployment's hosts through their steps, forward, or back where anything fails. It knows no step's insides.

    forward   stage every host side by side → canary → batch after batch, each checked
    close     once all of it is live: old releases go, the app is given free
    back      the batches in reverse, then what was only staged; a host that cannot be asked stays unknown

What the record has is done already. So the same walks begin a deployment and go on with one after a restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field

from interlock.deploy.asking import Deployment
from interlock.deploy.records import StepRow
from interlock.deploy.steps import StepEnd, Steps
from interlock_tools.errors import ContainmentUnavailable, HostFault, HostUnreachable, Refusal, StaleState
from interlock_tools.rollout import HostPlan, Kind, StepName

HOSTS_AT_ONCE_MAX = 50
UPLOADS_AT_ONCE_MAX = 4  # what one server's line and processor are shared by

Stopped = Callable[[tuple[str, ...]], Awaitable[Refusal | None]]  # why hosts may not be changed now


@dataclass
class Record:
    """What the record knows of each step: the newest try of it."""

    rows: dict[tuple[str, StepName], StepRow] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Sequence[StepRow]) -> Record:
        """The newest try of each step, but for those that never began."""
        found = cls()
        for row in rows:
            found.rows[row.host, StepName(row.step)] = row
        return found

    def known(self, host: str, step: StepName) -> StepRow | None:
        """The newest try of this step; None where there is none, or where its host never began it."""
        row = self.rows.get((host, step))
        return None if row is not None and row.detail.get("began") is False else row

    def began(self, host: str, *steps: StepName) -> bool:
        """Whether any of these steps was begun there."""
        return any(self.known(host, step) is not None for step in steps)

    def switched(self, host: str) -> bool:
        """Whether the release may be live there: a switch that the host refused changed nothing."""
        row = self.known(host, StepName.SWITCH)
        return row is not None and not (row.state == "failed" and row.detail.get("code") == StaleState.code)


@dataclass
class Progressed:
    """What a walk came to: the hosts that are left out, and why it stopped (None = it did not)."""

    skipped: dict[str, str] = field(default_factory=dict)
    refusal: Refusal | None = None

    def stop(self, refusal: Refusal) -> None:
        """The first reason is the reason of all."""
        self.refusal = self.refusal or refusal


class Drive:
    """One walk over one deployment's hosts. `stopped` says why nothing may change any more, before each batch."""

    def __init__(self, deployment: Deployment, steps: Steps, record: Record, stopped: Stopped) -> None:
        self._deployment = deployment
        self._steps = steps
        self._record = record
        self._stopped = stopped
        self._uploads = asyncio.Semaphore(UPLOADS_AT_ONCE_MAX)
        self.progress = Progressed()

    def stop(self, refusal: Refusal) -> None:
        """Nothing further begins: each host ends with the step it is at."""
        self.progress.stop(refusal)

    # ── forward ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def forward(self) -> Progressed:
        """Until all of it is live and healthy, or the first failure."""
        rollout, progress = self._deployment.rollout, self.progress
        await self._ask_leave(plan.host for plan in rollout.hosts)
        await _side_by_side(self._staged(plan) for plan in rollout.hosts)
        if len(progress.skipped) == len(rollout.hosts):
            away = "; ".join(progress.skipped.values())
            progress.stop(HostUnreachable(reason=f"none of the hosts could be made ready ({away})"))
        before: tuple[str, ...] = ()
        for batch in regrouped(rollout.batches, progress.skipped):
            if before and not self._is_over(batch):
                await self._soak(before)
            await self._ask_leave(batch)
            if progress.refusal is not None:
                return progress
            plans = [rollout.host(host) for host in batch]
            await _side_by_side(self._walk(plan, plan.switch) for plan in plans)
            before = batch
        return progress

    async def close(self) -> Progressed:
        """What is left once all of it is live: what fails now is said, and takes nothing back."""
        rollout = self._deployment.rollout
        live = [plan for plan in rollout.hosts if self._record.began(plan.host, StepName.SWITCH)]
        await _side_by_side(self._walk_on(plan) for plan in live)
        return self.progress

    async def _walk_on(self, plan: HostPlan) -> None:
        for step in plan.close:
            await self._step(plan, step)

    async def _ask_leave(self, hosts: Iterable[str]) -> None:
        """The kill switch holds back what has not begun."""
        refusal = await self._stopped(tuple(hosts))
        if refusal is not None:
            self.progress.stop(refusal)

    async def _soak(self, batch: tuple[str, ...]) -> None:
        """The pause after a batch, and a look at how its hosts bore it."""
        app = self._deployment.app
        if app.batches.pause_seconds and self.progress.refusal is None:
            await asyncio.sleep(app.batches.pause_seconds)
            plans = [self._deployment.rollout.host(host) for host in batch]
            await _side_by_side(self._walk(plan, (StepName.SOAK,)) for plan in plans if StepName.CHECK in plan.switch)

    def _is_over(self, batch: tuple[str, ...]) -> bool:
        """Whether this batch was begun before: a pause before it was made then."""
        return any(self._record.began(host, StepName.SWITCH, StepName.SERVICE) for host in batch)

    async def _staged(self, plan: HostPlan) -> None:
        """Make it ready; a host that cannot be reached before the switch is left out where the app says so."""
        refusal = await self._walk(plan, plan.stage, skips=self._deployment.app.unreachable == "skip")
        if refusal is not None:
            self.progress.skipped[plan.host] = f"{plan.host}: {refusal.code}: {refusal.reason}"

    async def _walk(self, plan: HostPlan, steps: Iterable[StepName], *, skips: bool = False) -> Refusal | None:
        """The host's steps in order up to the first that fails; the refusal where the host is to be left out for it."""
        for step in steps:
            if self.progress.refusal is not None:
                return None
            end = await self._step(plan, step)
            if end.refusal is None:
                continue
            if skips and is_away(end.refusal):
                return end.refusal
            self.progress.stop(end.refusal)
            return None
        return None

    async def _step(self, plan: HostPlan, step: StepName) -> StepEnd:
        known = self._record.known(plan.host, step)
        if step is not StepName.UPLOAD:
            return await self._steps.run(self._deployment, plan, step, known)
        async with self._uploads:
            return await self._steps.run(self._deployment, plan, step, known)

    # ── back ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def back(self) -> Progressed:
        """Take back whatever began, the last switched first. A host that cannot be asked ends as unknown."""
        rollout, record = self._deployment.rollout, self._record
        for batch in reversed(rollout.batches):
            touched = [rollout.host(host) for host in batch if record.switched(host)]
            await _side_by_side(self._walk_back(plan) for plan in touched)
        staged = [plan for plan in rollout.hosts if not record.switched(plan.host)]
        await _side_by_side(self._walk_back(plan) for plan in staged if record.began(plan.host, StepName.CLAIM))
        return self.progress

    async def _walk_back(self, plan: HostPlan) -> None:
        """All of it, whatever fails on the way: but where the link could not be put back nothing after it is true."""
        for step in (*plan.stage, *plan.switch):
            known = self._record.known(plan.host, step)
            if known is not None and not await self._steps.halted(self._deployment, plan, step, known):
                return
        for step in self._back_steps(plan):
            end = await self._step(plan, step)
            vital = step in (StepName.CLAIM_BACK, StepName.SWITCH_BACK)
            if end.state_of(step) == "unknown" or (end.refusal is not None and vital):
                return

    def _back_steps(self, plan: HostPlan) -> tuple[StepName, ...]:
        app, record, host = self._deployment.app, self._record, plan.host
        found = [StepName.CLAIM_BACK]
        if record.switched(host):
            found.append(StepName.SWITCH_BACK)
            found += [StepName.ACTIVATE_BACK] if record.began(host, StepName.ACTIVATE) and plan.before else []
            found += [StepName.SERVICE_BACK] if record.began(host, StepName.SERVICE) else []
            found += [StepName.CHECK_BACK] if app.checks and plan.before else []
        placed = self._deployment.rollout.kind is Kind.RELEASE and not plan.has
        found += [StepName.DROP] if placed and record.began(host, StepName.PLACE) else []
        return (*found, StepName.FREE_BACK)


def is_away(refusal: Refusal) -> bool:
    """Whether a host could not be reached, and not only could not do what it was asked."""
    return isinstance(refusal, HostFault) and not isinstance(refusal, ContainmentUnavailable)


def regrouped(batches: Sequence[Sequence[str]], skipped: Container[str]) -> tuple[tuple[str, ...], ...]:
    """The batches without the hosts that are left out: as large as they were, so that the first is a canary still."""
    left = [host for batch in batches for host in batch if host not in skipped]
    found = []
    for batch in batches:
        if left:
            found.append(tuple(left[: len(batch)]))
            left = left[len(batch) :]
    return tuple(found)


async def _side_by_side(walks: Iterable[Awaitable[object]]) -> None:
    """All of them, so many at once; where it is cancelled, or one breaks, all are ended, and then that is raised."""
    room = asyncio.Semaphore(HOSTS_AT_ONCE_MAX)

    async def one(walk: Awaitable[object]) -> None:
        async with room:
            await walk

    tasks = [asyncio.ensure_future(one(walk)) for walk in walks]
    if not tasks:
        return
    words: tuple[object, ...] = ()
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    except asyncio.CancelledError as cancelled:
        words = cancelled.args
        raise
    finally:
        for task in tasks:
            if not task.done():
                task.cancel(*words)
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        task.result()
