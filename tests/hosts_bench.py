"""Hosts under test: an inventory, its SshHosts, and short ways to run a plan there with leave granted."""

# ruff: noqa: ASYNC240 - the folder of a test is made directly

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from interlock.hosts import SshHosts
from interlock.hosts.breaker import BreakerStore, ForgetfulBreakers
from interlock.ports import Authorization, Bounds, Executed, Progress, Run
from interlock.settings import HostSettings, Limits, Settings
from interlock.spool import Spool
from interlock_policies.facts import Level
from interlock_policies.redact import Redactor
from interlock_tools.plan import WORK_PLANS, CommitLayer, Plan, RunCommand

_RUN = secrets.token_hex(4)
LIMITS = Limits(connect_timeout_seconds=3.0, login_timeout_seconds=3.0, progress_seconds=0.2)


def own(call_id: str) -> str:
    """A call id that no other run of the tests has: run directories outlive a test."""
    return f"{call_id}-{_RUN}"


@dataclass
class Bench:
    """Hosts under test, with leave granted to everything.

    `stages`: file changes go through the runner, and what was made ready is landed at once.
    """

    hosts: SshHosts
    spool: Spool
    state: Path
    consumed: list[str]
    stages: bool = False

    async def do(
        self,
        plan: Plan,
        *,
        host: str = "box",
        seconds: float = 20.0,
        declared: tuple[str, ...] = (),
        call_id: str = "",
        progress: Progress | None = None,
    ) -> Executed:
        call_id = call_id or f"call-{secrets.token_hex(8)}"  # a host knows what it was asked before
        leave = Authorization(call_id, "digest", "plan", host, "policy", "nonce", 0.0, 1.0)
        staged = self.stages and isinstance(plan, WORK_PLANS)
        bounds = Bounds(Level.STAGED) if staged else Bounds()
        done = await self.hosts.execute(leave, Run(call_id, "digest", host, plan, seconds, declared, bounds), progress)
        if not staged or done.refusal is not None or not done.measured.layer:
            return done
        landing = Run(call_id, "digest", host, CommitLayer(call_id, done.measured.layer), seconds)
        landed = await self.hosts.execute(leave, landing)
        return replace(done, refusal=landed.refusal, measured=landed.measured)

    async def sh(self, command: str, **more: object) -> Executed:
        fields = {name: more.pop(name) for name in ("cwd", "stdin", "environment") if name in more}
        return await self.do(RunCommand(command, **fields), **more)


@asynccontextmanager
async def bench_of(
    folder: Path,
    *entries: HostSettings,
    limits: Limits = LIMITS,
    breakers: BreakerStore | None = None,
    secrets: tuple[str, ...] = (),
    clock: Callable[[], float] = time.time,
    environment: dict[str, str] | None = None,
) -> AsyncIterator[Bench]:
    folder.mkdir(parents=True, exist_ok=True)
    settings = Settings(folder, hosts={entry.name: entry for entry in entries}, limits=limits)
    redactor = Redactor(secrets)
    spool = Spool(folder / "output", limits.output_bytes_max, redactor)
    consumed: list[str] = []

    async def consume(leave: Authorization, run: Run) -> None:
        consumed.append(run.call_id)

    hosts = SshHosts(
        settings,
        consume=consume,
        spool=spool,
        redactor=redactor,
        breakers=breakers or ForgetfulBreakers(),
        clock=clock,
        environment=environment or {},
    )
    try:
        yield Bench(hosts, spool, folder, consumed, any(entry.containment == "staged" for entry in entries))
    finally:
        await hosts.close()


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the host's disk and process table tell nobody
            await asyncio.sleep(0.02)


def quick(**changes: object) -> Limits:
    """The tests' limits with some changed."""
    return replace(LIMITS, **changes)
