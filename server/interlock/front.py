"""The front: the one object that transports talk to. It passes calls to the line and answers to them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

from interlock.answers import Answers
from interlock.approvals import Approvals
from interlock.entry import Entry, new_call_id
from interlock.live import LiveCalls
from interlock.pipeline import Line
from interlock.ports import PendingForm, Progress, Request, Resource
from interlock.resources import Resources
from interlock_tools.catalog import Contract
from interlock_tools.envelope import Envelope
from interlock_tools.errors import Internal, State

log = logging.getLogger("interlock")

TokenPrincipal = Callable[[str], Awaitable[str | None]]


class InterlockFront:
    """Fulfils `ports.Front`."""

    def __init__(
        self,
        line: Line,
        entry: Entry,
        live: LiveCalls,
        approvals: Approvals,
        answers: Answers,
        resources: Resources,
        token_principal: TokenPrincipal,
    ) -> None:
        self._line = line
        self._entry = entry
        self._live = live
        self._approvals = approvals
        self._answers = answers
        self._resources = resources
        self._token_principal = token_principal

    def contracts(self, principal: str) -> Sequence[Contract]:
        return self._entry.catalog(principal).contracts()

    async def call(self, request: Request, progress: Progress | None = None) -> Envelope:
        call_id = new_call_id()
        try:
            answered = await self._answers.answer(request, call_id, progress)
            return answered or await self._walk(request, call_id, progress)
        except Exception:
            # The caller gets an id, the log the fault. Before admission nothing can have reached a host; after it, the
            # line settles its own faults.
            log.exception("call %s failed inside", call_id)
            return Envelope(call_id, State.FAILED, error=Internal(reason=call_id))

    async def _walk(self, request: Request, call_id: str, progress: Progress | None) -> Envelope:
        entered = await self._line.enter(request, call_id)
        if isinstance(entered, Envelope):
            if entered.replayed and entered.state is State.RUNNING:
                followed = await self._live.wait(entered.call_id, self._line.limits.wait_seconds_max, progress)
                return followed or entered
            return entered
        if entered.approval_id:
            return self._approvals.ask(entered)

        async def report(sentence: str, output_bytes: int) -> None:
            await self._live.report(call_id, sentence, output_bytes)

        live = self._live.start(entered, self._approvals.carried(entered, self._line.carry_out(entered, report)))
        return await self._live.follow(live, entered.call.wait_seconds, progress, owns=True)

    def resources(self, principal: str) -> Sequence[Resource]:
        return self._resources.listed(principal)

    async def read_resource(self, principal: str, uri: str) -> str | None:
        return await self._resources.read(principal, uri)

    async def form_for(self, principal: str, call_id: str) -> PendingForm | None:
        return await self._approvals.form_for(principal, call_id)

    async def answer_form(self, principal: str, approval_id: str, *, approve: bool, reason: str) -> None:
        await self._approvals.answer_form(principal, approval_id, approve=approve, reason=reason)

    async def token_principal(self, token: str) -> str | None:
        return await self._token_principal(token)
