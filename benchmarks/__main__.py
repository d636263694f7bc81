"""`make bench`: every measurement in a process of its own, and one table at the end with the targets beside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.table import AS_JSON, Row, print_table

HERE = Path(__file__).parent
ORDER = ("startup", "latency", "contained", "decisions", "admissions", "sessions", "corpora")
LONG = {
    "deployments": 900.0,
    "canaries": 1_800.0,
    "growth": 3_600.0,
    "faults": 14_400.0,
}  # seconds; only where they are named
TARGETS = {"admissions": "≥ 10,000 a second"}  # of a measurement that prints lines and ends with 1 where it misses
WHOLE_SECONDS = 570.0  # `make bench` promises less than ten minutes


def measured(name: str, seconds_max: float) -> list[Row]:
    """The rows of one measurement. A failure or a timeout is a row that says so."""
    environment = {**os.environ, AS_JSON: "1"}
    command = [sys.executable, "-m", f"benchmarks.{name}"]
    try:
        done = subprocess.run(
            command,
            cwd=HERE.parent,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds_max,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return [Row(name, f"not done within {seconds_max:.0f} s", "", reached=False)]
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    rows = [Row(**json.loads(line)) for line in lines if line.startswith("{")]
    rows += [Row(name, " ".join(line.split()), "") for line in lines if not line.startswith("{")]
    if name in TARGETS:
        rows.append(Row(name, "its target", "", TARGETS[name], reached=done.returncode == 0))
    elif done.returncode:
        rows.append(Row(name, f"ended with {done.returncode}", "", reached=False))
    if done.returncode:
        print("\n".join(done.stderr.splitlines()[-20:]), file=sys.stderr)
    return rows


def main(chosen: Sequence[str]) -> int:
    """Run what is chosen (everything, where nothing is) and print one table; 1 where a target was missed."""
    wanted = [*ORDER, *(name for name in LONG if name in chosen)]
    names = [name for name in wanted if (HERE / f"{name}.py").exists() and (not chosen or name in chosen)]
    deadline = time.monotonic() + WHOLE_SECONDS
    rows: list[Row] = []
    for name in names:
        print(f"measuring {name}", flush=True)
        rows += measured(name, LONG.get(name) or max(1.0, deadline - time.monotonic()))
    print_table(rows)
    return int(any(row.reached is False for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
