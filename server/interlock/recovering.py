"""Recovering: calls that were under way when the server died, or whose connection was lost, found again on their hosts.

It asks and never runs anything anew: what a host says of a run is its outcome, what it never began never will begin.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from interlock.entry import Entry
from interlock.held import COMMIT, UNDO, placed
from interlock.live import LiveCalls
from interlock.pipeline import Line
from interlock.ports import Executed, Request, Run
from interlock.records import CallRow, LayerRow, LayerState, Life, OpenRun
from interlock.ticket import Ticket
from interlock.trail import Trail
from interlock_policies.facts import Decision, HostFacts, Verdict
from interlock_tools.call import Call
from interlock_tools.deploy import is_deployment
from interlock_tools.effects import Effects
from interlock_tools.errors import Cancelled, Refusal
from interlock_tools.plan import WORK_PLANS, CommitLayer, RunCommand, UndoRun

log = logging.getLogger("interlock")

ASKED_AT_ONCE = 8
AGAIN_SECONDS = 5.0
AGAIN_SECONDS_MAX = 3_600.0
FLEET_SECONDS_MAX = 15.0
WITHOUT_TASK_SECONDS = 4.0
OPEN_MAX = 500
ASKABLE_PLANS = (RunCommand, CommitLayer, UndoRun, *WORK_PLANS)  # of anything else its host keeps no word


class Recovering:
    """Asks hosts about calls without an end on record, at start and then again and again until each has one."""

    def __init__(self, line: Line, entry: Entry, live: LiveCalls) -> None:
        self._line = line
        self._entry = entry
        self._live = live
        self._room = asyncio.Semaphore(ASKED_AT_ONCE)
        self._pauses: dict[str, tuple[float, float]] = {}
        self._idle: dict[str, float] = {}  # since when an open call was seen without a task

    async def forever(self) -> None:
        """Until cancelled. What runs in this process has an end to come, and is left alone."""
        while True:
            for found in self._without_task(await self._line.store.open_runs(OPEN_MAX)):
                if found.call.call_id not in self._live.running() and self._is_time(found.call):
                    await self._start(found)
            await self._expire()
            await asyncio.sleep(AGAIN_SECONDS)

    def _without_task(self, open_runs: Sequence[OpenRun]) -> list[OpenRun]:
        """Those that no task of this process will end. One that was admitted just now has none yet, and gets one."""
        now, running = time.monotonic(), self._live.running()
        idle = [found for found in open_runs if found.call.call_id not in running]
        self._idle = {found.call.call_id: self._idle.get(found.call.call_id, now) for found in idle}
        return [
            found
            for found in idle
            if found.call.life is not Life.DISPATCHED or now - self._idle[found.call.call_id] >= WITHOUT_TASK_SECONDS
        ]

    async def _expire(self) -> None:
        """What was held too long is discarded: first on record, then on its host."""
        for row in await self._line.store.expire_layers(self._line.clock()):
            if row.state is LayerState.DISCARDED and row.host in self._entry.settings.hosts:
                await self._line.hosts.discard(row.host, row.run_id)

    def _is_time(self, call: CallRow) -> bool:
        """Whether to ask about this call now: its host is asked less and less often, and never given up.

        A deployment may have left its fleet half way: its hosts are asked often, for as long as it takes.
        """
        call_id, most = call.call_id, FLEET_SECONDS_MAX if is_deployment(call.tool) else AGAIN_SECONDS_MAX
        now, (due, pause) = time.monotonic(), self._pauses.get(call_id, (0.0, AGAIN_SECONDS))
        if now < due:
            return False
        if len(self._pauses) >= 2 * OPEN_MAX:
            self._pauses.clear()
        self._pauses[call_id] = (now + pause, min(2 * pause, most))
        return True

    async def _start(self, found: OpenRun) -> None:
        """Follow it in a task of its own, so that call_status and call_cancel reach it as any running call."""
        try:
            ticket = await self._ticket(found)
        except Exception:
            log.exception("call %s could not be asked about", found.call.call_id)
            return
        if ticket is None and is_deployment(found.call.tool):
            log.warning(
                "the deployment %s of %s cannot be gone on with: its app or its caller is not configured as it was",
                found.call.call_id, found.call.principal,
            )  # fmt: skip
        if ticket is not None and ticket.tool.deploys:
            report = partial(self._live.report, ticket.call.call_id)
            self._live.start(ticket, self._line.collect(ticket, self._line.deploys.go_on(ticket, report)))
        elif ticket is not None and isinstance(self._entry.plan_of(ticket), ASKABLE_PLANS):
            self._live.start(ticket, self._line.collect(ticket, self._asked(ticket)), found=True)

    async def _asked(self, ticket: Ticket) -> Executed:
        """What the host says of it. What never began is cancelled; a landing or undo is asked for again: it is one."""
        call = ticket.call
        plan = self._entry.plan_of(ticket) or RunCommand("")
        run = Run(call.call_id, call.digest, call.host, plan, call.timeout_seconds, (), ticket.bounds)
        async with self._room:
            if isinstance(plan, CommitLayer | UndoRun):
                return await self._line.again(ticket, plan)
            executed = await self._line.hosts.collect(run)
        if executed is None:
            return Executed({}, Cancelled(reason="the server stopped before the host began it"), started=False)
        return executed

    async def _ticket(self, found: OpenRun) -> Ticket | None:
        """The call as the record has it. What redaction changed in it is not needed any more: it has begun already."""
        row = found.call
        request = Request(row.principal, row.session, row.tool, self._entry.as_sent(row), row.traceparent)
        accepted = self._entry.accept(request, row.call_id)
        if isinstance(accepted, Refusal):
            return None
        if self._entry.tool(request).deploys:
            return self._deployment(request, replace(accepted, host=row.host), row)
        if row.host not in self._entry.settings.hosts:
            return None
        facts = await self._line.hosts.facts(row.host)
        if isinstance(facts, Refusal):
            return None
        tool, principal = self._entry.tool(request), self._entry.principal(row.principal)
        call = replace(accepted, host=row.host)
        trail, decision = self._trail(row), _decided(row)
        held = found.layer if row.tool in (COMMIT, UNDO) else None
        call = placed(call, held) if held is not None else call
        effects = await self._line.guard.analyse(call, tool, facts, held)
        if isinstance(effects, Refusal):
            return None
        situation = self._entry.situation()
        level = self._line.guard.judge(principal, facts, call, tool, effects, situation, held).level
        return Ticket(
            request, call, tool, principal, facts, effects, decision, trail, row.validity,
            row.approval_id, row.cost_units, level=level, held=held, landing=_begun(found),
        )  # fmt: skip

    def _deployment(self, request: Request, call: Call, row: CallRow) -> Ticket:
        """A deployment's record says itself what it does on which hosts: none of them is asked for that."""
        tool, principal = self._entry.tool(request), self._entry.principal(row.principal)
        facts = HostFacts(call.host, labels={"env": row.environment})
        return Ticket(
            request, call, tool, principal, facts, Effects(), _decided(row), self._trail(row), row.validity,
            row.approval_id, row.cost_units,
        )  # fmt: skip

    def _trail(self, row: CallRow) -> Trail:
        trail = Trail(self._line.clock, self._line.on_step)
        trail.spans.extend(row.spans)
        return trail


def _decided(row: CallRow) -> Decision:
    return Decision(Verdict(row.verdict or "ALLOW"), policy_version=row.policy_version)


def _begun(found: OpenRun) -> LayerRow | None:
    """The call's own layer, where its landing had begun."""
    layer = found.layer
    own = layer is not None and layer.run_id == found.call.call_id and layer.state is LayerState.LANDING
    return layer if own else None
