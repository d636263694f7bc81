"""Cedar's answers to one batch of requests. It fails closed: what the engine could not say is never "allowed"."""

from __future__ import annotations

from dataclasses import dataclass

import cedarpy

from interlock_policies.rulebook import Rulebook
from interlock_tools.call import Json


@dataclass(frozen=True, slots=True)
class Answer:
    """What Cedar said to one question. `reasons` are its ids of the policies that decided, keys of the rulebook."""

    allowed: bool
    reasons: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()


def authorize(book: Rulebook, requests: list[dict[str, Json]], entities: str) -> tuple[Answer, ...]:
    """One answer for each request, in order. Never raises: a fault of the engine is an answer with errors."""
    try:
        # The schema checked the rules when they were loaded; the requests have one form, held to it by a test. Checking
        # each request again would cost half as much as deciding it, and a wrong type ends as an error all the same.
        results = cedarpy.is_authorized_batch(requests, book.policies, entities)
    except Exception as fault:  # noqa: BLE001 - whatever the engine throws must end as DENY, not as a crash
        return tuple(Answer(allowed=False, errors=(f"{type(fault).__name__}: {fault}",)) for _ in requests)
    return tuple(_answer(result) for result in results)


def _answer(result: cedarpy.AuthzResult) -> Answer:
    errors = tuple(str(error) for error in result.diagnostics.errors)
    if not errors and result.decision is cedarpy.Decision.NoDecision:
        errors = ("the engine gave no decision",)
    # A forbid that fails to evaluate is skipped by Cedar, so "allowed" with an error means nothing.
    return Answer(result.allowed and not errors, tuple(result.diagnostics.reasons), errors)
