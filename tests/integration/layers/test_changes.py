"""What a real overlay's upper layer says of a run: each kind of change, and what is none."""

from __future__ import annotations

import os
import shutil
import time
from functools import partial
from pathlib import Path

import pytest

from interlock.runner import changes
from interlock.runner.copying import read_xattrs
from interlock.runner.landing import land
from interlock.runner.tree import LayerFault
from interlock_tools.changes import change_from_json
from mixes import ODD_NAME, edits, everything, grow, growth, metas, removals, turns
from overlays import NOBODY, in_child, layer_over, record_of, said


def _said(tree: Path, run: Path, mix: object) -> set[tuple[str, str, str]]:
    grow(tree)
    return set(said(record_of(layer_over(tree, run, lambda: mix(tree))), tree))  # type: ignore[operator]  # a mix


def test_content_and_new_files_are_told_and_what_was_only_opened_is_not(tree: Path, run: Path) -> None:
    assert _said(tree, run, edits) == {
        ("modify", "text", "file"),
        ("create", "text.new", "file"),
        ("modify", "deep/er/leaf", "file"),
        ("modify", "twin-a", "file"),
        ("modify", ODD_NAME, "file"),
        ("create", "also " + ODD_NAME, "file"),
    }


def test_deletions_are_told_with_all_that_lay_below_and_so_is_what_an_opaque_folder_hides(
    tree: Path, run: Path
) -> None:
    found = _said(tree, run, removals)
    assert {("delete", "dropped", "file"), ("delete", "twin-b", "file"), ("delete", "gone", "directory")} <= found
    assert {("delete", f"gone/a/b/{number}", "file") for number in range(12)} <= found
    assert {one for one in found if one[1].startswith("opaque")} == {
        ("delete", "opaque/old", "file"),
        ("delete", "opaque/kept", "directory"),
        ("delete", "opaque/kept/inner", "file"),
        ("modify", "opaque/both", "file"),
        ("create", "opaque/fresh", "file"),
    }


def test_what_becomes_something_else_is_a_modification_with_both_kinds_in_its_detail(tree: Path, run: Path) -> None:
    grow(tree)
    record = record_of(layer_over(tree, run, lambda: turns(tree)))
    details = {os.path.relpath(one["path"], tree): one["detail"] for one in record["changes"] if one["op"] == "modify"}
    assert details == {
        "to-folder": "file → directory",
        "turned": "directory → link",
        "link": "",
        "fifo": "fifo → file",
        "text": "file → fifo",
    }
    assert ("create", "to-folder/in/file", "file") in said(record, tree)
    assert ("delete", "turned/in", "file") in said(record, tree)


def test_meta_changes_say_what_changed(tree: Path, run: Path) -> None:
    grow(tree)
    record = record_of(layer_over(tree, run, lambda: metas(tree)))
    assert {one["op"] for one in record["changes"]} == {"meta"}
    assert {os.path.relpath(one["path"], tree): one["detail"] for one in record["changes"]} == {
        "mode": "mode 4755 → 0600",
        "owner": "owner 0:0 → 33:33",
        "stamp": "mtime",
        "noted": "attributes user.added user.lost",
        "deep": "mode 0755 → 0700",
        "deep/er": "attributes user.folder",
        "twin-a": "mode 0644 → 0640",
    }


def test_new_trees_are_counted_and_listed_parents_first(tree: Path, run: Path) -> None:
    grow(tree)
    found = record_of(layer_over(tree, run, lambda: growth(tree)))["changes"]
    paths = [one["path"] for one in found]
    assert paths == sorted(paths)
    below = {os.path.relpath(one["path"], tree): one["below"] for one in found}
    assert below["site"] == 16
    assert below["site/js"] == 12
    assert below["deep/er/still"] == 2


def test_every_change_is_a_change_of_the_servers_own_kind_and_comes_back_as_it_was(tree: Path, run: Path) -> None:
    grow(tree)
    found = record_of(layer_over(tree, run, lambda: everything(tree)))["changes"]
    assert [change_from_json(one).to_json() for one in found] == found


def test_the_overlays_own_notes_are_nowhere_in_what_may_leave_the_layer(tree: Path, run: Path) -> None:
    grow(tree)
    record = record_of(layer_over(tree, run, lambda: everything(tree)))
    kept = [source for path, source in record["sources"].items() if not Path(path).is_dir()]
    assert kept
    assert not [name for source in kept for name in read_xattrs(source, ()) if "overlay" in name]


def test_nothing_done_is_no_change(tree: Path, run: Path) -> None:
    grow(tree)
    assert not record_of(layer_over(tree, run, lambda: None))["changes"]


def test_a_file_written_again_with_the_same_bytes_has_another_time_only(tree: Path, run: Path) -> None:
    grow(tree)
    record = record_of(layer_over(tree, run, lambda: (tree / "text").write_text("text, as it was\n")))
    assert [(one["op"], one["detail"]) for one in record["changes"]] == [("meta", "mtime")]


def test_a_link_with_another_time_is_a_change_and_lands(tree: Path, run: Path) -> None:
    grow(tree)
    (tree / "old-link").symlink_to("text")
    record = record_of(layer_over(tree, run, lambda: os.utime(tree / "old-link", (1, 1), follow_symlinks=False)))
    assert [(one["op"], one["kind"], one["detail"]) for one in record["changes"]] == [("meta", "link", "mtime")]
    assert land(str(run), record, 10**9)["state"] == "landed"
    assert (tree / "old-link").lstat().st_mtime == 1
    assert (tree / "old-link").readlink() == Path("text")


def test_the_digest_follows_the_content_the_names_and_the_meta(tree: Path, place: Path) -> None:
    grow(tree)

    def digest(number: int, text: str, name: str, mode: int) -> str:
        def work() -> None:
            (tree / name).write_text(text)
            (tree / name).chmod(mode)
            os.utime(tree / name, (1, 1))

        record = record_of(layer_over(tree, place / f"run{number}", work))
        for one in record["changes"]:
            assert one["was"] is None
        return str(record["digest"])

    cases = [
        ("same", "n", 0o644),
        ("some", "n", 0o644),
        ("same", "m", 0o644),
        ("same", "n", 0o600),
        ("same", "n", 0o644),
    ]
    found = [digest(number, *case) for number, case in enumerate(cases)]
    assert len(set(found)) == 4
    assert found[0] == found[-1]


def test_a_users_own_layer_is_read_as_that_user_whatever_modes_it_holds(place: Path) -> None:
    tree, run = place / "tree", place / "run"
    for folder in (tree, run):
        folder.mkdir()
        os.chown(folder, NOBODY, NOBODY)

    def work() -> None:
        (tree / "old").unlink()
        (tree / "closed").mkdir()
        (tree / "closed/in").write_text("in")
        (tree / "closed/in").chmod(0)
        (tree / "closed").chmod(0)
        shutil.rmtree(tree / "folder")
        (tree / "folder").mkdir()

    def steps() -> None:
        for name in ("old", "folder/x"):
            (tree / name).parent.mkdir(exist_ok=True)
            (tree / name).write_text("x")
        layers = layer_over(tree, run, work, NOBODY)
        first, second = record_of(layers), record_of(layers)
        assert set(said(first, tree)) == {
            ("delete", "old", "file"),
            ("create", "closed", "directory"),
            ("create", "closed/in", "file"),
            ("delete", "folder/x", "file"),
        }
        assert first == second
        assert {one["path"]: one["mode"] for one in first["changes"]}[str(tree / "closed")] == 0
        for source in first["sources"].values():
            assert not [name for name in read_xattrs(source, ()) if "overlay" in name]

    assert in_child(steps, NOBODY) == 0


def test_what_changed_on_the_host_while_the_run_went_on_is_named(tree: Path, run: Path) -> None:
    grow(tree)
    marker = run / "began"
    marker.touch()
    began = marker.stat().st_ctime_ns
    time.sleep(0.02)

    def work() -> None:
        everything(tree)

    layers = layer_over(tree, run, work)
    (tree / "deep/er/leaf").write_text("somebody else's")
    (tree / "gone/a/new").write_text("somebody else's")
    (tree / "text.new").write_text("somebody else's")
    record = record_of(layers, began_ns=began)
    disturbed = {os.path.relpath(path, tree) for path in record["disturbed"]}
    assert {"deep/er/leaf", "gone/a/new", "text.new"} <= disturbed
    assert not disturbed & {"noted", "mode", "opaque/both"}


def test_scratch_vanishes_but_what_was_declared_there_does_not(
    tree: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    monkeypatch.setattr(changes, "SCRATCH_IN_LAYERS", (str(tree),))

    def work() -> None:
        (tree / "junk").write_text("x")
        (tree / "way/declared").mkdir(parents=True)
        (tree / "way/declared/f").write_text("f")

    layers = layer_over(tree, run, work)
    record = changes.read_changes(layers, {"writes": [str(tree / "way/declared")]}, {})
    assert set(said(record, tree)) == {
        ("create", "way", "directory"),
        ("create", "way/declared", "directory"),
        ("create", "way/declared/f", "file"),
    }
    assert record["scratch"] == 1


def test_more_changes_than_may_be_listed_are_counted_and_whole_trees_stay_landable(tree: Path, place: Path) -> None:
    grow(tree)
    whole = record_of(layer_over(tree, place / "r1", lambda: shutil.rmtree(tree / "gone")), changes_max=3)
    assert whole["truncated"]
    assert whole["landable"]
    assert len(whole["changes"]) == 3
    assert whole["changes"][0]["below"] == 14
    assert whole["left_out"] == 12
    many = record_of(layer_over(tree, place / "r2", lambda: everything(tree)), changes_max=3)
    assert many["truncated"]
    assert not many["landable"]


def test_the_diff_costs_what_changed_and_not_what_lies_below(place: Path) -> None:
    def seconds(files: int) -> float:
        tree, best = place / f"t{files}", 9.0
        tree.mkdir()
        for number in range(files):
            if number % 1000 == 0:
                (tree / str(number // 1000)).mkdir()
            os.close(os.open(tree / str(number // 1000) / str(number), os.O_CREAT))
        os.sync()  # what was made for this is not to be waited for
        for attempt in range(4):
            work = [tree / "0" / str(number) for number in range(10)]
            run = place / f"r{files}-{attempt}"
            layers = layer_over(tree, run, partial(_fill, work))
            began = time.perf_counter()
            assert len(record_of(layers)["changes"]) == 10
            best = min(best, time.perf_counter() - began)
        return best

    small, large = seconds(2_000), seconds(40_000)
    assert large < small * 2 + 0.01


def test_a_layer_that_was_mounted_with_renamed_folders_is_refused(tree: Path, run: Path) -> None:
    grow(tree)
    layers = layer_over(tree, run, lambda: (tree / "deep").chmod(0o700))
    os.setxattr(run / "u/0/deep", "trusted.overlay.redirect", b"other")
    with pytest.raises(LayerFault, match="renamed"):
        record_of(layers)


def _fill(files: list[Path]) -> None:
    for path in files:
        path.write_text("x")
