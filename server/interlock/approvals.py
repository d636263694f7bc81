"""Approvals: what a human is asked, and what happens when they answer. It never gives one by itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import replace

from interlock.entry import Entry
from interlock.guard import effects_json
from interlock.live import LiveCalls
from interlock.pipeline import Line
from interlock.ports import PendingForm, Request
from interlock.recorded import awaiting
from interlock.records import ApprovalRow, ApprovalState, CallRow, LayerRow, LayerState, Settlement
from interlock.settlements import settlement_of
from interlock.summary import summary
from interlock.ticket import Ticket
from interlock.trail import Trail
from interlock_policies.facts import Decision, Level, Verdict
from interlock_tools.call import Call
from interlock_tools.deploy import is_deployment
from interlock_tools.effects import Effects
from interlock_tools.envelope import Envelope
from interlock_tools.errors import (
    ApprovalDenied,
    ApprovalExpired,
    Cancelled,
    Refusal,
    State,
)

log = logging.getLogger("interlock")

SWEEP_SECONDS = 1.0
TAKEN_UP_MAX = 500


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

    async def carried(self, ticket: Ticket, work: Coroutine[None, None, Envelope]) -> Envelope:
        """Carry a call out; where its measured change is held for a human, keep the ticket until they decided."""
        envelope = await work
        approval_id = envelope.result.get("approval_id") if envelope.state is State.HELD else None
        if approval_id:
            self._live.hold(replace(ticket, approval_id=str(approval_id)))
        return envelope

    async def decide(self, approval_id: str, *, approve: bool, by: str, reason: str) -> ApprovalRow | str:
        """Record a decision; an approved call then runs by itself. A sentence where there is nothing to decide."""
        row = await self._line.store.decide_approval(approval_id, approve, by, reason, self._line.clock())
        if isinstance(row, str):
            return row
        ticket = await self._take(row)
        if ticket is not None and approve:
            await self._run(ticket, row)
        elif ticket is not None:
            await self._end(ticket, ApprovalDenied(reason=reason or "no reason was given"))
        await self._live.notify()
        return row

    async def _held(self, call_id: str) -> LayerRow | None:
        """The layer that still waits for a decision on this call."""
        layer = await self._line.store.layer(call_id)
        return layer if layer is not None and layer.state is LayerState.HELD else None

    async def _end(self, ticket: Ticket, why: Refusal) -> None:
        """Settle what will not run or land: its change, where one is held, is thrown away."""
        call_id = ticket.call.call_id
        layer, row = await self._held(call_id), await self._line.store.call(call_id)
        if layer is not None and row is not None:
            await self._line.closing.drop(row, layer, why, why.state)
        else:
            await self._line.close_unrun(ticket, why)

    async def _run(self, ticket: Ticket, row: ApprovalRow) -> None:
        granted = roles_of(row.obligations)
        call_id = ticket.call.call_id
        layer = await self._held(call_id)
        if layer is not None:
            self._live.start(ticket, self._line.release(ticket, layer, granted))
            return

        async def report(sentence: str, output_bytes: int) -> None:
            await self._live.report(call_id, sentence, output_bytes)

        self._live.start(ticket, self._line.resume(ticket, granted, report))

    async def _take(self, row: ApprovalRow) -> Ticket | None:
        held = self._live.release(row.call_id)
        if held is not None:
            return held
        call = await self._line.store.call(row.call_id)
        if call is None or call.state not in (State.AWAITING_APPROVAL, State.HELD):
            return None
        if call.state is State.HELD:
            return await self._held_ticket(call, row)
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
        tool, principal = self._entry.tool(request), self._entry.principal(call.principal)
        if tool.deploys:
            return await self._planned_again(request, accepted, call, row)
        accepted = replace(accepted, host=call.host)
        facts = await self._line.hosts.facts(call.host)
        if accepted.digest != call.digest or isinstance(facts, Refusal):
            return None
        held = await self._entry.held_by(accepted)
        if isinstance(held, Refusal):
            return None
        accepted = self._entry.placed(accepted, held) if held else accepted
        effects = await self._line.guard.analyse(accepted, tool, facts, held, fresh=True)
        if isinstance(effects, Refusal) or self._line.redactor.json(effects_json(effects)) != call.effects:
            return None
        judged = self._line.guard.judge(principal, facts, accepted, tool, effects, self._entry.situation(), held)
        if judged.decision.verdict is not Verdict.ASK:
            return None
        bound = replace(judged.decision, policy_version=row.policy_version)
        return Ticket(
            request, accepted, tool, principal, facts, effects, bound, self._trail(call), call.validity,
            row.approval_id, level=judged.level, asks_first=judged.asks_first, held=held,
        )  # fmt: skip

    def _trail(self, call: CallRow) -> Trail:
        trail = Trail(self._line.clock, self._line.on_step)
        trail.spans.extend(call.spans)
        return trail

    async def _held_ticket(self, call: CallRow, row: ApprovalRow) -> Ticket | None:
        """The ticket of a held call after a restart. What lands is its layer, whose digest the approval is bound to."""
        request = Request(call.principal, call.session, call.tool, self._entry.as_sent(call), call.traceparent)
        accepted = self._entry.accept(request, call.call_id)
        facts = await self._line.hosts.facts(call.host)
        if isinstance(accepted, Refusal) or isinstance(facts, Refusal):
            return None
        accepted, tool = replace(accepted, host=call.host), self._entry.tool(request)
        effects = replace(Effects(), declared=accepted.declaration)
        decision = Decision(Verdict.ASK, obligations=row.obligations, policy_version=row.policy_version)
        principal = self._entry.principal(call.principal)
        return Ticket(
            request, accepted, tool, principal, facts, effects, decision, self._trail(call), call.validity,
            row.approval_id, level=Level.STAGED,
        )  # fmt: skip

    async def _planned_again(self, request: Request, call: Call, row: CallRow, asked: ApprovalRow) -> Ticket | None:
        """A deployment that was asked about before a restart, where it would still be the very same on every host."""
        if call.digest != row.digest:
            return None
        ticket = await self._line.deploys.look(request, call, self._trail(row), row.validity)
        if isinstance(ticket, Refusal) or ticket.decision.verdict is not Verdict.ASK:
            return None
        if summary(ticket, self._line.redactor) != asked.summary:
            return None
        bound = replace(ticket.decision, policy_version=asked.policy_version)
        return replace(ticket, decision=bound, approval_id=asked.approval_id)

    def _lost(self, call: CallRow) -> Settlement:
        refusal = ApprovalExpired(reason="it was asked before a restart and cannot be carried out from the record")
        envelope = Envelope(call.call_id, refusal.state, error=refusal)
        return settlement_of(envelope, call.spans, self._line.redactor, self._line.clock())

    async def withdraw(self, call_id: str, by: str) -> bool:
        """The caller takes back what waits for a human; False where nothing waits under this id."""
        ticket = self._live.release(call_id)
        layer = await self._held(call_id)
        if ticket is None and layer is None:
            return False
        await self._line.store.withdraw_approval(call_id, self._line.clock())
        row = await self._line.store.call(call_id)
        if layer is not None and row is not None:
            await self._line.closing.drop(row, layer, Cancelled(reason=f"its held change was discarded by {by}"))
        elif ticket is not None:
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

    async def take_up(self) -> None:
        """Carry out what was approved just before the server died. For a process that goes on to serve.

        Where a host cannot be asked now, the approval runs out by itself.
        """
        started = self._line.clock()
        for row in await self._line.store.approvals(ApprovalState.APPROVED, TAKEN_UP_MAX):
            if row.decided is None or row.decided >= started:  # who decides it now runs it
                continue
            try:
                await self._take_up(row)
            except Exception:  # one call that cannot be taken up keeps no other back
                log.exception("call %s was approved and could not be taken up", row.call_id)

    async def _take_up(self, row: ApprovalRow) -> None:
        call = await self._line.store.call(row.call_id)
        if call is None:
            return
        # The hosts of a deployment are asked when it is planned again.
        if not is_deployment(call.tool) and isinstance(await self._line.hosts.facts(call.host), Refusal):
            return
        ticket = await self._take(row)
        if ticket is not None:
            await self._run(ticket, row)

    async def _expire(self, row: ApprovalRow) -> None:
        ticket = self._live.release(row.call_id)
        if ticket is not None:
            await self._end(ticket, ApprovalExpired(reason="nobody decided in time"))
            return
        call = await self._line.store.call(row.call_id)
        layer = await self._held(row.call_id)
        if call is not None and layer is not None:
            await self._line.closing.drop(call, layer, ApprovalExpired(reason="nobody decided in time"), State.DENIED)
            return
        if call is not None and call.state is State.AWAITING_APPROVAL:
            await self._line.store.settle(self._lost(call))


def roles_of(obligations: Sequence[str]) -> frozenset[str]:
    """The roles that have to approve, all of them."""
    return frozenset(name.partition(":")[2] for name in obligations if name.startswith("approval:"))
