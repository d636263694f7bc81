"""Deployments against their targets: a fleet in batches, a step over its bare command, a no-op, a large artifact."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.canaries import tallies
from benchmarks.table import Row, at_most, run_alone

HOSTS = 20
RUN_SECONDS = 600.0


def measure() -> Sequence[Row]:
    """The figures of one run over real hosts."""
    found = tallies("deploy_bench.py", str(HOSTS), seconds_max=RUN_SECONDS)[-1]
    name = "deployments"
    chain = found["fleet_seconds"] / found["chain_seconds"]
    said = f"{found['hosts']} hosts in batches of 5: {found['fleet_seconds']:.1f} s over the slowest chain of steps"
    large = f"200 MB: upload {found['upload_seconds']:.1f} s over sftp {found['sftp_seconds']:.1f} s"
    return [
        at_most(name, said, chain, 1.3, "×"),
        at_most(name, f"a step over the bare command ({found['bare_ms']:.0f} ms)", found["step_over_ms"], 50, "ms"),
        at_most(name, "a release that is live already", found["noop_seconds"], 1.0, "s"),
        at_most(name, large, found["big_ratio"], 1.2, "×"),
        at_most(name, "peak memory of the server while three of them went out", found["memory_ratio"], 1.25, "×"),
    ]


if __name__ == "__main__":
    run_alone(measure)
