"""A small house behind `ports.Front`: what a transport needs to be tried for real, without store, hosts or policy.

It keeps what transports lean on: contracts differ by principal, a form is answered once, a cancelled call is noticed,
somebody else's resource does not exist. `shell_run` understands `boom` (breaks inside), `hang` (until it is cancelled),
`ask` (waits for a person), `slow` (reports progress); anything else is echoed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import anyio

from interlock.ports import PendingForm, Progress, Request, Resource
from interlock_tools.call import Json
from interlock_tools.catalog import Contract, Hints
from interlock_tools.envelope import OUTPUT_SCHEMA, Envelope
from interlock_tools.errors import ApprovalDenied, ApprovalRequired, ArgumentInvalid, State

SECRET = "hunter2-never-on-the-wire"
HOSTS: Mapping[str, tuple[str, ...]] = {"alice": ("web-1", "web-2"), "bob": ("db-1",)}
TOKENS: Mapping[str, str] = {"token-of-alice": "alice", "token-of-bob": "bob"}


@dataclass
class FrontDouble:
    """Everything that happened stays in its fields, for a test to look at."""

    requests: list[Request] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    pending: dict[str, PendingForm] = field(default_factory=dict)
    answers: list[tuple[str, str, bool, str]] = field(default_factory=list)
    hanging: anyio.Event = field(default_factory=anyio.Event)
    stopped: anyio.Event = field(default_factory=anyio.Event)
    ended: dict[str, Envelope] = field(default_factory=dict)

    def contracts(self, principal: str) -> Sequence[Contract]:
        host: Json = {"type": "string", "enum": list(HOSTS[principal]), "description": "Where."}
        run = {"command": {"type": "string", "description": "One command line."}, "host": host}
        status = {
            "call_id": {"type": "string", "description": "Which call."},
            "wait_seconds": {"type": "integer", "minimum": 0, "maximum": 300, "description": "How long to wait."},
        }
        return (
            _contract("shell_run", run, ["host", "command"], Hints(False, True, False, True)),
            _contract("call_status", status, ["call_id"], Hints(True, False, True, False)),
        )

    async def call(self, request: Request, progress: Progress | None = None) -> Envelope:
        self.requests.append(request)
        call_id = f"call-{len(self.requests)}"
        arguments = request.arguments if isinstance(request.arguments, dict) else {}
        if request.tool == "call_status":
            return self.ended.get(arguments["call_id"]) or _waiting(arguments["call_id"])
        if arguments.get("host") not in HOSTS[request.principal]:
            refusal = ArgumentInvalid(path="host", reason="no such host", allowed=HOSTS[request.principal])
            return Envelope(call_id, State.INVALID, error=refusal)
        match arguments.get("command"):
            case "boom":
                raise RuntimeError(SECRET)
            case "hang":
                if progress:
                    await progress("it hangs", 0)
                await self._hang(call_id)
            case "ask":
                self.pending[call_id] = PendingForm(f"ask-{call_id}", call_id, "alice wants to run: ask")
                return _waiting(call_id)
            case "slow" if progress:
                await progress("half way", 10)
                await progress("nearly there", 20)
                await progress("there", 30)
        return Envelope(call_id, State.SUCCEEDED, {"stdout": str(arguments.get("command")), "exit_code": 0})

    async def _hang(self, call_id: str) -> None:
        self.hanging.set()
        try:
            await anyio.sleep_forever()
        finally:
            self.cancelled.append(call_id)
            self.stopped.set()

    def resources(self, principal: str) -> Sequence[Resource]:
        return (
            Resource("interlock://policy", "policy", "What you may do."),
            Resource("interlock://budget", "budget", "What is left today."),
        )

    async def read_resource(self, principal: str, uri: str) -> str | None:
        if uri == "interlock://calls/boom":
            raise RuntimeError(SECRET)
        known = {f"interlock://hosts/{name}": f"# {name}" for name in HOSTS[principal]}
        return {"interlock://policy": f"# Policy of {principal}", "interlock://budget": "# 100", **known}.get(uri)

    async def form_for(self, principal: str, call_id: str) -> PendingForm | None:
        return self.pending.get(call_id)

    async def answer_form(self, principal: str, approval_id: str, *, approve: bool, reason: str) -> None:
        self.answers.append((principal, approval_id, approve, reason))
        form = next(entry for entry in self.pending.values() if entry.approval_id == approval_id)
        del self.pending[form.call_id]
        refused = None if approve else ApprovalDenied(reason=reason)
        state = State.SUCCEEDED if approve else State.DENIED
        self.ended[form.call_id] = Envelope(
            form.call_id, state, {"stdout": "approved"} if approve else {}, error=refused
        )

    async def token_principal(self, token: str) -> str | None:
        return TOKENS.get(token)


def _waiting(call_id: str) -> Envelope:
    refusal = ApprovalRequired(call_id=call_id, reason="rule x asks an operator")
    return Envelope(call_id, State.AWAITING_APPROVAL, error=refusal)


def _contract(name: str, properties: dict[str, Json], required: list[str], hints: Hints) -> Contract:
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return Contract(name, name.replace("_", " ").title(), f"The double's {name}.", schema, OUTPUT_SCHEMA, hints)
