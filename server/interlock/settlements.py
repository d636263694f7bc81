"""Settlements: how a call ended, as the envelope its caller gets and the record that is kept. Values in, values out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from interlock.landing import Outcome
from interlock.records import LayerRow, Settlement, Span
from interlock.ticket import Ticket
from interlock_policies.measured import changed
from interlock_policies.redact import Redactor
from interlock_tools.call import Json, digest_of
from interlock_tools.envelope import Envelope, Scores, Verified
from interlock_tools.errors import State, VerificationFailed


def envelope_of(ticket: Ticket, outcome: Outcome, verified: tuple[Verified, ...]) -> Envelope:
    """The answer of a call that was admitted: what ran, what was measured, what it scores."""
    executed, measured, layer = outcome.executed, outcome.measured, outcome.layer
    failed = [entry for entry in verified if not entry.passed]
    error = executed.refusal
    if error is None and failed:
        error = VerificationFailed(reason=f"{failed[0].check} {failed[0].target}: {failed[0].detail}")
        error = error.with_recovery(outcome.advice) if outcome.advice is not None else error
    success: float | None = 1.0 if error is None else 0.0
    if (error is not None and (not executed.started or error.state is State.UNKNOWN)) or outcome.hold:
        success = None
    until = layer.undo_until if layer is not None else None
    return Envelope(
        ticket.call.call_id,
        outcome.state or (State.SUCCEEDED if error is None else error.state),
        result={**executed.result, **_held(outcome, layer)},
        effects=changed(measured.changes, outcome.undeclared, measured.observed),
        verified=verified,
        scores=Scores(ticket.validity, success, outcome.side_effects),
        attempts=executed.attempts,
        undo_available=until is not None,
        undo_until=iso(until) if until is not None else None,
        notices=(*ticket.notices, *_notices(outcome)),
        error=error,
    )


def _held(outcome: Outcome, layer: LayerRow | None) -> Mapping[str, Json]:
    if not outcome.hold or layer is None:
        return {}
    return {"held": {"paths": len(layer.changes), "until": iso(layer.expires), "digest": layer.digest}}


def _notices(outcome: Outcome) -> tuple[str, ...]:
    measured = outcome.measured
    said = list(measured.notes)
    if measured.scratch:
        said.append(f"{measured.scratch} undeclared changes in scratch directories vanished with the run")
    if measured.landed and measured.changes and measured.undo_why:
        said.append(f"no undo: {measured.undo_why}")
    if outcome.hold:
        said.append("nothing has landed; call_commit lands what is held, call_cancel discards it")
    return tuple(said)


def iso(seconds: float) -> str:
    """ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def settlement_of(envelope: Envelope, spans: tuple[Span, ...], redactor: Redactor, now: float) -> Settlement:
    """The record of an ended call, redacted. Two calls with the same `result_digest` had the same result."""
    stored = redactor.json(envelope.to_json())
    result = {name: value for name, value in stored["result"].items() if name != "held"}  # says until when it is held
    outcome = {"state": envelope.state.value, "result": result, "verified": stored["verified"]}
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
