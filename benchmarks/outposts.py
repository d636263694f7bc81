"""The runner over a real OpenSSH server, against plain commands on the same connection: runs, diffs, landings, trees.

It measures the runner alone, without the server in front of it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path

import asyncssh

from benchmarks.harness import Ground
from benchmarks.table import Row, at_least, at_most
from interlock.hosts.outpost import Head, Outpost, open_outpost
from interlock.hosts.program import SYSTEM_PATH, runner_exec

SMALL_RUNS = 25
PAUSE_SECONDS = 0.15  # an agent thinks between two calls
STAGED_OVER_PLAIN_MS_MAX = 20.0
MANY_FILES = 1_000
MANY_RUNS = 3
MANY_SECONDS_MAX = 0.3
AT_ONCE = 50
AT_ONCE_RUNS = 400
TREE_RUNS = 15
TREE_CHANGES = 10
TREE_SPREAD_MAX = 1.2
FOLDER_FILES = 1_000
CALL_SECONDS_MAX = 60.0


def load() -> str:
    """How busy the machine is, to stand beside a figure."""
    return f"load {os.getloadavg()[0]:.1f}"


@contextmanager
def lasting_folder() -> Iterator[Path]:
    """A folder that no room takes for scratch."""
    with tempfile.TemporaryDirectory(prefix="interlock-bench-", dir=Path.home(), ignore_cleanup_errors=True) as name:
        yield Path(name)


@asynccontextmanager
async def connected(here: Ground) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """One connection, as the unguarded server has it."""
    async with asyncssh.connect(
        "127.0.0.1", here.port, username=here.user, client_keys=[str(here.key)],
        known_hosts=str(here.known_hosts), config=None,
    ) as connection:  # fmt: skip
        yield connection


class Runs:
    """Runs of one outpost in one folder."""

    def __init__(self, outpost: Outpost, work: Path) -> None:
        self._outpost = outpost
        self._work = work
        self._numbers = count(1)

    async def run(self, command: str, level: str, work: Path | None = None) -> Head:
        """One run to its end. Raises RuntimeError where the command did not end well."""
        place = str(work or self._work)
        order = {
            "run": f"bench-{next(self._numbers)}", "command": command, "level": level, "network": "none",
            "cwd": place, "writes": [place] if level == "staged" else [], "timeout_seconds": CALL_SECONDS_MAX,
            "environment": {"PATH": SYSTEM_PATH},
        }  # fmt: skip
        ended = (await self._outpost.ask("start", order, timeout_seconds=CALL_SECONDS_MAX)).head
        if ended["end"]["exit_code"] != 0 or ended["end"]["level"] != level:
            raise RuntimeError(f"a run failed: {ended['end']}")
        return ended

    async def settle(self, ended: Head, verb: str) -> Head:
        """Land, or discard, what a staged run changed."""
        head = {"run": ended["run"], "digest": ended["layer"]}
        told = (await self._outpost.ask(verb, head, timeout_seconds=CALL_SECONDS_MAX)).head
        if verb == "land" and told["state"] != "landed":
            raise RuntimeError(f"a landing failed: {told}")
        return told


async def small_changes(connection: asyncssh.SSHClientConnection, runs: Runs, work: Path) -> Row:
    """A staged run of a small change that lands, over the plain command, in alternation."""
    plain, staged = [], []
    for number in range(SMALL_RUNS):
        await asyncio.sleep(PAUSE_SECONDS)
        began = time.perf_counter()
        await connection.run(f"echo {number} > {work}/plain", check=True)
        plain.append((time.perf_counter() - began) * 1_000)
        await asyncio.sleep(PAUSE_SECONDS)
        began = time.perf_counter()
        await runs.settle(await runs.run(f"echo {number} > staged", "staged"), "land")
        staged.append((time.perf_counter() - began) * 1_000)
        if (work / "staged").read_text() != f"{number}\n":
            raise RuntimeError("a landing did not land")
    ours, theirs = statistics.median(staged), statistics.median(plain)
    figure = f"a staged change that lands, over the plain command ({ours:.1f} against {theirs:.1f} ms; {load()})"
    return at_most("contained", figure, ours - theirs, STAGED_OVER_PLAIN_MS_MAX, "ms")


async def many_changes(runs: Runs, work: Path) -> Row:
    """What a thousand changed files cost: the diff (over the command's own time) and the landing."""
    for number in range(MANY_FILES):
        (work / f"many-{number}").write_text(f"old {number}\n")
    took = []
    for number in range(MANY_RUNS):
        began = time.perf_counter()
        ended = await runs.run(f"for n in many-*; do echo {number} > $n; done", "staged")
        between = time.perf_counter() - began - ended["end"]["seconds"]
        began = time.perf_counter()
        landed = await runs.settle(ended, "land")
        took.append(between + time.perf_counter() - began)
        if landed["landed"] != MANY_FILES:
            raise RuntimeError(f"not all has landed: {landed}")
    figure = f"{MANY_FILES:,} changed files, diff and landing ({load()})"
    return at_most("contained", figure, statistics.median(took), MANY_SECONDS_MAX, "s")


async def at_once(runs: Runs, level: str) -> Row:
    """Runs a second where fifty are asked for at once, on one connection."""

    async def one_after_another(numbers: Iterator[int]) -> None:
        for _ in numbers:
            await runs.run("true", level)

    numbers = iter(range(AT_ONCE_RUNS))
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(one_after_another(numbers))
    rate = AT_ONCE_RUNS / (time.perf_counter() - began)
    return Row("contained", f"the runner alone: {AT_ONCE} runs at once, {level} ({load()})", f"{rate:,.0f} a second")


def grow_tree(folder: Path, files: int) -> Path:
    """A tree of so many files."""
    for number in range(0, files, FOLDER_FILES):
        inner = folder / f"tree-{files}" / str(number // FOLDER_FILES)
        inner.mkdir(parents=True)
        for name in range(min(FOLDER_FILES, files - number)):
            (inner / str(name)).touch()
    return folder / f"tree-{files}"


async def flat_trees(runs: Runs, folder: Path, sizes: list[int]) -> Row:
    """Ten changes in trees of different sizes: the slowest against the fastest, asked in turn."""
    trees = [grow_tree(folder, size) for size in sizes]
    took: list[list[float]] = [[] for _ in trees]
    for number in range(TREE_RUNS):
        for tree, samples in zip(trees, took, strict=True):
            await asyncio.sleep(PAUSE_SECONDS)
            command = f"for n in $(seq {TREE_CHANGES}); do echo {number} > 0/$n; done"
            began = time.perf_counter()
            ended = await runs.run(command, "staged", tree)
            samples.append((time.perf_counter() - began) * 1_000)
            if len(ended["changes"]) != TREE_CHANGES:
                raise RuntimeError(f"not all was measured: {ended['end']}")
            await runs.settle(ended, "discard")
    medians = [statistics.median(samples) for samples in took]
    told = ", ".join(f"{size:,} files: {value:.1f} ms" for size, value in zip(sizes, medians, strict=True))
    figure = f"{TREE_CHANGES} changes measured in trees ({told}; {load()})"
    return at_most("contained", figure, max(medians) / min(medians), TREE_SPREAD_MAX, "× the fastest")


async def measure_runner(here: Ground, sizes: list[int]) -> list[Row]:
    """All rows of the runner alone."""
    with lasting_folder() as folder:
        work = folder / "work"
        work.mkdir()
        async with connected(here) as connection:
            exec_ = runner_exec(environment={"INTERLOCK_RUNNER_BASE": str(folder / "runs")})
            outpost = await open_outpost(connection, exec_, CALL_SECONDS_MAX)
            runs = Runs(outpost, work)
            if "staged" not in outpost.hello["abilities"]["levels"]:
                missing = outpost.hello["abilities"]["missing"]
                return [Row("contained", "staged runs", f"not here: {missing}", reached=False)]
            rows = [await small_changes(connection, runs, work), await many_changes(runs, work)]
            rows.append(await flat_trees(runs, folder, sizes))
            rows += [await at_once(runs, level) for level in ("none", "confined")]
            outpost.close()
        shutil.rmtree(folder / "work")
    return rows


def rate_row(figure: str, rate: float, least: float) -> Row:
    """A rate beside its target."""
    return at_least("contained", f"{figure} ({load()})", rate, least, "a second")
