"""Seeded runs under faults, many at once, each judged by the disk and the process table of its host.

    python tests/fault_runs.py COUNT [FIRST_SEED [JOBS]]     the five counters and the seeds behind them, as JSON

It only counts.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from fault_judge import COUNTERS, Verdict, judged
from fault_world import Run, World, world
from faulted import Spot
from faults import Case, drawn

DISK_SIZE = "6m"
JOBS = 4
KEEP = "INTERLOCK_TESTS_KEEP"  # where it is set, the folders of the cases stay


def one(here: World, case: Case) -> Verdict:
    """One case from its beginning to its judgement."""
    folder = Path(tempfile.mkdtemp(prefix=f"case-{case.seed}-", dir=here.folder))
    spot = Spot(folder)
    small = case.fault == "fill-disk"
    spot.disk.mkdir()
    if small:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_SIZE}", "tmpfs", spot.disk], check=True, timeout=10)
    try:
        spot.work.mkdir()
        spot.runs.mkdir(mode=0o700)
        for name in ("counter", "second"):
            (spot.work / name).touch()
        run = Run(here, case, spot)
        run.first_life()
        run.second_life()
        orphans = run.alive_at_the_end()
        return judged(case, spot, happened=run.happened, orphans=orphans, notes=run.notes)
    finally:
        if small:
            subprocess.run(["umount", "-l", spot.disk], check=False, timeout=10)
        if KEEP not in os.environ:
            shutil.rmtree(folder, ignore_errors=True)


def many(cases: Sequence[Case], jobs: int = JOBS) -> Iterator[Verdict]:
    """The verdicts on these cases as they come, from so many processes, each with a world of its own."""
    reading, writing = os.pipe()
    pids = [_fork(cases[number::jobs], reading, writing) for number in range(jobs)]
    os.close(writing)
    try:
        with os.fdopen(reading) as lines:
            yield from (Verdict(**json.loads(line)) for line in lines)
    finally:
        ended = [os.waitpid(pid, 0)[1] for pid in pids]
    if any(ended):
        raise RuntimeError(f"processes of the harness ended with {ended}")


def _fork(cases: Sequence[Case], reading: int, writing: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    os.close(reading)  # with its last reader gone, this process ends too
    try:
        with world() as here:
            for case in cases:  # a line is shorter than what a pipe takes as one
                os.write(writing, json.dumps(asdict(one(here, case))).encode() + b"\n")
        status = 0
    finally:
        os._exit(status)


def tally_of(verdicts: Iterable[Verdict]) -> dict[str, object]:
    """The five counters over all of them, and what was wrong with which seed."""
    counts: Counter[str] = Counter(dict.fromkeys(("runs", "happened", *COUNTERS), 0))
    wrong = []
    for verdict in verdicts:
        counts["runs"] += 1
        counts["happened"] += verdict.happened
        counts.update({name: getattr(verdict, name) for name in COUNTERS})
        if verdict.why:
            wrong.append((verdict.seed, f"{verdict.what}: {verdict.state}: {'; '.join(verdict.why)}"))
    return {**counts, "wrong": wrong}


def main(count: int, first: int = 0, jobs: int = JOBS) -> None:
    cases = [drawn(seed) for seed in range(first, first + count)]
    sys.stdout.write(json.dumps(tally_of(many(cases, jobs))) + "\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
