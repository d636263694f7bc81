"""File tools on a host that stages: shown before it lands, landed exactly as shown, taken back; or nothing changed."""

# ruff: noqa: ASYNC240 - the host's disk is looked at directly

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from home import Home, open_home, staged_in
from interlock.hosts.outpost import Head, OnEvent, Outpost, OutpostLost, Reply

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(os.geteuid() != 0, reason="owners are looked at, which root alone can give"),
]
WHY = "It is part of the test"
FIRST_NS = 1_600_000_000_123_456_789


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Home]:
    async with open_home(tmp_path, settings=staged_in(tmp_path)) as made:
        yield made


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def old_file(path: Path, text: str = "old\n") -> Path:
    """A file with a mode, an owner and a time of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.chown(path, 1234, 2345)
    path.chmod(0o640)
    os.utime(path, ns=(FIRST_NS, FIRST_NS))
    return path


def picture(folder: Path) -> dict[str, Any]:
    """All that an undo must put back: content, mode, owner, times, links, absence."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        at = path.lstat()
        what = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        times = at.st_mtime_ns if not path.is_dir() else 0
        found[str(path.relative_to(folder))] = (what, stat.S_IMODE(at.st_mode), at.st_uid, at.st_gid, times)
    return found


def grown(scratch: Path) -> None:
    """A small tree to be changed: files, a folder, links."""
    old_file(scratch / "conf")
    old_file(scratch / "tree" / "one", "1\n")
    old_file(scratch / "tree" / "deep" / "two", "2\n")
    (scratch / "tree" / "link").symlink_to("deep/two")
    os.link(scratch / "tree" / "one", scratch / "tree" / "again")


CHANGES: dict[str, tuple[str, Callable[[Path], dict[str, Any]]]] = {
    "write": ("file_write", lambda at: {"path": f"{at}/conf", "content": "new\n"}),
    "create": ("file_write", lambda at: {"path": f"{at}/x/y/new", "content": "new\n", "create_parents": True}),
    "edit": ("file_edit", lambda at: {"path": f"{at}/conf", "edits": [{"old": "old", "new": "new"}]}),
    "move": ("file_move", lambda at: {"path": f"{at}/conf", "destination": f"{at}/other"}),
    "move over": ("file_move", lambda at: {"path": f"{at}/conf", "destination": f"{at}/tree/one", "overwrite": True}),
    "move a tree": ("file_move", lambda at: {"path": f"{at}/tree", "destination": f"{at}/moved"}),
    "copy": ("file_move", lambda at: {"path": f"{at}/conf", "destination": f"{at}/copy", "action": "copy"}),
    "copy a tree": (
        "file_move",
        lambda at: {"path": f"{at}/tree", "destination": f"{at}/copy", "action": "copy", "recursive": True},
    ),
    "delete": ("file_delete", lambda at: {"path": f"{at}/conf"}),
    "delete a link": ("file_delete", lambda at: {"path": f"{at}/tree/link"}),
    "delete a tree": ("file_delete", lambda at: {"path": f"{at}/tree", "recursive": True}),
}


@pytest.mark.parametrize("name", CHANGES)
async def test_a_change_of_files_is_measured_landed_and_put_back_exactly(home: Home, name: str) -> None:
    grown(home.scratch)
    before = picture(home.scratch)
    tool, arguments = CHANGES[name]
    done = await home.call(tool, **arguments(home.scratch), intent=WHY)
    assert done["state"] == "succeeded", done
    after = picture(home.scratch)
    assert after != before
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    said = [path for kind in ("created", "modified", "deleted") for path in done["effects"][kind]]
    assert {str(home.scratch / path) for path in changed} == set(said)
    assert (done["effects"]["observed"], done["effects"]["undeclared"]) == ("staged", [])
    assert done["scores"]["side_effects"] == 1.0
    assert done["undo"]["available"]
    assert done["undo"]["until"]
    undone = await home.call("call_undo", call_id=done["call_id"], intent="It was not wanted")
    assert undone["ok"], undone["error"]
    assert picture(home.scratch) == before
    assert not [path for path in home.scratch.rglob("*") if "interlock" in path.name]


@pytest.mark.parametrize("name", CHANGES)
async def test_a_preview_changes_nothing_and_exactly_that_is_landed(home: Home, name: str) -> None:
    grown(home.scratch)
    before = picture(home.scratch)
    tool, arguments = CHANGES[name]
    shown = await home.call(tool, **arguments(home.scratch), intent=WHY, mode="preview")
    assert (shown["ok"], shown["state"]) == (True, "held"), shown
    assert picture(home.scratch) == before
    effects = shown["effects"]
    step = {"writes": [*effects["created"], *effects["modified"]], "deletes": effects["deleted"]}
    done = await home.call("call_commit", call_id=shown["call_id"], intent="Land it", **step)
    assert done["ok"], done
    assert done["undo"]["available"]
    landed = picture(home.scratch)
    assert landed != before
    status = await home.call("call_status", call_id=shown["call_id"])
    assert (status["state"], status["undo"]["available"]) == ("succeeded", True), status
    own = {name: value for name, value in shown["result"].items() if name not in ("held", "diff")}
    assert status["result"] == own
    undone = await home.call("call_undo", call_id=done["call_id"], intent="It was not wanted")
    assert undone["ok"], undone["error"]
    assert picture(home.scratch) == before


async def test_a_result_is_what_it_is_without_staging(home: Home) -> None:
    target = old_file(home.scratch / "conf")
    done = await home.call("file_write", path=str(target), content="new\n", intent=WHY)
    assert done["result"] == {
        "path": str(target),
        "created": False,
        "bytes": 4,
        "sha256": sha(b"new\n"),
        "mode": "0640",
        "folders_created": [],
    }
    at = target.stat()
    assert (stat.S_IMODE(at.st_mode), at.st_uid, at.st_gid) == (0o640, 1234, 2345)
    edits = [{"old": "new", "new": "newer"}]
    edited = await home.call("file_edit", path=str(target), edits=edits, intent=WHY)
    assert edited["result"] == {
        "path": str(target),
        "replacements": 1,
        "bytes": 6,
        "sha256": sha(b"newer\n"),
        "previous_sha256": sha(b"new\n"),
        "mode": "0640",
    }
    gone = await home.call("file_delete", path=str(target), intent=WHY)
    assert gone["result"] == {"path": str(target), "kind": "file", "entries": 1}


async def test_a_preview_shows_the_diff(home: Home) -> None:
    target = old_file(home.scratch / "conf")
    shown = await home.call("file_write", path=str(target), content="new\n", intent=WHY, mode="preview")
    assert "-old" in shown["result"]["diff"]
    assert "+new" in shown["result"]["diff"]
    dropped = await home.call("call_cancel", call_id=shown["call_id"])
    assert dropped["ok"], dropped
    done = await home.call("call_commit", call_id=shown["call_id"], writes=[str(target)], intent="Land it anyway")
    assert not done["ok"]
    assert target.read_text() == "old\n"


@pytest.mark.parametrize("by", ["content", "mode", "absence"])
async def test_a_held_change_does_not_land_over_a_newer_one(home: Home, by: str) -> None:
    target = old_file(home.scratch / "conf")
    shown = await home.call("file_write", path=str(target), content="new\n", intent=WHY, mode="preview")
    match by:
        case "content":
            target.write_text("them\n")
        case "mode":
            target.chmod(0o600)
        case "absence":
            target.unlink()
    now = picture(home.scratch)
    done = await home.call("call_commit", call_id=shown["call_id"], writes=[str(target)], intent="Land it")
    assert done["error"]["code"] == "STALE_STATE", done
    assert picture(home.scratch) == now


async def test_an_undo_does_not_run_over_a_later_change(home: Home) -> None:
    target = old_file(home.scratch / "conf")
    done = await home.call("file_write", path=str(target), content="new\n", intent=WHY)
    target.write_text("later\n")
    undone = await home.call("call_undo", call_id=done["call_id"], intent="Back to what it was")
    assert undone["error"]["code"] == "STALE_STATE", undone
    assert target.read_text() == "later\n"


@pytest.mark.parametrize("size", [0, 511 * 1024, 1024 * 1024 + 1, 5 * 1024 * 1024])
async def test_content_of_any_size_that_is_taken_arrives_whole(home: Home, size: int) -> None:
    content = "".join(f"{number:015x}\n" for number in range(size // 16 + 1))[:size]
    done = await home.call("file_write", path=str(home.scratch / "big"), content=content, intent=WHY)
    assert done["ok"], done["error"]
    assert done["result"]["sha256"] == sha(content.encode())
    assert (home.scratch / "big").read_text() == content
    if size > 1024 * 1024:
        places = range(0, 4 * 200_000, 200_000)
        edits = [{"old": content[at : at + 200_000], "new": "x" * 200_000} for at in places]
        edited = await home.call("file_edit", path=str(home.scratch / "big"), edits=edits, intent=WHY)
        assert edited["ok"], edited["error"]
        assert (home.scratch / "big").read_text() == "x" * 800_000 + content[800_000:]
    runs = list(Path("/var/lib/interlock-runs", done["call_id"]).rglob("*"))
    assert not [path for path in runs if path.is_file() and path.stat().st_size > 4_096 + size // 2 and size]


async def test_a_repeated_key_changes_nothing_twice(home: Home) -> None:
    target = home.scratch / "once"
    sent = {"path": str(target), "content": "1\n", "intent": WHY, "idempotency_key": "the-same"}
    first = await home.call("file_write", **sent)
    assert first["ok"], first
    target.write_text("changed since\n")
    again = await home.call("file_write", **sent)
    assert (again["replayed"], again["call_id"], again["result"]) == (True, first["call_id"], first["result"])
    assert target.read_text() == "changed since\n"


@pytest.mark.parametrize("verb", ["upload", "put", "land"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_connection_that_drops_at_any_request_changes_the_file_once(home: Home, verb: str, when: str) -> None:
    target, content = home.scratch / "f", "new\n" * 200_000
    target.write_text("old\n")
    follow, drops = Outpost.follow, [1]

    async def dropped(self: Outpost, do: str, head: Head, body: bytes, on_event: OnEvent) -> Reply:
        if do != verb or not drops:
            return await follow(self, do, head, body, on_event)
        drops.clear()
        if when == "after":
            await follow(self, do, head, body, on_event)
        self.close()
        raise OutpostLost("cut")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Outpost, "follow", dropped)
        done = await home.call("file_write", path=str(target), content=content, intent=WHY)
    assert not drops
    assert done["state"] == "succeeded", done
    assert target.read_text() == content
    undone = await home.call("call_undo", call_id=done["call_id"], intent="It was not wanted")
    assert undone["ok"], undone["error"]
    assert target.read_text() == "old\n"


REFUSED: dict[str, tuple[str, Callable[[Path], dict[str, Any]], str, str]] = {
    "an edit whose text is not there": (
        "file_edit",
        lambda at: {"path": f"{at}/conf", "edits": [{"old": "none", "new": "x"}]},
        "ARGUMENT_INVALID",
        "edits[0]",
    ),
    "an edit whose text is there too often": (
        "file_edit",
        lambda at: {"path": f"{at}/conf", "edits": [{"old": "o", "new": "x"}, {"old": "l", "new": "y", "count": 3}]},
        "ARGUMENT_INVALID",
        "edits[1]",
    ),
    "a lost update": (
        "file_write",
        lambda at: {"path": f"{at}/conf", "content": "x", "expected_sha256": sha(b"other")},
        "STALE_STATE",
        "expected_sha256",
    ),
    "a missing folder": (
        "file_write",
        lambda at: {"path": f"{at}/a/b", "content": "x"},
        "PATH_INVALID",
        "path",
    ),
    "a destination that exists": (
        "file_move",
        lambda at: {"path": f"{at}/conf", "destination": f"{at}/tree/one"},
        "PATH_INVALID",
        "destination",
    ),
    "a folder without recursive": ("file_delete", lambda at: {"path": f"{at}/tree"}, "PATH_INVALID", "recursive"),
    "nothing there": ("file_delete", lambda at: {"path": f"{at}/none"}, "PATH_INVALID", "path"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_refusal_is_the_contracts_and_leaves_nothing_behind(home: Home, name: str) -> None:
    grown(home.scratch)
    before = picture(home.scratch)
    tool, arguments, code, path = REFUSED[name]
    done = await home.call(tool, **arguments(home.scratch), intent=WHY)
    assert (done["error"]["code"], done["error"]["path"]) == (code, path), done
    step = done["error"]["recovery"]
    if step["action"] == "use_tool":
        assert (await home.call(step["tool"], **step["arguments"]))["ok"]
    assert picture(home.scratch) == before
    assert (done["effects"]["observed"], done["undo"]["available"]) == ("none", False)
    rundir = Path("/var/lib/interlock-runs", done["call_id"])
    assert {path.name for path in rundir.iterdir()} <= {"ended", "void"}


async def test_a_tree_of_many_files_goes_and_comes_back(home: Home) -> None:
    tree = home.scratch / "many"
    for number in range(3_000):
        old_file(tree / str(number % 30) / f"f{number}", f"{number}\n")
    before = picture(home.scratch)
    done = await home.call("file_delete", path=str(tree), recursive=True, intent=WHY)
    assert done["state"] == "succeeded", done
    assert done["result"]["entries"] == 3_031
    assert not tree.exists()
    assert done["effects"]["left_out"] > 0
    undone = await home.call("call_undo", call_id=done["call_id"], intent="It was needed")
    assert undone["ok"], undone["error"]
    assert picture(home.scratch) == before


async def test_the_same_content_once_more_is_a_success_that_changes_nothing(home: Home) -> None:
    target = old_file(home.scratch / "conf")
    before = picture(home.scratch)
    done = await home.call("file_write", path=str(target), content="old\n", intent=WHY)
    assert (done["state"], done["effects"]["modified"]) == ("succeeded", []), done
    assert picture(home.scratch) == before


async def test_a_postcondition_is_measured_after_the_change_landed(home: Home) -> None:
    target = home.scratch / "conf"
    checks = [{"check": "path_sha256", "target": str(target), "expected": sha(b"new\n")}]
    done = await home.call("file_write", path=str(target), content="new\n", intent=WHY, verify=checks)
    assert done["state"] == "succeeded", done
    assert done["verified"][0]["passed"]
