"""What holds on every transport and in both eras of the protocol, seen by a real client."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import jsonschema
import pytest
from mcp.client.client import Client
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult

from front_double import SECRET, FrontDouble
from published import ERAS, WAIT_SECONDS, client_of, over_stdio, served

pytestmark = pytest.mark.anyio
ROADS = [(transport, era) for transport in ("stdio", "sse", "http") for era in ERAS]


@asynccontextmanager
async def reached(transport: str, era: str, principal: str = "alice", **more: object) -> AsyncIterator[Client]:
    with anyio.fail_after(WAIT_SECONDS):
        if transport == "stdio":
            async with Client(over_stdio(principal), mode=era, **more) as client:
                yield client
        else:
            async with (
                served(FrontDouble(), default_principal=principal) as url,
                client_of(url, transport, era, **more) as client,
            ):
                yield client


def envelope(result: CallToolResult) -> dict:
    """The envelope, after making sure that text and structure say the same."""
    assert json.loads(result.content[0].text) == result.structured_content
    assert result.is_error is not result.structured_content["ok"]
    return result.structured_content


@pytest.mark.parametrize(("transport", "era"), ROADS)
async def test_a_call_answers_one_envelope_that_fits_the_tools_own_schema(transport: str, era: str) -> None:
    async with reached(transport, era) as client:
        tool = next(tool for tool in (await client.list_tools()).tools if tool.name == "shell_run")
        good = await client.call_tool("shell_run", {"host": "web-1", "command": "uptime"})
        bad = await client.call_tool("shell_run", {"host": "db-1", "command": "uptime"})
    assert envelope(good)["result"]["stdout"] == "uptime"
    assert envelope(bad)["error"]["allowed"] == ["web-1", "web-2"]
    for result in (good, bad):
        jsonschema.validate(result.structured_content, tool.output_schema)


@pytest.mark.parametrize(("transport", "era"), ROADS)
async def test_a_fault_in_the_house_reaches_the_client_as_an_id_and_nothing_else(transport: str, era: str) -> None:
    async with reached(transport, era) as client:
        result = await client.call_tool("shell_run", {"host": "web-1", "command": "boom"})
        with pytest.raises(MCPError) as caught:
            await client.read_resource("interlock://calls/boom")
    answer = envelope(result)
    assert answer["error"]["code"] == "INTERNAL"
    assert "inc-" in answer["error"]["message"]
    assert "inc-" in caught.value.message
    assert SECRET not in json.dumps(answer) + str(caught.value)
    assert "Traceback" not in json.dumps(answer) + str(caught.value)


@pytest.mark.parametrize(("transport", "era"), ROADS)
async def test_an_unknown_tool_is_a_protocol_error_that_names_the_closest(transport: str, era: str) -> None:
    async with reached(transport, era) as client:
        with pytest.raises(MCPError) as caught:
            await client.call_tool("shell_runn", {})
    assert caught.value.code == -32602
    assert "'shell_run'" in caught.value.message


@pytest.mark.parametrize(("transport", "era"), ROADS)
async def test_progress_is_passed_on_and_only_grows(transport: str, era: str) -> None:
    seen: list[tuple[float, str]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, message or ""))

    async with reached(transport, era) as client:
        await client.call_tool("shell_run", {"host": "web-1", "command": "slow"}, progress_callback=on_progress)
    assert [progress for progress, _ in seen] == [1.0, 2.0, 3.0]
    assert seen[0][1] == "half way (10 bytes of output)"


@pytest.mark.parametrize(("transport", "era"), ROADS)
async def test_resources_and_prompts_can_be_listed_and_read(transport: str, era: str) -> None:
    async with reached(transport, era) as client:
        resources = await client.list_resources()
        templates = await client.list_resource_templates()
        policy = await client.read_resource("interlock://policy")
        host = await client.read_resource("interlock://hosts/web-1")
        prompts = await client.list_prompts()
        runbook = await client.get_prompt("recover_decision")
        with pytest.raises(MCPError):
            await client.read_resource("interlock://hosts/db-1")
    assert [entry.uri for entry in resources.resources] == ["interlock://policy", "interlock://budget"]
    assert [entry.uri_template for entry in templates.resource_templates] == [
        "interlock://calls/{id}",
        "interlock://hosts/{name}",
    ]
    assert policy.contents[0].text == "# Policy of alice"
    assert host.contents[0].text == "# web-1"
    assert len(prompts.prompts) == 6
    assert "APPROVAL_REQUIRED" in runbook.messages[0].content.text


@pytest.mark.parametrize(("transport", "era"), ROADS)
async def test_two_principals_see_different_hosts_in_the_same_tool(transport: str, era: str) -> None:
    enums = {}
    for principal in ("alice", "bob"):
        async with reached(transport, era, principal) as client:
            tools = (await client.list_tools()).tools
            enums[principal] = tools[0].input_schema["properties"]["host"]["enum"]
    assert enums == {"alice": ["web-1", "web-2"], "bob": ["db-1"]}


@pytest.mark.parametrize(("transport", "era"), ROADS)
async def test_every_tool_carries_its_four_hints_and_its_size_limit(transport: str, era: str) -> None:
    async with reached(transport, era) as client:
        tools = (await client.list_tools()).tools
        assert client.server_capabilities.tools.list_changed is True
        assert "awaiting_approval" in (client.instructions or "")
    for tool in tools:
        hints = tool.annotations.model_dump(exclude={"title"})
        assert all(value is not None for value in hints.values()), hints
        assert tool.meta["anthropic/maxResultSizeChars"] > 50_000
