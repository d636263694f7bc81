"""Approvals: what a human is asked, and what happens when they answer. It never gives one by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from interlock.entry import Entry
from interlock.guard import effects_json
from interlock.live import LiveCalls
from interlock.pipeline import Line
from interlock.ports import PendingForm, Request
from interlock.recorded import awaiting
from interlock.records import ApprovalRow, ApprovalState, CallRow, Settlement
from interlock.settlements import settlement_of
from interlock.ticket import Ticket
from interlock.trail import Trail
from interlock_policies.facts import Verdict
from interlock_tools.envelope import Envelope
from interlock_tools.errors import (
    ApprovalDenied,
    ApprovalExpired,
    Cancelled,
    Refusal,
    State,
)

SWEEP_SECONDS = 1.0


class Approvals:
    """Binds a human's decision to the one call it was asked for."""

    def __init__(self, line: Line, entry: Entry, live: LiveCalls) -> None:
        self._line = line
        self._entry = entry
        self._live = live

    def ask(self, ticket: Ticket) -> Envelope:
        """Keep the ticket, and answer that a human has to decide."""
        self._live.hold(ticket)
        return awaiting(ticket.call.call_id, ticket.approval_id, ticket.decision.rule_ids)

    async def decide(self, approval_id: str, *, approve: bool, by: str, reason: str) -> ApprovalRow | str:
        """Record a decision; an approved call then runs by itself. A sentence where there is nothing to decide."""
        row = await self._line.store.decide_approval(approval_id, approve, by, reason, self._line.clock())
        if isinstance(row, str):
            return row
        ticket = await self._take(row)
        if ticket is not None and approve:
            self._run(ticket, row)
        elif ticket is not None:
            await self._line.close_unrun(ticket, ApprovalDenied(reason=reason or "no reason was given"))
        await self._live.notify()
        return row

    def _run(self, ticket: Ticket, row: ApprovalRow) -> None:
        granted = roles_of(row.obligations)
        call_id = ticket.call.call_id

        async def report(sentence: str, output_bytes: int) -> None:
            await self._live.report(call_id, sentence, output_bytes)

        self._live.start(ticket, self._line.resume(ticket, granted, report))

    async def _take(self, row: ApprovalRow) -> Ticket | None:
        held = self._live.release(row.call_id)
        if held is not None:
            return held
        call = await self._line.store.call(row.call_id)
        if call is None or call.state is not State.AWAITING_APPROVAL:
            return None
        ticket = await self._rehydrate(call, row)
        if ticket is None:
            await self._line.store.settle(self._lost(call))
        return ticket

    async def _rehydrate(self, call: CallRow, row: ApprovalRow) -> Ticket | None:
        """The ticket of a call that was asked before a restart, where the record holds exactly what was asked."""
        request = Request(call.principal, call.session, call.tool, self._entry.as_sent(call), call.traceparent)
        accepted = self._entry.accept(request, call.call_id)
        if not call.arguments_exact or isinstance(accepted, Refusal):
            return None
        accepted = replace(accepted, host=call.host)
        facts = await self._line.hosts.facts(call.host)
        if accepted.digest != call.digest or isinstance(facts, Refusal):
            return None
        tool, principal = self._entry.tool(request), self._entry.principal(call.principal)
        effects = await self._line.guard.analyse(accepted, tool, facts)
        if isinstance(effects, Refusal) or self._line.redactor.json(effects_json(effects)) != call.effects:
            return None
        decision = self._line.guard.decide(principal, facts, accepted, effects, self._entry.situation())
        if decision.verdict is not Verdict.ASK:
            return None
        bound = replace(decision, policy_version=row.policy_version)
        trail = Trail(self._line.clock, self._line.on_step)
        trail.spans.extend(call.spans)
        return Ticket(request, accepted, tool, principal, facts, effects, bound, trail, call.validity, row.approval_id)

    def _lost(self, call: CallRow) -> Settlement:
        refusal = ApprovalExpired(reason="it was asked before a restart and cannot be carried out from the record")
        envelope = Envelope(call.call_id, refusal.state, error=refusal)
        return settlement_of(envelope, call.spans, self._line.redactor, self._line.clock())

    async def withdraw(self, call_id: str, by: str) -> bool:
        """The caller takes back what waits for a human; False where nothing waits under this id."""
        ticket = self._live.release(call_id)
        if ticket is None:
            return False
        await self._line.store.withdraw_approval(call_id, self._line.clock())
        await self._line.close_unrun(ticket, Cancelled(reason=f"withdrawn by {by} before anything ran"))
        await self._live.notify()
        return True

    async def form_for(self, principal: str, call_id: str) -> PendingForm | None:
        """The approval this call waits for, where policy says that the client's own form is enough for it."""
        ticket = self._live.held(call_id)
        if ticket is None or ticket.call.principal != principal:
            return None
        row = await self._line.store.approval(ticket.approval_id)
        enough = self._entry.settings.elicit_roles
        if row is None or row.state is not ApprovalState.PENDING or not roles_of(row.obligations) <= enough:
            return None
        return PendingForm(row.approval_id, call_id, row.summary)

    async def answer_form(self, principal: str, approval_id: str, *, approve: bool, reason: str) -> None:
        """Record what the caller's human answered in a form; nothing where no form was open for it."""
        row = await self._line.store.approval(approval_id)
        if row is not None and await self.form_for(principal, row.call_id) is not None:
            await self.decide(approval_id, approve=approve, by=f"form:{principal}", reason=reason)

    async def sweep(self) -> None:
        """Expire approvals that nobody gave in time, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            for row in await self._line.store.expire_approvals(self._line.clock()):
                await self._expire(row)
            await self._live.notify()

    async def mend(self) -> None:
        """At start: settle the calls whose approval ended just before the server died."""
        for row in await self._line.store.stranded_approvals():
            await self._expire(row)

    async def _expire(self, row: ApprovalRow) -> None:
        ticket = self._live.release(row.call_id)
        if ticket is not None:
            await self._line.close_unrun(ticket, ApprovalExpired(reason="nobody decided in time"))
            return
        call = await self._line.store.call(row.call_id)
        if call is not None and call.state is State.AWAITING_APPROVAL:
            await self._line.store.settle(self._lost(call))


def roles_of(obligations: Sequence[str]) -> frozenset[str]:
    """The roles that have to approve, all of them."""
    return frozenset(name.partition(":")[2] for name in obligations if name.startswith("approval:"))
