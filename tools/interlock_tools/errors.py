"""Every way a call can be refused or can fail: one tree of values, each with a stable code and a recovery.

    Refusal
    ├── invalid     ArgumentInvalid · ArgumentUnknown · ArgumentMissing · HostUnknown · AppUnknown · PathInvalid
    │               CommandUnreadable
    ├── decision    PolicyDenied · ApprovalRequired · ApprovalDenied · ApprovalExpired · EffectUndeclared · ScopeDenied
    │               Stopped
    ├── limits      BudgetExhausted · RateLimited · ConcurrencyLimited · LoopDetected · OutputLimited
    ├── record      IdempotencyConflict · CallUnknown · StaleState · UndoUnavailable
    ├── host        HostUnreachable · HostKeyMismatch · AuthFailed · HostBusy · ContainmentUnavailable
    ├── outcome     CommandFailed · TimedOut · Cancelled · VerificationFailed · OutcomeUnknown
    └── ours        Internal

A refusal is a value, never raised. A class's docstring is its message: a template over its own fields.
"""

from __future__ import annotations

import inspect
import string
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import ClassVar, Self

from interlock_tools.call import Json


class State(StrEnum):
    """Where a call stands, as its envelope says it."""

    INVALID = "invalid"
    DENIED = "denied"
    AWAITING_APPROVAL = "awaiting_approval"
    RUNNING = "running"
    HELD = "held"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"
    DISCARDED = "discarded"

    @property
    def is_final(self) -> bool:
        """True where nothing more happens by itself. `unknown` may still become known by reconciling."""
        return self not in (State.AWAITING_APPROVAL, State.RUNNING, State.HELD)


class Action(StrEnum):
    """What a program does next."""

    CHANGE_ARGUMENTS = "change_arguments"
    WAIT = "wait"
    ASK_HUMAN = "ask_human"
    USE_TOOL = "use_tool"
    GIVE_UP = "give_up"


@dataclass(frozen=True, slots=True)
class Recovery:
    """What to do next, for a program.

    `change_arguments`: `arguments` is a JSON merge patch (RFC 7396, null removes a field) on the refused call's own.
    `use_tool`: `tool` and `arguments` are a whole call. `wait`: send the same call again after `retry_after_seconds`.
    """

    action: Action
    because: str
    tool: str = ""
    arguments: Mapping[str, Json] = field(default_factory=dict)

    @classmethod
    def change(cls, arguments: Mapping[str, Json], because: str) -> Self:
        """Merge these arguments and send the call again."""
        return cls(Action.CHANGE_ARGUMENTS, because, arguments=arguments)

    @classmethod
    def use(cls, tool: str, arguments: Mapping[str, Json], because: str) -> Self:
        """Make this other call."""
        return cls(Action.USE_TOOL, because, tool, arguments)

    @classmethod
    def wait(cls, because: str) -> Self:
        """Send the same call again, later."""
        return cls(Action.WAIT, because)

    @classmethod
    def ask(cls, because: str) -> Self:
        """Only a human can go on from here."""
        return cls(Action.ASK_HUMAN, because)

    @classmethod
    def give_up(cls, because: str) -> Self:
        """Nothing that the caller can change would make this pass."""
        return cls(Action.GIVE_UP, because)


ALLOWED_SHOWN_MAX = 20


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """The call was refused: {reason}."""

    code: ClassVar[str] = ""
    state: ClassVar[State] = State.DENIED
    retryable: ClassVar[bool] = False

    reason: str = ""
    path: str = ""
    rules: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    retry_after_seconds: int | None = None
    recovery: Recovery | None = None

    @property
    def message(self) -> str:
        """The class's docstring with this refusal's fields in it: one sentence."""
        template = " ".join((inspect.getdoc(type(self)) or "").split())
        fields = {name: getattr(self, name) for _, name, _, _ in string.Formatter().parse(template) if name}
        return template.format(**fields)

    def next_step(self) -> Recovery:
        """The recovery given for this very call, else the one of its kind."""
        return self.recovery or self.default_recovery()

    def default_recovery(self) -> Recovery:
        """What to do where nothing better is known about this very call."""
        return Recovery.give_up("Nothing in this call's arguments would change the answer.")

    def with_recovery(self, recovery: Recovery) -> Self:
        """The same refusal with another recovery."""
        return replace(self, recovery=recovery)

    def to_json(self) -> dict[str, Json]:
        """The envelope's `error` object."""
        step = self.next_step()
        return {
            "code": self.code,
            "message": self.message,
            "path": self.path,
            "retryable": self.retryable,
            "retry_after_seconds": self.retry_after_seconds,
            "rules": list(self.rules),
            "allowed": list(self.allowed[:ALLOWED_SHOWN_MAX]),
            "recovery": {
                "action": step.action.value,
                "tool": step.tool,
                "arguments": dict(step.arguments),
                "because": step.because,
            },
        }


# ── invalid ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Invalid(Refusal):
    """The call is not valid: {reason}."""

    state = State.INVALID


class ArgumentInvalid(Invalid):
    """The value of {path} does not fit: {reason}."""

    code = "ARGUMENT_INVALID"

    def default_recovery(self) -> Recovery:
        return Recovery.ask("No value can be derived from what was sent; the caller has to choose one.")


class ArgumentUnknown(Invalid):
    """There is no argument {path} here: {reason}."""

    code = "ARGUMENT_UNKNOWN"

    def default_recovery(self) -> Recovery:
        return Recovery.change({self.path: None}, "Nothing here reads this argument; without it the call is complete.")


class ArgumentMissing(Invalid):
    """The argument {path} is required: {reason}."""

    code = "ARGUMENT_MISSING"

    def default_recovery(self) -> Recovery:
        return Recovery.ask("Only the caller knows this value.")


class HostUnknown(Invalid):
    """There is no such host for this principal: {reason}."""

    code = "HOST_UNKNOWN"

    def default_recovery(self) -> Recovery:
        return Recovery.use("hosts_list", {}, "It lists every host this principal may see.")


class AppUnknown(Invalid):
    """There is no such app or service for this principal: {reason}."""

    code = "APP_UNKNOWN"


class PathInvalid(Invalid):
    """The path in {path} cannot be used: {reason}."""

    code = "PATH_INVALID"

    def default_recovery(self) -> Recovery:
        return Recovery.ask("No absolute path can be derived from what was sent.")


class CommandUnreadable(Invalid):
    """The command cannot be read safely: {reason}."""

    code = "COMMAND_UNREADABLE"

    def default_recovery(self) -> Recovery:
        return Recovery.ask("Send it as simpler commands, one call each, without the construct that was named.")


# ── decision ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class PolicyDenied(Refusal):
    """Policy denies this call: {reason}."""

    code = "POLICY_DENIED"


@dataclass(frozen=True, kw_only=True)
class ApprovalRequired(Refusal):
    """A human has to approve this call: {reason}."""

    code = "APPROVAL_REQUIRED"
    state = State.AWAITING_APPROVAL
    retryable = True
    call_id: str = ""

    def default_recovery(self) -> Recovery:
        poll = {"call_id": self.call_id, "wait_seconds": 50}
        return Recovery.use("call_status", poll, "The call runs by itself once approved; this waits for it.")


class ApprovalDenied(Refusal):
    """A human denied this call: {reason}."""

    code = "APPROVAL_DENIED"

    def default_recovery(self) -> Recovery:
        return Recovery.give_up("The decision stands for exactly this call; its reason says what would be acceptable.")


@dataclass(frozen=True, kw_only=True)
class ApprovalExpired(Refusal):
    """The approval is no longer good: {reason}."""

    code = "APPROVAL_EXPIRED"
    retryable = True
    retry_after_seconds: int | None = 0

    def default_recovery(self) -> Recovery:
        return Recovery.wait("Sending the same call again asks for a new approval.")


class EffectUndeclared(Refusal):
    """The call would do more than it declares: {reason}."""

    code = "EFFECT_UNDECLARED"


class ScopeDenied(Refusal):
    """This principal's grant does not reach that far: {reason}."""

    code = "SCOPE_DENIED"


class Stopped(Refusal):
    """Interlock is stopped for this call: {reason}."""

    code = "STOPPED"

    def default_recovery(self) -> Recovery:
        return Recovery.ask("A human pulled the stop; a human lifts it.")


# ── limits ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class Limited(Refusal):
    """A limit is reached: {reason}."""

    retryable = True

    def default_recovery(self) -> Recovery:
        return Recovery.wait("The same call passes once the limit has room again.")


class BudgetExhausted(Limited):
    """The risk budget does not cover this call: {reason}."""

    code = "BUDGET_EXHAUSTED"


class RateLimited(Limited):
    """Too many calls in too short a time: {reason}."""

    code = "RATE_LIMITED"


class ConcurrencyLimited(Limited):
    """Too many calls run on this host at once: {reason}."""

    code = "CONCURRENCY_LIMITED"


class LoopDetected(Limited):
    """The same call was made again and again with the same result: {reason}."""

    code = "LOOP_DETECTED"
    retryable = False

    def default_recovery(self) -> Recovery:
        return Recovery.give_up("Repeating it gives the same result; something else has to change first.")


class OutputLimited(Limited):
    """The result is larger than its limit: {reason}."""

    code = "OUTPUT_LIMITED"
    state = State.FAILED
    retryable = False

    def default_recovery(self) -> Recovery:
        return Recovery.ask("Ask for less of it, or handle it where it lies; the limit stands.")


# ── record ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class IdempotencyConflict(Refusal):
    """This idempotency key belongs to another call: {reason}."""

    code = "IDEMPOTENCY_CONFLICT"
    path: str = "idempotency_key"

    def default_recovery(self) -> Recovery:
        return Recovery.change({"idempotency_key": None}, "Without the key this is a call of its own.")


@dataclass(frozen=True, kw_only=True)
class CallUnknown(Invalid):
    """There is no such call for this principal: {reason}."""

    code = "CALL_UNKNOWN"
    path: str = "call_id"


class StaleState(Refusal):
    """The target is not in the state this call expects: {reason}."""

    code = "STALE_STATE"
    state = State.FAILED

    def default_recovery(self) -> Recovery:
        return Recovery.give_up("Look at what is there now, and make the change as a new call.")


class UndoUnavailable(Refusal):
    """This call cannot be undone: {reason}."""

    code = "UNDO_UNAVAILABLE"

    def default_recovery(self) -> Recovery:
        return Recovery.give_up("What was there before is not kept; a new call can only make it anew.")


# ── host ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


class HostFault(Refusal):
    """The host could not take the call; nothing ran: {reason}."""

    state = State.FAILED
    retryable = True

    def default_recovery(self) -> Recovery:
        return Recovery.wait("Nothing ran; the same call can be sent again.")


class HostUnreachable(HostFault):
    """The host does not answer; nothing ran: {reason}."""

    code = "HOST_UNREACHABLE"


class HostKeyMismatch(HostFault):
    """The host shows a key that is not trusted; nothing was sent: {reason}."""

    code = "HOST_KEY_MISMATCH"
    retryable = False

    def default_recovery(self) -> Recovery:
        return Recovery.ask("A human compares the fingerprint and runs 'interlock hosts trust'.")


class AuthFailed(HostFault):
    """The host does not accept our credentials; nothing ran: {reason}."""

    code = "AUTH_FAILED"
    retryable = False

    def default_recovery(self) -> Recovery:
        return Recovery.ask("A human mends the credentials; 'interlock doctor' names what is wrong.")


class HostBusy(HostFault):
    """The host takes no more calls for now; nothing ran: {reason}."""

    code = "HOST_BUSY"


class ContainmentUnavailable(HostFault):
    """The containment this call needs is not there; nothing ran: {reason}."""

    code = "CONTAINMENT_UNAVAILABLE"
    retryable = False

    def default_recovery(self) -> Recovery:
        return Recovery.give_up("This host cannot contain the call; call_check tells what policy demands.")


class EngineUnavailable(Refusal):
    """The host has no container engine that answers; nothing was changed: {reason}."""

    code = "ENGINE_UNAVAILABLE"
    state = State.FAILED

    def default_recovery(self) -> Recovery:
        return Recovery.ask("A human installs podman or docker on the host, or starts it.")


# ── outcome ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class OutcomeRefusal(Refusal):
    """The call ran and did not succeed: {reason}."""

    state = State.FAILED


class CommandFailed(OutcomeRefusal):
    """The command ran and failed: {reason}."""

    code = "COMMAND_FAILED"

    def default_recovery(self) -> Recovery:
        return Recovery.give_up("It ran as asked and failed; the output says why.")


@dataclass(frozen=True, kw_only=True)
class TimedOut(OutcomeRefusal):
    """The call ran into its time limit and was ended: {reason}."""

    code = "TIMED_OUT"
    path: str = "timeout_seconds"


class Cancelled(OutcomeRefusal):
    """The call was cancelled: {reason}."""

    code = "CANCELLED"
    state = State.CANCELLED


class VerificationFailed(OutcomeRefusal):
    """The call ran, and a postcondition does not hold: {reason}."""

    code = "VERIFICATION_FAILED"


@dataclass(frozen=True, kw_only=True)
class OutcomeUnknown(OutcomeRefusal):
    """The call was started and its outcome is not known: {reason}."""

    code = "OUTCOME_UNKNOWN"
    state = State.UNKNOWN
    call_id: str = ""

    def default_recovery(self) -> Recovery:
        return Recovery.ask("Look at the host before anything is repeated: it may have happened.")


class Internal(Refusal):
    """Something failed inside Interlock; its record is {reason}."""

    code = "INTERNAL"
    state = State.FAILED

    def default_recovery(self) -> Recovery:
        return Recovery.ask("The operator finds this id in the server's log.")


def refusal_codes() -> dict[str, type[Refusal]]:
    """Every code with its class, walked from the tree itself."""
    found: dict[str, type[Refusal]] = {}
    todo: list[type[Refusal]] = [Refusal]
    while todo:
        kind = todo.pop()
        todo.extend(kind.__subclasses__())
        if kind.code:
            found[kind.code] = kind
    return dict(sorted(found.items()))
