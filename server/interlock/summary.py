"""The summary: what a human reads before deciding on a call. Every value in it is redacted, escaped, and one line."""

from __future__ import annotations

import json
from collections.abc import Sequence

from interlock.ticket import Ticket
from interlock_policies.redact import Redactor
from interlock_tools.call import Json
from interlock_tools.changes import Change, ChangeOp
from interlock_tools.planning import words_of
from interlock_tools.visible import visible

SUMMARY_CHARS_MAX = 8_000
SAID_CHARS_MAX = 1_200
FOUND_SHOWN_MAX = 10  # effects, and reasons each
CHANGES_SHOWN_MAX = 30
FLEET_SHOWN_MAX = 60
DIFF_SHOWN_CHARS_MAX = 3_000
DIFF_LINES_MAX = 60
_PLUMBING = frozenset({"host", "intent", "wait_seconds", "timeout_seconds", "idempotency_key", "mode"})


def summary(ticket: Ticket, redactor: Redactor) -> str:
    """What a human reads before deciding. Every value in it is redacted and escaped, one line each."""
    call = ticket.call
    lines = [
        ("tool", call.tool),
        ("host", f"{call.host} ({ticket.facts.environment or 'no env label'})"),
        ("caller", call.principal),
    ]
    # What we found stands first: the caller's own words, however long, must not push it over the end.
    found = [
        *(("would", f"{each.kind.value} {each.target}") for each in ticket.effects.inferred[:FOUND_SHOWN_MAX]),
        *(("unreadable", reason) for reason in ticket.effects.opaque[:FOUND_SHOWN_MAX]),
        *(("unknown program", name) for name in ticket.effects.unknown_programs[:FOUND_SHOWN_MAX]),
    ]
    said = [
        ("intent", call.intent or "(none)"),
        *((name, value) for name, value in call.arguments.items() if _worth_showing(name, value)),
    ]
    shown = [f"{name}: {_shown(redactor, value, 600)}" for name, value in lines]
    # A deployment is approved as it is planned, host by host.
    rollout = ticket.rollout
    plan = (f"sha256 {rollout.digest}", *words_of(rollout, files=not ticket.diff)[:FLEET_SHOWN_MAX]) if rollout else ()
    shown += [f"plan: {_shown(redactor, line, 400)}" for line in plan]
    shown += [f"diff: {_shown(redactor, line, 400)}" for line in ticket.diff[:DIFF_LINES_MAX]]
    if len(ticket.diff) > DIFF_LINES_MAX:
        shown.append(f"diff: … {len(ticket.diff) - DIFF_LINES_MAX} more lines: a preview of the same call shows them")
    # The rules' words are ours: nothing in them is a secret, however much it reads like one.
    shown += [f"rule: {visible(rule.id)}: {visible(rule.title, 600)}" for rule in ticket.decision.rules]
    shown += [f"{name}: {_shown(redactor, value, 200)}" for name, value in found]
    shown += [f"{name}: {_shown(redactor, value, SAID_CHARS_MAX)}" for name, value in said]
    return "\n".join(shown)[:SUMMARY_CHARS_MAX]


def held_summary(ticket: Ticket, changes: Sequence[Change], diff: str, redactor: Redactor) -> str:
    """What a human reads before deciding on a held change: what it would change first, then the call behind it."""
    lines = [f"lands: {visible(redactor.text(_of_change(change)), 600)}" for change in changes[:CHANGES_SHOWN_MAX]]
    if len(changes) > CHANGES_SHOWN_MAX:
        lines.append(f"lands: {len(changes) - CHANGES_SHOWN_MAX} more; 'interlock held show {ticket.call.call_id}'")
    shown = visible(diff, DIFF_SHOWN_CHARS_MAX).splitlines()
    lines += [f"diff: {line}" for line in shown[:DIFF_LINES_MAX]]
    return ("\n".join(lines) + "\n" + summary(ticket, redactor))[:SUMMARY_CHARS_MAX]


def _of_change(change: Change) -> str:
    size = f" ({change.size} bytes)" if change.kind == "file" and change.op is not ChangeOp.DELETE else ""
    below = f" with {change.below} entries below" if change.below else ""
    return f"{change.op.value} {change.kind} {change.path}{size}{below} {change.detail}".rstrip()


def _shown(redactor: Redactor, value: Json, chars_max: int) -> str:
    """A value as one line, so that none can pose as another field."""
    text = redactor.text(_one_line(value))
    if len(text) > chars_max:  # its end matters as much as its beginning
        half = chars_max // 2
        text = f"{text[:half]} … {len(text) - 2 * half} characters left out … {text[-half:]}"
    return visible(text, 2 * chars_max).replace("⏎\n", "⏎ ")


def _worth_showing(name: str, value: Json) -> bool:
    return name not in _PLUMBING and value not in ("", [], None, {}, "none")


def _one_line(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
