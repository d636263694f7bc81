"""Spares: a shell that waits is used once, is like any other, and goes when nobody comes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from interlock.runner.recording import run_record
from runner_channel import RunnerChannel
from sshd import descendants

from .conftest import eventually, names_in

Helpers = Callable[..., RunnerChannel]
rooms_of_root = pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's rooms are not always to be had")
LEVELS = ("none", "confined") if os.geteuid() == 0 else ("none",)


@pytest.fixture
def one(helper: Helpers) -> RunnerChannel:
    """A helper that has looked what its host can do."""
    channel = helper()
    channel.ask("hello")
    return channel


def supervisor_of(place: str, run: str) -> int:
    return run_record(f"{place}/{run}")[1]["pid"]


@pytest.mark.parametrize("level", LEVELS)
def test_the_next_run_of_a_kind_finds_a_supervisor_that_was_there_before_it(
    one: RunnerChannel, place: str, run: str, level: str
) -> None:
    order = {"level": level, "network": "none" if level != "none" else "outbound"}
    one.run(run + "-a", "true", **order)
    eventually(lambda: descendants(one.process.pid))
    time.sleep(0.5)
    waiting = set(descendants(one.process.pid))
    answer = one.run(run + "-b", "echo $$ $PPID; exit 3", **order)
    assert (answer["end"]["exit_code"], answer["end"]["began"], answer["end"]["level"]) == (3, True, level)
    assert supervisor_of(place, run + "-b") in waiting


@rooms_of_root
def test_a_room_serves_one_run_only_and_what_it_wrote_in_tmp_is_gone(one: RunnerChannel, place: str, run: str) -> None:
    said = []
    for n in range(4):
        answer = one.run(f"{run}-{n}", "ls /tmp/left 2>/dev/null; echo x > /tmp/left; cat /tmp/left", level="confined")
        said.append((answer["end"]["exit_code"], answer["stdout"]))
        time.sleep(0.3)
    assert said == [(0, b"x\n")] * 4
    assert len({run_record(f"{place}/{run}-{n}")[1]["leader"] for n in range(4)}) == 4
    assert len({supervisor_of(place, f"{run}-{n}") for n in range(4)}) == 1, "what is ours serves again"
    one.close()
    eventually(lambda: names_in(place) == sorted(f"{run}-{n}" for n in range(4)))


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_a_room_from_before_a_mount_is_not_used_after_it(one: RunnerChannel, work: Path, run: str) -> None:
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
    eventually(lambda: one.ask("here") and len(supervisors(one)) <= 1)
    assert one.close() == 0


@pytest.mark.parametrize("level", [*LEVELS, *(["staged"] if os.geteuid() == 0 else [])])
def test_a_run_that_is_over_leaves_no_entry_in_the_process_table(
    one: RunnerChannel, work: Path, run: str, level: str
) -> None:
    order = {"level": level, "network": "none" if level != "none" else "outbound", "cwd": str(work)}
    for number in range(12):
        answer = one.run(f"{run}-{number}", "echo x > new", writes=[str(work)] if level == "staged" else [], **order)
        if level == "staged":
            assert one.ask("land", run=answer["run"], digest=answer["layer"])["state"] == "landed"
    eventually(lambda: one.ask("here") and len([p for p in descendants(one.process.pid) if state(p) == "Z"]) == 0)
    assert len(descendants(one.process.pid)) <= 4, "what waits: a supervisor, its room with a shell, a worker"


@rooms_of_root
def test_an_order_that_comes_together_with_the_word_to_go_ahead_is_carried_out(
    one: RunnerChannel, place: str, work: Path, run: str
) -> None:
    staged(one, run + "-a", work, "true")
    supervisor = supervisor_of(place, run + "-a")
    os.kill(supervisor, signal.SIGSTOP)
    time.sleep(0.5)  # longer than the host is left alone before the word is given, which it then has not read
    number = one.start(run + "-b", "echo x > new", level="staged", network="none", cwd=str(work), writes=[str(work)])
    one.ask("here")  # by now the order is given too
    os.kill(supervisor, signal.SIGCONT)
    assert one.wait(number)["end"]["changes"] == 1
    assert supervisor_of(place, run + "-b") == supervisor


@rooms_of_root
def test_a_supervisor_that_measured_very_much_serves_no_further_run(
    one: RunnerChannel, place: str, work: Path, run: str
) -> None:
    for number, files in enumerate((3, 1001, 3)):
        staged(one, f"{run}-{number}", work, f"for n in $(seq {files}); do echo > {number}-$n; done")
    first, second, third = (supervisor_of(place, f"{run}-{number}") for number in range(3))
    assert first == second != third
    eventually(lambda: one.ask("here") and not [p for p in descendants(one.process.pid) if state(p) == "Z"])


@rooms_of_root
def test_a_landing_is_done_by_a_worker_that_was_there_before_it_was_asked_for(
    helper: Helpers, work: Path, run: str
) -> None:
    one = helper(faults="worker-start=stop")
    one.ask("hello")
    answer = staged(one, run, work, "echo x > new")
    eventually(lambda: one.ask("here") and len(supervisors(one)) == 2)
    waiting = supervisors(one)
    landing = one.send("land", run=run, digest=answer["layer"])
    eventually(lambda: [pid for pid in waiting if state(pid) == "T"])
    os.kill(next(pid for pid in waiting if state(pid) == "T"), signal.SIGCONT)
    assert one.wait(landing)["state"] == "landed"
    assert (work / "new").read_text() == "x\n"


@rooms_of_root
def test_a_worker_that_was_killed_while_it_waited_costs_nothing_but_time(
    one: RunnerChannel, work: Path, run: str
) -> None:
    answer = staged(one, run, work, "echo x > new")
    eventually(lambda: one.ask("here") and len(supervisors(one)) == 2)
    for pid in supervisors(one):
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not supervisors(one))
    assert one.ask("land", run=run, digest=answer["layer"])["state"] == "landed"
    assert (work / "new").read_text() == "x\n"


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


# ── rooms that wait for a staged order ───────────────────────────────────────────────────────────────────────────────


def staged(one: RunnerChannel, run: str, work: Path, command: str, **more: object) -> dict:
    order = {"level": "staged", "network": "none", "cwd": str(work), "writes": [str(work)], **more}
    return one.run(run, command, **order)


@pytest.fixture
def waited(helper: Helpers, place: str, work: Path, run: str) -> tuple[RunnerChannel, Callable[[str], bool]]:
    """A helper that keeps a room for the next staged order, and whether a run was in it."""
    if os.geteuid() != 0:
        pytest.skip("rooms of root")
    one = helper()
    one.ask("hello")
    staged(one, run + "-first", work, "true")
    eventually(lambda: any(name.startswith(".spare-") for name in names_in(place)))
    time.sleep(0.5)
    now = float(Path("/proc/uptime").read_text().split()[0]) * os.sysconf("SC_CLK_TCK")
    return one, lambda name: run_record(f"{place}/{name}")[1]["leader_ticks"] < int(now)


def test_a_room_that_waited_takes_another_order_of_another_place_and_lands_it(
    waited: tuple[RunnerChannel, Callable[[str], bool]], place: str, work: Path, run: str
) -> None:
    one, was_in = waited
    (work / "below").mkdir()
    answer = staged(
        one, run, work, "pwd; cat; echo $V > new", body=b"given", cwd=str(work / "below"),
        environment={"V": "value", "PATH": "/bin"}, writes=[str(work / "below")],
    )  # fmt: skip
    assert was_in(run)
    assert answer["stdout"] == f"{work}/below\ngiven".encode()
    assert [change["path"] for change in answer["changes"]] == [f"{work}/below/new"]
    assert not (work / "below" / "new").exists()
    assert Path(place, run, "u").is_dir(), "its layer is the run's own from the beginning"
    assert one.ask("land", run=run, digest=answer["layer"])["state"] == "landed"
    assert (work / "below" / "new").read_text() == "value\n"
    one.close()
    eventually(lambda: not [name for name in names_in(place) if name.startswith(".spare-")])


def test_a_room_that_waited_has_no_standard_input_but_what_is_given_and_no_files_of_ours(
    waited: tuple[RunnerChannel, Callable[[str], bool]], work: Path, run: str
) -> None:
    one, was_in = waited
    answer = staged(one, run, work, "readlink /proc/self/fd/0; ls /proc/self/fd | wc -l")
    assert was_in(run)
    assert answer["stdout"].startswith(b"/dev/null\n4\n"), "its three streams and the listing's own"


def test_a_room_that_waited_shows_the_host_as_it_is_when_the_order_comes(
    waited: tuple[RunnerChannel, Callable[[str], bool]], work: Path, run: str
) -> None:
    one, was_in = waited
    (work / "later").write_text("came later\n")
    (work / "tree").mkdir()
    (work / "tree" / "leaf").write_text("leaf\n")
    answer = staged(one, run, work, "cat later tree/leaf; echo more >> later; rm -r tree")
    assert was_in(run)
    assert answer["stdout"] == b"came later\nleaf\n"
    assert one.ask("land", run=run, digest=answer["layer"])["state"] == "landed"
    assert ((work / "later").read_text(), (work / "tree").exists()) == ("came later\nmore\n", False)


def test_a_room_that_waited_is_not_used_where_something_is_to_be_hidden_now(
    waited: tuple[RunnerChannel, Callable[[str], bool]], work: Path, run: str
) -> None:
    one, was_in = waited
    (work / "secret").write_text("a secret\n")
    answer = staged(one, run, work, "cat secret; echo seen", masked=[f"{work}/secret"])
    assert not was_in(run)
    assert answer["stdout"] == b"seen\n"


def test_a_room_that_waited_is_not_used_where_the_order_needs_another_layer(
    waited: tuple[RunnerChannel, Callable[[str], bool]], work: Path, run: str
) -> None:
    one, was_in = waited
    answer = staged(one, run, work, f"echo x > /dev/shm/{run}", writes=[f"/dev/shm/{run}"])
    assert not was_in(run)
    assert [change["path"] for change in answer["changes"]] == [f"/dev/shm/{run}"]


def test_a_room_that_waited_is_not_used_after_a_mount(
    waited: tuple[RunnerChannel, Callable[[str], bool]], work: Path, run: str
) -> None:
    one, was_in = waited
    (work / "point").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "new", str(work / "point")], check=True)
    try:
        (work / "point" / "file").write_text("here\n")
        answer = staged(one, run, work, "cat point/file; echo more >> point/file")
        assert not was_in(run)
        assert (answer["stdout"], (work / "point" / "file").read_text()) == (b"here\n", "here\n")
    finally:
        subprocess.run(["umount", "-l", str(work / "point")], check=True)


def test_a_room_that_waited_is_not_used_where_a_directory_that_it_looked_up_is_another_now(
    waited: tuple[RunnerChannel, Callable[[str], bool]], place: str, work: Path, run: str
) -> None:
    one, _ = waited
    hidden = {"masked": [f"{work}/way/secret"]}
    for number in (1, 2):
        (work / "way").mkdir()
        (work / "way" / "secret").write_text("a secret\n")
        (work / "way" / "open").write_text(f"{number}\n")
        answer = staged(one, f"{run}-{number}", work, "cat way/secret way/open", **hidden)
        assert answer["stdout"] == f"{number}\n".encode()
        time.sleep(0.6)
        (work / "way").rename(work / f"way-{number}")


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
