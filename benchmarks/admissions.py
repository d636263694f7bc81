"""Durable admissions a second with 100 callers at once: the store's group commit against one transaction a caller.

    python benchmarks/admissions.py [--callers 100] [--seconds 2] [--rounds 3] [--directory DIR]

Both sides run the same admission on the same disk, WAL and synchronous=FULL: on a shared machine, trust the ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import uvloop

from interlock.records import Admission, Admitted, Charge, Intent
from interlock.store import SqliteStore, open_store

WANTED_PER_SECOND = 10_000
CHARGE = Charge(
    budget_units_per_day=1_000_000_000,
    rate_calls_per_minute=100_000_000,
    rate_burst_calls=1_000_000,
    host_calls_max=50,
    principal_calls_max=200,
    loop_repeats_max=2,
    approvals_pending_max=100,
)


@dataclass(frozen=True, slots=True)
class Measured:
    """Admissions a second, and the median wait of one caller in milliseconds."""

    per_second: float
    p50_ms: float


def admission(caller: int, number: int) -> Admission:
    """One call; principal and host change now and then, so that leases are counted but never run out."""
    intent = Intent(
        call_id=f"c{number}",
        principal=f"agent{number // 100}",
        session=f"session{caller}",
        tool="shell_run",
        host=f"host{number // 40}",
        environment="staging",
        arguments={"host": "web1", "command": "systemctl status nginx", "timeout_seconds": 60},
        arguments_exact=True,
        digest=f"{number:064x}",
        intent="look why the health check fails",
        effects={"inferred": [{"kind": "read", "target": "/etc/nginx"}]},
        verdict="ALLOW",
        rules=("baseline.read",),
        policy_version="0" * 64,
        cost_units=1,
        changes=False,
        first_attempt_valid=True,
        idempotency_key=f"key{number}",
    )
    return Admission(intent, CHARGE, time.time(), "2026-11-21")


async def measure(directory: Path, callers: int, seconds: float, batch_jobs_max: int) -> Measured:
    """Let every caller admit one call after the other for that long, on a store of its own."""
    async with open_store(directory, time.time, batch_jobs_max=batch_jobs_max) as store:
        return await _load(store, callers, seconds)


async def _load(store: SqliteStore, callers: int, seconds: float) -> Measured:
    waits: list[float] = []
    numbers = count()
    end = time.perf_counter() + seconds

    async def call(caller: int) -> None:
        while (began := time.perf_counter()) < end:
            result = await store.admit(admission(caller, next(numbers)))
            if not isinstance(result, Admitted):
                raise TypeError(f"not admitted: {result}")
            waits.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(call(caller) for caller in range(callers)))
    return Measured(len(waits) / (time.perf_counter() - began), statistics.median(waits) * 1_000)


def best(options: argparse.Namespace, batch_jobs_max: int) -> Measured:
    """The best round of a few, each on a fresh store."""
    found: list[Measured] = []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory(dir=options.directory) as directory:
            place = Path(directory, "store")
            found.append(uvloop.run(measure(place, options.callers, options.seconds, batch_jobs_max)))
    return max(found, key=lambda measured: measured.per_second)


def main() -> None:
    """Measure both, print both and their ratio; exits 1 below the wanted rate."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--callers", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3, help="the best one counts")
    parser.add_argument(
        "--directory", type=Path, default=None, help="where to put the two stores (default: a temporary one)"
    )
    options = parser.parse_args()
    single, grouped = (best(options, batch_jobs_max) for batch_jobs_max in (1, 256))
    print(f"one transaction a caller  {single.per_second:>9,.0f} admissions/s   p50 {single.p50_ms:8.2f} ms")
    print(f"one writer, group commit  {grouped.per_second:>9,.0f} admissions/s   p50 {grouped.p50_ms:8.2f} ms")
    print(f"ratio                     {grouped.per_second / single.per_second:>9.1f} x   ({options.callers} callers)")
    sys.exit(0 if grouped.per_second >= WANTED_PER_SECOND else f"below {WANTED_PER_SECOND:,} admissions/s")


if __name__ == "__main__":
    main()
