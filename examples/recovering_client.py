"""An MCP client without a model: it makes one call and then does only what `error.recovery` in each answer says.

    python examples/recovering_client.py shell_run '{"host": "sandbox", "command": "cat notes.txt"}'

It never invents an argument. It stops where the call went through,
where only a human can go on, and after `steps_max` calls.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

Json = Any
Send = Callable[[str, Mapping[str, Json]], Awaitable[Mapping[str, Json]]]  # tool, arguments → envelope
Pause = Callable[[float], Awaitable[None]]

STEPS_MAX = 8
WAIT_SECONDS_MAX = 60.0
SERVER = ("interlock", "serve")


@dataclass(frozen=True, slots=True)
class Step:
    """One call that was made, and the envelope that answered it."""

    tool: str
    arguments: Mapping[str, Json]
    envelope: Mapping[str, Json]

    @property
    def code(self) -> str:
        """The error code, or "" where there was no error."""
        return str((self.envelope["error"] or {}).get("code", ""))


def merge_patch(target: Json, patch: Json) -> Json:
    """RFC 7396: objects are merged name by name, null removes a name, anything else replaces."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def next_call(step: Step) -> tuple[str, Mapping[str, Json], float] | None:
    """The tool, the arguments and the seconds to wait before that call; None where nothing is left for a program."""
    error = step.envelope["error"]
    if error is None:
        return None
    recovery = error["recovery"]
    if recovery["action"] == "change_arguments":
        changed = merge_patch(step.arguments, recovery["arguments"])
        return None if changed == step.arguments else (step.tool, changed, 0.0)
    if recovery["action"] == "use_tool":
        return recovery["tool"], recovery["arguments"], 0.0
    if recovery["action"] == "wait":
        return step.tool, step.arguments, float(error["retry_after_seconds"] or 0)
    return None  # ask_human, give_up


async def follow(
    send: Send, tool: str, arguments: Mapping[str, Json], *, steps_max: int = STEPS_MAX, pause: Pause = asyncio.sleep
) -> tuple[Step, ...]:
    """Make the call and follow its recoveries; every step in order, at least one. A wait that is too long ends it."""
    steps: list[Step] = []
    planned: tuple[str, Mapping[str, Json], float] | None = (tool, arguments, 0.0)
    while planned is not None and len(steps) < steps_max and planned[2] <= WAIT_SECONDS_MAX:
        tool, arguments, wait_seconds = planned
        if wait_seconds:
            await pause(wait_seconds)
        steps.append(Step(tool, arguments, await send(tool, arguments)))
        planned = next_call(steps[-1])
    return tuple(steps)


async def main(tool: str, arguments: Mapping[str, Json], server: tuple[str, ...] = SERVER) -> bool:
    """Start the server, follow one call through it, print each step. True where the last answer is ok."""
    from mcp import Client, StdioServerParameters

    async with Client(StdioServerParameters(command=server[0], args=list(server[1:]))) as client:

        async def send(name: str, values: Mapping[str, Json]) -> Mapping[str, Json]:
            answer = await client.call_tool(name, dict(values))
            return answer.structured_content or {}

        steps = await follow(send, tool, arguments)
    for step in steps:
        print(f"{step.tool} {json.dumps(step.arguments)}\n  → {step.envelope['state']} {step.code}")
        if step.code:
            print(f"    {step.envelope['error']['message']}\n    {step.envelope['error']['recovery']['because']}")
    print(json.dumps(steps[-1].envelope["result"], indent=2))
    return bool(steps[-1].envelope["ok"])


if __name__ == "__main__":
    sys.exit(not asyncio.run(main(sys.argv[1], json.loads(sys.argv[2]), tuple(sys.argv[3:]) or SERVER)))
