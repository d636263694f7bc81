"""Contained, durable calls against plain ones: over MCP on loopback and on a longer road, and the runner alone.

`python -m benchmarks.contained --million` adds a tree of a million files, which takes minutes to grow.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Sequence
from pathlib import Path

from mcp import Client

from benchmarks.harness import BENCH_HOST, Ground, client_of, ground, guarded_command, host_names, unguarded_command
from benchmarks.outposts import AT_ONCE, load, measure_runner, rate_row
from benchmarks.relay import far_ground
from benchmarks.table import Row, at_least, at_most, percentile, run_alone
from interlock.runner.recording import run_state
from interlock.runner.rundirs import runs_place

NEAR_PAIRS = 150
FAR_PAIRS = 40
WARM_UP_PAIRS = 20
NEAR_RATIO_MAX = 1.0
FAR_RATIO_MAX = 0.65
ROUND_TRIP_MS = 30.0
AT_ONCE_CALLS = 400
AT_ONCE_RATE_MIN = 300
HOSTS = 20
SEQUENTIAL_CALLS = 40
SPREAD_CALLS = 600
HOSTS_RATIO_MIN = 10
TREES = [10_000, 100_000]
TREE_MILLION = 1_000_000
READ = "cat /etc/hostname"


async def read(client: Client, host: str = "", command: str = READ) -> float:
    """Milliseconds of one read. Raises RuntimeError where it failed."""
    arguments = {"command": command, **({"host": host} if host else {})}
    began = time.perf_counter()
    answer = await client.call_tool("shell_run", arguments)
    took = (time.perf_counter() - began) * 1_000
    if answer.is_error:
        raise RuntimeError(f"a read failed: {answer.content}")
    return took


async def must_be_confined(client: Client) -> None:
    """Raises RuntimeError where the host's own record of such a read, which is this machine's, says otherwise."""
    answer = await client.call_tool("shell_run", {"command": READ, "host": BENCH_HOST})
    call = (answer.structured_content or {}).get("call_id", "")
    state, record = run_state(str(Path(runs_place()) / call))
    if state != "ended" or record["end"]["level"] != "confined":
        raise RuntimeError(f"a read was not confined: {state} {record.get('end')}")


async def reads(here: Ground, pairs: int, figure: str, most: float) -> Row:
    """The p50 of a confined read as a ratio to the unguarded one, call by call in alternation."""
    ours: list[float] = []
    plain: list[float] = []
    guarded_server = guarded_command(here, containment="staged")
    async with client_of(guarded_server, here) as guarded, client_of(unguarded_command(here), here) as unguarded:
        await must_be_confined(guarded)
        for number in range(WARM_UP_PAIRS + pairs):
            if number % 2:
                ours.append(await read(guarded, BENCH_HOST))
            plain.append(await read(unguarded))
            if not number % 2:
                ours.append(await read(guarded, BENCH_HOST))
    own, other = percentile(ours[WARM_UP_PAIRS:], 50), percentile(plain[WARM_UP_PAIRS:], 50)
    told = f"{figure}, p50 ({own:.1f} against {other:.1f} ms; {load()})"
    return at_most("contained", told, own / other, most, "× unguarded")


async def rate(client: Client, hosts: Sequence[str], at_once: int, calls: int, command: str = READ) -> float:
    """Reads a second with so many on the way, spread over the hosts. Raises where one fails."""
    numbers = iter(range(calls))

    async def one_after_another() -> None:
        for number in numbers:
            await read(client, hosts[number % len(hosts)], command)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(one_after_another())
    return calls / (time.perf_counter() - began)


async def calls_at_once(here: Ground) -> Row:
    """Fifty calls at once on one connection."""
    async with client_of(guarded_command(here, containment="staged"), here) as guarded:
        await rate(guarded, [BENCH_HOST], 1, WARM_UP_PAIRS)
        reached = await rate(guarded, [BENCH_HOST], AT_ONCE, AT_ONCE_CALLS)
    return rate_row(f"{AT_ONCE} confined reads at once on one connection", reached, AT_ONCE_RATE_MIN)


async def many_hosts(far: Ground) -> Row:
    """Twenty hosts at the end of the longer road against one of them, asked one call after the other."""
    names = host_names(HOSTS)
    async with client_of(guarded_command(far, containment="staged", hosts=HOSTS), far) as guarded:
        await rate(guarded, names, HOSTS, 2 * HOSTS)
        one = await rate(guarded, names[:1], 1, SEQUENTIAL_CALLS)
        all_of_them = await rate(guarded, names, 2 * HOSTS, SPREAD_CALLS)
    figure = f"{HOSTS} hosts, {ROUND_TRIP_MS:.0f} ms away ({all_of_them:,.0f} against {one:,.1f} a second; {load()})"
    return at_least("contained", figure, all_of_them / one, HOSTS_RATIO_MIN, "× one host's sequential rate")


async def attempted(figure: str, part: Awaitable[Row | list[Row]]) -> list[Row]:
    """The rows of one part. One that breaks is a row that says so, and takes no other figure with it."""
    try:
        found = await part
    except Exception as fault:  # noqa: BLE001 - whatever it is, the figure was missed
        cause: BaseException = fault
        while isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        return [Row("contained", f"{figure} ({load()})", f"broke: {cause}"[:300], reached=False)]
    return found if isinstance(found, list) else [found]


async def _measure() -> list[Row]:
    trees = [*TREES, TREE_MILLION] if "--million" in sys.argv else TREES
    near, far_away = "a confined read on loopback", f"a confined read, {ROUND_TRIP_MS:.0f} ms away"
    with ground() as here:
        rows = await attempted("the runner alone", measure_runner(here, trees))
        rows += await attempted(near, reads(here, NEAR_PAIRS, near, NEAR_RATIO_MAX))
        rows += await attempted(f"{AT_ONCE} calls at once", calls_at_once(here))
        with far_ground(here, ROUND_TRIP_MS) as far:
            rows += await attempted(far_away, reads(far, FAR_PAIRS, far_away, FAR_RATIO_MAX))
            rows += await attempted(f"{HOSTS} hosts", many_hosts(far))
    return rows


def measure() -> Sequence[Row]:
    """Every figure in one run, on one OpenSSH server."""
    return asyncio.run(_measure())


if __name__ == "__main__":
    run_alone(measure)
