"""Spares: a shell that waits is used once, is like any other, and goes when nobody comes."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runner_channel import RunnerChannel
from sshd import descendants

from .conftest import eventually, names_in

Helpers = Callable[..., RunnerChannel]
LEVELS = ("none", "confined") if os.geteuid() == 0 else ("none",)


def supervisor_of(place: str, run: str) -> int:
    from interlock.runner.recording import run_record

    return run_record(f"{place}/{run}")[1]["pid"]


@pytest.mark.parametrize("level", LEVELS)
def test_the_next_run_of_a_kind_finds_a_supervisor_that_was_there_before_it(
    helper: Helpers, place: str, run: str, level: str
) -> None:
    one = helper()
    one.ask("hello")
    order = {"level": level, "network": "none" if level != "none" else "outbound"}
    one.run(run + "-a", "true", **order)
    eventually(lambda: descendants(one.process.pid))
    time.sleep(0.5)
    waiting = set(descendants(one.process.pid))
    answer = one.run(run + "-b", "echo $$ $PPID; exit 3", **order)
    assert (answer["end"]["exit_code"], answer["end"]["began"], answer["end"]["level"]) == (3, True, level)
    assert supervisor_of(place, run + "-b") in waiting


@pytest.mark.skipif(os.geteuid() != 0, reason="rooms of root")
def test_a_room_serves_one_run_only_and_what_it_wrote_in_tmp_is_gone(helper: Helpers, place: str, run: str) -> None:
    one = helper()
    one.ask("hello")
    said = []
    for n in range(4):
        answer = one.run(f"{run}-{n}", "ls /tmp/left 2>/dev/null; echo x > /tmp/left; cat /tmp/left", level="confined")
        said.append((answer["end"]["exit_code"], answer["stdout"]))
        time.sleep(0.3)
    assert said == [(0, b"x\n")] * 4
    assert len({supervisor_of(place, f"{run}-{n}") for n in range(4)}) == 4
    one.close()
    eventually(lambda: names_in(place) == sorted(f"{run}-{n}" for n in range(4)))


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_a_room_from_before_a_mount_is_not_used_after_it(helper: Helpers, work: Path, run: str) -> None:
    one = helper()
    one.ask("hello")
    one.run(run + "-a", "true", level="confined")
    time.sleep(0.5)
    subprocess.run(["mount", "-t", "tmpfs", "new", str(work)], check=True)
    try:
        (work / "mounted").write_text("here\n")
        assert one.run(run, f"cat {work}/mounted", level="confined")["stdout"] == b"here\n"
    finally:
        subprocess.run(["umount", "-l", str(work)], check=True)


def test_another_environment_is_another_kind(helper: Helpers, run: str) -> None:
    one = helper()
    for value in ("one", "two", "one", "two"):
        answer = one.run(f"{run}-{value}-{time.monotonic_ns()}", "echo $V", environment={"V": value, "PATH": "/bin"})
        assert answer["stdout"] == value.encode() + b"\n"


def test_of_many_supervisors_one_stays(helper: Helpers, run: str) -> None:
    one = helper()
    numbers = [one.start(f"{run}-{n}", "sleep 0.2") for n in range(20)]
    for number in numbers:
        one.wait(number)
    eventually(lambda: one.ask("resolve", paths=[]) and len(supervisors(one)) <= 1)
    assert one.close() == 0


def supervisors(one: RunnerChannel) -> list[int]:
    return [pid for pid in descendants(one.process.pid) if parent(pid) == one.process.pid and state(pid) != "Z"]


def parent(pid: int) -> int:
    return int(fields(pid)[1])


def state(pid: int) -> str:
    return fields(pid)[0]


def fields(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["Z", "0"]


def test_a_killed_waiting_shell_costs_nothing_but_time(helper: Helpers, work: Path, run: str) -> None:
    one = helper()
    one.run(run + "-a", "true")
    time.sleep(0.3)
    for pid in supervisors(one):
        for child in descendants(pid):
            os.kill(child, 9)
    time.sleep(0.1)
    assert one.run(run + "-b", f"echo ran >> {work}/count; echo said")["stdout"] == b"said\n"
    for pid in supervisors(one):
        os.kill(pid, 9)
    time.sleep(0.1)
    assert one.run(run + "-c", f"echo ran >> {work}/count; echo said")["stdout"] == b"said\n"
    assert (work / "count").read_text() == "ran\nran\n"


def pythons() -> list[str]:
    """Every Python of this machine that the runner may meet, by version."""
    named = [shutil.which(f"python3.{minor}") or "" for minor in range(6, 15)] + [sys.executable]
    named += [str(path) for path in Path.home().glob(".*/versions/3.*/bin/python3.*") if path.name.count(".") == 1]
    found = {}
    for path in filter(None, named):
        said = subprocess.run([path, "-V"], capture_output=True, text=True, check=False)
        if said.returncode == 0:
            found.setdefault(said.stdout.split()[1].rpartition(".")[0], path)
    return list(found.values())


@pytest.mark.parametrize("python", pythons())
def test_every_python_runs_it(place: str, run: str, python: str) -> None:
    from interlock.hosts.program import runner_exec

    exec_ = runner_exec(environment={"INTERLOCK_RUNNER_BASE": place})
    one = RunnerChannel(["/bin/sh", "-c", exec_.line.replace(" python3 ", f" {python} ")], exec_.marker)
    try:
        assert one.ask("hello")["python"].startswith("3.")
        for level in LEVELS:
            for n in range(3):
                answer = one.run(f"{run}-{level}-{n}", "echo said; exit 2", level=level)
                assert (answer["stdout"], answer["end"]["exit_code"]) == (b"said\n", 2), answer
    finally:
        one.close()
