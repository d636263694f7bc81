"""The double with the tools that the protocol's own conformance suite asks for, as far as one envelope can answer them.

Run as a program it serves them on `http://127.0.0.1:PORT/mcp`: `conformance_double.py PORT`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import anyio

from front_double import FrontDouble
from interlock.ports import Progress, Request
from interlock_tools.catalog import Contract, Hints
from interlock_tools.envelope import OUTPUT_SCHEMA, Envelope

COMMANDS = {
    "test_simple_text": "uptime",
    "test_error_handling": "nowhere",
    "test_tool_with_progress": "slow",
    "test_logging_tool": "uptime",
    "test_streaming_elicitation": "ask",
    "test_elicitation": "ask",
    "test_input_required_result_elicitation": "ask",
    "test_input_required_result_request_state": "ask",
    "test_input_required_result_tampered_state": "ask",
    "test_input_required_result_capabilities": "ask",
}
RESOURCES = ("test://static-text", "test://template/123/data")


class ConformanceDouble(FrontDouble):
    """Each of the suite's tools is one of the double's own commands."""

    def contracts(self, principal: str) -> Sequence[Contract]:
        schema = {"type": "object", "properties": {}, "additionalProperties": False}
        hints = Hints(True, False, True, False)
        tools = [Contract(name, name, f"For the suite: {name}.", schema, OUTPUT_SCHEMA, hints) for name in COMMANDS]
        return (*super().contracts(principal), *tools)

    async def call(self, request: Request, progress: Progress | None = None) -> Envelope:
        command = COMMANDS.get(request.tool)
        if command is None:
            return await super().call(request, progress)
        arguments = {"host": "web-1" if command != "nowhere" else "nowhere", "command": command}
        return await super().call(Request(request.principal, request.session, "shell_run", arguments), progress)

    async def read_resource(self, principal: str, uri: str) -> str | None:
        return f"This is {uri}." if uri in RESOURCES else await super().read_resource(principal, uri)


if __name__ == "__main__":
    from interlock.publish.http import serve_http
    from interlock.settings import HttpSettings

    settings = HttpSettings(port=int(sys.argv[1]), tokens=False)
    anyio.run(lambda: serve_http(ConformanceDouble(), settings, default_principal="alice"))
