"""What the line needs around its steps: the caller's catalog, and the values put on record. It decides nothing."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from interlock.catalogs import Catalogs, Place
from interlock.guard import effects_json
from interlock.held import held_by, placed, plan_of
from interlock.ports import Executed, Hosts, Request, Store
from interlock.recorded import of_row
from interlock.records import Admission, ApprovalAsk, CallRow, Charge, Intent, LayerRow, NotAdmitted, Repeated
from interlock.settings import HostSettings, Settings
from interlock.summary import summary
from interlock.ticket import Ticket
from interlock.trail import Trail
from interlock_policies.facts import Decision, HostFacts, Principal, Situation, Verdict
from interlock_policies.redact import Redactor
from interlock_tools.call import Call, Json, digest_of
from interlock_tools.catalog import Catalog, Tool
from interlock_tools.envelope import Attempt, Envelope
from interlock_tools.errors import (
    EffectUndeclared,
    Internal,
    Invalid,
    PolicyDenied,
    Refusal,
    State,
    refusal_codes,
)
from interlock_tools.plan import Plan

log = logging.getLogger("interlock")

ARGUMENTS_CHARS_MAX = 64 * 1024
BUDGET_LOW_SHARE = 0.1
TOOL_CHARS_MAX = 80


def new_call_id() -> str:
    """A fresh call id: "c_" and 128 random bits, hex."""
    return "c_" + secrets.token_hex(16)


def new_approval_id() -> str:
    """A fresh approval id: "apr_" and 64 random bits, hex; it grants nothing to whoever knows it."""
    return "apr_" + secrets.token_hex(8)


@dataclass
class Entry:
    """Settings, store and hosts as the line's first steps need them."""

    settings: Settings
    store: Store
    hosts: Hosts
    redactor: Redactor
    clock: Callable[[], float]
    alarm: Callable[[], str] = lambda: ""  # what every caller should hear: a policy that did not load
    places: dict[str, Place] = field(default_factory=dict)  # as they were learned from the hosts
    catalogs: Catalogs = field(init=False)

    def __post_init__(self) -> None:
        self.catalogs = Catalogs(self.settings, self._place)

    # ── who, and what they see ───────────────────────────────────────────────────────────────────────────────────────

    def _place(self, host: str) -> Place:
        known = self.settings.hosts.get(host)
        return self.places.get(host) or Place(cwd=known.cwd if known else "")

    def cwd(self, host: str) -> str:
        """Where this host's commands start, as far as it is known."""
        return self._place(host).cwd

    def learn(self, facts: HostFacts) -> None:
        """Remember where this host's commands start; a relative path is then answered with the absolute one."""
        self.places[facts.name] = Place(facts.cwd, facts.home, facts.containment)

    def containment(self, host: str) -> tuple[str, ...]:
        """The levels this host was seen to reach, weakest first; empty until it was first reached."""
        return self._place(host).containment

    def principal(self, name: str) -> Principal:
        """The configured principal; an unknown name is one without any right."""
        return self.catalogs.principal(name)

    def visible_hosts(self, name: str) -> tuple[HostSettings, ...]:
        """The hosts a principal may see, in the inventory's order."""
        return self.catalogs.hosts(name)

    def catalog(self, name: str) -> Catalog:
        """The tools as this principal sees them."""
        return self.catalogs.catalog(name)

    def tool(self, request: Request) -> Tool:
        """The tool of a request that was accepted."""
        return self.catalog(request.principal).tool(request.tool)

    def members(self, principal: str, host: str) -> tuple[str, ...]:
        """The hosts a call may go to: the one it names, or its group's members that the principal sees."""
        if not host.startswith("any:"):
            return (host,)
        seen = {entry.name for entry in self.visible_hosts(principal)}
        return tuple(name for name in self.hosts.members(host.removeprefix("any:")) if name in seen)

    # ── accept ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def accept(self, request: Request, call_id: str) -> Call | Refusal:
        """The request as a call, or why it is none."""
        return self.catalog(request.principal).accept(
            request.tool, request.arguments, call_id=call_id, principal=request.principal
        )

    async def held_by(self, call: Call) -> LayerRow | Refusal | None:
        """The layer that this call lands or undoes; None for every other tool."""
        return await held_by(self.store, call, self.principal(call.principal))

    def placed(self, call: Call, held: LayerRow) -> Call:
        """The call on its layer's host."""
        return placed(call, held)

    def plan_of(self, ticket: Ticket) -> Plan | None:
        """What the call asks of its host."""
        if ticket.held is not None:
            return plan_of(ticket.call, ticket.held, ticket.request.keep)
        return ticket.tool.plan(ticket.call)

    def as_sent(self, call: CallRow) -> dict[str, Json]:
        """The recorded arguments without the optional ones that were left out ("" stands for those)."""
        contracts = {contract.name: contract for contract in self.catalog(call.principal).contracts()}
        required = contracts[call.tool].input_schema.get("required", ()) if call.tool in contracts else ()
        return {name: value for name, value in call.arguments.items() if value != "" or name in required}

    async def validity(self, request: Request, call: Call | Refusal) -> float | None:
        """1 where the call is valid at the first attempt, 0 where it is invalid, None for the mended one after that.

        The invalid attempt was scored already; a second score for the same mistake would count it twice.
        """
        if isinstance(call, Invalid):
            return 0.0
        first = await self.store.first_attempt(request.principal, request.session, request.tool)
        return 1.0 if first else None

    def situation(self) -> Situation:
        """The hour and weekday of the server, in its own time zone."""
        now = datetime.fromtimestamp(self.clock()).astimezone()
        return Situation(weekday=now.weekday(), hour=now.hour)

    # ── what goes on record ──────────────────────────────────────────────────────────────────────────────────────────

    def admission(self, ticket: Ticket, cost: int) -> Admission:
        """The request for admission of a ticket that policy does not deny."""
        now = self.clock()
        ask = self.ask(ticket, now, summary(ticket, self.redactor)) if ticket.asks_first else None
        day = datetime.fromtimestamp(now, UTC).date().isoformat()
        return Admission(self._intent(ticket, cost), self._charge(), now, day, approval=ask)

    def _intent(self, ticket: Ticket, cost: int) -> Intent:
        call, request = ticket.call, ticket.request
        recorded = {name: value for name, value in call.arguments.items() if name != "idempotency_key"}
        shown = self.redactor.json(recorded)
        return Intent(
            call_id=call.call_id,
            principal=call.principal,
            session=request.session,
            tool=call.tool,
            host=call.host,
            environment=ticket.facts.environment,
            arguments=shown,
            arguments_exact=shown == recorded,
            digest=call.digest,
            intent=self.redactor.text(call.intent),
            effects=self.redactor.json(effects_json(ticket.effects)),
            verdict=ticket.decision.verdict.value,
            rules=ticket.decision.rule_ids,
            policy_version=ticket.decision.policy_version,
            cost_units=cost,
            changes=ticket.effects.changes,
            first_attempt_valid=ticket.validity == 1.0,
            # Only equality counts, and what a client puts into a key may be a secret.
            idempotency_key=digest_of(call.idempotency_key) if call.idempotency_key else "",
            traceparent=request.traceparent,
        )

    def refused_intent(
        self, request: Request, call_id: str, call: Call | None, refusal: Refusal, validity: float | None
    ) -> Intent:
        """The record of a call that was never admitted; its arguments are redacted and bounded."""
        shown = self.redactor.json(request.arguments if isinstance(request.arguments, dict) else {})
        if len(json.dumps(shown, default=str)) > ARGUMENTS_CHARS_MAX:
            shown = {"interlock": "arguments too long to record"}
        host = self.settings.hosts.get(call.host) if call else None
        return Intent(
            call_id=call_id,
            principal=request.principal,
            session=request.session,
            tool=self.redactor.text(request.tool[:TOOL_CHARS_MAX]),
            host=call.host if call else "",
            environment=host.labels.get("env", "") if host else "",
            arguments=shown,
            arguments_exact=False,
            digest=call.digest if call else digest_of(shown),
            intent=self.redactor.text(call.intent) if call else "",
            effects={},
            verdict=Verdict.DENY.value if isinstance(refusal, PolicyDenied | EffectUndeclared) else "",
            rules=refusal.rules,
            policy_version="",
            cost_units=0,
            changes=False,
            first_attempt_valid=validity == 1.0,
            traceparent=request.traceparent,
        )

    def _charge(self) -> Charge:
        limits = self.settings.limits
        return Charge(
            limits.budget_units_per_day,
            limits.rate_calls_per_minute,
            limits.rate_burst_calls,
            limits.host_calls_max,
            limits.principal_calls_max,
            limits.loop_repeats_max,
            limits.approvals_pending_max,
            loop_pause_repeats_max=limits.loop_pause_repeats_max,
        )

    def ask(self, ticket: Ticket, now: float, text: str, decision: Decision | None = None) -> ApprovalAsk:
        """What a human is asked: about the call before it runs, or with a decision of its own about a held change."""
        obligations = (decision or ticket.decision).obligations
        roles = [entry.partition(":")[2] for entry in obligations if entry.startswith("approval:")]
        limits = self.settings.limits
        return ApprovalAsk(
            role=roles[0] if roles else "operator",
            summary=text,
            obligations=obligations,
            approve_by=now + limits.approve_within_seconds,
            execute_within_seconds=limits.execute_within_seconds,
        )

    # ── answers that need no host ────────────────────────────────────────────────────────────────────────────────────

    async def repeated(self, result: Repeated) -> Envelope:
        """What became of the same call so far, marked as replayed: its stored answer, or where it stands."""
        row = await self.store.call(result.call_id)
        if row is None:
            return Envelope(result.call_id, State.RUNNING, replayed=True)
        return replace(of_row(row), replayed=True)

    def not_admitted(self, result: NotAdmitted) -> Refusal:
        """The refusal of a limit as the contract has it."""
        kind = refusal_codes()[result.code]
        return kind(reason=result.reason, retry_after_seconds=result.retry_after_seconds, allowed=result.allowed)

    def notices(self, budget_left: int) -> tuple[str, ...]:
        """What the caller should know beside its answer: little budget left, a policy that did not load."""
        cap = self.settings.limits.budget_units_per_day
        low = budget_left < cap * BUDGET_LOW_SHARE
        said = (f"budget low: {budget_left} of {cap} units are left today" if low else "", self.alarm())
        return tuple(filter(None, said))

    def attempt(self, host: str, trail: Trail, outcome: str) -> Attempt:
        """An attempt that ended before anything was dispatched."""
        span = trail.spans[-1]
        return Attempt(host, iso(span.started), round(span.seconds, 6), outcome)

    def failed_inside(self, call_id: str, fault: Exception, executed: Executed) -> Executed:
        """Our own fault: the whole of it to the log under the call's id, only the id to the caller."""
        log.error("call %s failed inside: %s", call_id, self.redactor.text(repr(fault)), exc_info=None)
        return Executed(executed.result, Internal(reason=call_id), executed.started, executed.attempts)


def iso(seconds: float) -> str:
    """ISO 8601 in UTC, with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
