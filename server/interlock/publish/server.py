"""The server: MCP's requests answered from `ports.Front`, for whoever the transport says calls. It decides nothing."""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anyio
import mcp_types as types
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.server.subscriptions import ListenHandler
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from interlock import __version__
from interlock.ports import Front, PendingForm, Request
from interlock.publish import forms
from interlock.publish.callers import Caller, CallerOf, Context
from interlock.publish.changes import ToolChanges
from interlock.publish.incidents import Incidents, Redact
from interlock.publish.progress import progress_of
from interlock.publish.shelf import Shelf
from interlock.publish.wire import current_traceparent, result_of, tool_of, traceparent_of
from interlock.publish.words import INSTRUCTIONS
from interlock_tools.envelope import Envelope
from interlock_tools.errors import ApprovalRequired, ConcurrencyLimited, State

STATUS_TOOL = "call_status"
NAME_SHOWN_CHARS_MAX = 64
LISTENERS_MAX = 1_000

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Options:
    """What all transports of one house share.

    `redact` cleans what the log gets of a fault; `form_wait_seconds`: how long a call waits for a form in the client;
    `status_wait_seconds`: how long it then waits for the approved call's end before it answers with a handle;
    `calls_max`: how many calls one server (a connection, or all of Streamable HTTP) has in hand at once.
    """

    redact: Redact | None = None
    changes: ToolChanges = field(default_factory=ToolChanges)
    form_wait_seconds: float = 120.0
    status_wait_seconds: int = 50
    calls_max: int = 1_000


class _Server(Server[Any]):
    """A server that always says that its list of tools can change, on every transport."""

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        asked = notification_options or NotificationOptions(tools_changed=True)
        return super().create_initialization_options(asked, experimental_capabilities, extensions)


def build_server(front: Front, caller_of: CallerOf, options: Options | None = None) -> Server[Any]:
    """A low-level MCP server over `front`. `caller_of` names the caller of a request from what the transport knows.

    It holds the forms it issued, so one conversation has to stay with one server.
    """
    chosen = options or Options()
    desk, shelf = _Desk(front, caller_of, chosen), Shelf(front, caller_of)
    server = _Server(
        "interlock",
        version=__version__,
        title="Interlock",
        instructions=INSTRUCTIONS,
        get_tool_input_schema=_no_header_parameters,
        on_list_tools=desk.guarded(desk.list_tools),
        on_call_tool=desk.call_tool,
        on_list_resources=desk.guarded(shelf.list_resources),
        on_list_resource_templates=desk.guarded(shelf.list_templates),
        on_read_resource=desk.guarded(shelf.read_resource),
        on_list_prompts=desk.guarded(shelf.list_prompts),
        on_get_prompt=desk.guarded(shelf.get_prompt),
        on_subscriptions_listen=ListenHandler(chosen.changes.bus, max_subscriptions=LISTENERS_MAX),
    )
    server.add_notification_handler("notifications/initialized", types.NotificationParams, desk.joined)
    return server


def _no_header_parameters(_tool: str) -> None:
    """No tool here takes an argument from an HTTP header; saying so spares a listing per call."""


class _Desk:
    """The handlers. Each takes the request's context and parameters and answers from the front."""

    def __init__(self, front: Front, caller_of: CallerOf, options: Options) -> None:
        self._front = front
        self._caller_of = caller_of
        self._options = options
        self._incidents = Incidents(options.redact)
        self._forms = forms.Forms()
        self._calls = 0

    def guarded(
        self, handler: Callable[[Context, Any], Awaitable[_Answer]]
    ) -> Callable[[Context, Any], Awaitable[_Answer]]:
        """The handler, with every fault turned into an id; its text never leaves."""

        async def answer(ctx: Context, params: Any) -> _Answer:
            try:
                return await handler(ctx, params)
            except MCPError:
                raise
            except Exception as fault:  # noqa: BLE001 — the last line before the client
                raise self._incidents.protocol_error(fault) from None

        return answer

    async def joined(self, ctx: Context, _params: types.NotificationParams) -> None:
        """A client finished its handshake: from now on it is told of changes."""
        self._options.changes.join(self._caller_of(ctx).session, ctx.session)

    async def list_tools(self, ctx: Context, _params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        """The tools this principal sees."""
        contracts = self._front.contracts(self._caller_of(ctx).principal)
        return types.ListToolsResult(tools=[tool_of(contract) for contract in contracts])

    async def call_tool(
        self, ctx: Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        """One call: its envelope, or a form for the caller's human. An unknown tool is a protocol error."""
        if self._calls >= self._options.calls_max:
            return result_of(_too_many(self._options.calls_max))
        self._calls += 1
        try:
            return await self._call(ctx, params, self._caller_of(ctx))
        except MCPError:
            raise
        except Exception as fault:  # noqa: BLE001 — the last line before the client
            return result_of(self._incidents.envelope(fault))
        finally:
            self._calls -= 1

    async def _call(
        self, ctx: Context, params: types.CallToolRequestParams, caller: Caller
    ) -> types.CallToolResult | types.InputRequiredResult:
        self._demand_known(caller, params.name)
        if params.request_state is not None:
            return await self._answered(ctx, params, caller, params.request_state)
        envelope = await self._walk(ctx, caller, params.name, params.arguments)
        if envelope.state is not State.AWAITING_APPROVAL or not forms.can_show_forms(ctx.session.client_capabilities):
            return result_of(envelope)
        form = await self._front.form_for(caller.principal, envelope.call_id)
        if form is None:
            return result_of(envelope)
        if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
            state = self._forms.issue(caller.principal, forms.request_digest(params.name, params.arguments), form)
            return _asking(form, state)
        return result_of(await self._ask_now(ctx, caller, envelope, form))

    def _demand_known(self, caller: Caller, name: str) -> None:
        names = [contract.name for contract in self._front.contracts(caller.principal)]
        if name in names:
            return
        shown = name[:NAME_SHOWN_CHARS_MAX]
        closest = difflib.get_close_matches(shown, names, n=1)
        hint = f"; the closest is {closest[0]!r}" if closest else ""
        raise MCPError(types.INVALID_PARAMS, f"Unknown tool {shown!r}{hint}. tools/list names them all.")

    async def _walk(self, ctx: Context, caller: Caller, tool: str, arguments: dict[str, Any] | None) -> Envelope:
        traceparent = current_traceparent() or traceparent_of(ctx.meta)
        request = Request(caller.principal, caller.session, tool, arguments, traceparent)
        return await self._front.call(request, progress_of(ctx))

    async def _ask_now(self, ctx: Context, caller: Caller, envelope: Envelope, form: PendingForm) -> Envelope:
        """Put the form to the human while the call waits; without an answer in time it stays with the console."""
        if not ctx.session.can_send_request:
            return envelope
        answer = None
        with anyio.move_on_after(self._options.form_wait_seconds):
            try:
                said = await ctx.session.elicit_form(form.summary, dict(forms.FORM_SCHEMA), ctx.request_id)
                answer = forms.answer_of(said)
            except (MCPError, ValidationError):
                return envelope  # the client cannot, or answered something else than it was asked
        if answer is None or not await self._deliver(caller, form.call_id, form.approval_id, answer):
            return envelope
        return await self._status(ctx, caller, form.call_id)

    async def _answered(
        self, ctx: Context, params: types.CallToolRequestParams, caller: Caller, state: str
    ) -> types.CallToolResult | types.InputRequiredResult:
        """A request that comes back with a form's state: take its answer once; say how its call stands in any case."""
        issued = self._forms.find(state, caller.principal, forms.request_digest(params.name, params.arguments))
        if issued is None:
            raise MCPError(
                types.INVALID_PARAMS,
                "This request_state belongs to no open form of this call. Send the call again without it.",
            )
        response = (params.input_responses or {}).get(forms.FORM_KEY)
        form = await self._front.form_for(caller.principal, issued.call_id)
        if response is None and form is not None and form.approval_id == issued.approval_id:
            return _asking(form, state)
        answer = forms.answer_of(response)
        if answer is not None and self._forms.close(state):
            await self._deliver(caller, issued.call_id, issued.approval_id, answer)
        return result_of(await self._status(ctx, caller, issued.call_id))

    async def _deliver(self, caller: Caller, call_id: str, approval_id: str, answer: forms.Answer) -> bool:
        """Hand an answer to the house, where the house still waits for exactly this one."""
        pending = await self._front.form_for(caller.principal, call_id)
        if pending is None or pending.approval_id != approval_id:
            return False
        await self._front.answer_form(caller.principal, approval_id, approve=answer.approve, reason=answer.reason)
        return True

    async def _status(self, ctx: Context, caller: Caller, call_id: str) -> Envelope:
        if all(contract.name != STATUS_TOOL for contract in self._front.contracts(caller.principal)):
            refusal = ApprovalRequired(call_id=call_id, reason="the answer was taken; its outcome is on the record")
            return Envelope(call_id=call_id, state=State.AWAITING_APPROVAL, error=refusal)
        wait = self._options.status_wait_seconds
        return await self._walk(ctx, caller, STATUS_TOOL, {"call_id": call_id, "wait_seconds": wait})


def _too_many(calls_max: int) -> Envelope:
    """The answer to a call that is not even taken up; it is not on the record, so that a flood cannot fill the disk."""
    refusal = ConcurrencyLimited(reason=f"{calls_max} calls are in hand here already", retry_after_seconds=1)
    return Envelope(call_id="", state=State.DENIED, error=refusal)


def _asking(form: PendingForm, state: str) -> types.InputRequiredResult:
    """The stateless era's way to put a form to the caller's human."""
    requests: types.InputRequests = {forms.FORM_KEY: forms.form_request(form)}
    return types.InputRequiredResult(input_requests=requests, request_state=state)
