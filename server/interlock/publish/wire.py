"""The wire's shapes: contracts and envelopes as MCP has them. Pure; it decides nothing and keeps nothing."""

from __future__ import annotations

import json
import re

from mcp_types import CallToolResult, RequestParamsMeta, TextContent, Tool, ToolAnnotations
from opentelemetry import trace

from interlock_tools.call import Json
from interlock_tools.catalog import Contract
from interlock_tools.envelope import Envelope

RESULT_CHARS_META = "anthropic/maxResultSizeChars"
RESULT_CHARS_MAX = 120_000

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def tool_of(contract: Contract) -> Tool:
    """A contract as `tools/list` has it: schemas, all four hints, and how large its answers may grow."""
    hints = contract.hints
    return Tool(
        name=contract.name,
        title=contract.title,
        description=contract.description,
        input_schema=dict(contract.input_schema),
        output_schema=dict(contract.output_schema),
        annotations=ToolAnnotations(
            read_only_hint=hints.read_only,
            destructive_hint=hints.destructive,
            idempotent_hint=hints.idempotent,
            open_world_hint=hints.open_world,
        ),
        # What only changes something answers briefly; the rest may be long, and clients cut it unless told.
        _meta={RESULT_CHARS_META: RESULT_CHARS_MAX} if hints.read_only or hints.open_world else None,
    )


def result_of(envelope: Envelope) -> CallToolResult:
    """An envelope as a tool's result: the same JSON as text and as structured content; an error exactly where not ok.

    A call that waits for a human is not ok (the model has to be told what to do next); one that still runs is.
    """
    value = envelope.to_json()
    return CallToolResult(
        content=[TextContent(text=json.dumps(value, ensure_ascii=False, separators=(",", ":")))],
        structured_content=value,
        is_error=not envelope.ok,
    )


def current_traceparent() -> str:
    """The W3C trace context of the library's own span around this request, or "" where there is none."""
    span = trace.get_current_span().get_span_context()
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}" if span.is_valid else ""


def traceparent_of(meta: RequestParamsMeta | None) -> str:
    """The W3C trace context that the client sent, or "" where there is none or it is malformed."""
    value: Json = (meta or {}).get("traceparent")
    return value if isinstance(value, str) and _TRACEPARENT.fullmatch(value) else ""
