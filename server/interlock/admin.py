"""The operations behind the command line, over the parts of one app: JSON in, JSON out. It decides nothing on its own.

Whoever reaches it is the local user who owns the store; who that is stands on record as `by`.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

from interlock.app import App
from interlock.control.faults import ControlFault
from interlock.deploy_admin import DeployAdmin
from interlock.entry import new_call_id
from interlock.held_admin import HeldAdmin
from interlock.hosts_admin import HostsAdmin
from interlock.naming import unknown_name, whole_id
from interlock.ports import Request
from interlock.records import ApprovalState, CallRow, Life
from interlock.store import Checkpoint
from interlock_policies.facts import Rule
from interlock_tools.call import Json
from interlock_tools.errors import State

EXPORT_CALLS_MAX = 50
EXPORT_CHARS_MAX = 4 * 1024 * 1024
HEADS_MAX = 1_000
TOKEN_DAYS_MAX = 3_660
ENDINGS = (State.SUCCEEDED, State.FAILED, State.CANCELLED)
_KINDS: Mapping[str, type] = {"str": str, "int": int, "bool": bool, "dict[str, Json]": dict, "list[str]": list}

Operation = Callable[..., Awaitable[Json]]


class Admin:
    """One method an operation. `lingers`: this process goes on afterwards, so an approved call can run by itself."""

    def __init__(self, app: App, *, lingers: bool = True) -> None:
        self._app = app
        self._lingers = lingers
        self._hosts = HostsAdmin(app)
        self._held = HeldAdmin(app)
        self._deploy = DeployAdmin(app)
        self._operations: dict[str, Operation] = {
            "approvals.list": self.approvals_list,
            "approvals.show": self.approvals_show,
            "approvals.decide": self.approvals_decide,
            "deploy.list": self._deploy.listed,
            "deploy.show": self._deploy.shown,
            "deploy.plan": self._deploy.plan,
            "deploy.end": self._deploy.end,
            "held.list": self._held.listed,
            "held.show": self._held.shown,
            "held.land": self._held.land,
            "held.discard": self._held.discard,
            "held.undo": self._held.undo,
            "trace.list": self.trace_list,
            "trace.show": self.trace_show,
            "trace.export": self.trace_export,
            "trace.verify": self.trace_verify,
            "scores.list": self.scores_list,
            "token.create": self.token_create,
            "token.list": self.token_list,
            "token.revoke": self.token_revoke,
            "hosts.list": self._hosts.listed,
            "hosts.shown": self._hosts.shown,
            "hosts.trust": self._hosts.trust,
            "hosts.check": self._hosts.check,
            "policy.explain": self.policy_explain,
            "policy.explain_call": self.policy_explain_call,
            "policy.reload": self.policy_reload,
            "stop": self.stop,
            "lift": self.lift,
            "stops": self.stops,
            "unpause": self.unpause,
            "reconcile.list": self.reconcile_list,
            "reconcile.show": self.reconcile_show,
            "reconcile.end": self.reconcile_end,
            "reconcile.settle": self.reconcile_settle,
            "budget": self.budget,
        }

    async def call(self, method: str, params: Mapping[str, Json], by: str) -> Json:
        """Carry out one operation. Raises ControlFault for what is unknown, ill-typed, or cannot be done."""
        operation = self._operations.get(method)
        if operation is None:
            raise ControlFault("METHOD_UNKNOWN", f"there is no operation {method[:80]!r}", "the versions may differ")
        signature = inspect.signature(operation)
        wanted = {**params, "by": by} if "by" in signature.parameters else dict(params)
        try:
            signature.bind(**wanted)
        except TypeError as fault:
            raise ControlFault("BAD_REQUEST", f"{method}: {fault}") from None
        for name, value in wanted.items():
            kind = _KINDS[str(signature.parameters[name].annotation)]
            if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
                raise ControlFault("BAD_REQUEST", f"{method}: {name} is not of the type it has to be")
        return plain(await operation(**wanted))

    # ── approvals ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def approvals_list(self, state: str = "pending", limit: int = 100) -> Json:
        """The newest approvals; `state` "" = of every state."""
        return await self._app.store.approvals(_approval_state(state), limit)

    async def approvals_show(self, approval_id: str) -> Json:
        """One approval, and the call it is bound to."""
        row = await self._app.store.approval(await whole_id(self._app.store, approval_id, approval=True))
        if row is None:
            raise ControlFault("APPROVAL_UNKNOWN", "there is no approval of this id", "interlock approvals list")
        return {"approval": row, "call": await self._app.store.call(row.call_id)}

    async def approvals_decide(self, approval_id: str, approve: bool, reason: str, by: str) -> Json:
        """Approve or deny. Where this process does not go on, an approved call is waited for."""
        wanted = await whole_id(self._app.store, approval_id, approval=True)
        row = await self._app.approve(wanted, approve, by, reason)
        if isinstance(row, str):
            raise ControlFault("APPROVAL_NOT_PENDING", row, "interlock approvals list")
        if approve and not self._lingers:
            await self._app.live.wait(row.call_id, self._app.settings.limits.timeout_seconds_max)
        return {"approval": row, "call": await self._app.store.call(row.call_id)}

    # ── the record ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def trace_list(
        self, principal: str = "", host: str = "", state: str = "", before_seq: int = 0, limit: int = 50
    ) -> Json:
        """The newest calls."""
        return await self._app.store.calls(principal, host, state, before_seq, limit)

    async def trace_show(self, call_id: str) -> Json:
        """One call with everything on record about it."""
        return await self._call(call_id)

    async def trace_export(self, after_seq: int = 0) -> Json:
        """A page of the record in the order of admission; `next` is the next page's `after_seq`, 0 at the end."""
        calls: list[Json] = []
        chars = 0
        async for row in self._app.store.export(after_seq):
            shown = plain(row)
            calls.append(shown)
            chars += len(str(shown))
            if len(calls) >= EXPORT_CALLS_MAX or chars >= EXPORT_CHARS_MAX:
                return {"calls": calls, "next": row["seq"]}
        return {"calls": calls, "next": 0}

    async def trace_verify(self, heads: list[str]) -> Json:
        """Walk the audit chain, against `heads` kept elsewhere too (as `head` of an earlier answer gave them)."""
        found = await self._app.store.verify_chain(tuple(_head(text) for text in heads[:HEADS_MAX]))
        if not found.records:
            return {"verification": found, "head": ""}
        head = await self._app.store.head()
        return {"verification": found, "head": f"{head.seq}:{head.hash}:{head.time!r}:{head.signature}"}

    async def scores_list(self, principal: str = "") -> Json:
        """Scores per principal × tool × environment."""
        return await self._app.store.scores(principal)

    # ── tokens ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def token_create(self, principal: str, label: str, days: int) -> Json:
        """A new bearer token; its secret is in this answer and nowhere else. `days` 0 = it never expires."""
        self._known(principal)
        if not 0 <= days <= TOKEN_DAYS_MAX:
            raise ControlFault("BAD_REQUEST", f"a token lasts 1 to {TOKEN_DAYS_MAX} days, or 0: for ever")
        ttl = days * 86_400.0 if days else None
        row, secret = await self._app.store.create_token(principal, label, ttl, self._app.clock())
        return {"token": row, "secret": secret}

    async def token_list(self) -> Json:
        """Every token, without its secret."""
        return await self._app.store.tokens()

    async def token_revoke(self, token_id: str) -> Json:
        """Revoke a token for good."""
        row = await self._app.store.revoke_token(token_id, self._app.clock())
        if row is None:
            raise ControlFault("TOKEN_UNKNOWN", "there is no token of this id", "interlock token list")
        return row

    # ── policy ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def policy_explain(self, tool: str, arguments: dict[str, Json], principal: str = "") -> Json:
        """What would be decided on this call, and why; nothing is recorded and nothing runs."""
        name = principal or self._app.settings.default_principal
        self._known(name)
        tools = [contract.name for contract in self._app.front.contracts(name)]
        if tool not in tools:
            raise unknown_name("tool", tool, tools)
        request = Request(name, "command-line", tool, arguments)
        return {"principal": name, **await self._app.answers.decision(request, new_call_id())}

    async def policy_explain_call(self, call_id: str) -> Json:
        """What was decided on a recorded call, and under `now` what would be decided on it today."""
        row = await self._call(call_id)
        known = {entry.rule.id: entry.rule for entry in self._app.engine().rules()}
        rules = [known.get(name) or Rule(name) for name in row.rules]
        request = Request(row.principal, "command-line", row.tool, self._app.entry.as_sent(row))
        now = await self._app.answers.decision(request, new_call_id()) if row.arguments_exact else None
        return {
            "call_id": row.call_id,
            "principal": row.principal,
            "tool": row.tool,
            "host": row.host,
            "state": row.state,
            "verdict": row.verdict,
            "rules": [{"id": rule.id, "title": rule.title, "hint": rule.hint} for rule in rules],
            "effects": row.effects,
            "cost_units": row.cost_units,
            "policy_version": row.policy_version,
            "error": (row.envelope or {}).get("error"),
            "now": now,
        }

    async def policy_reload(self) -> Json:
        """Load the policy files anew; `fault` says why the old policy stays, where it does."""
        return {"fault": self._app.reload_policy(), "version": self._app.engine().version}

    # ── the kill switch ──────────────────────────────────────────────────────────────────────────────────────────────

    async def stop(self, scope: str, reason: str, by: str) -> Json:
        """Refuse every further call in this scope: all, principal:NAME or host:NAME."""
        self._demand_scope(scope)
        return await self._app.store.stop(scope, by, self._app.redactor.text(reason), self._app.clock())

    async def lift(self, scope: str, reason: str, by: str) -> Json:
        """Take a stop back."""
        self._demand_scope(scope)
        if not await self._app.store.lift(scope, by, reason, self._app.clock()):
            raise ControlFault("NOT_STOPPED", f"{scope} is not stopped", "interlock stop --list")
        return {"scope": scope, "lifted": True}

    async def stops(self) -> Json:
        """Every stop that holds."""
        return await self._app.store.stops()

    async def unpause(self, principal: str, session: str, by: str) -> Json:
        """End the pause of a session that went round in a loop."""
        done = await self._app.store.unpause(principal, session, by, self._app.clock())
        if not done:
            raise ControlFault("NOT_PAUSED", "this session is not paused")
        return {"principal": principal, "session": session, "unpaused": True}

    # ── outcomes that are not known ──────────────────────────────────────────────────────────────────────────────────

    async def reconcile_list(self) -> Json:
        """Calls whose outcome is unknown, with the processes that still run for them on their hosts."""
        rows = [row for row in await self._app.store.calls(state=State.UNKNOWN.value, limit=500) if _is_open(row)]
        return [{"call": row, **await self._hosts.left_behind(row.host, row.call_id)} for row in rows]

    async def reconcile_show(self, call_id: str) -> Json:
        """One call of unknown outcome, with the processes that still run for it; nothing is changed."""
        row = await self._lost(call_id)
        return {"call": row, **await self._hosts.left_behind(row.host, row.call_id)}

    async def reconcile_end(self, call_id: str) -> Json:
        """End what still runs on its host for a call of unknown outcome; its outcome stays unknown."""
        row = await self._lost(call_id)
        return {"call": row, **await self._hosts.end(row.host, row.call_id)}

    async def reconcile_settle(self, call_id: str, state: str, reason: str, by: str) -> Json:
        """Put on record what an unknown call turned out to be, as a person found it on the host."""
        if state not in ENDINGS:
            raise ControlFault("BAD_REQUEST", f"a call ends as one of {', '.join(ENDINGS)}")
        found = await self._call(call_id)
        row = await self._app.store.reconcile(found.call_id, State(state), by, reason, self._app.clock())
        if isinstance(row, str):
            raise ControlFault("OUTCOME_KNOWN", row, "interlock reconcile")
        return row

    async def budget(self, principal: str = "") -> Json:
        """Units left today, for one principal or for all."""
        names = [principal] if principal else sorted(self._app.settings.principals)
        for name in names:
            self._known(name)
        cap = self._app.settings.limits.budget_units_per_day
        day = datetime.fromtimestamp(self._app.clock(), UTC).date().isoformat()
        left = {name: await self._app.store.budget_left(name, day, cap) for name in names}
        return [{"principal": name, "day": day, "units_left": left[name], "units_per_day": cap} for name in names]

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _call(self, call_id: str) -> CallRow:
        row = await self._app.store.call(await whole_id(self._app.store, call_id))
        if row is None:
            raise ControlFault("CALL_UNKNOWN", "there is no call of this id", "interlock trace list")
        return row

    async def _lost(self, call_id: str) -> CallRow:
        row = await self._call(call_id)
        if row.life is not Life.UNKNOWN:
            raise ControlFault(
                "OUTCOME_KNOWN", f"the outcome of this call is known: {row.state}", "interlock reconcile"
            )
        return row

    def _known(self, principal: str) -> None:
        names = self._app.settings.principals
        if principal not in names:
            raise unknown_name("principal", principal, names)

    def _demand_scope(self, scope: str) -> None:
        kind, _, name = scope.partition(":")
        known = {"principal": list(self._app.settings.principals), "host": list(self._app.settings.hosts)}
        if kind in known and name not in known[kind]:
            raise unknown_name(kind, name, known[kind])
        if scope != "all" and kind not in known:
            raise ControlFault("BAD_REQUEST", "there is no such scope", "all, principal:NAME or host:NAME")


def plain(value: Any) -> Json:
    """Rows and whatever they hold as JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, (set, frozenset)):
        return sorted(plain(entry) for entry in value)
    return str(value) if isinstance(value, Path) else value


def _approval_state(state: str) -> ApprovalState | None:
    if not state:
        return None
    try:
        return ApprovalState(state)
    except ValueError:
        raise ControlFault("BAD_REQUEST", "there is no such state", ", ".join(ApprovalState)) from None


def _head(text: str) -> Checkpoint:
    """A kept head as `trace verify` printed it: number, hash, time, signature."""
    try:
        seq, digest, time, signature = text.strip().split(":")
        return Checkpoint(int(seq), digest, float(time), signature)
    except ValueError:
        raise ControlFault("BAD_REQUEST", "this is no head", "give it as 'interlock trace verify' printed it") from None


def _is_open(row: CallRow) -> bool:
    return row.life is Life.UNKNOWN
