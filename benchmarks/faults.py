"""A thousand seeded runs under faults: what is lost, doubled, invented, left over or half done. Tests' own cases."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.canaries import tallies
from benchmarks.table import Row, at_least, at_most, run_alone

RUNS = 1_000
RUN_SECONDS = 14_000.0
HAPPENED_PERCENT_MIN = 50  # a helper that is not there cannot be killed: the rest met its fault
COUNTERS = {
    "lost": "lost results",
    "doubled": "doubled effects",
    "false_success": "false successes",
    "orphans": "orphan processes",
    "half_committed": "half-committed trees",
}


def measure() -> Sequence[Row]:
    """The five counters over all runs, as the disk and the process table of the host show them."""
    tally = tallies("fault_runs.py", str(RUNS), seconds_max=RUN_SECONDS)[0]
    rows = [at_most("faults", f"{said}, {tally['runs']} runs", tally[name], 0, "") for name, said in COUNTERS.items()]
    happened = 100 * tally["happened"] / max(1, tally["runs"])
    return [*rows, at_least("faults", "runs whose fault was let loose", happened, HAPPENED_PERCENT_MIN, "%")]


if __name__ == "__main__":
    run_alone(measure)
