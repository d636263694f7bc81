"""Proves that what the benchmarks compare with, and how they count, is what they say; it measures nothing."""

from __future__ import annotations

import anyio
import pytest
from benchmarks.harness import client_of, ground, guarded_command, unguarded_command
from benchmarks.latency import one_call, pairs
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
