"""The line every call walks, in order, on one screen. It connects to nothing and stores nothing itself.

    enter       accept → analyse → decide → admit            (refused, awaiting a human, or a ticket)
    carry_out   authorize → dispatch → observe → land → verify → settle → answer
    resume      an approved ticket: decide again with the approval, consume it, then carry_out
    release     an approved, held change: decide again on what was measured, consume the approval, land it
    collect     a call that was under way when the server died: what the host knows of it, then as carry_out

Every way out passes through settle: what was refused is recorded too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace

from interlock.authorize import Authority
from interlock.closing import Closing, own_result
from interlock.deploy.room import Deploys
from interlock.entry import Entry
from interlock.guard import Guard
from interlock.held import changes_of
from interlock.landing import Landing, Outcome
from interlock.ports import Executed, Hosts, Measured, Progress, Request, Run, Store
from interlock.records import Admitted, LayerRow, NotAdmitted, Repeated
from interlock.settings import Limits
from interlock.settlements import settlement_of
from interlock.ticket import Ticket
from interlock.trail import OnStep, Step, Trail, unwatched
from interlock_policies.facts import Level, Verdict
from interlock_policies.measured import measured_effects
from interlock_policies.redact import Redactor
from interlock_tools.call import Call, Json, Mode
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
from interlock_tools.plan import Plan


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
    deploys: Deploys
    on_step: OnStep = field(default=unwatched)
    landing: Landing = field(init=False)
    closing: Closing = field(init=False)

    def __post_init__(self) -> None:
        landing = Landing(
            self.entry, self.guard, self.store, self.hosts, self.authority, self.redactor, self.limits, self.clock
        )
        closing = Closing(self.entry, self.store, self.hosts, landing, self.redactor, self.limits, self.clock)
        object.__setattr__(self, "landing", landing)
        object.__setattr__(self, "closing", closing)

    # ── enter ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def enter(self, request: Request, call_id: str) -> Ticket | Envelope:
        """Accept, analyse, decide, admit: an admitted ticket, or the answer where it ends here."""
        trail = Trail(self.clock, self.on_step)
        with trail.step(Step.ACCEPT):
            call = self.entry.accept(request, call_id)
            validity = await self.entry.validity(request, call)
        if isinstance(call, Refusal):
            return await self._refuse(request, call_id, None, call, trail, validity)
        held = await self.entry.held_by(call)
        if isinstance(held, Refusal):
            return await self._refuse(request, call_id, call, held, trail, validity)
        call = call if held is None else self.entry.placed(call, held)
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
        held = await self.entry.held_by(call)
        if isinstance(held, Refusal):
            return held
        tool, principal = self.entry.tool(request), self.entry.principal(request.principal)
        if tool.deploys:
            return await self.deploys.look(request, call, trail, validity)
        with trail.step(Step.ANALYSE) as seen:
            facts = await self.hosts.facts(call.host)
            if isinstance(facts, Refusal):
                return facts
            self.entry.learn(facts)
            effects = await self.guard.analyse(call, tool, facts, held)
            if isinstance(effects, Refusal):
                return effects
            seen.update(programs=list(effects.programs), inferred=len(effects.inferred), opaque=list(effects.opaque))
        with trail.step(Step.DECIDE) as seen:
            judged = self.guard.judge(principal, facts, call, tool, effects, self.entry.situation(), held)
            decision, level = judged.decision, judged.level
            seen.update(verdict=decision.verdict.value, rules=list(decision.rule_ids), containment=level.name.lower())
        return Ticket(
            request, call, tool, principal, facts, effects, decision, trail, validity,
            level=level, asks_first=judged.asks_first, held=held,
        )  # fmt: skip

    async def refusal(self, ticket: Ticket) -> Refusal | None:
        """Why a call that was looked at does not go on, with its recovery; None where it does."""
        call, effects = ticket.call, ticket.effects
        refused = await self.guard.refusal(
            ticket.principal, ticket.facts, call, ticket.tool, effects, ticket.decision, ticket.level, ticket.held
        )
        return refused or (
            None if ticket.tool.deploys else self._unsupported(ticket.request, call, effects, ticket.level)
        )

    def _unsupported(self, request: Request, call: Call, effects: Effects, level: Level) -> Refusal | None:
        if call.mode is Mode.PREVIEW and level is not Level.STAGED:
            look = Recovery.give_up("This host stages no calls; call_check shows its decision and effects.")
            return ContainmentUnavailable(reason="a preview needs a host that stages", path="mode", recovery=look)
        asked = request_arguments(request).get("host", "")
        if str(asked).startswith("any:") and effects.changes:
            pick = Recovery.change({"host": call.host}, "One host is named; a change is never sent to any member.")
            return ArgumentInvalid(path="host", reason="any: is for calls that only read", recovery=pick)
        return None

    async def _admit(self, ticket: Ticket) -> Ticket | Envelope:
        with ticket.trail.step(Step.ADMIT) as seen:
            admission = self.entry.admission(ticket, ticket.cost)
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
            return await self._settle(ticket, Outcome(Executed({}, refusal, started=False)), ())
        return await self.carry_out(replace(ticket, granted=approvals), progress)

    async def _still_good(self, ticket: Ticket, approvals: frozenset[str]) -> Refusal | None:
        if self.guard.engine.version != ticket.decision.policy_version:
            return ApprovalExpired(reason="policy changed since it was asked")
        if ticket.tool.deploys:
            return await self.deploys.still_good(ticket, approvals)
        effects = await self.guard.analyse(ticket.call, ticket.tool, ticket.facts, ticket.held, fresh=True)
        if isinstance(effects, Refusal):
            return effects
        if effects != ticket.effects:
            return ApprovalExpired(reason="its paths mean something else on the host since it was asked")
        situation = replace(self.entry.situation(), approvals=approvals)
        judged = self.guard.judge(
            ticket.principal, ticket.facts, ticket.call, ticket.tool, effects, situation, ticket.held
        )
        decision = judged.decision
        if decision.verdict is Verdict.ALLOW and judged.level is ticket.level:
            return None
        return ApprovalExpired(reason="policy does not allow it with this approval", rules=decision.rule_ids)

    async def close_unrun(self, ticket: Ticket, refusal: Refusal) -> Envelope:
        """Settle an admitted call that will not run: denied, expired, withdrawn."""
        return await self._settle(ticket, Outcome(Executed({}, refusal, started=False, attempts=ticket.attempts)), ())

    async def release(self, ticket: Ticket, layer: LayerRow, approvals: frozenset[str]) -> Envelope:
        """An approved, held change: decide again on what was measured, consume the approval, land exactly that."""
        changes, row = changes_of(layer), await self.store.call(ticket.call.call_id)
        measured = Measured("staged", changes, layer=layer.digest, bytes=layer.bytes)
        outcome = Outcome(Executed(own_result(row), None, started=True, measured=measured), layer=layer)
        with ticket.trail.step(Step.APPROVE) as seen:
            decision = self.landing.decide(ticket, measured_effects(ticket.effects, changes), approvals)
            refusal: Refusal | None = None
            if layer.truncated:
                refusal = ApprovalExpired(reason="the record does not hold every path of this change")
            elif decision.verdict is not Verdict.ALLOW:
                refusal = ApprovalExpired(reason="policy does not allow it with this approval", rules=decision.rule_ids)
            else:
                taken = await self.store.dispatch(ticket.call.call_id, ticket.approval_id, self.clock())
                if isinstance(taken, NotAdmitted):
                    refusal = self.entry.not_admitted(taken)
                elif isinstance(taken, str):
                    refusal = ApprovalExpired(reason=taken)
            seen.update(approvals=sorted(approvals), good=refusal is None)
        if refusal is not None:
            if row is None:
                return Envelope(layer.run_id, refusal.state, error=refusal)
            return await self.closing.drop(row, layer, refusal, refusal.state)
        with ticket.trail.step(Step.LAND) as seen:
            outcome = await self.landing.land(ticket, outcome)
            seen.update(changes=len(changes), landed=outcome.measured.landed)
        verified = await self._verify(ticket, outcome)
        return await _surely(self._settle(ticket, outcome, verified))

    # ── carry out ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def carry_out(self, ticket: Ticket, progress: Progress | None = None) -> Envelope:
        """Authorize, dispatch, observe, verify, settle. A cancelled call is settled too, and answered as what it is."""
        return await self._through(ticket, self._dispatch(ticket, progress))

    async def collect(self, ticket: Ticket, asked: Awaitable[Executed]) -> Envelope:
        """A call that was under way when the server died, or was lost: what its host says of it, concluded as ever."""
        return await self._through(ticket, asked)

    async def _through(self, ticket: Ticket, work: Awaitable[Executed]) -> Envelope:
        executed = Executed({}, None, started=True)
        outcome = Outcome(executed)
        verified: tuple[Verified, ...] = ()
        try:
            executed = await work
            outcome, verified = await self._conclude(ticket, executed)
        except asyncio.CancelledError:
            lost = OutcomeUnknown(reason="it was cancelled before its outcome was known", call_id=ticket.call.call_id)
            outcome = Outcome(Executed(executed.result, lost, started=True, attempts=executed.attempts))
        except Exception as fault:  # noqa: BLE001 - whatever failed, the call is settled and the fault is recorded by id
            outcome = Outcome(self.entry.failed_inside(ticket.call.call_id, fault, executed))
        return await _surely(self._settle(ticket, outcome, verified))

    async def _conclude(self, ticket: Ticket, executed: Executed) -> tuple[Outcome, tuple[Verified, ...]]:
        with ticket.trail.step(Step.OBSERVE) as seen:
            measured = executed.measured
            seen.update(observed=measured.observed, changes=len(measured.changes), scratch=measured.scratch)
        outcome = await self.landing.conclude(ticket, executed)
        verified = await self._verify(ticket, outcome)
        if not all(entry.passed for entry in verified):
            outcome = replace(outcome, advice=await self.guard.meant(ticket, ticket.effects))
        return outcome, verified

    async def again(self, ticket: Ticket, plan: Plan) -> Executed:
        """A landing or an undo whose end was not heard, asked for once more: on the host it is one and the same."""
        leave = self.authority.issue(
            ticket.call, plan, host=ticket.call.host, policy_version=self.guard.engine.version,
            lifetime_seconds=self.limits.execute_within_seconds,
        )  # fmt: skip
        call = ticket.call
        return await self.hosts.execute(leave, Run(call.call_id, call.digest, call.host, plan, call.timeout_seconds))

    async def _dispatch(self, ticket: Ticket, progress: Progress | None) -> Executed:
        """Authorize and execute; a read that did not begin goes on to the next member of its group."""
        refusal = await self.closing.claim(ticket)
        if refusal is not None:
            return Executed({}, refusal, started=False, attempts=ticket.attempts)
        if ticket.tool.deploys:
            with ticket.trail.step(Step.DISPATCH):
                return await self.deploys.carry_out(ticket, progress)
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
        plan = self.entry.plan_of(ticket)
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
        run = Run(call.call_id, call.digest, call.host, plan, call.timeout_seconds, declared, ticket.bounds)
        with ticket.trail.step(Step.DISPATCH) as seen:
            executed = await self.hosts.execute(leave, run, progress)
            seen.update(started=executed.started, attempts=len(executed.attempts))
        return executed

    async def _verify(self, ticket: Ticket, outcome: Outcome) -> tuple[Verified, ...]:
        executed, checks = outcome.executed, ticket.call.verify
        if not checks or outcome.hold or not executed.started or isinstance(executed.refusal, OutcomeUnknown):
            return ()
        with ticket.trail.step(Step.VERIFY) as seen:
            exit_code = executed.result.get("exit_code")
            verified = await self.hosts.check(ticket.facts.name, checks, exit_code)
            seen.update(passed=sum(entry.passed for entry in verified), checks=len(verified))
        return verified

    async def _settle(self, ticket: Ticket, outcome: Outcome, verified: tuple[Verified, ...]) -> Envelope:
        with ticket.trail.step(Step.SETTLE):
            envelope = await self.closing.close(ticket, outcome, verified)
        with ticket.trail.step(Step.ANSWER):
            return envelope  # what is answered is what is on record: redacted


def request_arguments(request: Request) -> Mapping[str, Json]:
    """The arguments as they were sent; {} where they are no object."""
    return request.arguments if isinstance(request.arguments, dict) else {}


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
