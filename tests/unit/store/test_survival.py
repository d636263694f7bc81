"""Survival: kill -9 in the middle of a load, again and again; what was acknowledged is there, whole, and signed."""

import subprocess
import sys
from pathlib import Path

import pytest

from interlock.records import Life
from interlock.store import open_store, verify_directory
from unit.store.cases import NOON

pytestmark = pytest.mark.anyio

KILLS = 5
LINES_BEFORE_A_KILL = 700


def admit_until_killed(directory: Path, prefix: str, lines_max: int) -> list[str]:
    """Everything that was acknowledged before, and in the moment of, the kill."""
    script = Path(__file__).with_name("admitting_process.py")
    with subprocess.Popen([sys.executable, str(script), str(directory), prefix], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(lines_max)]
        process.kill()
        lines += process.stdout.readlines()
        assert process.wait(30) == -9
    return [line.decode().strip() for line in lines if line.endswith(b"\n")]


async def test_no_acknowledged_call_is_lost_over_five_kills(directory: Path) -> None:
    admitted: set[str] = set()
    settled: set[str] = set()
    for number in range(KILLS):
        for line in admit_until_killed(directory, f"run{number}", LINES_BEFORE_A_KILL + 37 * number):
            word, call_id = line.split()
            (admitted if word == "admitted" else settled).add(call_id)
        found = verify_directory(directory)
        assert found.ok, found.reason
    async with open_store(directory, lambda: NOON) as store:
        await store.lose_dispatched(NOON)
        rows = {line["call_id"]: line["life"] async for line in store.export()}
        assert (await store.verify_chain()).ok
    assert len(admitted) > KILLS * 200
    assert admitted - rows.keys() == set()
    assert {rows[call_id] for call_id in settled} == {Life.SETTLED}
    assert set(rows.values()) == {Life.SETTLED, Life.UNKNOWN}
