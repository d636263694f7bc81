"""What the line and the store say to each other: intents, admissions, settlements, and the rows they become.

Times are seconds since the epoch (UTC, float) as the server's clock gave them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from interlock_tools.call import Json
from interlock_tools.errors import State


class Life(StrEnum):
    """A recorded call's life: refused | awaiting → dispatched → settled | held → settled | unknown → reconciled.

    The whole machine is drawn in `interlock.store.settling`.
    """

    REFUSED = "refused"  # never admitted: invalid, denied, over a limit
    AWAITING = "awaiting"  # admitted, an approval is pending
    DISPATCHED = "dispatched"  # authorized; it may have reached the host
    HELD = "held"  # it ran; what it changed waits on its host to be landed or discarded
    SETTLED = "settled"
    UNKNOWN = "unknown"  # dispatched, and the server died or lost it
    RECONCILED = "reconciled"


@dataclass(frozen=True, slots=True)
class Span:
    """One timed step of the line, inside one call: its name, when it began, how long it took, what it found."""

    step: str
    started: float
    seconds: float
    attributes: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Intent:
    """What is about to be done, recorded before it is. Everything in it is already redacted but for `digest`.

    `arguments_exact` is True where redaction changed nothing, so that the call could be carried out from the record.
    """

    call_id: str
    principal: str
    session: str
    tool: str
    host: str
    environment: str
    arguments: Mapping[str, Json]
    arguments_exact: bool
    digest: str
    intent: str
    effects: Mapping[str, Json]
    verdict: str
    rules: tuple[str, ...]
    policy_version: str
    cost_units: int
    changes: bool
    first_attempt_valid: bool
    idempotency_key: str = ""
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class ApprovalAsk:
    """What a human is asked, for exactly one call."""

    role: str  # who may approve: "operator", "peer", …
    summary: str  # escaped text; safe to print on a terminal
    obligations: tuple[str, ...]
    approve_by: float
    execute_within_seconds: int
    approval_id: str = ""  # given where an answer has to name it beforehand; else the store makes one


@dataclass(frozen=True, slots=True)
class Charge:
    """The limits one admission is measured against."""

    budget_units_per_day: int
    rate_calls_per_minute: int
    rate_burst_calls: int
    host_calls_max: int
    principal_calls_max: int
    loop_repeats_max: int
    approvals_pending_max: int
    loop_pause_repeats_max: int = 4  # that many identical calls, refused ones too, and the session is paused
    loop_window_seconds: float = 120.0  # a call this long after its last twin is polling, not a loop
    loop_pause_seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class Admission:
    """One request for admission; decided and made durable in one transaction.

    With `approval` the call is stored as awaiting; without, as dispatched.
    """

    intent: Intent
    charge: Charge
    now: float
    day: str  # the budget's day, ISO date in UTC
    approval: ApprovalAsk | None = None


@dataclass(frozen=True, slots=True)
class Admitted:
    """It is on record and may go on. `budget_left` in units."""

    call_id: str
    budget_left: int
    approval_id: str = ""


@dataclass(frozen=True, slots=True)
class Repeated:
    """This idempotency key was used before for the same call: attach to that one, or give its stored answer."""

    call_id: str
    life: Life
    envelope: Mapping[str, Json] | None


@dataclass(frozen=True, slots=True)
class NotAdmitted:
    """A limit refused it; the refusal is not yet on record. `code` is one of the contract's."""

    code: str  # IDEMPOTENCY_CONFLICT | BUDGET_EXHAUSTED | RATE_LIMITED | CONCURRENCY_LIMITED | LOOP_DETECTED | STOPPED
    reason: str
    retry_after_seconds: int | None = None
    allowed: tuple[str, ...] = ()


AdmissionResult = Admitted | Repeated | NotAdmitted


@dataclass(frozen=True, slots=True)
class Settlement:
    """How a call ended; written with its effects, scores, spans and the release of its lease in one transaction.

    `result_digest` tells whether two calls had the same result (loop detection).
    """

    call_id: str
    state: State
    envelope: Mapping[str, Json]  # redacted
    code: str
    now: float
    spans: tuple[Span, ...] = ()
    attempts: tuple[Mapping[str, Json], ...] = ()
    validity: float | None = None
    success: float | None = None
    side_effects: float | None = None
    result_digest: str = ""
    refund_units: int = 0
    releases_key: bool = False  # nothing ran: its idempotency key may be used for another try


class LayerState(StrEnum):
    """A layer's life: what a run changed, and where it is. Drawn in `interlock.store.layers`."""

    HELD = "held"  # it waits on its host; nothing of it has landed
    LANDING = "landing"  # one call may land it now; only the host knows how far that went
    LANDED = "landed"  # it is there; `undo_until` says how long it can be taken back
    UNDOING = "undoing"  # one call may take it back now
    UNDONE = "undone"
    DISCARDED = "discarded"
    LOST = "lost"  # the host does not know it any more


LAYER_CHANGES_CHARS_MAX = 4_000_000  # of their JSON; what does not fit is neither landed later nor undone


@dataclass(frozen=True, slots=True)
class LayerRow:
    """What one run changed on its host, held there or landed. Everything in it is already redacted.

    `run_id` is the call that made it. `changes` are `interlock_tools.changes.Change` as JSON; `truncated`: there were
    more. `bytes`: what it takes on its host, the layer while it is held, the before-images once it landed.
    `undo_until` None = it cannot be taken back; `reason` then says why, or why it was discarded or lost.
    """

    run_id: str
    host: str
    principal: str
    call_digest: str
    digest: str  # over the changes and every new content: what lands has exactly this one
    changes: tuple[Mapping[str, Json], ...]
    truncated: bool
    bytes: int
    state: LayerState
    created: float
    expires: float
    landed: float | None = None
    landed_by: str = ""  # the call that landed it, or that lands it now
    undo_until: float | None = None
    undone: float | None = None
    undone_by: str = ""
    approval_id: str = ""  # the last one that a human was asked for
    reason: str = ""

    def can_be_undone(self, now: float) -> bool:
        """True where it is landed and its before-images are still kept."""
        return self.state is LayerState.LANDED and self.undo_until is not None and now < self.undo_until


@dataclass(frozen=True, slots=True)
class HoldLimits:
    """What one more held layer is measured against; the last three are for the approval that may be asked with it."""

    layers_max: int  # held on one host, and by one principal
    host_bytes_max: int
    approvals_pending_max: int
    host_calls_max: int
    principal_calls_max: int


@dataclass(frozen=True, slots=True)
class CallRow:
    """One recorded call."""

    seq: int
    call_id: str
    principal: str
    session: str
    tool: str
    host: str
    environment: str
    life: Life
    state: State
    code: str
    intent: str
    arguments: Mapping[str, Json]
    arguments_exact: bool
    digest: str
    effects: Mapping[str, Json]
    verdict: str
    rules: tuple[str, ...]
    policy_version: str
    cost_units: int
    created: float
    settled: float | None
    envelope: Mapping[str, Json] | None
    spans: tuple[Span, ...]
    validity: float | None
    success: float | None
    side_effects: float | None
    traceparent: str
    approval_id: str


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A call whose end is not on record, or whose layer is in flight: its host is to be asked.

    `layer` is what the call was landing or undoing: its own, or the one it was told to.
    """

    call: CallRow
    layer: LayerRow | None


class ApprovalState(StrEnum):
    """An approval's life. `used` and everything after `pending` but `approved` is final."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    USED = "used"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class ApprovalRow:
    """One approval: single use, expiring, bound to one digest.

    That is the call's own where it waits to run, and `digest_of([call digest, layer digest])` where it waits to land.
    """

    approval_id: str
    call_id: str
    digest: str
    policy_version: str
    principal: str
    tool: str
    host: str
    role: str
    obligations: tuple[str, ...]
    summary: str
    state: ApprovalState
    created: float
    approve_by: float
    execute_within_seconds: int
    execute_by: float | None
    decided_by: str
    decided: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """Scores of one principal × tool × environment. Rates are 0..1 or None where nothing was measured."""

    principal: str
    tool: str
    environment: str
    calls: int
    validity: float | None
    success: float | None
    side_effects: float | None


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A bearer token, without the token: only its SHA-256 is stored."""

    token_id: str
    principal: str
    label: str
    created: float
    expires: float | None
    revoked: float | None
    last_used: float | None
