"""Accepting: from whatever was sent as a tool's arguments to a call, or a refusal with a recovery. It asks no host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from interlock_tools.call import Call, Check, Confidence, Json, Mode
from interlock_tools.errors import ArgumentInvalid, ArgumentMissing, ArgumentUnknown, Recovery, Refusal
from interlock_tools.repair import Surroundings, repaired
from interlock_tools.tool import Tool
from interlock_tools.values import Fault, read, weigh

ARGUMENTS_MAX = 50


@dataclass(frozen=True)
class Acceptor:
    """Accepts calls of one tool. `total_chars_max` bounds everything that one call may send."""

    tool: Tool
    surroundings: Surroundings
    total_chars_max: int

    def accept(self, arguments: object, *, call_id: str, principal: str) -> Call | Refusal:
        """A complete, normalised call, or the first thing that is wrong with it, with what would mend all of it."""
        sent = {} if arguments is None else arguments
        if not isinstance(sent, dict):
            step = Recovery.ask("The arguments have to be sent as one JSON object.")
            return ArgumentInvalid(path="arguments", reason="a JSON object is expected", recovery=step)
        found = read_all(self.tool, sent)
        if not isinstance(found, Fault):
            return _call(self.tool, found, call_id, principal)
        heavy = (
            f"at most {ARGUMENTS_MAX} arguments fit" if len(sent) > ARGUMENTS_MAX else weigh(sent, self.total_chars_max)
        )
        if heavy is not None:
            return ArgumentInvalid(path="arguments", reason=heavy)
        return repaired(self.tool, sent, self.surroundings, read_all)


ReadAll = Callable[[Tool, dict[str, Json]], dict[str, Json] | Fault]


def read_all(tool: Tool, sent: dict[str, Json]) -> dict[str, Json] | Fault:
    """Every argument normalised, in the order of the tool's fields, defaults filled in; or the first fault."""
    values: dict[str, Json] = {}
    used = 0
    for field in tool.fields:
        name = field.name
        if name not in sent:
            if field.required:
                return Fault(ArgumentMissing, name, "it has no default")
            values[name] = field.fallback
            continue
        used += 1
        value = read(field, sent[name], name)
        if isinstance(value, Fault):
            return value
        values[name] = value
    if used != len(sent):
        return Fault(ArgumentUnknown, "", "it is not one of this tool's")
    return tool.review(values) or values


def _call(tool: Tool, values: dict[str, Json], call_id: str, principal: str) -> Call:
    return Call(
        call_id=call_id,
        principal=principal,
        tool=tool.name,
        host=values.get("host", ""),
        arguments=values,
        intent=values.get("intent", ""),
        declaration=tool.declaration(values),
        verify=tuple(Check(entry["check"], entry["target"], entry["expected"]) for entry in values.get("verify", ())),
        mode=Mode(values.get("mode", "apply")),
        confidence=Confidence(values.get("confidence", "high")),
        doubts=tuple(values.get("doubts", ())),
        idempotency_key=values.get("idempotency_key", ""),
        timeout_seconds=values.get("timeout_seconds", 60),
        wait_seconds=values.get("wait_seconds", 0),
    )
