"""A process that admits and settles as fast as it can and prints what was acknowledged, until it is killed. No test."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import sys
import time
from itertools import count
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from interlock.store import open_store
from unit.store.cases import admission, settlement

CALLERS = 50
NO_LIMIT = {
    "budget_units_per_day": 10**9,
    "rate_calls_per_minute": 10**8,
    "rate_burst_calls": 10**6,
    "host_calls_max": 10**6,
    "principal_calls_max": 10**6,
}


async def main(directory: Path, prefix: str) -> None:
    numbers = count()
    async with open_store(directory, time.time) as store:

        async def call() -> None:
            while True:
                number = next(numbers)
                request = admission(now=time.time(), limits=NO_LIMIT, cost_units=1)
                intent = dataclasses.replace(request.intent, call_id=f"{prefix}-{number}", digest=f"{prefix}{number}")
                admitted = await store.admit(dataclasses.replace(request, intent=intent))
                os.write(1, f"admitted {admitted.call_id}\n".encode())
                if number % 2:
                    await store.settle(settlement(admitted.call_id, now=time.time(), result_digest=""))
                    os.write(1, f"settled {admitted.call_id}\n".encode())

        await asyncio.gather(*(call() for _ in range(CALLERS)))


asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
