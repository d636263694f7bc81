"""The seams of the house: what the line asks of the store and of the hosts. Small protocols; no implementation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from interlock.records import (
    Admission,
    AdmissionResult,
    ApprovalAsk,
    ApprovalRow,
    ApprovalState,
    CallRow,
    HoldLimits,
    Intent,
    LayerRow,
    LayerState,
    NotAdmitted,
    OpenRun,
    ScoreRow,
    Settlement,
    Span,
)
from interlock_policies.facts import HostFacts, Level
from interlock_tools.call import Check, Json
from interlock_tools.catalog import Contract
from interlock_tools.changes import Change, Weighed
from interlock_tools.effects import Network
from interlock_tools.envelope import Attempt, Envelope, Verified
from interlock_tools.errors import Refusal
from interlock_tools.found import FileTexts, HostState
from interlock_tools.plan import Plan

LEFT = "left to go on"  # who cancels with this word only stops following a run: it goes on on its host
SHUTDOWN = "Interlock is shutting down"


@dataclass(frozen=True, slots=True)
class PathQuery:
    """One path to resolve on its host.

    With `follow` the last component is followed too (a write lands in a link's target); without, only its parents
    (deleting a link deletes the link).
    """

    path: str
    follow: bool = True


@dataclass(frozen=True, slots=True)
class Resolution:
    """Where paths lead on a host. `believed`: some as they were found a moment ago, not looked up for this question."""

    paths: Mapping[PathQuery, str]
    believed: bool = False


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
class Bounds:
    """What the host's kernel is told to enforce for one run. Paths are resolved on that host.

    `level` is the least that will do: a host that cannot reach it refuses. `shown`: places of secrets that may be seen.
    `paths`: what was looked up (as written, whether its last part is followed, where it led): the host looks again
    right before the command begins, and begins nothing where one leads elsewhere. `believed`: it must be able to.
    """

    level: Level = Level.NONE
    network: Network = Network.NONE
    writes: tuple[str, ...] = ()
    deletes: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()
    paths: tuple[tuple[str, bool, str], ...] = ()
    believed: bool = False


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
    bounds: Bounds = Bounds()


@dataclass(frozen=True, slots=True)
class Measured:
    """What the host saw change during a run, and what waits there to be landed.

    `layer` is the digest of the held layer ("" = nothing waits: nothing changed, or it landed already). `scratch`
    counts changes in scratch directories that vanished with the run. `undo_why`: why there is no undo ("" = there is).
    `weighed`: of a deployment, whose paths lie on many hosts (`HOST:PATH`) and were weighed there.
    """

    observed: str = "none"  # staged | confined | scanned | none
    changes: tuple[Change, ...] = ()
    truncated: bool = False
    layer: str = ""
    landed: bool = False
    scratch: int = 0
    bytes: int = 0
    undo_why: str = "nothing was kept"
    notes: tuple[str, ...] = ()
    weighed: Weighed | None = None


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
    measured: Measured = Measured()


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

    async def resolve(self, host: str, queries: Sequence[PathQuery], *, recent: bool = False) -> Resolution | Refusal:
        """Each path as that host's kernel would find it: links followed, `..` taken, a missing tail kept.

        `recent`: what was found a moment ago will do, for a run before which the host looks again.
        """
        ...

    async def execute(self, leave: Authorization, run: Run, progress: Progress | None = None) -> Executed:
        """Verify the authorization, then carry the plan out. Cancelling ends the whole remote process group."""
        ...

    async def collect(self, run: Run, progress: Progress | None = None) -> Executed | None:
        """What became of a run that another connection or server started, followed to its end.

        None where the host never began it; it is then claimed, so that it never will. Runs nothing anew.
        """
        ...

    async def discard(self, host: str, run_id: str) -> Refusal | None:
        """Throw a held layer away; it is not an error where there is none."""
        ...

    async def diff(self, host: str, run_id: str, chars_max: int) -> str | Refusal:
        """What a held layer would change, as text (redacted)."""
        ...

    async def app_state(self, host: str, path: str, more: Mapping[str, Json] | None = None) -> HostState:
        """What an app's host says of itself; where it cannot be asked, `why` says so.

        `more`: what else is asked of an app that is a set of files (`targets`) or a container (`container`).
        """
        ...

    async def file_texts(self, host: str, path: str, reals: Sequence[str], release: str) -> FileTexts | Refusal:
        """The texts at these resolved paths, and those of a release ("" = of none) that is kept below `path`."""
        ...

    async def fetch(self, host: str, path: str, sha256: str, into: Path, bytes_max: int) -> int | Refusal:
        """The size of a host's file, once all of it lies at `into`; a refusal where it has another hash, or is not."""
        ...

    async def check(
        self, host: str, checks: Sequence[Check], exit_code: int | None, wait_seconds: float | None = None
    ) -> tuple[Verified, ...]:
        """Measure the postconditions. A check that cannot be measured did not pass, and its detail says why.

        `wait_seconds`: how long a service, a port or a page is waited for (None = as for any call).
        """
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
    async def settle(
        self, settlement: Settlement, layer: LayerRow | None = None, held: Settlement | None = None
    ) -> bool:
        """End a call, with the layer it made, landed or took back, and the `held` call whose layer that was: at once.

        False where it had ended before. Where a claimed layer is not given, its host is asked later (`open_runs`).
        """
        ...

    async def hold(
        self, settlement: Settlement, layer: LayerRow, approval: ApprovalAsk | None, limits: HoldLimits
    ) -> str | NotAdmitted:
        """Hold what a call changed, and the call with it; the approval's id or "".

        NotAdmitted: nothing is changed, the layer is to be discarded and the call settled.
        """
        ...

    async def begin_landing(self, layer: LayerRow, now: float) -> bool: ...
    async def move_layer(
        self,
        run_id: str,
        from_states: Collection[LayerState],
        to_state: LayerState,
        *,
        by: str,
        now: float,
        reason: str = "",
        undo_until: float | None = None,
    ) -> bool:
        """Claim a layer for the call `by` (held → landing, landed → undoing), or give it back; True for one only."""
        ...

    async def finish_held(self, run_id: str, settlement: Settlement, layer: LayerRow, by: str = "") -> bool:
        """End what a run holds, exactly once: True for the one who ended it. The record first, then the host."""
        ...

    async def resolve_unknown(
        self, settlement: Settlement, by: str, layer: LayerRow | None = None, held: Settlement | None = None
    ) -> CallRow | str:
        """The true outcome of an unknown call, as `by` knew it; a sentence where it is not unknown."""
        ...

    async def expire_layers(self, now: float) -> Sequence[LayerRow]:
        """Discard what was held too long, end what can be undone no more; those rows, so that their hosts are told."""
        ...

    async def layer(self, call_id: str) -> LayerRow | None:
        """The layer that this call made, or the one that it landed."""
        ...

    async def layers(
        self, state: str = "", host: str = "", principal: str = "", limit: int = 100
    ) -> Sequence[LayerRow]: ...
    async def open_runs(self, limit: int = 500, after_seq: int = 0) -> Sequence[OpenRun]:
        """Calls whose end, or whose layer's place, only their host knows; those that run here are among them."""
        ...

    async def dispatch(self, call_id: str, approval_id: str, now: float) -> ApprovalRow | NotAdmitted | str:
        """Consume an approval and mark its call dispatched, atomically; a sentence where it is not good for that.

        A held call claims its layer with it. NotAdmitted where a stop or a limit holds the call back now; the approval
        stays as it is.
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
    """One tool call as it came in. `principal` was established by the transport, never by the arguments.

    `keep`: what an undo does where something changed since; only a person at the command line can say it.
    """

    principal: str
    session: str
    tool: str
    arguments: object  # whatever the client sent; normally a JSON object or None
    traceparent: str = ""
    keep: str = ""


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
