"""Seeded canary side effects: how many are found, and how often what is clean is blamed. It runs the tests' cases."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.harness import ROOT
from benchmarks.table import Row, at_least, at_most, run_alone

CASES = 400  # of each level
RUN_SECONDS = 1_700.0
FOUND_PERCENT_MIN = 99
ALARMS_PERCENT_MAX = 1


def tallies(program: str, *words: str, seconds_max: float = RUN_SECONDS) -> list[dict[str, Any]]:
    """What a seeded program of the tests counts, a line for each part. What it got wrong goes to standard error."""
    paths = os.pathsep.join((str(ROOT / "tests"), str(ROOT), os.environ.get("PYTHONPATH", "")))
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / program), *words],
        env={**os.environ, "PYTHONPATH": paths},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        timeout=seconds_max,
        check=True,
    )
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    for tally in found:
        for seed, why in tally["wrong"]:
            print(f"{program} seed {seed}: {why}", file=sys.stderr)
    return found


def measure() -> Sequence[Row]:
    """Found and false alarms in percent, for a host that stages and one that only confines."""
    rows = []
    for tally in tallies("canary_calls.py", str(CASES)):
        level, seen = tally["level"], f"of {tally['canaries']} undeclared changes in {tally['cases']} calls"
        found = 100 * tally["found"] / max(1, tally["canaries"])
        alarms = 100 * tally["alarms"] / max(1, tally["cases"] - tally["refused"])
        rows.append(at_least("canaries", f"{level}: found, {seen}", found, FOUND_PERCENT_MIN, "%"))
        rows.append(at_most("canaries", f"{level}: false alarms", alarms, ALARMS_PERCENT_MAX, "%"))
    return rows


if __name__ == "__main__":
    run_alone(measure)
