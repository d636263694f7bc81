"""`shell_run true` over stdio on a local OpenSSH server: guarded against unguarded, call by call in alternation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from mcp import Client

from benchmarks.harness import BENCH_HOST, client_of, ground, guarded_command, unguarded_command
from benchmarks.table import Row, at_most, percentile, run_alone

PAIRS = 800  # below the loop bound of the guarded server, warm-up included
WARM_UP_PAIRS = 50
RATIO_MAX = 1.5


async def one_call(client: Client, arguments: dict[str, str]) -> float:
    """Milliseconds of one `shell_run true`. Raises RuntimeError where it did not end with exit code 0."""
    began = time.perf_counter()
    answer = await client.call_tool("shell_run", arguments)
    took = (time.perf_counter() - began) * 1_000
    if answer.is_error:
        raise RuntimeError(f"shell_run failed: {answer.content}")
    return took


async def pairs(guarded: Client, unguarded: Client, count: int) -> tuple[list[float], list[float]]:
    """`count` calls of each, in alternation; who goes first changes from pair to pair."""
    plain, ours = {"command": "true"}, {"command": "true", "host": BENCH_HOST}
    first: list[float] = []
    second: list[float] = []
    for number in range(count):
        if number % 2:
            first.append(await one_call(guarded, ours))
            second.append(await one_call(unguarded, plain))
        else:
            second.append(await one_call(unguarded, plain))
            first.append(await one_call(guarded, ours))
    return first, second


async def _measure() -> list[Row]:
    with ground() as here:
        async with (
            client_of(guarded_command(here), here) as guarded,
            client_of(unguarded_command(here), here) as unguarded,
        ):
            await pairs(guarded, unguarded, WARM_UP_PAIRS)
            ours, plain = await pairs(guarded, unguarded, PAIRS)
    rows = []
    for percent in (50, 99):
        guarded_ms, unguarded_ms = percentile(ours, percent), percentile(plain, percent)
        figure = f"shell_run true, p{percent} ({guarded_ms:.2f} against {unguarded_ms:.2f} ms)"
        rows.append(at_most("latency", figure, guarded_ms / unguarded_ms, RATIO_MAX, "× unguarded"))
    return rows


def measure() -> Sequence[Row]:
    """p50 and p99 of the guarded call as ratios to the unguarded one."""
    return asyncio.run(_measure())


if __name__ == "__main__":
    run_alone(measure)
