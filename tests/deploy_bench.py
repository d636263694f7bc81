"""Deployments timed on a fleet of real hosts: `deploy_bench.py HOSTS`. One JSON object of figures on its last line."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import asyncssh

from deploy_home import Shop, config_of, open_shop, write_artifact
from fleet import Fleet, running_fleet
from fleet_host import Host
from interlock.deploy.records import StepRow
from interlock_tools.call import Json

BIG_BYTES = 200 * 1024 * 1024
PIECE_BYTES = 1024 * 1024
ROUNDS = 3
BARE_RUNS = 20
BATCH = 5
HOOK_SECONDS = 0.5
STAGE = ("claim", "upload", "place", "prepare")
SWITCH = ("switch", "activate", "service", "check", "after")
HOOKS = """
[apps.shop.hooks.prepare]
argv = ["/bin/true"]
[apps.shop.hooks.activate]
argv = ["/bin/sleep", "{seconds}"]
"""


def memory_kib(name: str) -> int:
    """What this process, the server, holds in memory (VmRSS), or held at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(name)))


def fill(path: Path) -> None:
    """A large file, of which this process, the server too, never holds more than a piece."""
    with path.open("wb") as file:
        for _ in range(BIG_BYTES // PIECE_BYTES):
            file.write(os.urandom(PIECE_BYTES))


def forget_peak() -> None:
    """The peak is counted from here on."""
    Path("/proc/self/clear_refs").write_text("5")


async def timed(shop: Shop, artifact: str, **more: Json) -> tuple[float, dict[str, Json]]:
    """Seconds that shipping took, and the answer; it has to succeed."""
    begun = time.monotonic()
    answer = await shop.ship(artifact, wait_seconds=300, **more)
    if answer["state"] != "succeeded":
        raise SystemExit(json.dumps(answer))
    return time.monotonic() - begun, answer


def slowest_chain(steps: Sequence[StepRow], batches: Sequence[Sequence[str]]) -> float:
    """Seconds of the longest way through the roll-out: what only waits for its own host, as its rows have it."""

    def most(hosts: Sequence[str], names: Sequence[str]) -> float:
        return max(
            sum((row.ended or 0.0) - row.began for row in steps if row.host == host and row.step in names)
            for host in hosts
        )

    everybody = [host for batch in batches for host in batch]
    return most(everybody, STAGE) + sum(most(batch, SWITCH) for batch in batches) + most(everybody, ("prune", "free"))


async def fleet_figures(folder: Path, fleet: Fleet) -> dict[str, float]:
    """The whole fleet in batches against its slowest chain; then once more, when it is live already."""
    hooks = HOOKS.replace("{seconds}", str(HOOK_SECONDS))
    config = config_of(folder, fleet, tables=hooks)
    config.write_text(config.read_text().replace("canary = 1\nsize = 2", f"canary = 0\nsize = {BATCH}"))
    async with open_shop(config, fleet) as shop:
        await timed(shop, "one")
        write_artifact(folder, "two")
        seconds, answer = await timed(shop, "two")
        row = await shop.app.store.deployment(answer["call_id"])
        steps = await shop.app.store.steps(answer["call_id"])
        chain = slowest_chain(steps, row.plan["rollout"]["batches"])
        noop, _ = await timed(shop, "two")
    return {"hosts": len(fleet.hosts), "fleet_seconds": seconds, "chain_seconds": chain, "noop_seconds": noop}


async def step_figures(folder: Path, fleet: Fleet, host: Host) -> dict[str, float]:
    """What a step costs beyond the bare command: the whole deployment less its commands, by the number of its steps."""
    config = config_of(folder, fleet, tables=HOOKS.replace("{seconds}", "0"))
    text = config.read_text().replace('hosts = ["*"]\npath', f'hosts = ["{host.name}"]\npath')
    config.write_text(text)
    settings = host.settings()
    async with asyncssh.connect(
        settings.address, settings.port, username=settings.user, client_keys=[settings.identities[0].name],
        known_hosts=str(settings.known_hosts), config=None,
    ) as bare:  # fmt: skip
        begun = time.monotonic()
        for _ in range(BARE_RUNS):
            await bare.run("/bin/true", check=True)
        bare_seconds = (time.monotonic() - begun) / BARE_RUNS
    over = []
    async with open_shop(config, fleet) as shop:
        await timed(shop, "one")
        for number in range(ROUNDS):
            write_artifact(folder, f"step{number}")
            seconds, answer = await timed(shop, f"step{number}")
            steps = await shop.app.store.steps(answer["call_id"])
            service = sum((row.ended or 0.0) - row.began for row in steps if row.step == "service")
            commands = sum(row.step in ("prepare", "activate", "check") for row in steps)
            over.append((seconds - service - commands * bare_seconds) / (len(steps) - 1))
    return {"step_over_ms": 1_000 * min(over), "bare_ms": 1_000 * bare_seconds}


async def big_figures(folder: Path, fleet: Fleet, host: Host) -> dict[str, float]:
    """200 MB to one host by the server, against sftp of the same file to the same host; and what the server holds."""
    config = config_of(folder, fleet)
    config.write_text(config.read_text().replace('hosts = ["*"]\npath', f'hosts = ["{host.name}"]\npath'))
    ratios, seconds = [], (0.0, 0.0)
    async with open_shop(config, fleet) as shop:
        await timed(shop, "one")
        before = memory_kib("VmRSS")
        forget_peak()
        for number in range(ROUNDS):
            big = folder / f"artifacts/big{number}"
            fill(big)
            await shop.call("deploy_release", app="shop", artifact=big.name, intent="look", mode="preview")
            _, answer = await timed_upload(shop, big.name)
            steps = await shop.app.store.steps(answer["call_id"])
            upload = next((row.ended or 0.0) - row.began for row in steps if row.step == "upload")
            plain = sftp_seconds(host, big)
            ratios.append(upload / plain)
            seconds = (upload, plain)
            big.unlink()
        grown = memory_kib("VmHWM") / before
    return {"big_ratio": min(ratios), "upload_seconds": seconds[0], "sftp_seconds": seconds[1], "memory_ratio": grown}


async def timed_upload(shop: Shop, artifact: str) -> tuple[float, dict[str, Json]]:
    """Shipped though it answers no health check: it is uploaded, placed, and taken back."""
    begun = time.monotonic()
    answer = await shop.ship(artifact, wait_seconds=300)
    return time.monotonic() - begun, answer


def sftp_seconds(host: Host, path: Path) -> float:
    """What OpenSSH's own sftp takes for the same file, connection included."""
    settings = host.settings()
    options = {
        "Port": settings.port, "IdentityFile": settings.identities[0].name, "UserKnownHostsFile": settings.known_hosts,
        "BatchMode": "yes", "IdentitiesOnly": "yes",
    }  # fmt: skip
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    begun = time.monotonic()
    subprocess.run(
        ["sftp", "-q", "-F", "none", *words, "-b", "-", f"{settings.user}@{settings.address}"],
        input=f"put {path} /srv/by-sftp\n".encode(), check=True, timeout=120, capture_output=True,
    )  # fmt: skip
    seconds = time.monotonic() - begun
    (host.root / "by-sftp").unlink()
    return seconds


async def main(size: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="interlock-deploy-bench-", dir="/var/tmp"))
    try:
        with running_fleet(folder / "fleet", size) as fleet:
            figures = await fleet_figures(folder, fleet)
        with running_fleet(folder / "one", 1) as fleet:
            for part, measure in (("steps", step_figures), ("big", big_figures)):
                (folder / part).mkdir()
                figures |= await measure(folder / part, fleet, fleet[0])
                fleet[0].run(["/bin/sh", "-c", "rm -rf /srv/shop"])
        sys.stdout.write(json.dumps({**figures, "wrong": []}) + "\n")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
