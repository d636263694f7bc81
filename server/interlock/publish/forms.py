"""Forms: which questions were really put to which caller's human, and the one answer each may get.

What a client sends back is believed only against this table and then against the house's own record: an answer to
nothing that was asked, for another call, or given before, does nothing.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mcp_types import ClientCapabilities, ElicitRequest, ElicitRequestFormParams, ElicitResult

from interlock.ports import PendingForm
from interlock_tools.call import Json, digest_of

FORMS_MAX = 1_000
FORM_LIFETIME_SECONDS = 3_600.0
REASON_CHARS_MAX = 500
FORM_KEY = "approval"

FORM_SCHEMA: Mapping[str, Json] = {
    "type": "object",
    "properties": {
        "approve": {
            "type": "boolean",
            "title": "Approve this call",
            "description": "Yes runs exactly the call shown, once. No refuses it.",
            "default": False,
        },
        "reason": {
            "type": "string",
            "title": "Reason",
            "description": "Kept on the record with your answer.",
            "maxLength": REASON_CHARS_MAX,
        },
    },
    "required": ["approve"],
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the human said: to approve or to refuse, and why."""

    approve: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Issued:
    """One form that was shown: for whom, for which request, under which approval."""

    principal: str
    request_digest: str
    approval_id: str
    call_id: str
    expires: float


class Forms:
    """The forms that await an answer: at most `FORMS_MAX`, the oldest leave first, each answered at most once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._issued: OrderedDict[str, Issued] = OrderedDict()
        self._open: set[str] = set()

    def issue(self, principal: str, request_digest: str, form: PendingForm) -> str:
        """Remember a form that is about to be shown; its state (128 random bits) is what the client sends back."""
        state = secrets.token_urlsafe(16)
        expires = self._clock() + FORM_LIFETIME_SECONDS
        self._issued[state] = Issued(principal, request_digest, form.approval_id, form.call_id, expires)
        self._open.add(state)
        while len(self._issued) > FORMS_MAX:
            oldest, _ = self._issued.popitem(last=False)
            self._open.discard(oldest)
        return state

    def find(self, state: str, principal: str, request_digest: str) -> Issued | None:
        """The form behind a state, where it was issued to this principal for this very request and has not expired."""
        issued = self._issued.get(state)
        if issued is None or (issued.principal, issued.request_digest) != (principal, request_digest):
            return None
        if issued.expires < self._clock():
            self._issued.pop(state)
            self._open.discard(state)
            return None
        return issued

    def close(self, state: str) -> bool:
        """True exactly once for a form that is open: its answer may be taken now."""
        if state not in self._open:
            return False
        self._open.remove(state)
        return True


def request_digest(tool: str, arguments: Mapping[str, Json] | None) -> str:
    """What a form is bound to: the tool and the arguments as they were sent."""
    return digest_of({"tool": tool, "arguments": dict(arguments or {})})


def form_request(form: PendingForm) -> ElicitRequest:
    """The form as MCP has it; never an empty one."""
    return ElicitRequest(
        params=ElicitRequestFormParams(message=form.summary, requested_schema=dict(FORM_SCHEMA)),
    )


def answer_of(result: object) -> Answer | None:
    """What a client's result means: declining refuses; dismissing, or anything unclear, is no answer."""
    if not isinstance(result, ElicitResult):
        return None
    if result.action == "decline":
        return Answer(approve=False, reason="declined in the client")
    content = result.content or {}
    approve, reason = content.get("approve"), content.get("reason")
    if result.action != "accept" or not isinstance(approve, bool):
        return None
    return Answer(approve=approve, reason=reason[:REASON_CHARS_MAX] if isinstance(reason, str) else "")


def can_show_forms(capabilities: ClientCapabilities | None) -> bool:
    """True where the client declared that it shows forms; one that only opens URLs does not."""
    elicitation = capabilities.elicitation if capabilities else None
    return elicitation is not None and (elicitation.form is not None or elicitation.url is None)
