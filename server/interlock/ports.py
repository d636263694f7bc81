"""The seams of the house: what the line asks of the store and of the hosts. Small protocols; no implementation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from interlock.records import (
    Admission,
    AdmissionResult,
    ApprovalRow,
    ApprovalState,
    CallRow,
    Intent,
    NotAdmitted,
    ScoreRow,
    Settlement,
    Span,
)
from interlock_policies.facts import HostFacts
from interlock_tools.call import Check, Json
from interlock_tools.catalog import Contract
from interlock_tools.envelope import Attempt, Envelope, Verified
from interlock_tools.errors import Refusal
from interlock_tools.plan import Plan


@dataclass(frozen=True, slots=True)
class PathQuery:
    """One path to resolve on its host.

    With `follow` the last component is followed too (a write lands in a link's target); without, only its parents
    (deleting a link deletes the link).
    """

    path: str
    follow: bool = True


@dataclass(frozen=True, slots=True)
class Authorization:
    """Leave to do exactly one thing once: signed, bound to call, host, plan and policy version, expiring.

    `signature` is an HMAC-SHA-256 over every other field. Times are seconds since the epoch.
    """

    call_id: str
    call_digest: str
    plan_digest: str
    host: str
    policy_version: str
    nonce: str
    issued: float
    expires: float
    signature: str = field(repr=False, default="")


@dataclass(frozen=True, slots=True)
class Run:
    """How one authorized plan is to be carried out.

    `declared` are the resolved paths that may be changed: no symbolic link is followed out of them.
    """

    call_id: str
    call_digest: str
    host: str
    plan: Plan
    timeout_seconds: float
    declared: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Executed:
    """What a host did. `refusal` None = it ended well.

    `started` is False only where it is certain that nothing began on the host. `result` is the tool's own result as the
    contract has it, already redacted and capped; partial where it was cut short.
    """

    result: Mapping[str, Json]
    refusal: Refusal | None
    started: bool
    attempts: tuple[Attempt, ...] = ()


class Ended(Protocol):
    """What became of the processes of a call: how many were found, how many could not be ended, and that in words."""

    @property
    def found(self) -> int: ...
    @property
    def left(self) -> int: ...
    @property
    def sentence(self) -> str: ...


Progress = Callable[[str, int], Awaitable[None]]  # a sentence, and how many bytes of output there are so far


class Hosts(Protocol):
    """The hosts: their facts, and the only road to them."""

    async def facts(self, host: str) -> HostFacts | Refusal:
        """What is known of a host; its home and working directory are asked of it once (a connection, no change)."""
        ...

    def members(self, group: str) -> tuple[str, ...]:
        """The group's hosts, healthy ones first."""
        ...

    async def resolve(self, host: str, queries: Sequence[PathQuery]) -> Mapping[PathQuery, str] | Refusal:
        """Each path as that host's kernel would find it: links followed, `..` taken, a missing tail kept."""
        ...

    async def execute(self, leave: Authorization, run: Run, progress: Progress | None = None) -> Executed:
        """Verify the authorization, then carry the plan out. Cancelling ends the whole remote process group."""
        ...

    async def check(self, host: str, checks: Sequence[Check], exit_code: int | None) -> tuple[Verified, ...]:
        """Measure the postconditions. A check that cannot be measured did not pass, and its detail says why."""
        ...

    async def end(self, host: str, call_id: str) -> Ended | Refusal:
        """End what still runs on the host for a call whose outcome is unknown."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


class Store(Protocol):
    """The record. Every method that writes returns only after its transaction is durable."""

    async def admit(self, admission: Admission) -> AdmissionResult: ...
    async def refuse(self, intent: Intent, settlement: Settlement) -> None: ...
    async def settle(self, settlement: Settlement) -> None: ...
    async def dispatch(self, call_id: str, approval_id: str, now: float) -> ApprovalRow | NotAdmitted | str:
        """Consume an approval and mark its call dispatched, atomically; a sentence where it is not good for that.

        NotAdmitted where a stop or a limit holds the call back now; the approval stays as it is.
        """
        ...

    async def lose_dispatched(self, now: float) -> Sequence[CallRow]:
        """At start: every dispatched call without an outcome becomes unknown, its reservation kept."""
        ...

    async def call(self, call_id: str) -> CallRow | None: ...
    async def calls(
        self, principal: str = "", host: str = "", state: str = "", before_seq: int = 0, limit: int = 50
    ) -> Sequence[CallRow]: ...
    async def add_span(self, call_id: str, span: Span) -> None: ...
    async def budget_left(self, principal: str, day: str, cap_units: int) -> int: ...
    async def first_attempt(self, principal: str, session: str, tool: str) -> bool:
        """True where this principal's last call of this tool in this session did not end invalid."""
        ...

    async def approvals(self, state: ApprovalState | None = None, limit: int = 100) -> Sequence[ApprovalRow]: ...
    async def approval(self, approval_id: str) -> ApprovalRow | None: ...
    async def decide_approval(
        self, approval_id: str, approve: bool, by: str, reason: str, now: float
    ) -> ApprovalRow | str:
        """Decide a pending approval once; a sentence where it is not pending any more."""
        ...

    async def expire_approvals(self, now: float) -> Sequence[ApprovalRow]: ...
    async def stranded_approvals(self, limit: int = 100) -> Sequence[ApprovalRow]:
        """Approvals that ended while their call still waits: the server died in between."""
        ...

    async def withdraw_approval(self, call_id: str, now: float) -> None: ...
    async def scores(self, principal: str = "") -> Sequence[ScoreRow]: ...
    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Request:
    """One tool call as it came in. `principal` was established by the transport, never by the arguments."""

    principal: str
    session: str
    tool: str
    arguments: object  # whatever the client sent; normally a JSON object or None
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource that a principal may read."""

    uri: str
    name: str
    description: str
    mime_type: str = "text/markdown"


@dataclass(frozen=True, slots=True)
class PendingForm:
    """An approval that policy lets the caller's own human give in the client: what to show them."""

    approval_id: str
    call_id: str
    summary: str


class Front(Protocol):
    """What a transport may ask for: the only thing that `interlock.publish` sees of the house."""

    def contracts(self, principal: str) -> Sequence[Contract]:
        """The tools this principal sees, with their schemas."""
        ...

    async def call(self, request: Request, progress: Progress | None = None) -> Envelope:
        """Walk the line. Never raises but for cancellation, which ends the remote process group first."""
        ...

    def resources(self, principal: str) -> Sequence[Resource]: ...
    async def read_resource(self, principal: str, uri: str) -> str | None:
        """The text, or None where there is no such resource for this principal."""
        ...

    async def form_for(self, principal: str, call_id: str) -> PendingForm | None:
        """The approval this call waits for, where a form in the client is enough for it; else None."""
        ...

    async def answer_form(self, principal: str, approval_id: str, *, approve: bool, reason: str) -> None:
        """Record what the human answered in the client; single use, on the server's own record."""
        ...

    async def token_principal(self, token: str) -> str | None:
        """The principal a bearer token stands for, or None where it is unknown, expired or revoked."""
        ...
