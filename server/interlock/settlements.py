"""Settlements: how a call ended, as the envelope its caller gets and the record that is kept. Values in, values out."""

from __future__ import annotations

from interlock.ports import Executed
from interlock.records import Settlement, Span
from interlock.ticket import Ticket
from interlock_policies.redact import Redactor
from interlock_tools.call import digest_of
from interlock_tools.envelope import Envelope, Scores, Verified
from interlock_tools.errors import State, VerificationFailed


def envelope_of(ticket: Ticket, executed: Executed, verified: tuple[Verified, ...]) -> Envelope:
    """The answer of a call that was admitted: what ran, what was measured, what it scores."""
    failed = [entry for entry in verified if not entry.passed]
    error = executed.refusal
    if error is None and failed:
        error = VerificationFailed(reason=f"{failed[0].check} {failed[0].target}: {failed[0].detail}")
    success: float | None = 1.0 if error is None else 0.0
    if error is not None and (not executed.started or error.state is State.UNKNOWN):
        success = None
    return Envelope(
        ticket.call.call_id,
        State.SUCCEEDED if error is None else error.state,
        result=executed.result,
        verified=verified,
        scores=Scores(ticket.validity, success, None),
        attempts=executed.attempts,
        notices=ticket.notices,
        error=error,
    )


def settlement_of(envelope: Envelope, spans: tuple[Span, ...], redactor: Redactor, now: float) -> Settlement:
    """The record of an ended call, redacted. Two calls with the same `result_digest` had the same result."""
    stored = redactor.json(envelope.to_json())
    outcome = {"state": envelope.state.value, "result": stored["result"], "verified": stored["verified"]}
    return Settlement(
        call_id=envelope.call_id,
        state=envelope.state,
        envelope=stored,
        code=envelope.error.code if envelope.error else "",
        now=now,
        spans=spans,
        attempts=tuple(stored["attempts"]),
        validity=envelope.scores.validity,
        success=envelope.scores.success,
        side_effects=envelope.scores.side_effects,
        result_digest=digest_of(outcome),
    )
