"""The line every call walks, in order, on one screen. It connects to nothing and stores nothing itself.

    enter       accept → analyse → decide → admit            (refused, awaiting a human, or a ticket)
    carry_out   authorize → dispatch → observe → verify → settle → answer
    resume      an approved ticket: decide again with the approval, consume it, then carry_out

Every way out passes through settle: what was refused is recorded too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace

from interlock.authorize import Authority
from interlock.entry import Entry
from interlock.guard import Guard
from interlock.ports import Executed, Hosts, Progress, Request, Run, Store
from interlock.records import Admitted, NotAdmitted, Repeated
from interlock.settings import Limits
from interlock.settlements import envelope_of, settlement_of
from interlock.ticket import Ticket
from interlock.trail import OnStep, Step, Trail, unwatched
from interlock_policies.cost import cost_units
from interlock_policies.facts import Verdict
from interlock_policies.redact import Redactor
from interlock_tools.call import Call, Mode
from interlock_tools.effects import Effects
from interlock_tools.envelope import Attempt, Envelope, Scores, Verified, envelope_from_json
from interlock_tools.errors import (
    ApprovalExpired,
    ArgumentInvalid,
    ContainmentUnavailable,
    HostFault,
    HostUnreachable,
    Internal,
    OutcomeUnknown,
    Recovery,
    Refusal,
)


@dataclass(frozen=True)
class Line:
    """The parts of the line. All of them are given; none is found."""

    entry: Entry
    guard: Guard
    store: Store
    hosts: Hosts
    authority: Authority
    redactor: Redactor
    limits: Limits
    clock: Callable[[], float]
    on_step: OnStep = field(default=unwatched)

    # ── enter ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def enter(self, request: Request, call_id: str) -> Ticket | Envelope:
        """Accept, analyse, decide, admit: an admitted ticket, or the answer where it ends here."""
        trail = Trail(self.clock, self.on_step)
        with trail.step(Step.ACCEPT):
            call = self.entry.accept(request, call_id)
            validity = await self.entry.validity(request, call)
        if isinstance(call, Refusal):
            return await self._refuse(request, call_id, None, call, trail, validity)
        ticket = await self._weigh_members(request, call, trail, validity)
        if isinstance(ticket, Envelope):
            return ticket
        return await self._admit(ticket)

    async def _weigh_members(
        self, request: Request, call: Call, trail: Trail, validity: float | None
    ) -> Ticket | Envelope:
        """Weigh the call on its host, or on the first member of its group that can be reached."""
        members = self.entry.members(request.principal, call.host)
        attempts: list[Attempt] = []
        last: Refusal = HostUnreachable(reason="the group has no member")
        for place, host in enumerate(members[: self.limits.attempts_max]):
            weighed = await self.weigh(request, replace(call, host=host), trail, validity)
            if not isinstance(weighed, Refusal):
                return replace(weighed, attempts=tuple(attempts), spares=members[place + 1 : self.limits.attempts_max])
            last = weighed
            if not isinstance(weighed, HostFault) or not call.host.startswith("any:"):
                break
            attempts.append(self.entry.attempt(host, trail, weighed.code))
        return await self._refuse(request, call.call_id, call, last, trail, validity, tuple(attempts))

    async def weigh(self, request: Request, call: Call, trail: Trail, validity: float | None) -> Ticket | Refusal:
        """What the call means on this one host, and what policy says of it; a refusal where it says no."""
        ticket = await self.look(request, call, trail, validity)
        return ticket if isinstance(ticket, Refusal) else await self.refusal(ticket) or ticket

    async def look(self, request: Request, call: Call, trail: Trail, validity: float | None) -> Ticket | Refusal:
        """Analyse and decide; the decision may be any. A refusal where the call could not be analysed."""
        tool, principal = self.entry.tool(request), self.entry.principal(request.principal)
        with trail.step(Step.ANALYSE) as seen:
            facts = await self.hosts.facts(call.host)
            if isinstance(facts, Refusal):
                return facts
            self.entry.learn(facts)
            effects = await self.guard.analyse(call, tool, facts)
            if isinstance(effects, Refusal):
                return effects
            seen.update(programs=list(effects.programs), inferred=len(effects.inferred), opaque=list(effects.opaque))
        with trail.step(Step.DECIDE) as seen:
            decision = self.guard.decide(principal, facts, call, effects, self.entry.situation())
            seen.update(verdict=decision.verdict.value, rules=list(decision.rule_ids))
        return Ticket(request, call, tool, principal, facts, effects, decision, trail, validity)

    async def refusal(self, ticket: Ticket) -> Refusal | None:
        """Why a call that was looked at does not go on, with its recovery; None where it does."""
        call, effects = ticket.call, ticket.effects
        refused = await self.guard.refusal(ticket.principal, ticket.facts, call, ticket.tool, effects, ticket.decision)
        return refused or self._unsupported(ticket.request, call, effects)

    def _unsupported(self, request: Request, call: Call, effects: Effects) -> Refusal | None:
        if call.mode is Mode.PREVIEW:
            apply = Recovery.give_up("No host here can stage a call yet; call_check shows its decision and effects.")
            return ContainmentUnavailable(reason="a preview needs a staging layer", path="mode", recovery=apply)
        asked = request.arguments.get("host", "") if isinstance(request.arguments, dict) else ""
        if str(asked).startswith("any:") and effects.changes:
            pick = Recovery.change({"host": call.host}, "One host is named; a change is never sent to any member.")
            return ArgumentInvalid(path="host", reason="any: is for calls that only read", recovery=pick)
        return None

    async def _admit(self, ticket: Ticket) -> Ticket | Envelope:
        with ticket.trail.step(Step.ADMIT) as seen:
            admission = self.entry.admission(ticket, cost_units(ticket.effects, ticket.facts))
            result = await self.store.admit(admission)
            seen.update(cost_units=admission.intent.cost_units)
        if isinstance(result, Admitted):
            notices = self.entry.notices(result.budget_left)
            cost = admission.intent.cost_units
            return replace(ticket, approval_id=result.approval_id, cost_units=cost, notices=notices)
        if isinstance(result, Repeated):
            return await self.entry.repeated(result)
        refusal = self.entry.not_admitted(result)
        call = ticket.call
        return await self._refuse(ticket.request, call.call_id, call, refusal, ticket.trail, ticket.validity)

    async def _refuse(
        self,
        request: Request,
        call_id: str,
        call: Call | None,
        refusal: Refusal,
        trail: Trail,
        validity: float | None,
        attempts: tuple[Attempt, ...] = (),
    ) -> Envelope:
        """Record a call that was never admitted, and answer it."""
        envelope = Envelope(call_id, refusal.state, scores=Scores(validity=validity), attempts=attempts, error=refusal)
        with trail.step(Step.SETTLE):
            intent = self.entry.refused_intent(request, call_id, call, refusal, validity)
            settlement = settlement_of(envelope, trail.snapshot(), self.redactor, self.clock())
            await self.store.refuse(intent, settlement)
        return envelope_from_json(settlement.envelope)

    # ── an approved ticket ───────────────────────────────────────────────────────────────────────────────────────────

    async def resume(self, ticket: Ticket, approvals: frozenset[str], progress: Progress | None = None) -> Envelope:
        """Decide again with the real approvals, consume them, carry the call out."""
        with ticket.trail.step(Step.APPROVE) as seen:
            refusal = await self._still_good(ticket, approvals)
            if refusal is None:
                taken = await self.store.dispatch(ticket.call.call_id, ticket.approval_id, self.clock())
                if isinstance(taken, NotAdmitted):
                    refusal = self.entry.not_admitted(taken)
                elif isinstance(taken, str):
                    refusal = ApprovalExpired(reason=taken)
            seen.update(approvals=sorted(approvals), good=refusal is None)
        if refusal is not None:
            return await self._settle(ticket, Executed({}, refusal, started=False), ())
        return await self.carry_out(ticket, progress)

    async def _still_good(self, ticket: Ticket, approvals: frozenset[str]) -> Refusal | None:
        if self.guard.engine.version != ticket.decision.policy_version:
            return ApprovalExpired(reason="policy changed since it was asked")
        effects = await self.guard.analyse(ticket.call, ticket.tool, ticket.facts)
        if isinstance(effects, Refusal):
            return effects
        if effects != ticket.effects:
            return ApprovalExpired(reason="its paths mean something else on the host since it was asked")
        situation = replace(self.entry.situation(), approvals=approvals)
        decision = self.guard.decide(ticket.principal, ticket.facts, ticket.call, effects, situation)
        if decision.verdict is Verdict.ALLOW:
            return None
        return ApprovalExpired(reason="policy does not allow it with this approval", rules=decision.rule_ids)

    async def close_unrun(self, ticket: Ticket, refusal: Refusal) -> Envelope:
        """Settle an admitted call that will not run: denied, expired, withdrawn."""
        return await self._settle(ticket, Executed({}, refusal, started=False, attempts=ticket.attempts), ())

    # ── carry out ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def carry_out(self, ticket: Ticket, progress: Progress | None = None) -> Envelope:
        """Authorize, dispatch, observe, verify, settle. A cancelled call is settled too, and answered as what it is."""
        executed = Executed({}, None, started=True)
        verified: tuple[Verified, ...] = ()
        try:
            executed = await self._dispatch(ticket, progress)
            with ticket.trail.step(Step.OBSERVE) as seen:
                seen.update(observed="none")
            verified = await self._verify(ticket, executed)
        except asyncio.CancelledError:
            lost = OutcomeUnknown(reason="it was cancelled before its outcome was known", call_id=ticket.call.call_id)
            executed = Executed(executed.result, lost, started=True, attempts=executed.attempts)
        except Exception as fault:  # noqa: BLE001 - whatever failed, the call is settled and the fault is recorded by id
            executed = self.entry.failed_inside(ticket.call.call_id, fault, executed)
        return await _surely(self._settle(ticket, executed, verified))

    async def _dispatch(self, ticket: Ticket, progress: Progress | None) -> Executed:
        """Authorize and execute; a read that did not begin goes on to the next member of its group."""
        executed = await self._execute(ticket, progress)
        attempts = ticket.attempts + executed.attempts
        for host in ticket.spares:
            if executed.started or not isinstance(executed.refusal, HostFault):
                break
            other = await self.weigh(ticket.request, replace(ticket.call, host=host), ticket.trail, ticket.validity)
            if isinstance(other, Refusal) or other.decision.verdict is not Verdict.ALLOW:
                continue
            executed = await self._execute(other, progress)
            attempts += executed.attempts
        return replace(executed, attempts=attempts)

    async def _execute(self, ticket: Ticket, progress: Progress | None) -> Executed:
        call = ticket.call
        plan = ticket.tool.plan(call)
        if plan is None:
            return Executed({}, Internal(reason="a tool without a plan"), started=False)
        with ticket.trail.step(Step.AUTHORIZE):
            leave = self.authority.issue(
                call,
                plan,
                host=call.host,
                policy_version=ticket.decision.policy_version,
                lifetime_seconds=self.limits.execute_within_seconds,
            )
        declared = ticket.effects.declared.writes + ticket.effects.declared.deletes
        run = Run(call.call_id, call.digest, call.host, plan, call.timeout_seconds, declared)
        with ticket.trail.step(Step.DISPATCH) as seen:
            executed = await self.hosts.execute(leave, run, progress)
            seen.update(started=executed.started, attempts=len(executed.attempts))
        return executed

    async def _verify(self, ticket: Ticket, executed: Executed) -> tuple[Verified, ...]:
        if not ticket.call.verify or not executed.started or isinstance(executed.refusal, OutcomeUnknown):
            return ()
        with ticket.trail.step(Step.VERIFY) as seen:
            exit_code = executed.result.get("exit_code")
            verified = await self.hosts.check(ticket.facts.name, ticket.call.verify, exit_code)
            seen.update(passed=sum(entry.passed for entry in verified), checks=len(verified))
        return verified

    async def _settle(self, ticket: Ticket, executed: Executed, verified: tuple[Verified, ...]) -> Envelope:
        envelope = envelope_of(ticket, executed, verified)
        with ticket.trail.step(Step.SETTLE):
            settlement = settlement_of(envelope, ticket.trail.snapshot(), self.redactor, self.clock())
            if not executed.started:  # nothing ran: it costs nothing, and its idempotency key is free again
                settlement = replace(settlement, releases_key=True, refund_units=ticket.cost_units)
            await self.store.settle(settlement)
        with ticket.trail.step(Step.ANSWER):
            return envelope_from_json(settlement.envelope)  # what is answered is what is on record: redacted


async def _surely(work: Coroutine[None, None, Envelope]) -> Envelope:
    """Finish work that is bounded by itself, whoever cancels meanwhile: an outcome is never lost to a cancellation."""
    task = asyncio.ensure_future(work)
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise
    return task.result()
