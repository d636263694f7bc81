"""Seeded canaries: every undeclared change is found at its path and scored, and nothing clean is blamed."""

import os

import pytest

from canaries import DEEDS, LEVELS, drawn
from canary_calls import counted

COUNTS = {"staged": 50, "confined": 30}  # `python -m benchmarks canaries` tries hundreds


@pytest.mark.anyio
@pytest.mark.skipif(os.geteuid() != 0, reason="the whole root is staged by root")
@pytest.mark.parametrize("level", LEVELS)
async def test_every_canary_is_found_and_nothing_clean_is_blamed(level: str) -> None:
    tally = await counted(level, range(COUNTS[level]))
    assert not tally.wrong
    assert tally.found == tally.canaries > COUNTS[level]
    assert tally.clean > 0
    assert tally.refused < COUNTS[level] / 4


@pytest.mark.parametrize("level", LEVELS)
def test_the_seeds_try_every_kind_of_change(level: str) -> None:
    assert {deed for seed in range(400) for _, _, deed in drawn(seed, level).done} == set(DEEDS)
