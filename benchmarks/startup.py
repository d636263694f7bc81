"""From starting the server's process to its first list of tools, and the weight of that list in characters."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence

from benchmarks.harness import Ground, client_of, ground, guarded_command, unguarded_command
from benchmarks.table import Row, at_most, percentile, run_alone

ROUNDS = 10
SECONDS_MAX = 0.7
SCHEMA_CHARS_MAX = 16_000


async def spawn_to_tools(command: list[str], here: Ground) -> tuple[float, int]:
    """Seconds from spawn to the first `tools/list`, and the characters of all its tools as JSON."""
    began = time.perf_counter()
    async with client_of(command, here, mode="legacy") as client:
        listed = await client.list_tools()
        took = time.perf_counter() - began
    tools = [tool.model_dump(by_alias=True, exclude_none=True) for tool in listed.tools]
    return took, len(json.dumps(tools, separators=(",", ":")))


async def _measure() -> list[Row]:
    ours: list[float] = []
    plain: list[float] = []
    chars = 0
    with ground() as here:
        for _ in range(ROUNDS):
            took, chars = await spawn_to_tools(guarded_command(here), here)
            ours.append(took)
            plain.append((await spawn_to_tools(unguarded_command(here), here))[0])
    p50, worst = percentile(ours, 50), max(ours)
    figure = f"spawn to first tools/list, p50 (worst {worst:.2f} s; unguarded {percentile(plain, 50):.2f} s)"
    return [
        at_most("startup", figure, p50, SECONDS_MAX, "s"),
        at_most("startup", "all tools together", chars, SCHEMA_CHARS_MAX, "characters"),
    ]


def measure() -> Sequence[Row]:
    """Time to the first list of tools, and its size."""
    return asyncio.run(_measure())


if __name__ == "__main__":
    run_alone(measure)
