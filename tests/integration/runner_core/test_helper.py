"""The helper: many runs at once, every request answered or refused, bad frames the end of it and of nothing else."""

import contextlib
import os
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from interlock.runner.frames import FRAME_BYTES_MAX
from runner_channel import RunnerChannel

from .conftest import eventually, names_in

Helpers = Callable[..., RunnerChannel]


def test_three_hundred_runs_at_once_all_end(helper: Helpers, work: Path, run: str) -> None:
    one = helper()
    numbers = [one.start(f"{run}-{n}", f"echo {n} >> {work}/count; sleep 0.5; echo {n}") for n in range(300)]
    for n, number in enumerate(numbers):
        answer = one.wait(number, 120)
        assert (answer["end"]["exit_code"], answer["stdout"]) == (0, b"%d\n" % n)
    assert sorted(map(int, (work / "count").read_text().split())) == list(range(300))


def test_it_answers_while_runs_go_on(helper: Helpers, place: str, run: str) -> None:
    one = helper()
    numbers = [one.start(f"{run}-{n}", "sleep 1") for n in range(20)]
    eventually(lambda: Path(place, f"{run}-19", "begun").exists())
    began = time.monotonic()
    assert one.ask("here")["here"]
    assert time.monotonic() - began < 0.5
    for number in numbers:
        one.wait(number)


@pytest.mark.parametrize("step", ["helper-forked", "helper-ordered"])
def test_what_was_begun_is_followed_even_where_it_could_not_be_listened_to(
    step: str, helper: Helpers, work: Path, run: str
) -> None:
    one = helper(faults=f"{step}=raise:12")
    for number in range(3):  # the later ones are given to whoever waits for them
        answer = one.run(f"{run}-{number}", f"echo x >> {work}/count; echo {number}")
        assert answer["stdout"] == b"%d\n" % number, answer
    assert (work / "count").read_text() == "x\n" * 3


def test_whoever_hears_nothing_may_ask_whether_anybody_is_there(helper: Helpers) -> None:
    assert helper().ask("here")["ok"]


@pytest.mark.parametrize(
    ("request_", "fault"),
    [
        ({"do": "fly"}, "unknown_verb"),
        ({"do": ["start"]}, "unknown_verb"),
        ({"do": "start", "run": "../x", "command": "true"}, "bad_request"),
        ({"do": "start"}, "bad_request"),
        ({"do": "attach", "run": "x/y"}, "bad_request"),
        ({"do": "attach", "run": "x", "out": -1}, "bad_request"),
        ({"do": "attach", "run": "x", "out": "1"}, "bad_request"),
        ({"do": "cancel", "run": "x", "grace_seconds": 1e9}, "bad_request"),
        ({"do": "land", "run": "none-such", "digest": "0"}, "absent"),
        ({"do": "undo", "run": "none-such"}, "absent"),
        ({"do": "start", "run": "x", "command": "true", "paths": "x"}, "bad_request"),
        ({"do": "start", "run": "x", "command": "true", "paths": [1]}, "bad_request"),
        ({"do": "start", "run": "x", "command": "true", "paths": [["x", True, "/x"]]}, "bad_request"),
        ({"do": "start", "run": "x", "command": "true", "paths": [["/x", 1, "/x"]]}, "bad_request"),
    ],
)
def test_a_request_that_cannot_be_is_answered_with_a_fault(helper: Helpers, request_: dict, fault: str) -> None:
    one = helper()
    do = request_.pop("do")
    answer = one.ask(do, **request_)
    assert (answer["ok"], answer["fault"], bool(answer["reason"])) == (False, fault, True)
    assert one.ask("here")["ok"]


@pytest.mark.parametrize(
    "sent",
    [
        struct.pack(">II", FRAME_BYTES_MAX + 1, 0),
        struct.pack(">II", 2, 0) + b"[]",
        struct.pack(">II", 2, 0) + b"{}",
        struct.pack(">II", 9, 0) + b'{"n":"a"}',
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_a_bad_frame_ends_the_helper_and_not_its_runs(helper: Helpers, run: str, sent: bytes) -> None:
    one = helper()
    one.start(run, "sleep 0.3; echo whole")
    one.ask("here")
    one.process.stdin.write(sent)
    assert one.process.wait(10) == 2
    assert "interlock: " in one.said()
    assert helper().ask("attach", run=run)["stdout"] == b"whole\n"


def test_half_a_request_is_no_request(helper: Helpers, place: str, run: str) -> None:
    from interlock.runner.frames import encode_frame
    from runner_channel import order_of

    one = helper()
    one.ask("hello")
    one.process.stdin.write(encode_frame({"n": 9, "do": "start", **order_of(run, "true")})[:-3])
    assert one.close() == 0
    assert list(Path(place).iterdir()) == []


def test_hello_says_who_and_where(helper: Helpers, place: str) -> None:
    from interlock.hosts.program import program

    one = helper()
    hello = one.ask("hello")
    assert (hello["digest"], hello["uid"], hello["base"]) == (program().digest, os.geteuid(), place)
    assert hello["abilities"]["levels"][0] == "none"
    assert not hello["known"]


@pytest.mark.parametrize("other", ["", "digest", "uid", "gid", "boot", "node", "base", "abilities"])
def test_what_an_earlier_helper_said_is_believed_of_this_program_user_place_and_boot_only(
    other: str, helper: Helpers
) -> None:
    said = {key: value for key, value in helper().ask("hello").items() if not isinstance(value, bytes)}
    marked = {**said, "abilities": {**said["abilities"], "kernel": "as it was said", "free_bytes": -1}}
    if other:
        marked[other] = "another"
    again = helper().ask("hello", known=marked)
    assert again["known"] == (not other)
    assert again["abilities"]["kernel"] == (os.uname().release if other else "as it was said")
    assert again["abilities"]["free_bytes"] > 0, "room on the disk is looked at again"
    assert again["boot"] == said["boot"]


def test_run_directories_are_the_users_alone(helper: Helpers, place: str, run: str) -> None:
    one = helper()
    one.run(run, "echo x; touch /dev/null")
    assert Path(place).stat().st_mode & 0o777 == 0o700
    assert Path(place, run).stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in Path(place, run).iterdir()} == {0o600}


def test_a_place_that_is_a_link_is_refused_and_nothing_runs(helper: Helpers, place: str, work: Path, run: str) -> None:
    Path(place).rmdir()
    Path(place).symlink_to(work)
    answer = helper().run(run, "true")
    Path(place).unlink()
    Path(place).mkdir(mode=0o700)
    assert answer["fault"] == "unavailable"
    assert list(work.iterdir()) == []


def test_a_disk_that_is_full_refuses_the_claim_and_does_not_take_the_id(helper: Helpers, place: str, run: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounts a small file system")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "small", place], check=True)
    try:
        one = helper()
        Path(place, "filler").write_bytes(bytes(60_000))
        with Path(place, "filler2").open("wb") as file, pytest.raises(OSError, match="space"):
            while True:
                os.write(file.fileno(), bytes(4096))
        assert one.run(run, "true")["fault"] == "no_space"
        assert not Path(place, run).exists()
        Path(place, "filler").unlink()
        assert one.run(run, "echo now")["stdout"] == b"now\n"
        assert one.ask("cancel", run=run)["state"] == "ended"
        one.close()
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_a_disk_that_fills_up_loses_output_and_neither_the_end_nor_a_cancellation(
    helper: Helpers, place: str, run: str
) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k,mode=700", "small", place], check=True)
    try:
        one = helper()
        answer = one.run(run, "head -c 300000 /dev/zero; echo end; exit 3")
        assert (answer["end"]["exit_code"], answer["end"]["out_bytes"]) == (3, 300_004)
        assert 0 < answer["end"]["out_kept"] < 131072
        assert "not kept" in " ".join(answer["end"]["notes"])
        assert helper().ask("attach", run=run)["end"] == answer["end"]
        one.close()
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_old_runs_expire_on_a_full_disk_too_and_are_remembered(helper: Helpers, place: str, run: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k,mode=0700", "tmpfs", place], check=True)
    try:
        one = helper()
        one.run(run, "head -c 200000 /dev/zero")
        with Path(place, ".filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
            while filler.write(b"x" * 4096):
                pass
        assert one.ask("expire", days=0)["removed"] == 1
        assert not Path(place, run).exists()
        assert one.ask("attach", run=run)["fault"] == "expired"
        one.close()
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_old_and_too_many_runs_expire_and_one_that_runs_never(helper: Helpers, place: str, run: str) -> None:
    one = helper()
    for n in range(6):
        one.run(f"{run}-{n}", "head -c 100000 /dev/zero")
        os.utime(f"{place}/{run}-{n}", (time.time() - 86400 * (6 - n), time.time() - 86400 * (6 - n)))
    number = one.start(f"{run}-on", "sleep 1; echo whole")
    eventually(lambda: Path(place, f"{run}-on", "begun").exists())
    os.utime(f"{place}/{run}-on", (0, 0))
    left = lambda: sorted(name.rpartition("-")[2] for name in names_in(place) if name[0] != ".")  # noqa: E731 - read again and again
    assert one.ask("expire", days=4.5)["removed"] == 2
    assert left() == ["2", "3", "4", "5", "on"]
    assert one.ask("expire", days=99, count_max=4, keep=[f"{run}-2"])["removed"] == 1
    assert left() == ["2", "4", "5", "on"]
    assert one.ask("expire", days=99, bytes_max=130_000)["removed"] == 0
    assert [Path(place, f"{run}-{n}", "out").exists() for n in "245"] == [False, False, True], "output goes first"
    assert one.ask("expire", days=99, bytes_max=15_000)["removed"] == 1
    assert left() == ["4", "5", "on"]
    assert one.ask("expire", days=99, bytes_max=0, age_seconds_min=1e9)["removed"] == 0
    for verb in ("start", "attach"):
        assert one.ask(verb, run=f"{run}-0", command="echo again", level="none")["fault"] == "expired", verb
    assert not Path(place, f"{run}-0").exists()
    assert one.wait(number)["stdout"] == b"whole\n"
