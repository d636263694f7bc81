"""How runs end: status, signal, time limit, cancellation; the process table says that the whole tree is gone."""

import os
import time
from collections.abc import Callable

import pytest

from runner_channel import RunnerChannel
from sshd import processes_with

from .conftest import eventually, gone, names_in

Helpers = Callable[..., RunnerChannel]
LEVELS = ("none", "confined") if os.geteuid() == 0 else ("none",)
# A child in a session of its own, one that ignores TERM, one that is double-forked, one that stops itself.
STUBBORN = (
    "setsid sleep 301 & (trap '' TERM; sleep 302; sleep 303) & ( (setsid sh -c 'sleep 304; true' &) & ) ; "
    "sh -c 'kill -STOP $$; sleep 305' & trap 'echo got TERM' TERM; while :; do sleep 0.1; done"
)


def mark(run: str) -> str:
    return f"INTERLOCK_CALL={run}"


@pytest.mark.parametrize("level", LEVELS)
def test_status_and_signal_are_the_commands_own(helper: Helpers, run: str, level: str) -> None:
    one = helper()
    one.ask("hello")
    ended = [one.run(f"{run}-{n}", command, level=level)["end"] for n, command in enumerate(("exit 7", "kill -9 $$"))]
    assert [(end["exit_code"], end["signal"], end["why"], end["began"]) for end in ended] == [
        (7, 0, "", True),
        (None, 9, "", True),
    ]
    assert {end["level"] for end in ended} == {level}


@pytest.mark.parametrize("level", LEVELS)
def test_a_cancellation_ends_the_whole_tree_and_says_how_many(helper: Helpers, run: str, level: str) -> None:
    one, other = helper(), helper()
    one.ask("hello")
    number = one.start(run, STUBBORN, level=level)
    eventually(lambda: len(processes_with(mark(run))) >= 6)
    told = other.ask("cancel", run=run, grace_seconds=0.4, reason="by hand")
    assert told["found"] >= 6
    assert (told["left"], told["state"]) == (0, "ended")
    assert gone(mark(run), 0.5)
    answer = one.wait(number)
    assert (answer["end"]["why"], answer["end"]["reason"], answer["end"]["left"]) == ("cancelled", "by hand", 0)
    assert b"got TERM" in answer["stdout"]


@pytest.mark.parametrize("level", LEVELS)
def test_a_time_limit_ends_the_whole_tree(helper: Helpers, run: str, level: str) -> None:
    one = helper()
    one.ask("hello")
    began = time.monotonic()
    answer = one.run(run, "echo said; setsid sleep 301 & sleep 302", level=level, timeout_seconds=1.5)
    assert time.monotonic() - began < 8
    assert (answer["end"]["why"], answer["end"]["left"], answer["stdout"]) == ("timeout", 0, b"said\n")
    assert answer["end"]["found"] >= 2
    assert gone(mark(run), 0.5)


def test_a_cancellation_during_the_drain_or_after_the_end_changes_nothing(helper: Helpers, run: str) -> None:
    one = helper()
    answer = one.run(run, "exit 3")
    assert one.ask("cancel", run=run) | {"n": 0} == {
        "n": 0, "ok": True, "state": "ended", "found": 0, "left": 0, "body": b"", "stdout": b"", "stderr": b"",
    }  # fmt: skip
    assert one.ask("attach", run=run)["end"] == answer["end"]


def test_a_late_cancellation_never_meets_the_supervisors_next_run(helper: Helpers, place: str, run: str) -> None:
    import signal

    from interlock.runner.recording import run_record

    one = helper()
    one.run(run + "-a", "true")
    number = one.start(run + "-b", "sleep 0.5; echo whole")
    eventually(lambda: run_record(f"{place}/{run}-b")[1].get("pid"))
    pids = {name: run_record(f"{place}/{run}-{name}")[1]["pid"] for name in "ab"}
    assert pids["a"] == pids["b"]
    os.kill(pids["a"], signal.SIGTERM)
    assert one.wait(number)["stdout"] == b"whole\n"


def test_a_supervisor_that_is_stopped_is_killed_in_the_end(helper: Helpers, place: str, run: str) -> None:
    import signal

    from interlock.runner.recording import run_record

    one = helper()
    number = one.start(run, "sleep 306")
    eventually(lambda: run_record(f"{place}/{run}")[1].get("pid") and processes_with(mark(run)))
    os.kill(run_record(f"{place}/{run}")[1]["pid"], signal.SIGSTOP)
    told = one.ask("cancel", run=run, grace_seconds=0)
    assert (told["state"], told["left"]) == ("lost", 0)
    assert one.wait(number)["state"] == "lost"
    assert gone(mark(run), 0.5)


def test_what_cannot_begin_says_why(helper: Helpers, place: str, run: str) -> None:
    one = helper()
    one.run(run, "true")  # so that both ways are walked: a shell that waits, and one that is started
    for number, (why, order) in enumerate(
        [
            ("no_cwd", {"cwd": "/nowhere"}),
            ("no_cwd", {"cwd": "/nowhere", "argv": ["true"]}),
            ("no_shell", {"shell": "/nowhere/bash"}),
            ("no_shell", {"argv": ["/nowhere/program"]}),
        ]
    ):
        end = one.run(f"{run}-{number}", "echo never", **order)["end"]
        assert (end["why"], end["began"], end["exit_code"], end["out_bytes"]) == (why, False, None, 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="rooms of root")
def test_a_room_that_cannot_be_had_says_why_and_nothing_ran(helper: Helpers, work, run: str) -> None:
    one = helper()
    one.ask("hello")
    end = one.run(run, f"touch {work}/x", level="confined", writes=["/proc/sys"])["end"]
    assert (end["why"], end["began"]) == ("room", False)
    assert "/proc/sys" in end["reason"]
    (work / "link").symlink_to("/etc")
    moved = one.run(run + "-m", "true", level="confined", writes=[f"{work}/link/x"])
    assert (moved["fault"], moved["state"]) == ("moved", "ended")
    assert list(work.iterdir()) == [work / "link"]


@pytest.mark.parametrize("level", ["none", "confined", "staged"])
def test_a_path_that_leads_elsewhere_than_when_it_was_decided_begins_nothing(
    helper: Helpers, place: str, work, run: str, level: str
) -> None:
    if level != "none" and os.geteuid() != 0:
        pytest.skip("rooms of root")
    one = helper()
    one.ask("hello")
    (work / "there").mkdir()
    (work / "link").symlink_to("there")
    (work / "loop").symlink_to("loop")
    as_decided = [[f"{work}/link", False, f"{work}/link"], [f"{work}/link/x/../y", True, f"{work}/there/y"]]
    for number in range(3):  # the later ones by a supervisor that waited
        name = f"{run}-{level}-{number}"
        assert one.run(name, "true", level=level, paths=as_decided)["end"]["exit_code"] == 0
        for which, wrong in enumerate(([f"{work}/link", True, f"{work}/link"], [f"{work}/loop", True, f"{work}/loop"])):
            moved = one.run(f"{name}-{which}", f"touch {work}/ran", level=level, paths=[*as_decided, wrong])
            assert (moved["fault"], moved["state"]) == ("moved", "ended")
            assert not moved["end"]["began"]
            assert names_in(place, f"{name}-{which}") == ["ended"], "no layer is left"
    assert not (work / "ran").exists()
