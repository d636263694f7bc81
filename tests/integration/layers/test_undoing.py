"""Undo on a real disk: exact where nobody touched what landed, refused with the list where somebody did."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from interlock.runner.landing import land
from interlock.runner.tree import LayerFault
from interlock.runner.undoing import recover_undo, undo
from mixes import MIXES, grow
from overlays import layer_over, picture, record_of

PLENTY = 10**9

SINCE_LANDED: dict[str, tuple[Callable[[Path], object], str]] = {
    "content": (lambda tree: (tree / "text").write_text("theirs"), "text"),
    "mode": (lambda tree: (tree / "text.new").chmod(0o600), "text.new"),
    "made again": (lambda tree: (tree / "dropped").write_text("theirs"), "dropped"),
    "a new tree grew": (lambda tree: (tree / "site/theirs").write_text("theirs"), "site"),
    "gone": (lambda tree: (tree / "text.new").unlink(), "text.new"),
    "turned": (lambda tree: ((tree / "fifo").unlink(), (tree / "fifo").mkdir()), "fifo"),
    "a folder's mode": (lambda tree: (tree / "deep").chmod(0o711), "deep"),
}


@pytest.mark.parametrize("change", SINCE_LANDED)
def test_an_undo_is_refused_with_the_list_unless_ours_is_to_win(change: str, tree: Path, run: Path) -> None:
    grow(tree)
    before = picture(tree, inodes=True)

    def work() -> None:
        for mix in ("edits", "removals", "growth", "metas"):
            MIXES[mix](tree)
        (tree / "fifo").unlink()
        (tree / "fifo").write_text("a file now")

    record = record_of(layer_over(tree, run, work))
    assert land(str(run), record, PLENTY)["state"] == "landed"
    theirs, path = SINCE_LANDED[change]
    theirs(tree)
    after = picture(tree, inodes=True, folder_times=True)
    assert undo(str(run)) == {"state": "stale", "undone": 0, "stale": [str(tree / path)]}
    assert picture(tree, inodes=True, folder_times=True) == after
    assert undo(str(run), "ours") == {"state": "undone", "undone": len(record["changes"]), "stale": []}
    assert picture(tree, inodes=True) == before


def test_what_an_open_writer_adds_to_a_before_image_is_noticed(tree: Path, run: Path) -> None:
    (tree / "log").write_text("old\n")
    with (tree / "log").open("a") as daemon:
        record = record_of(layer_over(tree, run, lambda: (tree / "log").write_text("new\n")))
        assert land(str(run), record, PLENTY)["state"] == "landed"
        daemon.write("late\n")
        daemon.flush()
    assert undo(str(run))["stale"] == [str(tree / "log")]
    assert undo(str(run), "ours")["state"] == "undone"
    assert (tree / "log").read_text() == "old\nlate\n"


def test_there_is_nothing_to_undo_where_nothing_landed(tree: Path, run: Path) -> None:
    assert recover_undo(str(run)) == {"state": "none", "undone": 0, "stale": []}
    with pytest.raises(LayerFault, match="nothing was landed"):
        undo(str(run))
    with pytest.raises(LayerFault, match="force"):
        undo(str(run), "theirs")
