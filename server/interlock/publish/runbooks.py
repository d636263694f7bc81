"""Runbooks: one prompt for each family of errors; its codes come from the error tree itself. Text only."""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass

from mcp_types import GetPromptResult, Prompt, PromptMessage, TextContent

from interlock.publish import steps
from interlock_tools.errors import HostFault, Invalid, Limited, OutcomeRefusal, Refusal, refusal_codes

_RECORD = ("CALL_UNKNOWN", "IDEMPOTENCY_CONFLICT", "STALE_STATE", "UNDO_UNAVAILABLE")
_FAMILIES = (Invalid, Limited, HostFault, OutcomeRefusal)


@dataclass(frozen=True, slots=True)
class Runbook:
    """One family: its codes, what they have in common, and what to do, step by step."""

    name: str
    title: str
    codes: tuple[str, ...]
    meaning: str
    steps: str


def _codes_of(kind: type[Refusal]) -> tuple[str, ...]:
    return tuple(code for code, entry in refusal_codes().items() if issubclass(entry, kind) and code not in _RECORD)


def _decision_codes() -> tuple[str, ...]:
    elsewhere = {*_RECORD, "INTERNAL", *(code for kind in _FAMILIES for code in _codes_of(kind))}
    return tuple(code for code in refusal_codes() if code not in elsewhere)


RUNBOOKS = (
    Runbook(
        "recover_invalid",
        "The call was not valid",
        _codes_of(Invalid),
        "Nothing ran and nothing was charged: the call did not say something that a host could do.",
        steps.INVALID,
    ),
    Runbook(
        "recover_decision",
        "Policy or a person said no, or not yet",
        _decision_codes(),
        "The call was understood and not allowed as it stands. Rewording it to get past a rule is never the answer.",
        steps.DECISION,
    ),
    Runbook(
        "recover_limits",
        "A limit is reached",
        _codes_of(Limited),
        "The call itself may be fine; there is no room for it now. Nothing ran, except with OUTPUT_LIMITED.",
        steps.LIMITS,
    ),
    Runbook(
        "recover_record",
        "The record says otherwise",
        _RECORD,
        "What you believe about an earlier call or about a file is not what is on the record or on the host.",
        steps.RECORD,
    ),
    Runbook(
        "recover_host",
        "The host could not take the call",
        _codes_of(HostFault),
        "Nothing ran on the host: the connection, its key, its login or its room was missing.",
        steps.HOST,
    ),
    Runbook(
        "recover_outcome",
        "It ran and did not succeed",
        _codes_of(OutcomeRefusal),
        "Something happened on the host. Find out what before you do anything that changes more.",
        steps.OUTCOME,
    ),
)


def find(name: str) -> Runbook | None:
    """The runbook of this name."""
    return next((book for book in RUNBOOKS if book.name == name), None)


def prompt_of(book: Runbook) -> Prompt:
    """A runbook as `prompts/list` has it."""
    return Prompt(name=book.name, title=book.title, description=f"What to do after {', '.join(book.codes)}.")


def written_out(book: Runbook) -> GetPromptResult:
    """A runbook as one message: what the family means, its codes, the steps."""
    kinds = refusal_codes()
    codes = "\n".join(f"- `{code}`: {_described(kinds[code])}" for code in book.codes)
    text = f"# {book.title}\n\n{book.meaning}\n\n## Codes\n\n{codes}\n\n## Steps\n\n{book.steps}"
    return GetPromptResult(
        description=book.title, messages=[PromptMessage(role="user", content=TextContent(text=text))]
    )


def _described(kind: type[Refusal]) -> str:
    sentence = " ".join((inspect.getdoc(kind) or "").split()).partition(": {")[0]
    step = kind().default_recovery()
    use = f" `{step.tool}` {json.dumps(dict(step.arguments))}" if step.tool else ""
    return f"{sentence}. Unless its envelope says more: {step.action.value}{use}."
