"""The calls family: asking about calls, stopping them, landing and undoing what they changed. It looks nothing up.

The server answers the first three itself. call_commit and call_undo have a plan; their host and their effects are those
of the call that they name, and only the server's record knows it.
"""

from __future__ import annotations

from collections.abc import Sequence

from interlock_tools.declare import POSITION_MAX, choice, number, text
from interlock_tools.fields import Field, Form, Kind
from interlock_tools.plan import CommitLayer, Plan, UndoRun
from interlock_tools.shared import FieldLimits, changed_path_fields, intent_field, wait_field
from interlock_tools.tool import READS, Arguments, Hints, Tool

OUTPUT_BYTES_DEFAULT, OUTPUT_BYTES_MAX = 16_000, 50_000
_LANDS = Hints(read_only=False, destructive=True, idempotent=False, open_world=False)


def call_tools(acting: Sequence[str], limits: FieldLimits) -> tuple[Tool, ...]:
    """call_check, call_status, call_cancel, call_commit, call_undo. call_check can decide about `acting`."""
    return (
        _call_check(tuple(acting), limits),
        _call_status(limits),
        _call_cancel(),
        _call_commit(limits),
        _call_undo(limits),
    )


def _id_field() -> Field:
    aliases = ("id", "handle", "callid")
    return text("call_id", "From an answer.", *aliases, form=Form.ID, required=True, chars_min=1, chars_max=64)


def _call_check(acting: tuple[str, ...], limits: FieldLimits) -> Tool:
    arguments = Field(
        "arguments",
        Kind.OBJECT,
        "Its arguments.",
        fields=(text("host", "Where."),),
        chars_max=limits.total_chars_max,
        also=("args", "parameters", "params", "input"),
    )
    fields = (choice("tool", "Tool.", acting, "tool_name", "name"), arguments)
    words = "Decide a call without running it: verdict, rules, cost, effects."
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
        wait_field(limits, "Wait for the end.", 0),
    )
    words = "One call by id: state, result, more output. Can wait."
    return Tool("call_status", "Call status", words, fields, READS)


def _call_cancel() -> Tool:
    hints = Hints(read_only=False, destructive=False, idempotent=True, open_world=False)
    words = "Stop, withdraw or discard a running, pending or held call."
    return Tool("call_cancel", "Cancel call", words, (_id_field(),), hints)


def _call_commit(limits: FieldLimits) -> Tool:
    shown = changed_path_fields("Absolute; created or changed.", "Absolute; deleted.")
    fields = (_id_field(), intent_field(required=True), *shown, _handle_field(limits))
    words = "Land a held call exactly as shown. Declare all that it changed."
    return Tool("call_commit", "Commit call", words, fields, _LANDS, _plan_commit, declares=True)


def _plan_commit(arguments: Arguments) -> Plan:
    return CommitLayer(arguments["call_id"])


def _call_undo(limits: FieldLimits) -> Tool:
    # Whose version wins where something changed since is for a person to say: no field asks an agent for it.
    fields = (_id_field(), intent_field(required=True), _handle_field(limits))
    words = "Put back what a call changed, unless it changed since."
    return Tool("call_undo", "Undo call", words, fields, _LANDS, _plan_undo)


def _plan_undo(arguments: Arguments) -> Plan:
    return UndoRun(arguments["call_id"])


def _handle_field(limits: FieldLimits) -> Field:
    return wait_field(limits, "Then a handle.", min(50, limits.wait_seconds_max))
