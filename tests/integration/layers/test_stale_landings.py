"""What changed under a diff since its run, or changes while it lands: then nothing lands, and nothing lands outside."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from interlock.runner.landing import land, recover_landing
from mixes import edits, everything, grow, removals
from overlays import in_child, layer_over, on_step, picture, record_of

PLENTY = 10**9
NONE = {
    "state": "none",
    "landed": 0,
    "stale": [],
    "undo": {"available": False, "why": "nothing was landed", "bytes": 0},
}


def _without_twins(seen: dict[str, tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    # An overlay gives a changed name of many an inode of its own: the count of names is not what a plain run leaves.
    return {name: (*one[:4], *one[5:]) for name, one in seen.items()}


def _hidden(tree: Path) -> list[Path]:
    return list(tree.rglob(".interlock*"))


def _swap(tree: Path) -> None:
    (tree / "deep/er/leaf").rename(tree / "aside")
    (tree / "deep/er/leaf").write_text("deep/er/leaf, as it was\n")


CHANGES_SINCE: dict[str, tuple[Callable[[Path], object], str]] = {
    "content": (lambda tree: (tree / "text").write_text("theirs"), "text"),
    "content of the same size": (lambda tree: (tree / "text").write_text("TEXT, as it was\n"), "text"),
    "mode": (lambda tree: (tree / "text").chmod(0o600), "text"),
    "owner": (lambda tree: os.chown(tree / "text", 1, 1), "text"),
    "attributes": (lambda tree: os.setxattr(tree / "text", "user.theirs", b"1"), "text"),
    "another inode": (_swap, "deep/er/leaf"),
    "appeared": (lambda tree: (tree / "text.new").write_text("theirs"), "text.new"),
    "vanished": (lambda tree: (tree / "dropped").unlink(), "dropped"),
    "something in a tree that is to go": (lambda tree: (tree / "gone/a/theirs").write_text("t"), "gone"),
    "changed in a tree that is to go": (lambda tree: (tree / "gone/a/b/3").write_text("t"), "gone"),
    "a folder's mode": (lambda tree: (tree / "deep").chmod(0o750), "deep"),
    "its folder is gone": (lambda tree: (tree / "deep").rename(tree / "moved"), "deep/er/leaf"),
    "turned into a folder": (lambda tree: ((tree / "text").unlink(), (tree / "text").mkdir()), "text"),
}


@pytest.mark.parametrize("change", CHANGES_SINCE)
def test_what_changed_since_the_run_is_stale_and_then_nothing_lands(change: str, tree: Path, run: Path) -> None:
    grow(tree)

    def work() -> None:
        edits(tree)
        removals(tree)
        (tree / "deep").chmod(0o700)

    record = record_of(layer_over(tree, run, work))
    theirs, path = CHANGES_SINCE[change]
    theirs(tree)
    before = picture(tree, inodes=True, folder_times=True)
    result = land(str(run), record, PLENTY)
    assert (result["state"], result["landed"]) == ("stale", 0)
    assert str(tree / path) in result["stale"]
    assert picture(tree, inodes=True, folder_times=True) == before
    assert recover_landing(str(run)) == NONE


@pytest.mark.parametrize("change", CHANGES_SINCE)
@pytest.mark.parametrize("moment", ["prepared", "journaled"])
def test_what_changes_during_the_landing_turns_all_of_it_back(change: str, moment: str, tree: Path, run: Path) -> None:
    grow(tree)

    def work() -> None:
        (tree / "a-first").write_text("lands before the others")
        edits(tree)
        removals(tree)
        (tree / "deep").chmod(0o700)

    record = record_of(layer_over(tree, run, work))
    theirs, path = CHANGES_SINCE[change]
    seen: list[object] = []

    def steps() -> None:
        def hook(name: str) -> None:
            if name == moment and not seen:
                theirs(tree)
                seen.append(picture(tree, inodes=True))

        on_step(hook)
        result = land(str(run), record, PLENTY)
        if result["state"] == "landed":  # the mode of a folder that is on its way: ours wins, as a chmod after it would
            assert change == "a folder's mode"
            return
        assert result["landed"] == 0
        assert str(tree / path) in result["stale"]
        assert _without_twins(picture(tree, inodes=True)) == _without_twins(seen[0])
        assert not _hidden(tree)

    assert in_child(steps) == 0


def test_a_folder_swapped_for_a_link_during_the_landing_leads_nothing_outside(
    tree: Path, run: Path, place: Path
) -> None:
    grow(tree)
    outside = place / "outside"
    (outside / "er").mkdir(parents=True)
    (outside / "er/leaf").write_text("deep/er/leaf, as it was\n")
    record = record_of(layer_over(tree, run, lambda: everything(tree)))
    safe = picture(outside, inodes=True, folder_times=True)

    def swapping(moment: str, times: int) -> None:
        left = [times]

        def hook(name: str) -> None:
            left[0] -= name == moment
            if left[0] == 0 and not (tree / "deep").is_symlink():
                (tree / "deep").rename(place / "aside")
                (tree / "deep").symlink_to(outside)

        on_step(hook)
        result = land(str(run), record, PLENTY)
        assert picture(outside, inodes=True, folder_times=True) == safe
        assert result["state"] == "stale" or moment == "flushed"

    for moment, times in (("checked", 1), ("intended", 1), ("held", 2), ("journaled", 1), ("carry", 2), ("carry", 9)):
        assert in_child(lambda: swapping(moment, times)) == 0, (moment, times)  # noqa: B023 (it is called at once)
        assert picture(outside, inodes=True, folder_times=True) == safe
        if (tree / "deep").is_symlink():
            (tree / "deep").unlink()
            (place / "aside").rename(tree / "deep")
        shutil.rmtree(run)
        shutil.rmtree(tree)
        tree.mkdir()
        run.mkdir()
        grow(tree)
        record = record_of(layer_over(tree, run, lambda: everything(tree)))


def test_a_folder_that_is_a_link_by_now_is_stale_before_anything_is_done(tree: Path, run: Path, place: Path) -> None:
    grow(tree)
    outside = place / "outside"
    shutil.copytree(tree / "deep", outside)
    record = record_of(layer_over(tree, run, lambda: edits(tree)))
    shutil.rmtree(tree / "deep")
    (tree / "deep").symlink_to(outside)
    before = picture(outside)
    assert land(str(run), record, PLENTY)["stale"] == [str(tree / "deep/er/leaf")]
    assert picture(outside) == before
