"""Snapshots of real trees: every change that a run without a layer made is found, and nothing else."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from interlock.runner import measuring
from interlock.runner.measuring import compare, outside_links, snapshot
from mixes import ODD_NAME, edits, everything, grow, metas, removals, turns


def _found(tree: Path, before: dict[str, object]) -> set[tuple[str, str]]:
    return {(one["op"], os.path.relpath(one["path"], tree)) for one in compare(before, snapshot([str(tree)]))}


def test_nothing_done_is_no_change_and_neither_is_reading(tree: Path) -> None:
    grow(tree)
    before = snapshot([str(tree)])
    (tree / "text").read_text()
    assert _found(tree, before) == set()


def test_edits_are_found(tree: Path) -> None:
    grow(tree)
    before = snapshot([str(tree)])
    edits(tree)
    assert _found(tree, before) == {
        ("modify", "text"),
        ("create", "text.new"),
        ("modify", "deep/er/leaf"),
        ("modify", "twin-a"),
        ("modify", "twin-b"),
        ("modify", ODD_NAME),
        ("create", "also " + ODD_NAME),
    }


def test_removals_are_found_with_what_lay_below(tree: Path) -> None:
    grow(tree)
    before = snapshot([str(tree)])
    removals(tree)
    changes = {os.path.relpath(one["path"], tree): one for one in compare(before, snapshot([str(tree)]))}
    assert (changes["gone"]["op"], changes["gone"]["below"]) == ("delete", 14)
    assert changes["gone/a/b/3"]["op"] == "delete"
    assert (changes["opaque/both"]["op"], changes["opaque/fresh"]["op"]) == ("modify", "create")
    assert (changes["twin-a"]["op"], changes["twin-a"]["detail"]) == ("meta", "links 2 → 1")
    assert "opaque" not in changes


def test_turns_and_metas_are_found(tree: Path) -> None:
    grow(tree)
    before = snapshot([str(tree)])
    metas(tree)
    details = {os.path.relpath(one["path"], tree): one["detail"] for one in compare(before, snapshot([str(tree)]))}
    assert details == {
        "mode": "mode 4755 → 0600",
        "owner": "owner 0:0 → 33:33",
        "stamp": "",
        "noted": "attributes",
        "deep": "mode 0755 → 0700",
        "deep/er": "attributes",
        "twin-a": "mode 0644 → 0640",
        "twin-b": "mode 0644 → 0640",
    }
    before = snapshot([str(tree)])
    turns(tree)
    found = {os.path.relpath(one["path"], tree): one["detail"] for one in compare(before, snapshot([str(tree)]))}
    assert found["turned"] == "directory → link"
    assert found["to-folder"] == "file → directory"


def test_a_change_in_the_tick_of_the_snapshot_is_found(tree: Path) -> None:
    """The same size, in place, at once after a write and a look: only another tick tells it from the first."""
    path = tree / "ticking"
    for number in range(200):
        path.write_text(f"{number:06d}")
        before = snapshot([str(tree)])
        with path.open("r+") as file:
            file.write(f"{number + 1:06d}")
        assert _found(tree, before) == {("modify", "ticking")}, number


def test_what_changes_without_a_new_mtime_is_found_all_the_same(tree: Path) -> None:
    path = tree / "disguised"
    path.write_text("one")
    at = path.stat()
    before = snapshot([str(tree)])
    path.write_text("two")
    os.utime(path, ns=(at.st_atime_ns, at.st_mtime_ns))
    assert _found(tree, before) == {("meta", "disguised")}


def test_times_of_links_and_attributes_of_folders_are_found(tree: Path) -> None:
    (tree / "link").symlink_to("nowhere")
    (tree / "folder").mkdir()
    before = snapshot([str(tree)])
    os.utime(tree / "link", (1, 1), follow_symlinks=False)
    os.setxattr(tree / "folder", "user.note", b"1")
    assert _found(tree, before) == {("meta", "link"), ("meta", "folder")}


def test_no_more_entries_than_allowed_are_looked_at_and_only_what_both_saw_is_compared(tree: Path) -> None:
    grow(tree)
    before = snapshot([str(tree)], 20)
    assert len(before["entries"]) == 20
    assert before["end"]
    (tree / "aaa").write_text("shifts the end")
    everything(tree)
    after = snapshot([str(tree)], 20)
    seen = compare(before, after)
    assert str(tree / "aaa") in {one["path"] for one in seen}
    whole = {(one["op"], one["path"]) for one in compare(snapshot([str(tree)]), snapshot([str(tree)]))}
    assert whole == set()
    assert {one["op"] for one in seen if one["path"].startswith(str(tree / "zz"))} == set()


def test_links_out_of_the_roots_are_named_and_links_within_are_not(tree: Path, place: Path) -> None:
    grow(tree)
    outside = place / "outside"
    outside.write_text("x")
    os.link(outside, tree / "leads-out")
    assert outside_links(snapshot([str(tree)])) == [str(tree / "leads-out")]
    assert outside_links(snapshot([str(tree), str(place)])) == []


def test_roots_may_be_files_links_missing_or_within_each_other(tree: Path) -> None:
    grow(tree)
    roots = [str(tree / "text"), str(tree / "link"), str(tree / "missing"), str(tree / "deep"), str(tree / "deep/er")]
    before = snapshot(roots)
    assert set(before["entries"]) == {str(tree / name) for name in ("text", "link", "deep", "deep/er", "deep/er/leaf")}
    (tree / "missing").write_text("made")
    (tree / "mode").write_text("not watched")
    shutil.rmtree(tree / "deep/er")
    assert [(one["op"], one["path"]) for one in compare(before, snapshot(roots))] == [
        ("delete", str(tree / "deep/er")),
        ("delete", str(tree / "deep/er/leaf")),
        ("create", str(tree / "missing")),
    ]


def test_a_link_is_never_followed(tree: Path, place: Path) -> None:
    (place / "other").mkdir()
    (place / "other/file").write_text("x")
    (tree / "out").symlink_to(place / "other")
    assert set(snapshot([str(tree)])["entries"]) == {str(tree), str(tree / "out")}
    assert snapshot([str(tree / "out/file")])["entries"] == {}


def test_a_look_at_an_old_tree_waits_for_nothing(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grow(tree)
    monkeypatch.setattr(measuring, "FRESH_SECONDS", -3600.0)
    began = time.perf_counter()
    monkeypatch.setattr(measuring.time, "sleep", lambda _: pytest.fail("it waited"))
    snapshot([str(tree)])
    assert time.perf_counter() - began < 5
