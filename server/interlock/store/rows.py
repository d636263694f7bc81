"""How the store's values become rows and rows become values. Pure; it runs no query."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from interlock.records import ApprovalRow, ApprovalState, CallRow, Intent, Life, ScoreRow, Settlement, Span, TokenRow
from interlock.store.chain import row_digest
from interlock_tools.call import Json
from interlock_tools.errors import State

Values = dict[str, Any]
_encode = json.JSONEncoder(separators=(",", ":")).encode

# What the audit record of an event covers, in this order; never reorder, only start a new schema version.
INTENT_COLUMNS = (
    "call_id principal session tool host environment intent arguments arguments_exact digest effects verdict rules "
    "policy_version cost_units day changes first_attempt_valid idempotency_key traceparent approval_id created"
).split()
OUTCOME_COLUMNS = (
    "call_id life state code charged_units settled envelope spans attempts validity success side_effects result_digest"
).split()
APPROVAL_COLUMNS = (
    "approval_id call_id digest policy_version principal tool host role obligations summary host_calls_max "
    "principal_calls_max created approve_by execute_within_seconds state execute_by decided_by decided reason"
).split()


def digest_of_columns(values: Mapping[str, Any] | sqlite3.Row, columns: Sequence[str]) -> str:
    """The digest of these columns, of values on their way in or of a row read back."""
    return row_digest([values[column] for column in columns])


def dump(value: Json) -> str:
    """JSON text as it is stored: ASCII, so that any text a client sent can be stored."""
    return _encode(value)


def storable(text: str) -> str:
    """The text itself; a lone surrogate, which SQLite cannot hold, as its escape."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def real(value: float | None) -> float | None:
    """A number as SQLite gives it back from a REAL column."""
    return None if value is None else float(value)


def intent_values(intent: Intent, *, created: float, day: str, approval_id: str = "") -> Values:
    """The columns that an intent fills."""
    return {
        "call_id": intent.call_id,
        "principal": storable(intent.principal),
        "session": storable(intent.session),
        "tool": storable(intent.tool),
        "host": storable(intent.host),
        "environment": storable(intent.environment),
        "intent": storable(intent.intent),
        "arguments": dump(dict(intent.arguments)),
        "arguments_exact": int(intent.arguments_exact),
        "digest": intent.digest,
        "effects": dump(dict(intent.effects)),
        "verdict": intent.verdict,
        "rules": dump(list(intent.rules)),
        "policy_version": intent.policy_version,
        "cost_units": intent.cost_units,
        "day": day,
        "changes": int(intent.changes),
        "first_attempt_valid": int(intent.first_attempt_valid),
        "idempotency_key": storable(intent.idempotency_key),
        "traceparent": storable(intent.traceparent),
        "approval_id": approval_id,
        "created": float(created),
    }


def outcome_values(settlement: Settlement, life: Life, charged_units: int) -> Values:
    """The columns that a settlement fills."""
    return {
        "call_id": settlement.call_id,
        "life": life.value,
        "state": settlement.state.value,
        "code": settlement.code,
        "charged_units": charged_units,
        "settled": float(settlement.now),
        "envelope": dump(dict(settlement.envelope)),
        "spans": dump([span_json(span) for span in settlement.spans]),
        "attempts": dump([dict(attempt) for attempt in settlement.attempts]),
        "validity": real(settlement.validity),
        "success": real(settlement.success),
        "side_effects": real(settlement.side_effects),
        "result_digest": settlement.result_digest,
    }


def span_json(span: Span) -> Values:
    """A span as it is stored and exported."""
    return {
        "step": span.step,
        "started": span.started,
        "seconds": span.seconds,
        "attributes": dict(span.attributes),
    }


def _span(value: Mapping[str, Any]) -> Span:
    return Span(value["step"], value["started"], value["seconds"], value["attributes"])


def _spans(row: sqlite3.Row) -> tuple[Span, ...]:
    spans = [_span(entry) for column in ("spans", "spans_added") for entry in json.loads(row[column])]
    return tuple(sorted(spans, key=lambda span: span.started))


def _answer(row: sqlite3.Row) -> Mapping[str, Json] | None:
    """The call's answer; none while it is open: one that lands what it held still has the answer it gave when held."""
    stored = row["envelope"]
    answer: Mapping[str, Json] | None
    answer = None if stored is None or row["life"] == Life.DISPATCHED else json.loads(stored)
    return answer


def call_row(row: sqlite3.Row) -> CallRow:
    """A recorded call."""
    return CallRow(
        seq=row["seq"],
        call_id=row["call_id"],
        principal=row["principal"],
        session=row["session"],
        tool=row["tool"],
        host=row["host"],
        environment=row["environment"],
        life=Life(row["life"]),
        state=State(row["state"]),
        code=row["code"],
        intent=row["intent"],
        arguments=json.loads(row["arguments"]),
        arguments_exact=bool(row["arguments_exact"]),
        digest=row["digest"],
        effects=json.loads(row["effects"]),
        verdict=row["verdict"],
        rules=tuple(json.loads(row["rules"])),
        policy_version=row["policy_version"],
        cost_units=row["cost_units"],
        created=row["created"],
        settled=row["settled"],
        envelope=_answer(row),
        spans=_spans(row),
        validity=row["validity"],
        success=row["success"],
        side_effects=row["side_effects"],
        traceparent=row["traceparent"],
        approval_id=row["approval_id"],
    )


def approval_row(row: Mapping[str, Any] | sqlite3.Row) -> ApprovalRow:
    """An approval."""
    return ApprovalRow(
        approval_id=row["approval_id"],
        call_id=row["call_id"],
        digest=row["digest"],
        policy_version=row["policy_version"],
        principal=row["principal"],
        tool=row["tool"],
        host=row["host"],
        role=row["role"],
        obligations=tuple(json.loads(row["obligations"])),
        summary=row["summary"],
        state=ApprovalState(row["state"]),
        created=row["created"],
        approve_by=row["approve_by"],
        execute_within_seconds=row["execute_within_seconds"],
        execute_by=row["execute_by"],
        decided_by=row["decided_by"],
        decided=row["decided"],
        reason=row["reason"],
    )


def score_row(row: sqlite3.Row) -> ScoreRow:
    """The means of one principal × tool × environment; None where nothing was measured."""

    def mean(name: str) -> float | None:
        count = row[f"{name}_count"]
        return row[f"{name}_sum"] / count if count else None

    return ScoreRow(
        principal=row["principal"],
        tool=row["tool"],
        environment=row["environment"],
        calls=row["calls"],
        validity=mean("validity"),
        success=mean("success"),
        side_effects=mean("side_effects"),
    )


def token_row(row: sqlite3.Row) -> TokenRow:
    """A token, without its hash."""
    return TokenRow(**{field.name: row[field.name] for field in dataclasses.fields(TokenRow)})


def call_json(row: sqlite3.Row) -> dict[str, Json]:
    """A call ready for JSON lines, spans included."""
    value = dataclasses.asdict(call_row(row))
    value["attempts"] = json.loads(row["attempts"])
    return value
