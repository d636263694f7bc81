"""A process that holds, commits, discards and undoes as fast as it can and prints what was acknowledged. No test."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import sys
import time
from itertools import count
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from interlock.records import HoldLimits, LayerState, NotAdmitted
from interlock.store import SqliteStore, open_store
from interlock_tools.errors import State
from unit.store.cases import admission, ask, landed, layer, settlement

CALLERS = 40
NO_LIMIT = {
    "budget_units_per_day": 10**9,
    "rate_calls_per_minute": 10**8,
    "rate_burst_calls": 10**6,
    "host_calls_max": 10**6,
    "principal_calls_max": 10**6,
}
ROOM = HoldLimits(10**6, 10**12, 10**6, 10**6, 10**6)
FAR = 10.0**10


def say(word: str, call_id: str) -> None:
    os.write(1, f"{word} {call_id}\n".encode())


async def admitted(store: SqliteStore, call_id: str) -> str:
    request = admission(now=time.time(), limits=NO_LIMIT, cost_units=1)
    intent = dataclasses.replace(request.intent, call_id=call_id, digest=call_id)
    await store.admit(dataclasses.replace(request, intent=intent))
    return call_id


async def walk(store: SqliteStore, name: str, way: int) -> None:
    """One held call on its way, `way` steps of it: each is said once it was acknowledged."""
    run_id = await admitted(store, name)
    held = layer(run_id, expires=FAR)
    question = ask(approve_by=FAR) if way % 2 else None
    approval_id = await store.hold(settlement(run_id, State.HELD), held, question, ROOM)
    assert not isinstance(approval_id, NotAdmitted)
    say("held", run_id)
    if way == 0:
        gone = dataclasses.replace(held, state=LayerState.DISCARDED)
        assert await store.finish_held(run_id, settlement(run_id, State.DISCARDED), gone)
        return say("discarded", run_id)
    if approval_id and way == 3:
        await store.decide_approval(approval_id, True, "ana", "", time.time())
        await store.dispatch(run_id, approval_id, time.time())
        by, ended = run_id, None
    else:
        by, ended = await admitted(store, f"{name}-commit"), settlement(run_id)
        assert await store.move_layer(run_id, {LayerState.HELD}, LayerState.LANDING, by=by, now=time.time())
    say("landing", run_id)
    await store.settle(settlement(by), landed(run_id, undo_until=FAR), ended)
    say("landed", run_id)
    if way == 2:
        back = await admitted(store, f"{name}-undo")
        await store.move_layer(run_id, {LayerState.LANDED}, LayerState.UNDOING, by=back, now=time.time())
        say("undoing", run_id)
        await store.settle(settlement(back), layer(run_id, LayerState.UNDONE))
        say("undone", run_id)
    return None


async def main(directory: Path, prefix: str) -> None:
    numbers = count()
    async with open_store(directory, time.time) as store:

        async def call() -> None:
            while True:
                number = next(numbers)
                await walk(store, f"{prefix}-{number}", number % 4)

        await asyncio.gather(*(call() for _ in range(CALLERS)))


asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
