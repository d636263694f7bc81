"""What many calls, much output and long silence leave behind: memory, open files, processes, run directories.

`python -m benchmarks.growth --idle-seconds N` sets how long the connection is left alone; a day is 86400.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mcp import Client

from benchmarks.contained import rate
from benchmarks.harness import BENCH_HOST, Ground, client_of, ground, guarded_command
from benchmarks.table import Row, at_most, run_alone
from interlock.hosts.program import program
from interlock.runner.expiring import expire_runs
from interlock.runner.rundirs import runs_place
from interlock.settings import Limits

CALLS = 10_000
FIRST_CALLS = 1_000
AT_ONCE = 20
CLOCK = "date +%s%N"  # its result is another each time: the same one again and again would be a loop
LOUD_CALLS = 10
LOUD_BYTES = 50_000_000
GROWN_MAX = 1.25
IDLE_SECONDS = 300.0
SETTLE_SECONDS = 3.0
IDLE_CPU_PERCENT_MAX = 1.0
RUNS_KEPT_MAX = 1_000
TICKS = os.sysconf("SC_CLK_TCK")
HELPER = program().digest.encode()  # stands in its command line
KIB = 1024
PROCESSES_LEFT_MAX = 4  # what may wait for the next call: a supervisor, its room, its shell, a worker
FILES_MORE_MAX = 20


@dataclass(frozen=True, slots=True)
class Sizes:
    """Resident memory in KiB of the server and of the helper; of both processor time in seconds and open files.

    `processes`: entries of the process table below the helper, those of ended processes among them.
    """

    server: int
    helper: int
    cpu: float
    files: int
    processes: int


def _words(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _status(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    raise RuntimeError(f"process {pid} has no {name}")


def _only(is_it: Callable[[int], bool], what: str) -> int:
    numbers = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    found = [number for number in numbers if is_it(number)]
    if len(found) != 1:
        raise RuntimeError(f"there are {len(found)} processes that could be the {what}")
    return found[0]


def sizes(here: Ground) -> Sizes:
    """What both processes of this ground take now. Raises RuntimeError where one cannot be told."""

    def is_helper(pid: int) -> bool:
        return HELPER in _words(pid) and _words(_status(pid, "PPid")).startswith(b"sshd") and is_below(pid)

    def is_below(pid: int) -> bool:
        while pid > 1 and os.fsencode(here.folder / "sshd_config") not in _words(pid):
            pid = _status(pid, "PPid")
        return pid > 1

    server = _only(lambda pid: b"serve" in _words(pid) and os.fsencode(here.folder) in _words(pid), "server")
    helper = _only(is_helper, "helper")
    used, files = 0, 0
    for pid in (server, helper):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        used += int(fields[11]) + int(fields[12])
        files += len(list(Path(f"/proc/{pid}/fd").iterdir()))
    memory = _status(server, "VmRSS"), _status(helper, "VmRSS")
    return Sizes(*memory, used / TICKS, files, len(_below(helper)))


def _below(root: int) -> list[int]:
    found = []
    for path in Path("/proc").iterdir():
        try:
            if path.name.isdigit() and _status(int(path.name), "PPid") == root:
                found += [int(path.name), *_below(int(path.name))]
        except OSError:  # it has ended meanwhile
            continue
    return found


def _grown(what: str, before: int, after: int) -> Row:
    figure = f"memory of the {what} ({before // KIB} MiB, then {after // KIB} MiB)"
    return at_most("growth", figure, after / before, GROWN_MAX, "× before")


def _names(place: Path) -> set[str]:
    return {path.name for path in place.iterdir() if path.name[0] != "."} if place.exists() else set()


def _runs(place: Path, but: set[str]) -> tuple[int, int]:
    """How many run directories there are but these, and how many bytes they take."""
    found = [path for path in place.iterdir() if path.name[0] != "." and path.name not in but]
    return len(found), 512 * sum(inner.lstat().st_blocks for path in found for inner in (path, *path.rglob("*")))


async def _loud(client: Client) -> None:
    command = f"yes 0123456789abcdef | head -c {LOUD_BYTES}"
    answer = await client.call_tool("shell_run", {"command": command, "host": BENCH_HOST, "timeout_seconds": 120})
    told = (answer.structured_content or {}).get("result", {})
    if told.get("stdout_bytes") != LOUD_BYTES:
        raise RuntimeError(f"not all of the output was counted: {told.get('stdout_bytes')}")


async def _measure(idle_seconds: float) -> list[Row]:
    limits = Limits()
    place = Path(runs_place())  # the host is this machine, and the login is who runs this
    others = _names(place)
    with ground() as here:
        async with client_of(guarded_command(here, containment="staged"), here) as client:
            await rate(client, [BENCH_HOST], AT_ONCE, FIRST_CALLS, CLOCK)
            first = sizes(here)
            reached = await rate(client, [BENCH_HOST], AT_ONCE, CALLS - FIRST_CALLS, CLOCK)
            await asyncio.sleep(SETTLE_SECONDS)
            second = sizes(here)
            for _ in range(LOUD_CALLS):
                await _loud(client)
            third = sizes(here)
            await asyncio.sleep(idle_seconds)
            fourth = sizes(here)
        count, size = _runs(place, others)
        rows = [Row("growth", f"{CALLS:,} confined calls, {AT_ONCE} at once", f"{reached:,.0f} a second")]
        for when, before, after in (
            (f"after {FIRST_CALLS:,} and after {CALLS:,} calls", first, second),
            (f"before and after {LOUD_CALLS} outputs of 50 MB", second, third),
            (f"before and after {idle_seconds:,.0f} s of silence", third, fourth),
        ):
            rows.append(_grown(f"server {when}", before.server, after.server))
            rows.append(_grown(f"helper {when}", before.helper, after.helper))
        then = f"after {CALLS:,} calls"
        rows.append(at_most("growth", f"processes below the helper {then}", second.processes, PROCESSES_LEFT_MAX, ""))
        more = fourth.files - first.files
        rows.append(at_most("growth", "open files of both, more than after the first calls", more, FILES_MORE_MAX, ""))
        busy = 100 * (fourth.cpu - third.cpu) / idle_seconds
        rows.append(at_most("growth", "processor time of both in silence", busy, IDLE_CPU_PERCENT_MAX, "%"))
        spooled = LOUD_CALLS * (limits.output_bytes_max + 256 * KIB) + count * 16 * KIB
        rows.append(
            at_most("growth", f"{count:,} run directories, before any expires", size / 1e6, spooled / 1e6, "MB")
        )
        others &= _names(place)  # the server may have removed old ones meanwhile
        kept = {"keep": sorted(others), "count_max": len(others) + RUNS_KEPT_MAX, "age_seconds_min": 0}
        expire_runs(str(place), kept)
        left, _ = _runs(place, others)
        rows.append(
            at_most("growth", f"run directories left of {count:,} where so many may stay", left, RUNS_KEPT_MAX, "")
        )
    return rows


def measure() -> Sequence[Row]:
    """Every figure in one run, on one connection."""
    words = sys.argv[1:]
    idle = float(words[words.index("--idle-seconds") + 1]) if "--idle-seconds" in words else IDLE_SECONDS
    return asyncio.run(_measure(idle))


if __name__ == "__main__":
    run_alone(measure)
