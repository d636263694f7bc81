"""File work through the helper: a layer without a command, held, landed, undone. The disk is the witness."""

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runner_channel import RunnerChannel, runner_channel

from .test_layers import USER, tree

Helpers = Callable[..., RunnerChannel]
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="rooms of root")


def put(one: RunnerChannel, run: str, work: Path, body: bytes = b"", **given: object) -> dict:
    return one.ask("put", body, run=run, work={"declared": [str(work)], **given})


def test_file_work_is_held_shown_landed_and_undone_like_a_staged_run(
    helper: Helpers, place: str, work: Path, run: str
) -> None:
    (work / "old").write_text("old\n")
    one = helper()
    made = put(one, run, work, b"new\n", kind="write", path=f"{work}/old")
    assert tree(work) == {"old": "old\n"}
    assert ([change["op"] for change in made["changes"]], made["end"]["observed"]) == (["modify"], "staged")
    assert put(one, run, work, b"other\n", kind="write", path=f"{work}/old")["layer"] == made["layer"]
    diff = one.ask("diff", run=run, bytes_max=10_000)["body"].decode()
    assert "-old" in diff
    assert "+new" in diff
    assert one.ask("attach", run=run)["layer"] == made["layer"]
    assert one.ask("land", run=run, digest=made["layer"])["landed"] == 1
    assert tree(work) == {"old": "new\n"}
    assert one.ask("diff", run=run)["fault"] == "absent"
    assert one.ask("undo", run=run)["undone"] == 1
    assert tree(work) == {"old": "old\n"}
    assert one.ask("expire", days=0)["removed"] == 1


def test_file_work_that_is_refused_says_so_in_the_contracts_words_and_takes_its_id(
    helper: Helpers, work: Path, run: str
) -> None:
    one = helper()
    refused = put(one, run, work, kind="delete", path=f"{work}/nothing")
    assert (refused["ok"], bool(refused["code"]), bool(refused["reason"])) == (False, True, True)
    (work / "nothing").write_text("by now there is something")
    again = put(one, run, work, kind="delete", path=f"{work}/nothing")
    assert {**again, "n": 0} == {**refused, "n": 0}
    told = one.ask("attach", run=run)["end"]
    assert (told["why"], told["refusal"]["code"], told["reason"]) == ("refused", refused["code"], refused["reason"])
    assert one.ask("land", run=run, digest="")["fault"] == "absent"
    outside = put(one, run + "-o", work, b"x", kind="write", path="/etc/interlock-test")
    assert outside["code"] == "STALE_STATE"
    assert not Path("/etc/interlock-test").exists()


def test_a_copy_and_a_move_of_files(helper: Helpers, work: Path, run: str) -> None:
    (work / "a").write_text("a\n")
    one = helper()
    for kind, expected in (("copy", {"a": "a\n", "b": "a\n"}), ("move", {"b": "a\n", "c": "a\n"})):
        target = "b" if kind == "copy" else "c"
        made = put(one, f"{run}-{kind}", work, kind=kind, path=f"{work}/a", destination=f"{work}/{target}")
        assert one.ask("land", run=f"{run}-{kind}", digest=made["layer"])["state"] == "landed"
        assert tree(work) == expected


def test_a_put_whose_worker_was_killed_is_made_ready_again(helper: Helpers, work: Path, run: str) -> None:
    broken = helper(faults="worker-start=kill")
    assert put(broken, run, work, b"x", kind="write", path=f"{work}/x")["fault"] == "internal"
    made = put(helper(), run, work, b"x", kind="write", path=f"{work}/x")
    assert [change["op"] for change in made["changes"]] == ["create"]


def test_what_is_held_longer_than_anybody_would_land_it_goes(helper: Helpers, place: str, work: Path, run: str) -> None:
    one = helper()
    put(one, run, work, b"x", kind="write", path=f"{work}/x")
    assert one.ask("expire", days=0, held_days=1, age_seconds_min=0)["removed"] == 0
    assert one.ask("expire", days=0, held_days=0)["removed"] == 1
    assert not Path(place, run).exists()
    assert tree(work) == {}


@pytest.mark.parametrize("step", ["put-begun", "put-ready", "put-ended"])
def test_a_put_that_was_killed_at_any_step_is_made_ready_once(helper: Helpers, work: Path, run: str, step: str) -> None:
    (work / "x").write_text("old\n")
    broken = helper(faults=f"{step}=kill")
    assert put(broken, run, work, b"new\n", kind="write", path=f"{work}/x")["fault"] == "internal"
    one = helper()
    made = put(one, run, work, b"new\n", kind="write", path=f"{work}/x")
    assert [change["op"] for change in made["changes"]] == ["modify"]
    assert tree(work) == {"x": "old\n"}
    assert one.ask("land", run=run, digest=made["layer"])["landed"] == 1
    assert tree(work) == {"x": "new\n"}


def test_content_that_comes_in_pieces_is_whole_or_refused(helper: Helpers, place: str, work: Path, run: str) -> None:
    one, content = helper(), os.urandom(3 * 2**20 + 5)
    pieces = [(at, content[at : at + 2**20]) for at in range(0, len(content), 2**20)]
    named = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    work_of = {"declared": [str(work)], "kind": "write", "path": f"{work}/x"}
    assert one.ask("put", run=run, work=work_of, upload=named)["fault"] == "bad_request"
    for at, piece in reversed(pieces[1:]):
        assert one.ask("upload", piece, run=run, offset=at)["taken"] == at + len(piece)
    assert one.ask("put", run=run, work=work_of, upload=named)["fault"] == "bad_request"
    for at, piece in pieces[:2]:  # one of them for the second time
        one.ask("upload", piece, run=run, offset=at)
    made = one.ask("put", run=run, work=work_of, upload=named)
    assert made["result"]["sha256"] == named["sha256"]
    assert not Path(place, run, "upload").exists()
    assert one.ask("upload", b"later", run=run, offset=0)["ok"]
    assert one.ask("land", run=run, digest=made["layer"])["landed"] == 1
    assert (work / "x").read_bytes() == content
    assert one.ask("upload", b"x", run=run + "-o", offset=2**30)["fault"] == "bad_request"


def test_content_that_nobody_came_back_for_goes_with_its_id(helper: Helpers, place: str, work: Path, run: str) -> None:
    one = helper()
    one.ask("upload", b"x" * 1000, run=run, offset=0)
    assert one.ask("cancel", run=run, grace_seconds=0.0)["state"] in ("absent", "lost")
    assert not Path(place, run, "upload").exists()
    assert one.ask("upload", b"x", run=run, offset=0)["fault"] == "absent"
    assert put(one, run, work, b"x", kind="write", path=f"{work}/x")["fault"] == "absent"
    assert tree(work) == {}


def test_a_put_that_is_cancelled_while_it_is_made_ready_ends_and_leaves_nothing(
    helper: Helpers, place: str, work: Path, run: str
) -> None:
    one = helper(faults="put-ready=stall:30")
    number = one.send("put", b"x", run=run, work={"declared": [str(work)], "kind": "write", "path": f"{work}/x"})
    until = time.monotonic() + 10
    while not Path(place, run, "begun").exists():
        assert time.monotonic() < until
        time.sleep(0.01)
    time.sleep(0.2)
    began = time.monotonic()
    assert one.ask("cancel", run=run, grace_seconds=1.0)["state"] == "ended"
    assert one.wait(number)["end"]["why"] == "cancelled"
    assert time.monotonic() - began < 10
    assert tree(work) == {}
    assert {path.name for path in Path(place, run).iterdir()} <= {"ended", "cancel.json"}


def test_file_work_of_an_ordinary_user_is_exact_where_it_may_and_refused_where_not(
    helper: Helpers, place: str, run: str
) -> None:
    Path(place).chmod(0o755)
    own, work = Path(place, "own"), Path(place, "work")
    for folder in (own, work):
        folder.mkdir(mode=0o700)
    for name in ("mine", "theirs"):
        (work / name).write_text("old\n")
        (work / name).chmod(0o640)
        os.utime(work / name, ns=(10**18, 10**18))
    for path in (own, work, work / "mine"):
        os.chown(path, USER, USER)
    before = [(path.name, path.read_text(), path.stat()) for path in (work / "mine", work / "theirs")]
    with runner_channel(str(own), user=USER, group=USER, extra_groups=[], cwd="/") as one:
        made = put(one, run, work, b"new\n", kind="write", path=f"{work}/mine")
        assert one.ask("land", run=run, digest=made["layer"])["landed"] == 1
        assert (work / "mine").read_text() == "new\n"
        refused = put(one, run + "-t", work, b"new\n", kind="write", path=f"{work}/theirs")
        assert (refused["code"], "cannot keep its owner" in refused["reason"]) == ("PATH_INVALID", True)
        gone = put(one, run + "-d", work, kind="delete", path=f"{work}/theirs")
        assert one.ask("land", run=run + "-d", digest=gone["layer"])["landed"] == 1
        assert not (work / "theirs").exists()
        for name in (run + "-d", run):
            assert one.ask("undo", run=name)["state"] == "undone"
    for name, text, at in before:
        now = (work / name).stat()
        assert (work / name).read_text() == text
        assert (now.st_mode, now.st_uid, now.st_gid) == (at.st_mode, at.st_uid, at.st_gid)
        assert (now.st_mtime_ns, now.st_ino) == (at.st_mtime_ns, at.st_ino)
