"""Rows of measurements: a figure beside its target, as a table for people or JSON lines for `make bench`."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

AS_JSON = "INTERLOCK_BENCH_JSON"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `target` is "" where it is only printed; `reached` None where there is no target."""

    benchmark: str
    figure: str
    measured: str
    target: str = ""
    reached: bool | None = None


def at_most(benchmark: str, figure: str, value: float, limit: float, unit: str) -> Row:
    """A row whose value must not exceed its limit."""
    return Row(benchmark, figure, f"{value:,.2f} {unit}", f"≤ {limit:,g} {unit}", value <= limit)


def at_least(benchmark: str, figure: str, value: float, limit: float, unit: str) -> Row:
    """A row whose value must reach its limit."""
    return Row(benchmark, figure, f"{value:,.0f} {unit}", f"≥ {limit:,g} {unit}", value >= limit)


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that at least `percent` of all samples do not exceed (nearest rank)."""
    ordered = sorted(samples)
    rank = max(1, -(-len(ordered) * percent // 100))
    return ordered[int(rank) - 1]


def print_table(rows: Sequence[Row]) -> None:
    """Draw the rows for a person."""
    from rich.console import Console
    from rich.table import Table

    table = Table("benchmark", "figure", "measured", "target", "")
    for row in rows:
        mark = {True: "[green]reached[/]", False: "[red]missed[/]", None: ""}[row.reached]
        table.add_row(row.benchmark, row.figure, row.measured, row.target, mark)
    Console(width=140).print(table)


def run_alone(measure: Callable[[], Sequence[Row]]) -> None:
    """One measurement as a program: a table, or one JSON object a row where `make bench` collects them."""
    rows = measure()
    if AS_JSON not in os.environ:
        print_table(rows)
        return
    for row in rows:
        print(json.dumps(dataclasses.asdict(row), ensure_ascii=False))
