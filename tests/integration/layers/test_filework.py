"""File work: made ready aside, landed and undone like a run's layer, refused in the words of the file tools."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

from interlock.runner.contents import content_diff
from interlock.runner.fileplans import plan_work
from interlock.runner.landing import land, recover_landing
from interlock.runner.undoing import recover_undo, undo
from mixes import grow
from overlays import NOBODY, in_child, killed_at, picture, said

PLENTY = 10**9


def _plan(tree: Path, run: Path, do: str, name: str = "text", content: bytes = b"", **more: Any) -> dict[str, Any]:
    if "destination" in more:
        more["destination"] = str(tree / more["destination"])
    return plan_work(str(run), {"do": do, "path": str(tree / name), "declared": [str(tree)], **more}, content)


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _lands_and_is_undone(tree: Path, run: Path, record: dict[str, Any], before: object) -> None:
    """Its plan changed nothing, it lands, and its undo is exact; the caller has looked in between."""
    assert undo(str(run))["state"] == "undone", record
    assert picture(tree, inodes=True, folder_times=True) == before


def test_a_write_replaces_the_content_and_keeps_owner_mode_and_attributes(tree: Path, run: Path) -> None:
    grow(tree)
    os.chown(tree / "noted", 33, 34)
    (tree / "noted").chmod(0o640)
    before = picture(tree, inodes=True, folder_times=True)
    record = _plan(tree, run, "write", "noted", b"new")
    assert picture(tree, inodes=True, folder_times=True) == before
    assert record["result"] == {
        "path": str(tree / "noted"),
        "created": False,
        "bytes": 3,
        "sha256": _sha(b"new"),
        "mode": "0640",
        "folders_created": [],
    }
    assert said(record, tree) == [("modify", "noted", "file")]
    assert land(str(run), record, PLENTY)["state"] == "landed"
    at = (tree / "noted").stat()
    assert ((tree / "noted").read_bytes(), at.st_uid, at.st_gid, stat.S_IMODE(at.st_mode)) == (b"new", 33, 34, 0o640)
    assert os.getxattr(tree / "noted", "user.kept") == b"1"
    _lands_and_is_undone(tree, run, record, before)


def test_a_write_makes_missing_folders_only_where_it_is_told_to_and_they_land_as_one(tree: Path, run: Path) -> None:
    grow(tree)
    (tree / "deep").chmod(0o2775)
    os.chown(tree / "deep", 0, 34)
    before = picture(tree, inodes=True, folder_times=True)
    refused = _plan(tree, run, "write", "deep/new/er/file", b"new")
    assert refused["recovery"]["arguments"] == {"create_parents": True}
    assert refused["reason"].startswith(f"the folder {tree}/deep/new")
    record = _plan(tree, run, "write", "deep/new/er/file", b"new", create_parents=True, mode=0o600)
    assert record["result"]["folders_created"] == [str(tree / "deep/new"), str(tree / "deep/new/er")]
    assert (record["result"]["created"], record["result"]["mode"]) == (True, "0600")
    assert said(record, tree) == [
        ("create", "deep/new", "directory"),
        ("create", "deep/new/er", "directory"),
        ("create", "deep/new/er/file", "file"),
    ]
    assert land(str(run), record, PLENTY)["state"] == "landed"
    assert (tree / "deep/new/er/file").read_bytes() == b"new"
    assert stat.S_IMODE((tree / "deep/new/er").stat().st_mode) == 0o2755
    assert (tree / "deep/new/er/file").stat().st_gid == 34
    _lands_and_is_undone(tree, run, record, before)


def test_the_same_bytes_under_the_same_mode_are_no_change(tree: Path, run: Path) -> None:
    grow(tree)
    record = _plan(tree, run, "write", "text", (tree / "text").read_bytes())
    assert record["changes"] == []
    assert record["result"]["created"] is False
    assert land(str(run), record, PLENTY)["state"] == "landed"


GUARDS = [
    ("text", "0" * 64, "its sha256 is"),
    ("missing", "0" * 64, "there is no such file"),
    ("text", "absent", "its sha256 is"),
]


@pytest.mark.parametrize(("name", "expected", "words"), GUARDS)
def test_a_write_that_expects_something_else_is_stale(
    name: str, expected: str, words: str, tree: Path, run: Path
) -> None:
    grow(tree)
    refused = _plan(tree, run, "write", name, b"new", expected_sha256=expected)
    assert (refused["fault"], refused["code"], refused["path"]) == ("stale", "STALE_STATE", "expected_sha256")
    assert words in refused["reason"]
    actual = _sha((tree / name).read_bytes()) if (tree / name).exists() else "absent"
    assert refused["allowed"] == [actual]


def test_a_write_guarded_by_absent_lands_once_and_never_over_what_appeared(tree: Path, run: Path) -> None:
    record = _plan(tree, run, "write", "fresh", b"new", expected_sha256="absent")
    (tree / "fresh").write_text("theirs")
    assert land(str(run), record, PLENTY)["stale"] == [str(tree / "fresh")]
    assert (tree / "fresh").read_text() == "theirs"


def test_an_edit_makes_all_its_replacements_or_none(tree: Path, run: Path) -> None:
    (tree / "text").write_text("one two one\n")
    before = picture(tree, inodes=True, folder_times=True)
    edits = [{"old": "one", "new": "1", "count": 2}, {"old": "two", "new": "2"}]
    record = _plan(tree, run, "edit", edits=edits)
    assert record["result"] == {
        "path": str(tree / "text"),
        "replacements": 3,
        "bytes": 6,
        "sha256": _sha(b"1 2 1\n"),
        "previous_sha256": _sha(b"one two one\n"),
        "mode": "0644",
    }
    source = record["sources"][str(tree / "text")]
    assert content_diff(record["changes"][0], source, 4096).splitlines()[2:] == [
        "@@ -1 +1 @@",
        "-one two one",
        "+1 2 1",
    ]
    assert land(str(run), record, PLENTY)["state"] == "landed"
    assert (tree / "text").read_text() == "1 2 1\n"
    _lands_and_is_undone(tree, run, record, before)


def test_an_edit_that_does_not_fit_is_refused_with_the_place_and_the_count(tree: Path, run: Path) -> None:
    (tree / "text").write_text("one two one\n")
    (tree / "binary").write_bytes(b"\xff\xfe")
    refused = _plan(tree, run, "edit", edits=[{"old": "two", "new": "2"}, {"old": "one", "new": "1"}])
    assert (refused["code"], refused["path"], refused["allowed"]) == ("ARGUMENT_INVALID", "edits[1]", ["2"])
    assert refused["reason"] == "its old text occurs 2 times instead of 1; no edit was made"
    assert _plan(tree, run, "edit", "binary", edits=[])["reason"].endswith(
        "is not UTF-8 text and cannot be edited as such"
    )
    assert _plan(tree, run, "edit", "missing", edits=[])["code"] == "PATH_INVALID"
    assert _plan(tree, run, "edit", edits=[], expected_sha256="1" * 64)["code"] == "STALE_STATE"
    assert _plan(tree, run, "edit", edits=[], bytes_max=4)["code"] == "OUTPUT_LIMITED"


def test_an_edit_of_what_changed_after_it_was_read_does_not_land(tree: Path, run: Path) -> None:
    (tree / "text").write_text("one")
    record = _plan(tree, run, "edit", edits=[{"old": "one", "new": "two"}])
    (tree / "text").write_text("ONE")
    assert land(str(run), record, PLENTY)["state"] == "stale"
    assert (tree / "text").read_text() == "ONE"


@pytest.mark.parametrize("name", ["text", "logs", "link", "fifo"])
def test_a_move_is_one_rename_and_its_undo_another(name: str, tree: Path, run: Path) -> None:
    grow(tree)
    before = picture(tree, inodes=True, folder_times=True)
    record = _plan(tree, run, "move", name, destination="deep/moved")
    assert record["result"] == {
        "path": str(tree / name),
        "destination": str(tree / "deep/moved"),
        "action": "move",
        "replaced": False,
        "entries": 1,
    }
    assert {op for op, path, _ in said(record, tree) if path.startswith(name)} == {"delete"}
    assert {op for op, path, _ in said(record, tree) if path.startswith("deep/moved")} == {"create"}
    ino = (tree / name).lstat().st_ino
    assert land(str(run), record, PLENTY)["state"] == "landed"
    assert (tree / "deep/moved").lstat().st_ino == ino
    assert not os.path.lexists(tree / name)
    _lands_and_is_undone(tree, run, record, before)


def test_a_move_over_a_file_keeps_what_was_there_for_the_undo(tree: Path, run: Path) -> None:
    grow(tree)
    before = picture(tree, inodes=True, folder_times=True)
    refused = _plan(tree, run, "move", "text", destination="mode")
    assert (refused["fault"], refused["path"], refused["recovery"]["action"]) == ("exists", "destination", "ask_human")
    record = _plan(tree, run, "move", "text", destination="mode", overwrite=True)
    assert record["result"]["replaced"]
    assert land(str(run), record, PLENTY)["state"] == "landed"
    assert (tree / "mode").read_text() == "text, as it was\n"
    _lands_and_is_undone(tree, run, record, before)


def test_a_move_whose_source_or_target_changed_since_does_not_land(tree: Path, place: Path) -> None:
    grow(tree)
    for number, (theirs, stale) in enumerate(
        (
            (lambda: (tree / "logs/theirs").write_text("x"), "logs"),
            (lambda: (tree / "elsewhere").write_text("x"), "elsewhere"),
        )
    ):
        run = place / f"r{number}"
        run.mkdir()
        record = _plan(tree, run, "move", "logs", destination="elsewhere")
        theirs()
        assert land(str(run), record, PLENTY)["stale"] == [str(tree / stale)]
        assert (tree / "logs/3.log").exists()


def test_a_move_across_file_systems_is_refused_with_the_copy_that_would_do(
    tree: Path, run: Path, elsewhere: Path
) -> None:
    grow(tree)
    work = {"do": "move", "path": str(tree / "text"), "destination": str(elsewhere / "x")}
    refused = plan_work(str(run), {**work, "declared": [str(tree), str(elsewhere)]})
    assert refused["recovery"]["arguments"] == {"action": "copy", "recursive": True}
    assert (tree / "text").exists()


def test_a_copy_of_a_tree_has_everything_and_lands_by_one_rename(tree: Path, run: Path) -> None:
    grow(tree)
    before = picture(tree, inodes=True, folder_times=True)
    refused = _plan(tree, run, "move", "logs", destination="copied", copy=True)
    assert refused["recovery"]["arguments"] == {"recursive": True}
    record = _plan(tree, run, "move", "logs", destination="copied", copy=True, recursive=True)
    assert (record["result"]["action"], record["result"]["entries"]) == ("copy", 13)
    assert land(str(run), record, PLENTY)["state"] == "landed"
    assert picture(tree / "copied", folder_times=True) == picture(tree / "logs", folder_times=True)
    _lands_and_is_undone(tree, run, record, before)


def test_a_copy_of_a_file_has_its_mode_and_the_owner_of_what_it_replaces(tree: Path, run: Path) -> None:
    grow(tree)
    before = picture(tree, inodes=True, folder_times=True)
    os.chown(tree / "owner", 33, 33)
    before = picture(tree, inodes=True, folder_times=True)
    record = _plan(tree, run, "move", "mode", destination="owner", copy=True, overwrite=True)
    assert land(str(run), record, PLENTY)["state"] == "landed"
    at = (tree / "owner").stat()
    assert (at.st_uid, stat.S_IMODE(at.st_mode), (tree / "owner").read_text()) == (33, 0o4755, "mode, as it was\n")
    _lands_and_is_undone(tree, run, record, before)


def test_moves_that_cannot_be_say_why(tree: Path, run: Path) -> None:
    grow(tree)
    cases = [
        ("logs", {"destination": "logs/inside"}, "destination", "lies inside"),
        ("text", {"destination": "logs", "overwrite": True}, "destination", "a folder is never replaced"),
        ("fifo", {"destination": "new", "copy": True}, "path", "is a fifo and cannot be copied"),
        ("text", {"destination": "no/such"}, "destination", "does not exist"),
        ("missing", {"destination": "new"}, "path", "does not exist"),
    ]
    for name, more, argument, words in cases:
        refused = _plan(tree, run, "move", name, **more)
        assert (refused["code"], refused["path"]) == ("PATH_INVALID", argument), refused
        assert words in refused["reason"]


@pytest.mark.parametrize(("name", "entries"), [("text", 1), ("link", 1), ("gone", 15), ("fifo", 1)])
def test_a_deletion_takes_a_link_itself_and_a_tree_whole_and_brings_both_back(
    name: str, entries: int, tree: Path, run: Path
) -> None:
    grow(tree)
    before = picture(tree, inodes=True, folder_times=True)
    if name == "gone":
        refused = _plan(tree, run, "delete", name)
        assert (refused["path"], refused["recovery"]["tool"]) == ("recursive", "file_list")
    record = _plan(tree, run, "delete", name, recursive=True)
    assert record["result"]["entries"] == entries
    assert land(str(run), record, PLENTY)["state"] == "landed"
    assert not os.path.lexists(tree / name)
    assert (tree / "text").exists() or name == "text"
    _lands_and_is_undone(tree, run, record, before)


def test_a_guarded_deletion_of_another_content_is_stale(tree: Path, run: Path) -> None:
    grow(tree)
    assert _plan(tree, run, "delete", "text", expected_sha256="0" * 64)["code"] == "STALE_STATE"
    assert _plan(tree, run, "delete", "link", expected_sha256="0" * 64)["allowed"] == ["link"]
    assert "changes" in _plan(tree, run, "delete", "text", expected_sha256=_sha((tree / "text").read_bytes()).upper())


def test_no_link_leads_out_of_what_was_declared(tree: Path, run: Path, place: Path) -> None:
    outside = place / "outside"
    outside.mkdir()
    (outside / "file").write_text("safe")
    (tree / "out").symlink_to(outside)
    (tree / "in").mkdir()
    (tree / "alias").symlink_to("in")
    for do, more in (
        ("write", {"content": b"x"}),
        ("edit", {"edits": []}),
        ("delete", {}),
        ("move", {"destination": "here"}),
    ):
        content = more.pop("content", b"")
        refused = _plan(tree, run, do, "out/file", content, **more)
        assert (refused["fault"], refused["code"]) == ("moved", "STALE_STATE")
        assert refused["reason"] == f"{tree}/out/file leads to {outside}/file on the host, which was not declared"
    assert _plan(tree, run, "write", "../tree/out/../outside/file", b"x")["code"] == "STALE_STATE"
    record = _plan(tree, run, "write", "alias/file", b"x")
    assert record["result"]["path"] == str(tree / "in/file")
    (tree / "in").rmdir()
    (tree / "in").symlink_to(outside)
    assert land(str(run), record, PLENTY)["state"] == "stale"
    assert (outside / "file").read_text() == "safe"
    (tree / "loop").symlink_to("loop")
    assert "loop of symbolic links" in _plan(tree, run, "write", "loop/x", b"x")["reason"]


def test_what_is_no_regular_file_is_not_written_to(tree: Path, run: Path) -> None:
    grow(tree)
    assert _plan(tree, run, "write", "logs", b"x")["recovery"]["tool"] == "file_list"
    assert _plan(tree, run, "write", "fifo", b"x")["reason"] == f"{tree}/fifo is a fifo, not a regular file"
    assert _plan(tree, run, "write", "text/below", b"x")["code"] == "PATH_INVALID"
    assert plan_work(str(run), {"do": "sing"})["code"] == "ARGUMENT_INVALID"


def test_a_user_without_the_right_is_told_so(place: Path) -> None:
    tree, run = place / "tree", place / "run"
    tree.mkdir()
    run.mkdir()
    os.chown(run, NOBODY, NOBODY)
    (tree / "secret").write_text("x")
    (tree / "secret").chmod(0o600)
    (tree / "shared").write_text("x")
    tree.chmod(0o777)

    def steps() -> None:
        refused = _plan(tree, run, "edit", "secret", edits=[])
        assert refused["reason"] == f"{tree}/secret: permission denied for the login's user"
        refused = _plan(tree, run, "write", "shared", b"y")
        assert refused["reason"] == "this login cannot keep its owner (0:0); nothing was changed"
        record = _plan(tree, run, "write", "own", b"y")
        assert land(str(run), record, PLENTY)["state"] == "landed"
        assert (tree / "own").stat().st_uid == NOBODY
        assert undo(str(run))["state"] == "undone"

    assert in_child(steps, NOBODY) == 0


@pytest.mark.parametrize("step", ["prepared", "journaled", "carry", "linked", "carried", "settled", "done", "cleared"])
def test_file_work_that_is_killed_is_done_or_not_done(step: str, tree: Path, place: Path) -> None:
    for number, (do, name, more) in enumerate(
        (
            ("write", "text", {}),
            ("write", "fresh", {}),
            ("move", "logs", {"destination": "deep/logs"}),
            ("move", "text", {"destination": "mode", "overwrite": True}),
            ("delete", "gone", {"recursive": True}),
        )
    ):
        shutil.rmtree(tree)
        tree.mkdir()
        grow(tree)
        run = place / f"run{number}"
        run.mkdir()
        before = picture(tree, inodes=True)
        record = _plan(tree, run, do, name, b"new", **more)
        killed_at(step, 1, lambda: land(str(run), record, PLENTY))  # noqa: B023 (it is called at once)
        state = recover_landing(str(run))["state"]
        if state == "none":
            assert picture(tree, inodes=True) == before
        assert land(str(run), record, PLENTY)["state"] == "landed"
        after = picture(tree, inodes=True)
        assert after != before
        killed_at(step, 1, lambda: undo(str(run)))  # noqa: B023 (it is called at once)
        if recover_undo(str(run))["state"] == "none":
            assert picture(tree, inodes=True) == after
        assert undo(str(run))["state"] == "undone"
        assert picture(tree, inodes=True) == before
