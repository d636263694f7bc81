"""A server under faults: it makes one call, or finds again what was under way, and writes down what it knows then.

It runs in a forked child of `fault_runs`, so that it can be killed at any moment. It judges nothing.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import struct
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from faults import Case
from home import Home
from interlock import recovering
from interlock.app import open_app
from interlock.config.embedded import embedded
from interlock.hosts import link
from interlock.hosts.program import runner_exec
from interlock.ports import Executed
from interlock.records import ApprovalState, CallRow, Life
from interlock.settings import HostSettings, Limits, Settings
from interlock.ticket import Ticket
from interlock.trail import Step

CALL_SECONDS_MAX = 60.0
RECOVER_SECONDS_MAX = 70.0
CONCLUDED_SECONDS_MAX = 50.0
ASKED_MIN = 2  # so often a host is asked about an unknown outcome before it counts as one that stays
LIMITS = Limits(
    connect_timeout_seconds=3.0,
    login_timeout_seconds=3.0,
    keepalive_seconds=1.0,
    reattach_seconds_max=12.0,
    breaker_failures_max=1_000,
)
COUNT = "echo x >> counter"
COUNT_AGAIN = "echo y >> second"
COMMANDS = {
    "quick": f"{COUNT}; {COUNT_AGAIN}",
    "slow": f"{COUNT}; sleep 0.4; {COUNT_AGAIN}; sleep 0.1",
    "loud": f"{COUNT}; seq 1 60000; {COUNT_AGAIN}",
    "handle": f"{COUNT}; sleep 0.4; {COUNT_AGAIN}; sleep 0.1",
    "fails": f"{COUNT}; {COUNT_AGAIN}; false",
}
BEYOND_FILES = "kill -0 1; "  # what looks at a process of the host is run without a containment, once a human agreed


@dataclass(frozen=True)
class Spot:
    """Where one case happens: the host's disk (its run directories, and the work), and the server's state."""

    folder: Path
    clock: mmap.mmap = field(default_factory=lambda: mmap.mmap(-1, 8))

    @property
    def disk(self) -> Path:
        return self.folder / "disk"

    @property
    def runs(self) -> Path:
        return self.disk / "runs"

    @property
    def work(self) -> Path:
        return self.disk / "work"

    def jump(self, seconds: float) -> None:
        """Let the server's clock go wrong by this much from now on."""
        self.clock[:] = struct.pack("d", seconds)

    def now(self) -> float:
        """The server's clock."""
        return time.time() + float(struct.unpack("d", self.clock[:])[0])

    def settings(self, case: Case, host: HostSettings) -> Settings:
        """An Interlock whose one host this is."""
        found = embedded(self.folder / "state", self.work)
        level = "confined" if case.level == "confined" else "staged"
        work = (str(self.work),)
        placed = replace(host, cwd=work[0], workspace=work, containment=level, labels={"env": "sandbox"})
        return replace(found, hosts={"box": placed}, limits=LIMITS)

    def use_runner(self, faults: str) -> None:
        """Let this process's runners keep their runs here; the first of all is told of the faults."""
        told = self.folder / "told"

        def placed(become: str = "") -> Any:
            environment = {"INTERLOCK_RUNNER_BASE": str(self.runs)}
            if faults and not told.exists():
                told.touch()
                environment["INTERLOCK_RUNNER_FAULTS"] = faults
            return runner_exec(become, environment)

        link.runner_exec = placed


def arguments_of(case: Case, work: Path) -> dict[str, Any]:
    """The call of a case."""
    named = [str(work / "counter"), str(work / "second")]
    command = COMMANDS[case.kind] if case.level != "none" else BEYOND_FILES + COMMANDS[case.kind]
    more = {"wait_seconds": 0} if case.kind == "handle" else {}
    return {"host": "box", "command": command, "writes": named, "intent": "Count once", "timeout_seconds": 20, **more}


def make_call(case: Case, spot: Spot, host: HostSettings, at_step: Callable[[], None]) -> None:
    """A server's life with one call in it. `at_step` blocks while the world goes wrong."""
    left = [case.nth]

    def on_step(step: Step, moment: str) -> None:
        if case.place == f"{step.value}/{moment}":
            left[0] -= 1
            if left[0] == 0:
                at_step()

    async def living() -> None:
        spot.use_runner(case.named)
        async with (
            asyncio.timeout(CALL_SECONDS_MAX),
            open_app(spot.settings(case, host), clock=spot.now, on_step=on_step) as app,
        ):
            home = Home(app, spot.work)
            answer = await home.call("shell_run", **arguments_of(case, spot.work))
            while answer["state"] in ("awaiting_approval", "running"):
                if answer["state"] == "awaiting_approval" and "approval_id" in answer["result"]:
                    await app.approve(answer["result"]["approval_id"], True, "mira", "")
                answer = await home.call("call_status", call_id=answer["call_id"], wait_seconds=10)
            _write(spot.folder / "answer.json", answer)

    asyncio.run(living())


def find_again(case: Case, spot: Spot, host: HostSettings) -> None:
    """A server's life after the faults: what was under way has an end, or stays unknown; what is held is landed."""

    async def living() -> None:
        spot.use_runner("")
        asked = _count_questions()
        async with (
            asyncio.timeout(RECOVER_SECONDS_MAX),
            open_app(spot.settings(case, host)) as app,
        ):
            home = Home(app, spot.work)
            rows = await _concluded(home, asked)
            told: dict[str, Any] = {"calls": [{**_told(row), "approved": await _will_lapse(home, row)} for row in rows]}
            told["lines"] = lines_of(spot)
            if case.kind != "fails":
                told["commits"] = [await _commit(home, row, case) for row in rows if row.life is Life.HELD]
            told["chain"] = (await app.store.verify_chain()).ok
            _write(spot.folder / "found.json", told)

    asyncio.run(living())


def _count_questions() -> Counter[str]:
    """Let this process ask again after a second, and count how often it asked about each call."""
    asked: Counter[str] = Counter()
    ask = recovering.Recovering._asked

    async def counted(self: recovering.Recovering, ticket: Ticket) -> Executed:
        found = await ask(self, ticket)
        asked[ticket.call.call_id] += 1
        return found

    recovering.AGAIN_SECONDS = 1.0
    recovering.Recovering._asked = counted
    return asked


async def _concluded(home: Home, asked: Counter[str]) -> list[CallRow]:
    began = time.monotonic()
    while True:
        rows = [row for row in await home.app.store.calls() if row.tool == "shell_run"]
        for row in rows:
            if row.life is Life.AWAITING and row.approval_id:
                await home.app.approve(row.approval_id, True, "mira", "")
        lives = {row.life for row in rows if not await _will_lapse(home, row)}
        waited = time.monotonic() - began
        running = home.app.live.running()
        if not running and not lives & {Life.AWAITING, Life.DISPATCHED, Life.UNKNOWN}:
            return rows
        unknown = [row.call_id for row in rows if row.life is Life.UNKNOWN]
        if not running and unknown and all(asked[call_id] >= ASKED_MIN for call_id in unknown):
            return rows
        if waited > CONCLUDED_SECONDS_MAX:
            return rows
        await asyncio.sleep(0.1)


async def _will_lapse(home: Home, row: CallRow) -> bool:
    """Whether it was approved before the fault and not begun: it ends as expired, minutes later."""
    if row.life is not Life.AWAITING:
        return False
    approval = await home.app.store.approval(row.approval_id)
    return approval is not None and approval.state is ApprovalState.APPROVED and not home.app.live.running()


async def _commit(home: Home, row: CallRow, case: Case) -> dict[str, Any]:
    named = arguments_of(case, home.scratch)["writes"]
    done = await home.call("call_commit", call_id=row.call_id, writes=named, intent="Land what was found")
    return {"state": done["state"], "code": (done["error"] or {}).get("code", "")}


def _told(row: CallRow) -> dict[str, Any]:
    error = (row.envelope or {}).get("error") or {}
    return {
        "call_id": row.call_id, "life": row.life.value, "state": row.state.value, "code": row.code,
        "message": error.get("message", ""),
    }  # fmt: skip


def lines_of(spot: Spot) -> list[int]:
    """How often each of the two files was written to."""
    paths = (spot.work / "counter", spot.work / "second")
    return [len(path.read_text().splitlines()) if path.exists() else 0 for path in paths]


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))
