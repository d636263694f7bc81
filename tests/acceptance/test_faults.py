"""Every named step meets a fault, every fault a step: nothing is lost, doubled, invented, left over or half done."""

import os

import pytest

from fault_judge import COUNTERS
from fault_runs import many, tally_of
from faults import FAULTS, PLACES, combinations, covering, drawn

SEEDS_ONCE = 1_000  # `python -m benchmarks faults` runs them


@pytest.mark.openssh
@pytest.mark.skipif(os.geteuid() != 0, reason="the whole root is staged by root")
def test_a_fault_at_any_step_loses_doubles_and_invents_nothing_and_leaves_nothing_behind() -> None:
    tally = tally_of(many(covering()))
    assert not tally["wrong"]
    assert [tally[counter] for counter in COUNTERS] == [0] * len(COUNTERS)
    assert tally["happened"] > tally["runs"] / 2


def test_the_slice_leaves_out_no_fault_and_no_place() -> None:
    cases = covering()
    assert {case.place for case in cases} == set(PLACES)
    assert {case.fault for case in cases} == set(FAULTS)


def test_the_seeds_go_through_every_fault_at_every_place() -> None:
    seen = {(case.fault, case.place) for case in map(drawn, range(SEEDS_ONCE))}
    assert seen == set(combinations())
