"""From a recorded call to its spans: one for the call, one for each step of the line. Values in, values out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from interlock import __version__
from interlock.records import CallRow

RESOURCE = {"service.name": "interlock", "service.version": __version__}


def spans_of(row: CallRow) -> list[ReadableSpan]:
    """The call's span and one child a step; ids are derived from the call's, so that an export can be repeated."""
    resource = Resource(RESOURCE)
    scope = InstrumentationScope("interlock", __version__)
    trace_id, parent = _parent(row)
    root = _context(trace_id, _number(row.call_id, 8))
    end = row.settled if row.settled is not None else row.created
    call = ReadableSpan(
        name=f"interlock.call {row.tool}",
        context=root,
        parent=parent,
        resource=resource,
        attributes=_attributes(row),
        events=_scores(row, end),
        kind=SpanKind.INTERNAL,
        instrumentation_scope=scope,
        status=Status(StatusCode.ERROR, row.code) if row.code else Status(StatusCode.OK),
        start_time=_nanoseconds(row.created),
        end_time=_nanoseconds(end),
    )
    steps = [
        ReadableSpan(
            name=f"interlock.{span.step}",
            context=_context(trace_id, _number(f"{row.call_id}/{place}", 8)),
            parent=root,
            resource=resource,
            attributes={f"interlock.{name}": _plain(value) for name, value in span.attributes.items()},
            kind=SpanKind.INTERNAL,
            instrumentation_scope=scope,
            start_time=_nanoseconds(span.started),
            end_time=_nanoseconds(span.started + span.seconds),
        )
        for place, span in enumerate(row.spans)
    ]
    return [call, *steps]


def _attributes(row: CallRow) -> dict[str, str | int | bool | Sequence[str]]:
    return {
        "gen_ai.tool.name": row.tool,
        "interlock.call_id": row.call_id,
        "interlock.principal": row.principal,
        "interlock.host": row.host,
        "interlock.environment": row.environment,
        "interlock.verdict": row.verdict,
        "interlock.rules": list(row.rules),
        "interlock.policy_version": row.policy_version,
        "interlock.state": row.state.value,
        "interlock.cost_units": row.cost_units,
        **({"error.type": row.code} if row.code else {}),
    }


def _scores(row: CallRow, at: float) -> list[Event]:
    measured = {"validity": row.validity, "success": row.success, "side_effects": row.side_effects}
    return [
        Event(
            "gen_ai.evaluation.result",
            {"gen_ai.evaluation.name": name, "gen_ai.evaluation.score.value": value},
            _nanoseconds(at),
        )
        for name, value in measured.items()
        if value is not None
    ]


def _parent(row: CallRow) -> tuple[int, SpanContext | None]:
    """The trace this call belongs to: the client's own where it sent a W3C traceparent, else one of its own."""
    parts = row.traceparent.split("-")
    if len(parts) == 4 and len(parts[1]) == 32 and len(parts[2]) == 16:
        try:
            trace_id, span_id = int(parts[1], 16), int(parts[2], 16)
        except ValueError:
            trace_id = span_id = 0
        if trace_id and span_id:
            return trace_id, SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(1))
    return _number(f"trace/{row.call_id}", 16), None


def _context(trace_id: int, span_id: int) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote=False, trace_flags=TraceFlags(1))


def _number(text: str, size_bytes: int) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:size_bytes], "big")


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1_000_000_000)


def _plain(value: object) -> str | int | float | bool | list[str]:
    if isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, list | tuple):
        return [str(entry) for entry in value]
    return str(value)
