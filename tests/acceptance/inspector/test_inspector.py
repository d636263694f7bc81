"""The real MCP Inspector lists and calls over stdio, SSE and Streamable HTTP, and finds no fault with the schemas."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from front_double import FrontDouble
from inspector import inspect
from interlock.settings import HttpSettings
from published import over_stdio, served

pytestmark = [pytest.mark.anyio, pytest.mark.inspector]
TRANSPORTS = ("stdio", "sse", "http")
ERAS = ("legacy", "auto", "modern")


@asynccontextmanager
async def target(transport: str) -> AsyncIterator[list[str]]:
    """The words that lead the Inspector to a server of ours."""
    if transport == "stdio":
        server = over_stdio()
        yield [server.command, *server.args]
        return
    async with served(FrontDouble()) as url:
        path = {"sse": "/sse", "http": "/mcp"}[transport]
        yield ["--server-url", f"{url}{path}", "--transport", transport]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("era", ERAS)
async def test_it_lists_the_tools_and_their_schemas_are_portable(tmp_path: Path, transport: str, era: str) -> None:
    async with target(transport) as words:
        done = await inspect(tmp_path, "--protocol-era", era, "--strict", "--method", "tools/list", *words)
    assert done.code == 0, done.stderr
    assert [tool["name"] for tool in done.answer["tools"]] == ["shell_run", "call_status"]
    assert done.answer["tools"][0]["inputSchema"]["properties"]["host"]["enum"] == ["web-1", "web-2"]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("era", ERAS)
async def test_it_calls_a_tool_and_shows_the_envelope(tmp_path: Path, transport: str, era: str) -> None:
    async with target(transport) as words:
        done = await inspect(tmp_path, "--protocol-era", era, *_call("web-1"), *words)
    assert done.code == 0, done.stderr
    assert done.answer["structuredContent"]["result"]["stdout"] == "uptime"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_it_reports_a_refused_call_as_a_tool_error(tmp_path: Path, transport: str) -> None:
    async with target(transport) as words:
        done = await inspect(tmp_path, *_call("db-1"), *words)
    assert done.code == 5, done.stderr
    assert done.answer["structuredContent"]["error"]["code"] == "ARGUMENT_INVALID"


@pytest.mark.parametrize("method", ["resources/list", "resources/templates/list", "prompts/list"])
async def test_it_lists_resources_and_prompts(tmp_path: Path, method: str) -> None:
    async with target("stdio") as words:
        done = await inspect(tmp_path, "--method", method, *words)
    assert done.code == 0, done.stderr
    assert any(isinstance(listed, list) and listed for listed in done.answer.values())


@pytest.mark.parametrize(("path", "transport"), [("/mcp", "http"), ("/sse", "sse")])
async def test_it_is_let_in_with_a_token_and_not_without(tmp_path: Path, path: str, transport: str) -> None:
    async with served(FrontDouble(), HttpSettings(port=0, tokens=True)) as url:
        words = ["--method", "tools/list", "--server-url", f"{url}{path}", "--transport", transport]
        let_in = await inspect(tmp_path, *words, "--header", "Authorization: Bearer token-of-bob")
        kept_out = await inspect(tmp_path, *words)
    assert let_in.code == 0, let_in.stderr
    assert "db-1" in json.dumps(let_in.answer)
    assert kept_out.code != 0


def _call(host: str) -> list[str]:
    arguments = json.dumps({"host": host, "command": "uptime"})
    return ["--method", "tools/call", "--tool-name", "shell_run", "--tool-args-json", arguments]
