"""Layers through the helper: held, landed, undone, discarded; by workers that outlive it. The disk is the witness."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from interlock.runner.tree import seal_tree
from runner_channel import RunnerChannel, runner_channel

from .conftest import eventually, names_in

USER = 64123  # nobody of this machine
Helpers = Callable[..., RunnerChannel]
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="rooms of root")


def staged(one: RunnerChannel, run: str, work: Path, command: str) -> dict:
    one.ask("hello")
    return one.run(run, command, level="staged", network="none", cwd=str(work), writes=[str(work)])


def tree(work: Path) -> dict[str, str]:
    return {str(path.relative_to(work)): path.read_text() for path in sorted(work.rglob("*")) if path.is_file()}


def test_a_staged_run_changes_nothing_until_it_lands_and_an_undo_puts_it_back(
    helper: Helpers, place: str, work: Path, run: str
) -> None:
    (work / "old").write_text("old\n")
    one = helper()
    answer = staged(one, run, work, "echo more >> old; echo new > new; echo t > /tmp/interlock-scratch; echo said")
    assert tree(work) == {"old": "old\n"}
    assert not Path("/tmp/interlock-scratch").exists()
    assert (answer["stdout"], answer["end"]["observed"], answer["end"]["changes"]) == (b"said\n", "staged", 2)
    changes = {(change["op"], change["path"]) for change in answer["changes"]}
    assert changes == {("create", f"{work}/new"), ("modify", f"{work}/old")}
    assert one.ask("land", run=run, digest="0" * 64)["fault"] == "stale"
    landed = one.ask("land", run=run, digest=answer["layer"])
    assert (landed["state"], landed["landed"], landed["undo"]["available"]) == ("landed", 2, True)
    assert tree(work) == {"old": "old\nmore\n", "new": "new\n"}
    assert not Path(place, run, "u").exists()
    assert one.ask("undo", run=run)["undone"] == 2
    assert tree(work) == {"old": "old\n"}


def test_a_run_without_changes_leaves_no_layer(helper: Helpers, place: str, work: Path, run: str) -> None:
    answer = staged(helper(), run, work, "cat /etc/hostname >/dev/null; : > /tmp/x")
    assert (answer["changes"], answer["end"]["changes"], answer["scratch"]) == ([], 0, 1)
    eventually(lambda: names_in(place, run) == ["ended"])


def test_a_discarded_layer_cannot_land(helper: Helpers, place: str, work: Path, run: str) -> None:
    one = helper()
    answer = staged(one, run, work, "echo new > new")
    assert one.ask("expire", days=0, age_seconds_min=0)["removed"] == 0, "what is held does not expire"
    assert one.ask("discard", run=run)["discarded"]
    assert one.ask("land", run=run, digest=answer["layer"])["fault"] == "absent"
    assert tree(work) == {}
    assert not Path(place, run, "u").exists()
    assert one.ask("expire", days=0)["removed"] == 1


def test_what_landed_cannot_be_discarded(helper: Helpers, work: Path, run: str) -> None:
    one = helper()
    answer = staged(one, run, work, "echo new > new")
    one.ask("land", run=run, digest=answer["layer"])
    assert one.ask("discard", run=run)["fault"] == "exists"
    assert one.ask("undo", run=run)["state"] == "undone"


@pytest.mark.parametrize("again", range(12))
def test_two_landings_at_once_land_it_once(again: int, helper: Helpers, work: Path, run: str) -> None:
    (work / "old").write_text("old\n")
    one, other = helper(), helper()
    answer = staged(one, run, work, "echo more >> old")
    asked = [(each, each.send("land", run=run, digest=answer["layer"])) for each in (one, other) * 3]
    told = [each.wait(number) for each, number in asked]
    assert all("state" in r for r in told), told
    assert {(reply["state"], reply["landed"]) for reply in told} == {("landed", 1)}
    assert tree(work) == {"old": "old\nmore\n"}


def test_a_landing_outlives_its_connection(helper: Helpers, work: Path, run: str) -> None:
    one = helper(faults="worker-start=stall:0.6")
    answer = staged(one, run, work, "echo new > new")
    one.send("land", run=run, digest=answer["layer"])
    time.sleep(0.2)
    one.process.send_signal(signal.SIGKILL)
    eventually(lambda: tree(work) == {"new": "new\n"})
    assert helper().ask("land", run=run, digest=answer["layer"])["state"] == "landed"


@pytest.mark.parametrize(
    "command", ["echo more >> old; echo new > new", "rm old; mkdir -p old/a; echo 1 > old/a/b; ln -s a new"]
)
def test_what_was_taken_back_because_the_disk_was_full_lands_once_there_is_room(
    command: str, helper: Helpers, work: Path, run: str
) -> None:
    (work / "old").write_text("old\n")
    first, broken = helper(), helper(faults="landing-carried=raise:28")
    answer = staged(first, run, work, command)
    assert broken.ask("land", run=run, digest=answer["layer"])["fault"] == "no_space"
    assert tree(work) == {"old": "old\n"}
    assert first.ask("land", run=run, digest=answer["layer"])["state"] == "landed"
    assert tree(work) == ({"old": "old\nmore\n", "new": "new\n"} if "more" in command else {"old/a/b": "1\n"})


@pytest.mark.parametrize("verb", ["land", "undo"])
def test_a_disk_that_is_full_after_the_change_is_not_told_like_one_before_it(
    verb: str, helper: Helpers, work: Path, run: str
) -> None:
    first, broken = helper(), helper(faults="landing-settled=raise:28")
    answer = staged(first, run, work, "echo new > new")
    asked = {"land": {"run": run, "digest": answer["layer"]}, "undo": {"run": run}}
    if verb == "undo":
        first.ask("land", **asked["land"])
    assert broken.ask(verb, **asked[verb])["fault"] == "internal"
    assert tree(work) == ({"new": "new\n"} if verb == "land" else {})
    assert first.ask(verb, **asked[verb])["state"] == f"{verb}ed".replace("undoed", "undone")
    assert tree(work) == ({"new": "new\n"} if verb == "land" else {})


def test_a_landing_whose_target_changed_lands_nothing(helper: Helpers, work: Path, run: str) -> None:
    (work / "old").write_text("old\n")
    one = helper()
    answer = staged(one, run, work, "echo more >> old; echo new > new")
    (work / "old").write_text("somebody else\n")
    assert one.ask("land", run=run, digest=answer["layer"])["stale"] == [f"{work}/old"]
    assert tree(work) == {"old": "somebody else\n"}


def test_many_changes_come_in_pieces(helper: Helpers, work: Path, run: str) -> None:
    one = helper()
    answer = staged(one, run, work, "for n in $(seq 1500); do : > $n; done")
    assert (len(answer["changes"]), answer["changes_left"]) == (1000, 500)
    rest = one.ask("changes", run=run, offset=1000)
    assert (len(rest["changes"]), rest["changes_left"], rest["digest"]) == (500, 0, answer["digest"])
    assert one.ask("land", run=run, digest=answer["layer"])["landed"] == 1500
    assert len(tree(work)) == 1500


def test_a_lost_staged_run_landed_nothing_and_leaves_no_layer_behind_it(
    helper: Helpers, place: str, work: Path, run: str
) -> None:
    one = helper()
    one.ask("hello")
    number = one.start(run, "echo new > new; sleep 60", level="staged", cwd=str(work), writes=[str(work)])
    eventually(lambda: Path(place, run, "begun").exists())
    time.sleep(0.3)
    from interlock.runner.recording import run_record

    os.kill(run_record(f"{place}/{run}")[1]["pid"], signal.SIGKILL)
    answer = one.wait(number)
    assert (answer["state"], answer["known"]["level"], answer["known"]["landing"]) == ("lost", "staged", [])
    assert tree(work) == {}
    assert one.ask("expire", days=0)["removed"] == 1
    one.close()
    eventually(lambda: names_in(place) == [".expired"])


def test_an_ordinary_user_stages_and_lands_in_his_own_tree(tmp_path_factory, run: str) -> None:
    import tempfile

    home = Path(tempfile.mkdtemp(prefix="interlock-home-", dir="/srv"))
    os.chown(home, 65534, 65534)
    try:
        with runner_channel(f"{home}/runs", user=65534, group=65534, extra_groups=[]) as one:
            hello = one.ask("hello")
            assert (hello["uid"], hello["base"]) == (65534, f"{home}/runs")
            if "staged" not in hello["abilities"]["levels"]:
                pytest.skip("no rooms for users here: " + str(hello["abilities"]["missing"]))
            (home / "tree").mkdir(mode=0o755)
            os.chown(home / "tree", 65534, 65534)
            environment = {"PATH": "/usr/bin:/bin", "HOME": str(home)}
            order = {"level": "staged", "cwd": f"{home}/tree", "writes": [f"{home}/tree"], "environment": environment}
            answer = one.run(run, "id -u; echo new > new", **order)
            assert (answer["stdout"], tree(home / "tree")) == (b"65534\n", {})
            landed = one.ask("land", run=run, digest=answer["layer"])
            assert landed.get("landed") == 1, landed
            assert (home / "tree" / "new").stat().st_uid == 65534
            assert one.ask("undo", run=run)["undone"] == 1
            assert tree(home / "tree") == {}
            denied = one.run(run + "-c", f"echo x > {home}/tree/x", **{**order, "level": "confined", "writes": []})
            assert b"Read-only" in denied["stderr"]
    finally:
        shutil.rmtree(home, ignore_errors=True)  # what was put aside is still being removed


# ── trees that no layer holds ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("level", ["none", "confined"])
def test_without_a_layer_declared_trees_are_measured_before_and_after(
    helper: Helpers, work: Path, run: str, level: str
) -> None:
    (work / "old").write_text("old\n")
    one = helper()
    one.ask("hello")
    for name in "ab":  # by a supervisor that was started for it, and by one that waited
        order = {"level": level, "cwd": str(work), "writes": [str(work)], "watched": [str(work)]}
        answer = one.run(run + name, f"echo new > new-{name}; echo {name} >> old", **order)
        assert answer["end"]["observed"] == "scanned"
        changes = {(change["op"], change["path"]) for change in answer["changes"]}
        assert changes == {("create", f"{work}/new-{name}"), ("modify", f"{work}/old")}
    quiet = one.run(run + "q", "cat old", **order)
    assert (quiet["changes"], quiet["end"]["changes"], quiet["end"]["observed"]) == ([], 0, "scanned")
    assert one.ask("land", run=run + "a", digest="")["fault"] == "absent"
    assert one.ask("expire", days=0)["removed"] == 3


def test_a_confined_run_never_writes_through_a_name_outside(helper: Helpers, place: str, work: Path, run: str) -> None:
    (work / "tree").mkdir()
    (work / "outside").write_text("whole\n")
    os.link(work / "outside", work / "tree" / "inside")
    one = helper()
    one.ask("hello")
    answer = one.run(run, f"echo broken > {work}/tree/inside", level="confined", writes=[f"{work}/tree"])
    assert (answer["end"]["why"], answer["end"]["began"]) == ("room", False)
    assert "another name" in answer["end"]["reason"]
    assert (work / "outside").read_text() == "whole\n"


def test_a_mount_that_goes_between_the_plan_and_the_room_costs_a_second_room_and_not_the_run(
    helper: Helpers, place: str, work: Path, run: str
) -> None:
    point = work / "mounted"
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "leaves", str(point)], check=True)
    one = helper(faults="room-start=stall:1.0")
    one.ask("hello")
    asked = one.start(
        run, "echo more > new; cat", b"in\n", level="staged", network="none", cwd=str(work), writes=[str(work)]
    )
    time.sleep(0.5)
    subprocess.run(["umount", str(point)], check=True)
    point.rmdir()
    answer = one.wait(asked)
    assert (answer["end"]["why"], answer["end"]["exit_code"], answer["stdout"]) == ("", 0, b"in\n"), answer["end"]
    assert [change["path"] for change in answer["changes"]] == [f"{work}/new"]
    assert one.ask("land", run=run, digest=answer["layer"])["state"] == "landed"
    assert tree(work) == {"new": "more\n"}
    assert not Path(place, run, "u").exists()


def test_what_no_second_room_can_be_built_for_is_refused_and_leaves_nothing(
    helper: Helpers, place: str, work: Path, run: str
) -> None:
    one = helper(faults="room-start=raise:5")
    answer = staged(one, run, work, "echo new > new")
    assert (answer["end"]["why"], answer["end"]["began"], answer["changes"]) == ("room", False, [])
    assert tree(work) == {}
    eventually(lambda: names_in(place, run) == ["ended"])


# ── what is held is what was shown ───────────────────────────────────────────────────────────────────────────────────


def changes_file(place: str, run: str) -> Path:
    return Path(place, run, "changes.json")


@pytest.mark.parametrize("tamper", ["content", "equal-size", "mode", "gone", "other", "inside"])
def test_a_layer_that_was_touched_while_it_was_held_lands_nothing(
    tamper: str, helper: Helpers, place: str, work: Path, run: str
) -> None:
    (work / "old").write_text("old\n")
    one = helper()
    answer = staged(one, run, work, "echo more >> old; echo new > new; mkdir tree; echo leaf > tree/leaf")
    layer = Path(json.loads(changes_file(place, run).read_text())["sources"][f"{work}/new"])
    looks = layer.stat()
    if tamper == "content":
        layer.write_text("something else\n")
    elif tamper == "equal-size":
        layer.write_text("wen\n")
        os.utime(layer, ns=(looks.st_atime_ns, looks.st_mtime_ns))
    elif tamper == "mode":
        layer.chmod(0o4755)
    elif tamper == "gone":
        layer.unlink()
    elif tamper == "other":
        layer.rename(layer.with_name("aside"))
        layer.write_text("new\n")
    else:
        (layer.parent / "tree" / "more").write_text("more\n")
    told = one.ask("land", run=run, digest=answer["layer"])
    assert (told["ok"], told["fault"]) == (False, "moved")
    assert tree(work) == {"old": "old\n"}


def after_a_crash(place: str, run: str, lost: Path | None) -> None:
    """Make the run's record look as it does when the host came up again, the bytes of one file lost on the way."""
    record = json.loads(changes_file(place, run).read_text())
    record["boot"] = "of-before"
    if lost is not None:
        source = Path(record["sources"][str(lost)])
        source.write_bytes(b"\0" * source.stat().st_size)
        for path, text in record["sources"].items():  # a crash touches no inode's times as a write does
            folder = os.open(Path(text).parent, os.O_RDONLY)
            record["seals"][path] = seal_tree(folder, Path(text).name, ours=True).text()
            os.close(folder)
    changes_file(place, run).write_text(json.dumps(record))


def test_a_layer_whose_bytes_were_lost_in_a_crash_of_the_host_lands_nothing(
    helper: Helpers, place: str, work: Path, run: str
) -> None:
    (work / "old").write_text("old\n")
    one = helper()
    answer = staged(one, run, work, "echo more >> old; echo new > new")
    after_a_crash(place, run, work / "new")
    told = one.ask("land", run=run, digest=answer["layer"])
    assert (told["ok"], told["fault"], str(work / "new") in told["reason"]) == (False, "moved", True)
    assert tree(work) == {"old": "old\n"}


def test_a_layer_that_came_through_a_crash_of_the_host_whole_lands(
    helper: Helpers, place: str, work: Path, run: str
) -> None:
    (work / "old").write_text("old\n")
    (work / "gone").write_text("gone\n")
    one = helper()
    command = "echo more >> old; mkdir -p tree/below; echo leaf > tree/below/leaf; ln -s below/leaf tree/link; rm gone"
    answer = staged(one, run, work, command)
    after_a_crash(place, run, None)
    assert one.ask("land", run=run, digest=answer["layer"])["state"] == "landed"
    assert tree(work) == {"old": "old\nmore\n", "tree/below/leaf": "leaf\n", "tree/link": "leaf\n"}


@pytest.mark.parametrize("writes_there", [False, True])
def test_a_file_system_that_is_unmounted_during_a_run_is_not_blamed_on_it(
    writes_there: bool, helper: Helpers, work: Path, run: str
) -> None:
    apart = work / "apart"
    apart.mkdir(mode=0o750)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", apart], check=True)
    one = helper()
    one.ask("hello")
    try:
        command = f"{'echo x > apart/x; ' if writes_there else ''}echo x > beside; echo made; sleep 0.8"
        number = one.start(run, command, level="staged", network="none", cwd=str(work), writes=[str(work)])
        eventually(lambda: b"made" in b"".join(body for _, body in _events(one, number)))
    finally:
        subprocess.run(["umount", "-l", apart], check=True)
    answer = one.wait(number)
    assert answer["end"]["exit_code"] == 0
    if writes_there:
        assert (answer["end"]["observed"], answer["changes"]) == ("none", [])
        assert "is another directory now" in " ".join(answer["end"]["notes"])
    else:
        assert [change["path"] for change in answer["changes"]] == [f"{work}/beside"]
    assert sorted(path.name for path in work.iterdir()) == ["apart"]
    assert apart.stat().st_mode & 0o7777 == 0o750


def _events(one: RunnerChannel, number: int) -> list[tuple[dict, bytes]]:
    with contextlib.suppress(TimeoutError):
        one.receive(0.05)
    return one.events[number]
