"""Driving: a deployment's hosts through their steps, forward, or back where anything fails. It knows no step's insides.

    forward   stage every host side by side → canary → batch after batch, each checked → close
    back      the batches in reverse, then what was only staged; a host that cannot be asked stays unknown

What the record has is done already. So the same two walks begin a deployment and go on with one after a restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, field

from interlock.deploy.asking import Deployment
from interlock.deploy.records import StepRow
from interlock.deploy.steps import StepEnd, Steps
from interlock_tools.errors import HostFault, OutcomeUnknown, Refusal
from interlock_tools.rollout import HostPlan, Kind, StepName

HOSTS_AT_ONCE_MAX = 50
UPLOADS_AT_ONCE_MAX = 4  # what one server's line and processor are shared by

_SWITCHED = frozenset(
    {StepName.SWITCH, StepName.ACTIVATE, StepName.SERVICE, StepName.CHECK, StepName.AFTER, StepName.PRUNE}
)


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


@dataclass
class Progressed:
    """What a walk came to: the ends of this walk's steps by host, hosts left out, and why it stopped."""

    ends: dict[str, dict[StepName, StepEnd]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    refusal: Refusal | None = None
    failed_host: str = ""

    def stop(self, host: str, refusal: Refusal) -> None:
        """The first failure is the reason of all."""
        if self.refusal is None:
            self.refusal, self.failed_host = refusal, host


class Drive:
    """One walk over one deployment's hosts. `on_step` of its steps may end it at any moment: the record has it all."""

    def __init__(self, deployment: Deployment, steps: Steps, record: Record) -> None:
        self._deployment = deployment
        self._steps = steps
        self._record = record
        self._uploads = asyncio.Semaphore(UPLOADS_AT_ONCE_MAX)
        self.progress = Progressed()

    # ── forward ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def forward(self) -> Progressed:
        """Until all of it is live and healthy, or the first failure."""
        rollout = self._deployment.rollout
        await _side_by_side(self._staged(plan) for plan in rollout.hosts)
        for number, batch in enumerate(rollout.batches):
            if self.progress.refusal is not None:
                return self.progress
            if number and not self._is_over(batch):
                await self._soak(rollout.batches[number - 1])
            going = [rollout.host(host) for host in batch if host not in self.progress.skipped]
            await _side_by_side(self._walk(plan, plan.switch) for plan in going)
        if self.progress.refusal is None and rollout.kind is not Kind.SERVICE:
            closing = [plan for plan in rollout.hosts if plan.host not in self.progress.skipped]
            await _side_by_side(self._walk(plan, plan.close, harmless=True) for plan in closing)
        return self.progress

    async def _soak(self, batch: tuple[str, ...]) -> None:
        """The pause after a batch, and a look at how its hosts bore it."""
        app = self._deployment.app
        if app.batches.pause_seconds:
            await asyncio.sleep(app.batches.pause_seconds)
            plans = [self._deployment.rollout.host(host) for host in batch if host not in self.progress.skipped]
            await _side_by_side(self._walk(plan, (StepName.SOAK,) if app.checks else ()) for plan in plans)

    def _is_over(self, batch: tuple[str, ...]) -> bool:
        """Whether this batch was begun before: a pause before it was made then."""
        return any(self._record.began(host, StepName.SWITCH, StepName.SERVICE) for host in batch)

    async def _staged(self, plan: HostPlan) -> None:
        """Make it ready; a host that cannot be reached before the switch is left out where the app says so."""
        refusal = await self._walk(plan, plan.stage, skips=self._deployment.app.unreachable == "skip")
        if refusal is not None:
            self.progress.skipped[plan.host] = f"{refusal.code}: {refusal.reason}"

    async def _walk(
        self, plan: HostPlan, steps: Iterable[StepName], *, skips: bool = False, harmless: bool = False
    ) -> Refusal | None:
        """The host's steps in order up to the first that fails; the refusal where the host is to be left out for it.

        `harmless`: all of it is live and healthy; what fails now is said, and takes nothing back.
        """
        for step in steps:
            if self.progress.refusal is not None and not harmless:
                return None
            end = await self._step(plan, step)
            if end.refusal is None or harmless:
                continue
            if skips and isinstance(end.refusal, HostFault):
                return end.refusal
            self.progress.stop(plan.host, end.refusal)
            return None
        return None

    async def _step(self, plan: HostPlan, step: StepName) -> StepEnd:
        known = self._record.known(plan.host, step)
        if step is StepName.UPLOAD:
            async with self._uploads:
                end = await self._steps.run(self._deployment, plan, step, known)
        else:
            end = await self._steps.run(self._deployment, plan, step, known)
        self.progress.ends.setdefault(plan.host, {})[step] = end
        return end

    # ── back ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def back(self) -> Progressed:
        """Take back whatever began, the last switched first. Each host that cannot be asked ends as unknown."""
        rollout = self._deployment.rollout
        for batch in reversed(rollout.batches):
            touched = [rollout.host(host) for host in batch if self._record.began(host, *_SWITCHED)]
            await _side_by_side(self._walk_back(plan) for plan in touched)
        staged = [plan for plan in rollout.hosts if not self._record.began(plan.host, *_SWITCHED)]
        await _side_by_side(self._walk_back(plan) for plan in staged if self._record.began(plan.host, StepName.CLAIM))
        return self.progress

    async def _walk_back(self, plan: HostPlan) -> None:
        """All of it, whatever fails on the way: but where the link could not be put back nothing after it is true."""
        for step in self._back_steps(plan):
            end = await self._step(plan, step)
            if isinstance(end.refusal, OutcomeUnknown | HostFault) or (end.refusal and step is StepName.SWITCH_BACK):
                return

    def _back_steps(self, plan: HostPlan) -> tuple[StepName, ...]:
        app, record, host = self._deployment.app, self._record, plan.host
        found = []
        if record.began(host, *_SWITCHED):
            found.append(StepName.SWITCH_BACK)
            found += [StepName.ACTIVATE_BACK] if record.began(host, StepName.ACTIVATE) and plan.before else []
            found += [StepName.SERVICE_BACK] if record.began(host, StepName.SERVICE) else []
            found += [StepName.CHECK_BACK] if app.checks and plan.before else []
        placed = self._deployment.rollout.kind is Kind.RELEASE and not plan.has
        found += [StepName.DROP] if placed and record.began(host, StepName.PLACE) else []
        return (*found, StepName.FREE_BACK)


async def _side_by_side(walks: Iterable[Awaitable[object]]) -> None:
    """All of them, at most so many at once; where one is cancelled or breaks all are ended, and then it is raised."""
    room = asyncio.Semaphore(HOSTS_AT_ONCE_MAX)

    async def one(walk: Awaitable[object]) -> None:
        async with room:
            await walk

    tasks = [asyncio.ensure_future(one(walk)) for walk in walks]
    try:
        await asyncio.gather(*tasks)
    except asyncio.CancelledError as cancelled:
        for task in tasks:
            task.cancel(*cancelled.args)
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
