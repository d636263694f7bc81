"""The tools that Interlock answers itself: hosts_list, call_check, call_status, call_cancel. They change no host."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from interlock.approvals import Approvals
from interlock.entry import Entry
from interlock.guard import effects_json
from interlock.live import LiveCalls
from interlock.pipeline import Line
from interlock.ports import Progress, Request
from interlock.recorded import of_row
from interlock.records import CallRow, Life
from interlock.spool import Spool
from interlock.ticket import Ticket
from interlock.trail import Trail
from interlock_policies.facts import Verdict
from interlock_tools.call import Call, Json
from interlock_tools.envelope import Envelope, envelope_from_json
from interlock_tools.errors import CallUnknown, Recovery, Refusal, State

Answer = Callable[[Request, Call, Progress | None], Awaitable[Envelope]]


class Answers:
    """One method a tool; each takes an accepted call."""

    def __init__(self, line: Line, entry: Entry, live: LiveCalls, approvals: Approvals, spool: Spool) -> None:
        self._line = line
        self._entry = entry
        self._live = live
        self._approvals = approvals
        self._spool = spool
        self._by_tool: Mapping[str, Answer] = {
            "hosts_list": self._hosts_list,
            "call_check": self._call_check,
            "call_status": self._call_status,
            "call_cancel": self._call_cancel,
        }

    async def answer(self, request: Request, call_id: str, progress: Progress | None) -> Envelope | None:
        """The answer; None where the call needs a host and so the line, or is not valid (the line records that)."""
        answer = self._by_tool.get(request.tool)
        if answer is None:
            return None
        call = self._entry.accept(request, call_id)
        if isinstance(call, Refusal):
            return None
        envelope = await answer(request, call, progress)
        return envelope_from_json(self._line.redactor.json(envelope.to_json()))

    # ── hosts_list ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _hosts_list(self, request: Request, call: Call, _: Progress | None) -> Envelope:
        wanted, after = str(call.arguments.get("filter", "")).casefold(), str(call.arguments.get("after", ""))
        limit = int(call.arguments.get("limit", 50))
        hosts = [host for host in self._entry.visible_hosts(request.principal) if host.name > after]
        matching = sorted(
            (host for host in hosts if wanted in _searchable(host.name, host.labels, host.groups)),
            key=lambda host: host.name,
        )
        principal = self._entry.principal(request.principal)
        shown: list[Json] = [
            {
                "name": host.name,
                "labels": dict(host.labels),
                "groups": sorted(host.groups),
                "cwd": self._entry.cwd(host.name),
                "workspace": list(host.workspace),
                "containment": list(self._entry.containment(host.name)),
                "roles": sorted(principal.roles),
            }
            for host in matching[:limit]
        ]
        following = matching[limit - 1].name if len(matching) > limit else ""
        return Envelope(
            call.call_id, State.SUCCEEDED, result={"hosts": shown, "total": len(matching), "next_after": following}
        )

    # ── call_check ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _call_check(self, request: Request, call: Call, _: Progress | None) -> Envelope:
        inner = Request(request.principal, request.session, str(call.arguments["tool"]), call.arguments["arguments"])
        outcome = await self.decision(inner, call.call_id)
        return Envelope(call.call_id, State.SUCCEEDED, result=outcome)

    async def decision(self, request: Request, call_id: str) -> dict[str, Json]:
        """What the line would decide on this call, without recording or running it."""
        call = self._entry.accept(request, call_id)
        if isinstance(call, Refusal):
            return _refused(call)
        tool = self._entry.tool(request)
        if tool.plan(call) is None:
            return {"verdict": Verdict.ALLOW.value, "rules": [], "obligations": [], "cost_units": 0, "error": None}
        members = self._entry.members(request.principal, call.host)
        if not members:
            return _refused(CallUnknown(path="host", reason="the group has no member"))
        trail = Trail(self._line.clock)
        weighed = await self._line.look(request, replace(call, host=members[0]), trail, validity=None)
        if isinstance(weighed, Refusal):
            return _refused(weighed)
        refusal = await self._line.refusal(weighed)
        return {
            "verdict": Verdict.DENY.value if refusal else weighed.decision.verdict.value,
            "rules": [{"id": rule.id, "title": rule.title, "hint": rule.hint} for rule in weighed.decision.rules],
            "obligations": list(weighed.decision.obligations),
            "cost_units": weighed.cost,
            "effects": effects_json(weighed.effects),
            "containment": weighed.level.name.lower(),
            "asks": _asks(weighed, refusal),
            "policy_version": weighed.decision.policy_version,
            "error": refusal.to_json() if refusal else None,
        }

    # ── call_status, call_cancel ─────────────────────────────────────────────────────────────────────────────────────

    async def own(self, principal: str, call_id: str) -> CallRow | None:
        """A call of this very principal."""
        row = await self._line.store.call(call_id)
        return row if row is not None and row.principal == principal else None

    async def _call_status(self, request: Request, call: Call, progress: Progress | None) -> Envelope:
        wanted = str(call.arguments["call_id"])
        row = await self.own(request.principal, wanted)
        if row is None:
            return _unknown(call.call_id)
        wait = min(call.wait_seconds, self._line.limits.wait_seconds_max)
        if row.state in (State.AWAITING_APPROVAL, State.HELD):
            await self._live.wait_for_decision(wanted, wait)
        envelope = await self._live.wait(wanted, wait, progress)
        if envelope is None or envelope.state.is_final:
            fresh = await self.own(request.principal, wanted) or row
            envelope = as_seen_by_status(await self.of(fresh), fresh, self._entry.as_sent(fresh))
        return await self._with_output(envelope, request, call)

    async def of(self, row: CallRow) -> Envelope:
        """What the record says of a call, with what became of its change since."""
        return of_row(row, await self._line.store.layer(row.call_id), self._line.clock())

    async def _with_output(self, envelope: Envelope, request: Request, call: Call) -> Envelope:
        """Add a page of output where one was asked for, or what there is so far of a running call's."""
        sent = request.arguments if isinstance(request.arguments, dict) else {}
        if envelope.state.is_final and not {"stream", "offset", "limit"} & set(sent):
            return envelope
        stream, offset = str(call.arguments["stream"]), int(call.arguments["offset"])
        page = await self._spool.page(envelope.call_id, stream, offset, int(call.arguments["limit"]))
        if page is None:
            return envelope
        output = {
            "stream": stream,
            "text": page.text,
            "offset": offset,
            "next_offset": page.next_offset,
            "total_bytes": page.total_bytes,
        }
        return replace(envelope, result={**envelope.result, "output": output})

    async def _call_cancel(self, request: Request, call: Call, _: Progress | None) -> Envelope:
        wanted = str(call.arguments["call_id"])
        row = await self.own(request.principal, wanted)
        if row is None:
            return _unknown(call.call_id)
        by = "its caller"
        ended_here = await self._live.end(wanted, by) or await self._approvals.withdraw(wanted, by)
        notices = () if ended_here or row.life is not Life.UNKNOWN else (await self._end_lost(row),)
        fresh = await self.own(request.principal, wanted)
        ended = of_row(fresh or row)
        result = {"call_id": wanted, "state": ended.state.value, "ended": ended.state.is_final}
        return Envelope(call.call_id, State.SUCCEEDED, result=result, notices=notices)

    async def _end_lost(self, row: CallRow) -> str:
        """End what a call of unknown outcome may still run; the outcome stays unknown until a human looked."""
        ended = await self._line.hosts.end(row.host, row.call_id)
        return f"the host could not be asked: {ended.message}" if isinstance(ended, Refusal) else ended.sentence


def as_seen_by_status(envelope: Envelope, row: CallRow, sent: Mapping[str, Json]) -> Envelope:
    """The same answer with its recovery made whole: "again" and "changed" speak of that call, not of call_status."""
    error = envelope.error_json
    if error is None or error["recovery"]["action"] not in ("change_arguments", "wait"):
        return envelope
    step = error["recovery"]
    merged = {name: value for name, value in {**sent, **step["arguments"]}.items() if value is not None}
    whole = {"action": "use_tool", "tool": row.tool, "arguments": merged, "because": step["because"]}
    if not row.arguments_exact:
        because = "Its arguments held what is not kept on record; the caller sends it again itself."
        whole = {"action": "ask_human", "tool": "", "arguments": {}, "because": because}
    return replace(envelope, error_json={**error, "recovery": whole})


def _asks(ticket: Ticket, refusal: Refusal | None) -> str:
    """When a human would be asked: "before" it runs, about the "measured" change, or "" = not at all."""
    if refusal is not None or ticket.decision.verdict is not Verdict.ASK:
        return ""
    return "before" if ticket.asks_first else "measured"


def _unknown(call_id: str) -> Envelope:
    look = Recovery.give_up("Only the principal that made a call can follow it, by the id its envelope gave.")
    refusal = CallUnknown(reason="no call of this principal has this id", recovery=look)
    return Envelope(call_id, refusal.state, error=refusal)


def _refused(refusal: Refusal) -> dict[str, Json]:
    return {
        "verdict": Verdict.DENY.value,
        "rules": [{"id": rule, "title": "", "hint": ""} for rule in refusal.rules],
        "obligations": [],
        "cost_units": 0,
        "error": refusal.to_json(),
    }


def _searchable(name: str, labels: Mapping[str, str], groups: frozenset[str]) -> str:
    return " ".join([name, *(f"{key}={value}" for key, value in labels.items()), *groups]).casefold()
