"""Approvals given in the client: only against the house's own record, once, for the very call that was shown."""

from __future__ import annotations

import anyio
import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import ElicitResult, InputRequiredResult

from front_double import FrontDouble
from interlock.ports import PendingForm
from interlock.publish.forms import FORMS_MAX, Forms
from interlock.publish.server import Options
from published import ERAS, WAIT_SECONDS, client_of, served

pytestmark = pytest.mark.anyio
ASK = {"host": "web-1", "command": "ask"}
YES = {"approve": True, "reason": "fine"}
ROADS = [(transport, era) for transport in ("sse", "http") for era in ERAS]


def human(action: str, content: dict | None = None, shown: list | None = None):
    """An elicitation callback that always answers so."""

    async def answer(_context, params) -> ElicitResult:
        if shown is not None:
            shown.append(params)
        return ElicitResult(action=action, content=content)

    return answer


@pytest.mark.parametrize(("transport", "era"), ROADS)
async def test_a_human_who_approves_in_the_client_gets_the_calls_result(transport: str, era: str) -> None:
    front, shown = FrontDouble(), []
    with anyio.fail_after(WAIT_SECONDS):
        async with (
            served(front) as url,
            client_of(url, transport, era, elicitation_callback=human("accept", YES, shown)) as client,
        ):
            result = await client.call_tool("shell_run", ASK)
    assert result.structured_content["result"] == {"stdout": "approved"}
    assert front.answers == [("alice", "ask-call-1", True, "fine")]
    assert [request.tool for request in front.requests] == ["shell_run", "call_status"]
    assert shown[0].message == "alice wants to run: ask"
    assert set(shown[0].requested_schema["properties"]) == {"approve", "reason"}


@pytest.mark.parametrize(("transport", "era"), ROADS)
@pytest.mark.parametrize("answer", [("decline", None), ("accept", {"approve": False, "reason": "no"})])
async def test_a_human_who_refuses_is_recorded_as_refusing(transport: str, era: str, answer: tuple) -> None:
    front = FrontDouble()
    with anyio.fail_after(WAIT_SECONDS):
        async with (
            served(front) as url,
            client_of(url, transport, era, elicitation_callback=human(*answer)) as client,
        ):
            result = await client.call_tool("shell_run", ASK)
    assert result.structured_content["error"]["code"] == "APPROVAL_DENIED"
    assert [approve for _, _, approve, _ in front.answers] == [False]


@pytest.mark.parametrize(("transport", "era"), ROADS)
@pytest.mark.parametrize("answer", [("cancel", None), ("accept", {}), ("accept", {"approve": "yes"})])
async def test_an_unclear_answer_approves_nothing(transport: str, era: str, answer: tuple) -> None:
    front = FrontDouble()
    with anyio.fail_after(WAIT_SECONDS):
        async with (
            served(front) as url,
            client_of(url, transport, era, elicitation_callback=human(*answer)) as client,
        ):
            result = await client.call_tool("shell_run", ASK)
    assert result.structured_content["state"] == "awaiting_approval"
    assert result.is_error is True
    assert front.answers == []


@pytest.mark.parametrize(("transport", "era"), ROADS)
async def test_a_client_without_forms_is_told_to_wait_for_a_person(transport: str, era: str) -> None:
    front = FrontDouble()
    with anyio.fail_after(WAIT_SECONDS):
        async with served(front) as url, client_of(url, transport, era) as client:
            result = await client.call_tool("shell_run", ASK)
    assert result.structured_content["error"]["recovery"]["tool"] == "call_status"


async def test_a_form_that_nobody_answers_leaves_the_call_to_the_console() -> None:
    front = FrontDouble()

    async def nobody(_context, _params) -> ElicitResult:
        await anyio.sleep_forever()

    with anyio.fail_after(WAIT_SECONDS):
        async with (
            served(front, options=Options(form_wait_seconds=0.2)) as url,
            client_of(url, "http", "legacy", elicitation_callback=nobody) as client,
        ):
            result = await client.call_tool("shell_run", ASK)
    assert result.structured_content["state"] == "awaiting_approval"
    assert list(front.pending) == ["call-1"]


async def test_a_forged_answer_on_a_first_call_does_nothing() -> None:
    front = FrontDouble()
    forged = {"approval": ElicitResult(action="accept", content=YES)}
    with anyio.fail_after(WAIT_SECONDS):
        async with served(front) as url, _manual(url) as client:
            first = await client.session.call_tool("shell_run", ASK, input_responses=forged, allow_input_required=True)
            with pytest.raises(MCPError) as caught:
                await client.session.call_tool(
                    "shell_run", ASK, input_responses=forged, request_state="call-1", allow_input_required=True
                )
    assert isinstance(first, InputRequiredResult)
    assert caught.value.code == -32602
    assert front.answers == []


async def test_a_replayed_answer_tells_the_outcome_and_runs_nothing() -> None:
    front = FrontDouble()
    answer = {"approval": ElicitResult(action="accept", content=YES)}
    with anyio.fail_after(WAIT_SECONDS):
        async with served(front) as url, _manual(url) as client:
            asked = await client.session.call_tool("shell_run", ASK, allow_input_required=True)
            results = [
                await client.session.call_tool(
                    "shell_run",
                    ASK,
                    input_responses=answer,
                    request_state=asked.request_state,
                    allow_input_required=True,
                )
                for _ in range(3)
            ]
    assert [result.structured_content["call_id"] for result in results] == ["call-1"] * 3
    assert len(front.answers) == 1
    assert [request.tool for request in front.requests].count("shell_run") == 1


async def test_an_answer_for_other_arguments_or_from_another_principal_does_nothing() -> None:
    front = FrontDouble()
    forms = Forms()
    state = forms.issue("alice", "digest", PendingForm("ask-1", "call-1", "?"))
    assert forms.find(state, "bob", "digest") is None
    assert forms.find(state, "alice", "other") is None
    answer = {"approval": ElicitResult(action="accept", content=YES)}
    with anyio.fail_after(WAIT_SECONDS):
        async with served(front) as url, _manual(url) as client:
            asked = await client.session.call_tool("shell_run", ASK, allow_input_required=True)
            with pytest.raises(MCPError):
                await client.session.call_tool(
                    "shell_run",
                    {**ASK, "command": "boom"},
                    input_responses=answer,
                    request_state=asked.request_state,
                    allow_input_required=True,
                )
    assert front.answers == []


async def test_forms_are_bounded_and_expire() -> None:
    now = [0.0]
    forms = Forms(lambda: now[0])
    form = PendingForm("ask-1", "call-1", "?")
    states = [forms.issue("alice", "digest", form) for _ in range(FORMS_MAX + 1)]
    assert forms.find(states[0], "alice", "digest") is None
    assert not forms.close(states[0])
    assert forms.find(states[1], "alice", "digest") is not None
    assert forms.close(states[1])
    assert not forms.close(states[1])
    now[0] = 4_000.0
    assert forms.find(states[2], "alice", "digest") is None
    assert not forms.close(states[2])


def _manual(url: str):
    """A stateless-era client that declares forms and lets the test drive the rounds."""
    return client_of(url, "http", "2026-07-28", elicitation_callback=human("cancel"))
