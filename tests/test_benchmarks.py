"""Proves that what the benchmarks compare with, and how they count, is what they say; it measures nothing."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from benchmarks.contained import attempted, must_be_confined
from benchmarks.harness import client_of, ground, guarded_command, unguarded_command
from benchmarks.latency import one_call, pairs
from benchmarks.outposts import grow_tree, measure_runner
from benchmarks.relay import far_ground
from benchmarks.table import at_least, at_most, percentile

pytestmark = pytest.mark.anyio

GROUND_SECONDS = 60


def test_a_percentile_is_the_nearest_rank() -> None:
    samples = [float(number) for number in range(100, 0, -1)]
    assert [percentile(samples, percent) for percent in (1, 50, 99, 100)] == [1.0, 50.0, 99.0, 100.0]
    assert percentile([7.0], 99) == 7.0


def test_a_row_is_reached_at_its_limit_and_missed_beyond_it() -> None:
    assert at_most("b", "f", 1.5, 1.5, "×").reached
    assert not at_most("b", "f", 1.51, 1.5, "×").reached
    assert at_least("b", "f", 10_000, 10_000, "a second").reached
    assert not at_least("b", "f", 9_999, 10_000, "a second").reached


@pytest.mark.openssh
async def test_the_unguarded_server_really_runs_the_command_on_the_host() -> None:
    with anyio.fail_after(GROUND_SECONDS), ground() as here:
        marker = here.folder / "was-here"
        async with client_of(unguarded_command(here), here) as client:
            assert await one_call(client, {"command": f"touch {marker}"}) > 0
        assert marker.exists()


@pytest.mark.openssh
async def test_a_command_that_fails_is_no_sample() -> None:
    with anyio.fail_after(GROUND_SECONDS), ground() as here:
        async with client_of(unguarded_command(here), here) as client:
            with pytest.raises(RuntimeError, match="shell_run failed"):
                await one_call(client, {"command": "exit 3"})


@pytest.mark.openssh
async def test_guarded_and_unguarded_stand_on_the_same_ground() -> None:
    with anyio.fail_after(GROUND_SECONDS), ground() as here:
        async with (
            client_of(guarded_command(here), here) as guarded,
            client_of(unguarded_command(here), here) as unguarded,
        ):
            ours, plain = await pairs(guarded, unguarded, 3)
    assert len(ours) == len(plain) == 3


@pytest.mark.openssh
async def test_the_longer_road_adds_its_round_trip_to_every_call() -> None:
    with anyio.fail_after(GROUND_SECONDS), ground() as here, far_ground(here, 120.0) as far:
        async with client_of(unguarded_command(far), far) as client:
            took = [await one_call(client, {"command": "true"}) for _ in range(3)]
    assert min(took) >= 120.0


@pytest.mark.openssh
async def test_a_read_that_is_measured_as_confined_was_confined_on_the_host() -> None:
    with anyio.fail_after(GROUND_SECONDS), ground() as here:
        async with client_of(guarded_command(here, containment="staged"), here) as guarded:
            await must_be_confined(guarded)
        async with client_of(guarded_command(here), here) as guarded:
            with pytest.raises(RuntimeError, match="not confined"):
                await must_be_confined(guarded)


@pytest.mark.openssh
async def test_the_runner_is_measured_by_what_it_really_did(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("SMALL_RUNS", 2), ("MANY_RUNS", 1), ("TREE_RUNS", 1), ("AT_ONCE_RUNS", 50)):
        monkeypatch.setattr(f"benchmarks.outposts.{name}", value)
    with anyio.fail_after(GROUND_SECONDS), ground() as here:
        rows = await attempted("the runner alone", measure_runner(here, [20, 1_200]))
    assert [row.measured for row in rows if row.measured.startswith(("broke", "not here"))] == []
    assert len(rows) == 5


async def test_a_part_that_breaks_is_a_missed_row_and_no_silence() -> None:
    async def breaks() -> list:
        raise RuntimeError("this one")

    [row] = await attempted("a figure", breaks())
    assert (row.reached, row.measured) == (False, "broke: this one")


def test_a_tree_has_as_many_files_as_it_says(tmp_path: Path) -> None:
    tree = grow_tree(tmp_path, 1_200)
    assert sum(path.is_file() for path in tree.rglob("*")) == 1_200
