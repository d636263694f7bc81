"""A landing or an undo that is killed at any step is, once recovered, exactly the old tree or exactly the new one."""

from __future__ import annotations

import os
import pickle
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from interlock.runner.landing import land, recover_landing
from interlock.runner.steps import LANDING_STEPS
from interlock.runner.undoing import recover_undo, undo
from mixes import MIXES, grow
from overlays import Picture, in_child, killed_at, layer_over, on_step, picture, record_of

PLENTY = 10**9
RANDOM_KILLS = 200
TIMED_KILLS = 40
REACHED: set[str] = set()


@dataclass
class Bench:
    """A tree with a measured diff: how it was, and how it is to be."""

    tree: Path
    run: Path
    record: dict[str, Any]
    old: Picture
    new: Picture

    def land(self) -> Any:
        return land(str(self.run), self.record, PLENTY)

    def is_old(self) -> bool:
        return _seen(self.tree) == self.old

    def is_new(self) -> bool:
        return _seen(self.tree) == self.new


def _seen(tree: Path) -> Picture:
    # The count of names of a file is left out: while an undo is possible, its before-image is one of them.
    return {name: (*one[:4], *one[5:]) for name, one in picture(tree).items()}


def set_up(place: Path, run: Path, mix: str) -> Bench:
    tree = place / "tree"
    for folder in (tree, run):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    grow(tree)
    old = _seen(tree)

    def work() -> None:
        MIXES[mix](tree)
        (run / "new").write_bytes(pickle.dumps(_seen(tree)))

    record = record_of(layer_over(tree, run, work))
    return Bench(tree, run, record, old, pickle.loads((run / "new").read_bytes()))


def _must_be_whole(bench: Bench) -> None:
    """Whatever was killed: recover it, look at the disk, finish it, undo it."""
    state = recover_landing(str(bench.run))["state"]
    assert recover_landing(str(bench.run))["state"] == state
    assert bench.is_new() if state == "landed" else bench.is_old(), state
    assert state in ("landed", "none")
    assert not list(bench.tree.rglob(".interlock*"))
    assert bench.land()["state"] == "landed"
    assert bench.is_new()


def _must_be_undone_or_not(bench: Bench) -> None:
    state = recover_undo(str(bench.run))["state"]
    assert recover_undo(str(bench.run))["state"] == state
    assert bench.is_old() if state == "undone" else bench.is_new(), state
    assert state in ("undone", "none")
    assert undo(str(bench.run))["state"] == "undone"
    assert bench.is_old()
    assert not list(bench.tree.rglob(".interlock*"))


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("step", LANDING_STEPS)
def test_a_kill_at_a_step_leaves_the_old_tree_or_the_new_one(step: str, mix: str, place: Path, elsewhere: Path) -> None:
    for run in (place / "run", elsewhere):
        for times in (1, 3) if mix == "everything" else (1,):
            bench = set_up(place, run, mix)
            killed = killed_at(step, times, bench.land)
            if killed:
                REACHED.add(step)
            _must_be_whole(bench)
            if killed_at(step, times, lambda: undo(str(run))):  # noqa: B023 (it is called at once)
                REACHED.add(step)
            _must_be_undone_or_not(bench)
            if not killed:
                break


@pytest.mark.parametrize("step", ["back", "taken-back", "restored", "done", "cleared", "ended"])
def test_a_kill_while_it_turns_back_leaves_the_old_tree_and_what_others_did_to_it(
    step: str, place: Path, elsewhere: Path
) -> None:
    for run in (place / "run", elsewhere):
        for times in (1, 4):
            bench = set_up(place, run, "everything")
            left = [times]

            def landing() -> None:
                def hook(name: str) -> None:
                    if name == "journaled":
                        (bench.tree / "zz-last").write_text("theirs")  # noqa: B023 (it is called at once)
                        (bench.tree / "deep/er/leaf").write_text("theirs")  # noqa: B023 (it is called at once)
                    left[0] -= name == step  # noqa: B023 (it is called at once)
                    if left[0] == 0:  # noqa: B023 (it is called at once)
                        os.kill(os.getpid(), signal.SIGKILL)

                on_step(hook)
                bench.land()  # noqa: B023 (it is called at once)

            if in_child(landing) == -signal.SIGKILL:
                REACHED.add(step)
            result = recover_landing(str(run))
            assert result["state"] == "stale"
            assert result["stale"] == [str(bench.tree / "deep/er/leaf")]
            (bench.tree / "zz-last").unlink()
            after = _seen(bench.tree)
            assert after.pop("deep/er/leaf") != bench.old.pop("deep/er/leaf")
            assert after == bench.old
            assert not list(bench.tree.rglob(".interlock*"))


def test_every_step_that_has_a_name_was_come_to() -> None:
    if not REACHED:
        pytest.skip("the table did not run in this process")
    assert set(LANDING_STEPS) - REACHED == set()


def test_hundreds_of_random_kills_also_of_the_recoveries_leave_no_tree_half_landed(
    place: Path, elsewhere: Path
) -> None:
    seeded = random.Random(20261125)
    kills = 0
    while kills < RANDOM_KILLS:
        run = seeded.choice([place / "run", elsewhere])
        bench = set_up(place, run, seeded.choice(list(MIXES)))
        kills += _kill_until_through(seeded, bench.land, lambda: recover_landing(str(run)))  # noqa: B023 (called at once)
        _must_be_whole(bench)
        kills += _kill_until_through(seeded, lambda: undo(str(run)), lambda: recover_undo(str(run)))  # noqa: B023 (called at once)
        _must_be_undone_or_not(bench)


def _kill_until_through(seeded: random.Random, first: Callable[[], Any], then: Callable[[], Any]) -> int:
    kills = 0
    work = first
    while kills < 4 and killed_at("", seeded.randint(1, 60), work):
        kills += 1
        work = then
    return kills


def test_kills_at_any_instant_leave_no_tree_half_landed(place: Path, elsewhere: Path) -> None:
    seeded = random.Random(7)
    for number in range(TIMED_KILLS):
        run = (place / "run", elsewhere)[number % 2]
        bench = set_up(place, run, "everything")
        _killed_after(seeded.uniform(0.0, 0.05), bench.land)
        _must_be_whole(bench)
        _killed_after(seeded.uniform(0.0, 0.05), lambda: undo(str(run)))  # noqa: B023 (it is called at once)
        _must_be_undone_or_not(bench)


def _killed_after(seconds: float, work: Callable[[], Any]) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
