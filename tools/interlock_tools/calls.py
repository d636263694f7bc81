"""The calls family: asking about calls and stopping them. The server answers these itself; they carry no plan."""

from __future__ import annotations

from collections.abc import Sequence

from interlock_tools.declare import POSITION_MAX, choice, number, text
from interlock_tools.fields import Field, Form, Kind
from interlock_tools.shared import FieldLimits, wait_field
from interlock_tools.tool import READS, Hints, Tool

OUTPUT_BYTES_DEFAULT, OUTPUT_BYTES_MAX = 16_000, 50_000


def call_tools(acting: Sequence[str], limits: FieldLimits) -> tuple[Tool, ...]:
    """call_check, call_status, call_cancel. `acting` are the tools that call_check can decide about."""
    return (_call_check(tuple(acting), limits), _call_status(limits), _call_cancel())


def _id_field() -> Field:
    aliases = ("id", "handle", "callid")
    return text("call_id", "From an answer.", *aliases, form=Form.ID, required=True, chars_min=1, chars_max=64)


def _call_check(acting: tuple[str, ...], limits: FieldLimits) -> Tool:
    arguments = Field(
        "arguments",
        Kind.OBJECT,
        "All arguments of that tool.",
        fields=(text("host", "Where."),),
        chars_max=limits.total_chars_max,
        also=("args", "parameters", "params", "input"),
    )
    fields = (choice("tool", "Tool to check.", acting, "tool_name", "name"), arguments)
    words = "Decide a call without running it: verdict, rules, obligations, cost, inferred effects."
    return Tool("call_check", "Check call", words, fields, READS)


def _call_status(limits: FieldLimits) -> Tool:
    streams, means = ("stdout", "stderr"), {"out": "stdout", "output": "stdout", "err": "stderr", "error": "stderr"}
    fields = (
        _id_field(),
        choice("stream", "Output to page.", streams, default="stdout", means=means),
        number("offset", "From this byte.", "start", default=0, maximum=POSITION_MAX),
        number(
            "limit",
            "Bytes of output.",
            *("bytes", "max_bytes", "length"),
            default=OUTPUT_BYTES_DEFAULT,
            maximum=OUTPUT_BYTES_MAX,
            published=True,
        ),
        wait_field(limits, "Wait this long for the end.", 0),
    )
    words = "One call by id: state, result, approval, more output. Can wait for the end."
    return Tool("call_status", "Call status", words, fields, READS)


def _call_cancel() -> Tool:
    hints = Hints(read_only=False, destructive=False, idempotent=True, open_world=False)
    words = "Stop a running call with its whole process tree, or withdraw a pending one."
    return Tool("call_cancel", "Cancel call", words, (_id_field(),), hints)
