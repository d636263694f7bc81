"""Survival: kill -9 in the middle of a load, again and again; what was acknowledged is there, whole, and signed."""

import subprocess
import sys
from pathlib import Path

import pytest

from interlock.records import LayerState, Life
from interlock.store import SqliteStore, open_store, verify_directory
from unit.store.cases import NOON, landed, layer, settlement

pytestmark = pytest.mark.anyio

KILLS = 5
LINES_BEFORE_A_KILL = 700


def run_until_killed(name: str, directory: Path, prefix: str, lines_max: int) -> list[str]:
    """Everything that was acknowledged before, and in the moment of, the kill."""
    script = Path(__file__).with_name(name)
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
        for line in run_until_killed(
            "admitting_process.py", directory, f"run{number}", LINES_BEFORE_A_KILL + 37 * number
        ):
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


HOLDING_KILLS = 20
HOLDING_LINES = 160
PLACES = [LayerState.HELD, LayerState.LANDING, LayerState.LANDED, LayerState.UNDOING, LayerState.UNDONE]


async def test_no_acknowledged_layer_goes_back_over_twenty_kills_and_every_claim_can_be_closed(directory: Path) -> None:
    said: dict[str, str] = {}
    for number in range(HOLDING_KILLS):
        lines = run_until_killed("holding_process.py", directory, f"run{number}", HOLDING_LINES + 29 * number)
        said.update({call_id: word for word, call_id in map(str.split, lines)})
        found = verify_directory(directory)
        assert found.ok, found.reason
    assert set(said.values()) == {"held", "discarded", "landing", "landed", "undoing", "undone"}
    async with open_store(directory, lambda: NOON) as store:
        await store.lose_dispatched(NOON)
        for call_id, word in said.items():
            kept = await store.layer(call_id)
            assert kept is not None, call_id
            if word == "discarded" or kept.state is LayerState.DISCARDED:
                assert (word in ("held", "discarded"), kept.state) == (True, LayerState.DISCARDED)
            else:
                assert PLACES.index(kept.state) >= PLACES.index(LayerState(word)), call_id
        await closed_as_the_host_says(store)
        found = await store.verify_chain()
        assert found.ok, found.reason


async def closed_as_the_host_says(store: SqliteStore) -> None:
    """Resolve every call that the kills left, in pages; then no call is open and no layer is in flight."""
    while runs := await store.open_runs():
        for run in runs:
            call_id, claimed = run.call.call_id, run.layer
            assert run.call.life is Life.UNKNOWN
            there = held = None
            if claimed is not None and claimed.state is LayerState.LANDING:
                there = landed(claimed.run_id)
                held = None if claimed.run_id == call_id else settlement(claimed.run_id)
            elif claimed is not None:
                there = layer(claimed.run_id, LayerState.UNDONE)
            assert not isinstance(await store.resolve_unknown(settlement(call_id), "its host", there, held), str)
    assert {row["life"] async for row in store.export()} == {Life.HELD, Life.SETTLED, Life.RECONCILED}
    assert await store.layers("landing") == await store.layers("undoing") == []
