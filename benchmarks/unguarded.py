"""The other side of every ratio: a minimal MCP server on one pooled asyncssh connection. It guards nothing."""

from __future__ import annotations

import argparse
import asyncio
import json

import asyncssh
import mcp_types as types
from mcp.server import Server
from mcp.server.stdio import stdio_server

SHELL_RUN = types.Tool(
    name="shell_run",
    description="Run one command line on the host.",
    input_schema={
        "type": "object",
        "properties": {"command": {"type": "string", "description": "The command line."}},
        "required": ["command"],
    },
)


def build_server(connection: asyncssh.SSHClientConnection) -> Server:
    """A server with the one tool `shell_run`; whatever is sent to it runs."""

    async def list_tools(_context: object, _params: object) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[SHELL_RUN], ttl_ms=0, cache_scope="private")

    async def call_tool(_context: object, params: types.CallToolRequestParams) -> types.CallToolResult:
        done = await connection.run((params.arguments or {})["command"])
        result = {"exit_code": done.exit_status, "stdout": done.stdout, "stderr": done.stderr}
        text = types.TextContent(type="text", text=json.dumps(result))
        return types.CallToolResult(content=[text], structured_content=result, is_error=done.exit_status != 0)

    return Server("unguarded", version="0", on_list_tools=list_tools, on_call_tool=call_tool)


async def serve(options: argparse.Namespace) -> None:
    """Connect once, then serve stdio until the client goes."""
    async with (
        asyncssh.connect(
            "127.0.0.1",
            options.port,
            username=options.user,
            client_keys=[options.key],
            known_hosts=options.known_hosts,
            config=None,
        ) as connection,
        stdio_server() as (read, write),
    ):
        server = build_server(connection)
        await server.run(read, write, server.create_initialization_options())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    for option in ("--user", "--key", "--known-hosts"):
        parser.add_argument(option, required=True)
    asyncio.run(serve(parser.parse_args()))
