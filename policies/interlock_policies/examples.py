"""Examples that stand above a rule as comments and run when it loads. A file whose examples fail does not load.

    // match:      operator on env=prod: delete /etc/nginx
    // not_match:  operator on env=dev: write /srv/app/x; read /etc/hosts
    // expect ASK: operator+deployer on env=prod team=web, confidence=low: service restart nginx

`match` and `not_match` try the rule alone: does it decide any of the call's questions? `expect VERDICT` (or `expect
RULE-ID`: it is among the deciding rules) tries everything that is loaded. `situations` reads the part after the colon.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from interlock_policies.alike import asked_of
from interlock_policies.cedar import authorize
from interlock_policies.facts import Decision, HostFacts, Principal, Situation, Verdict
from interlock_policies.requests import form
from interlock_policies.rulebook import LoadedRule, Rulebook, alone
from interlock_policies.situations import Example, example_of
from interlock_policies.statements import Comment, PolicyFault, closest
from interlock_tools.call import Call
from interlock_tools.effects import Effects

Decide = Callable[[Principal, HostFacts, Call, Effects, Situation], Decision]

EXAMPLES_MAX = 2_000
_LINE = re.compile(r"(match|not_match|expect)\b\s*([\w.:-]*?)\s*:\s+(.*)")
_NEARLY = re.compile(r"([A-Za-z_-]+)(?:\s+[\w.-]+)?:\s+\S")
_KINDS = ("match", "not_match", "expect")


@dataclass(frozen=True, slots=True)
class Claim:
    """One example line: what it claims, and about which situation."""

    kind: str
    expected: str
    line: int
    example: Example


def claims_of(entry: LoadedRule) -> tuple[Claim, ...]:
    """The examples in a rule's comments. Raises PolicyFault where one cannot be read."""
    return tuple(claim for comment in entry.statement.comments if (claim := _claim(entry.file, comment)))


def check_examples(book: Rulebook, decide: Decide) -> int:
    """Run every example; how many there were. Raises PolicyFault at the first that does not hold."""
    count = 0
    for entry in book.rules.values():
        claims = claims_of(entry)
        count += len(claims)
        if count > EXAMPLES_MAX:
            raise PolicyFault(entry.file, entry.statement.line, f"there are more than {EXAMPLES_MAX} examples")
        single = alone(entry, book.schema) if claims else book
        for claim in claims:
            wrong = _expectation(claim, decide) if claim.kind == "expect" else _match(claim, single)
            if wrong:
                raise PolicyFault(entry.file, claim.line, f"the example of rule {entry.rule.id!r} fails: {wrong}")
    return count


def _claim(file: str, comment: Comment) -> Claim | None:
    found = _LINE.fullmatch(comment.text)
    if found is None:
        nearly = _NEARLY.match(comment.text)
        near = closest(nearly[1], _KINDS) if nearly else ""
        if near:
            raise PolicyFault(
                file,
                comment.line,
                "this example cannot be read",
                f"{near} for example 'match: operator on env=prod: delete /etc'",
            )
        return None
    kind, expected, text = found.groups()
    if (kind == "expect") != bool(expected):
        raise PolicyFault(
            file, comment.line, f"{kind!r} is written wrongly", "write 'match: …', 'not_match: …' or 'expect ASK: …'"
        )
    try:
        return Claim(kind, expected, comment.line, example_of(text))
    except ValueError as fault:
        raise PolicyFault(file, comment.line, f"this example cannot be read: {fault}") from None


def _match(claim: Claim, single: Rulebook) -> str:
    """What is wrong, or ""."""
    example = claim.example
    deferred = example.situation.defers
    asked = asked_of(example.call, example.effects, example.host, single.sight, deferred=deferred)
    put = form(asked, example.principal, example.host, example.call, example.effects, deferred=deferred)
    answers = authorize(single, put.requests(example.situation), put.entities)
    errors = [error for answer in answers for error in answer.errors]
    if errors:
        return f"it cannot be evaluated: {errors[0]}"
    matched = any(answer.reasons for answer in answers)
    if matched == (claim.kind == "match"):
        return ""
    return "the rule does not match" if claim.kind == "match" else "the rule matches"


def _expectation(claim: Claim, decide: Decide) -> str:
    example = claim.example
    decision = decide(example.principal, example.host, example.call, example.effects, example.situation)
    if claim.expected in list(Verdict):
        right = decision.verdict == claim.expected
    else:
        right = claim.expected in decision.rule_ids
    if right:
        return ""
    return f"expected {claim.expected}, got {decision.verdict.value} by {', '.join(decision.rule_ids) or 'nothing'}"
