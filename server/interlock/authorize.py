"""Authorizations: leave to do exactly one thing once. It issues and verifies them; it decides nothing."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable

from interlock.ports import Authorization, Run
from interlock_tools.call import Call, digest_of
from interlock_tools.errors import PolicyDenied, Refusal
from interlock_tools.plan import Plan

OUTSTANDING_MAX = 10_000


def plan_digest(plan: Plan) -> str:
    """SHA-256 (hex) over a plan's kind and every one of its fields; bytes count by their own digest."""
    fields = {field.name: getattr(plan, field.name) for field in dataclasses.fields(plan)}
    shown = {
        name: hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else _plain(value)
        for name, value in fields.items()
    }
    return digest_of({"kind": type(plan).__name__, "fields": shown})


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return value


class Authority:
    """Holds the signing key and the authorizations that were issued and not yet used.

    Both live in memory only: after a restart nothing that was issued before is good any more.
    """

    def __init__(self, clock: Callable[[], float], key: bytes | None = None) -> None:
        self._key = key or secrets.token_bytes(32)
        self._clock = clock
        self._outstanding: dict[str, float] = {}

    def issue(
        self, call: Call, plan: Plan, *, host: str, policy_version: str, lifetime_seconds: float
    ) -> Authorization:
        """A signed authorization for this call and plan on this host."""
        now = self._clock()
        self._forget_expired(now)
        unsigned = Authorization(
            call_id=call.call_id,
            call_digest=call.digest,
            plan_digest=plan_digest(plan),
            host=host,
            policy_version=policy_version,
            nonce=secrets.token_hex(16),
            issued=now,
            expires=now + lifetime_seconds,
        )
        self._outstanding[unsigned.nonce] = unsigned.expires
        return dataclasses.replace(unsigned, signature=self._sign(unsigned))

    def consume(self, leave: Authorization, run: Run, policy_version: str) -> Refusal | None:
        """Check and use up an authorization for this run; what is wrong with it, or None where it was good."""
        wrong = self._wrong(leave, run, policy_version)
        if wrong:
            return PolicyDenied(reason=wrong)
        if self._outstanding.pop(leave.nonce, None) is None:
            return PolicyDenied(reason="its authorization was used before")
        return None

    def _wrong(self, leave: Authorization, run: Run, policy_version: str) -> str:
        if not hmac.compare_digest(leave.signature, self._sign(leave)):
            return "its authorization is not one of ours"
        if (leave.call_id, leave.call_digest, leave.host) != (run.call_id, run.call_digest, run.host):
            return "its authorization is for another call or host"
        if leave.plan_digest != plan_digest(run.plan):
            return "its authorization is for other bytes"
        if leave.policy_version != policy_version:
            return "policy changed after it was authorized"
        if not leave.issued <= self._clock() <= leave.expires:
            return "its authorization has expired"
        return ""

    def _forget_expired(self, now: float) -> None:
        if len(self._outstanding) >= OUTSTANDING_MAX:
            self._outstanding = {nonce: until for nonce, until in self._outstanding.items() if until >= now}

    def _sign(self, leave: Authorization) -> str:
        fields = {name: value for name, value in dataclasses.asdict(leave).items() if name != "signature"}
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()
