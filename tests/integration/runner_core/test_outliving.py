"""A run outlives its helper and its connection, and is found again; a dead supervisor is lost, not run anew."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from interlock.hosts.program import runner_exec
from runner_channel import RunnerChannel
from sshd import Sshd, needs_openssh, processes_with, running_sshd

from .conftest import eventually, gone, names_in

Helpers = Callable[..., RunnerChannel]
LEVELS = ("none", "confined", "staged") if os.geteuid() == 0 else ("none",)


def status_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def record_of(place: str, run: str) -> dict:
    from interlock.runner.recording import run_record

    return run_record(f"{place}/{run}")[1]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGTERM])
def test_a_run_goes_on_when_its_helper_is_killed(helper: Helpers, run: str, number: int) -> None:
    one = helper()
    one.start(run, "echo early; sleep 0.4; echo late; exit 5")
    one.ask("here")
    one.process.send_signal(number)
    one.process.wait(5)
    answer = helper().ask("attach", run=run)
    assert (answer["end"]["exit_code"], answer["stdout"]) == (5, b"early\nlate\n")


def test_its_supervisor_is_in_a_session_of_its_own_without_the_connections_streams(
    helper: Helpers, place: str, run: str
) -> None:
    one = helper()
    one.start(run, "sleep 5")
    eventually(lambda: record_of(place, run).get("pid"))
    pid = record_of(place, run)["pid"]
    assert status_of(pid)[3] == str(pid)
    open_files = {str(Path(f"/proc/{pid}/fd/{name}").readlink()) for name in "012"}
    assert open_files == {"/dev/null"}
    assert str(Path(f"/proc/{pid}/cwd").readlink()) == "/"
    assert one.ask("cancel", run=run, grace_seconds=0)["left"] == 0


def test_who_attaches_later_reads_on_from_the_last_byte_it_has(helper: Helpers, run: str) -> None:
    one, other = helper(), helper()
    number = one.start(run, "echo one; echo two; echo err >&2; sleep 0.3; echo three")
    eventually(lambda: one.receive(10) or one.events[number])
    late = other.send("attach", run=run, out=4, err=3)
    assert (other.wait(late)["stdout"], one.wait(number)["stdout"]) == (b"two\nthree\n", b"one\ntwo\nthree\n")
    again = other.ask("attach", run=run, out=8, err=4)
    assert (again["stdout"], again["stderr"], again["attached"]) == (b"three\n", b"", True)
    assert other.ask("attach", run=run, out=10**9)["stdout"] == b""


def test_a_look_without_following_tells_what_there_is(helper: Helpers, run: str) -> None:
    one = helper()
    number = one.send("start", run=run, command="echo said; sleep 20; echo more", follow=False)
    assert one.wait(number)["state"] == "running"
    eventually(lambda: helper().ask("attach", run=run, follow=False)["stdout"] == b"said\n")
    assert one.ask("attach", run=run, follow=False, out=5)["state"] == "running"
    assert one.ask("cancel", run=run, grace_seconds=0)["left"] == 0


@pytest.mark.parametrize("level", LEVELS)
def test_a_killed_supervisor_is_lost_with_what_is_known_and_its_command_can_be_swept(
    helper: Helpers, place: str, run: str, level: str
) -> None:
    one = helper()
    one.ask("hello")
    number = one.start(run, "sleep 301 & setsid sleep 302 & sleep 303", level=level, network="outbound")
    eventually(lambda: len(processes_with(f"INTERLOCK_CALL={run}")) >= 3)
    os.kill(record_of(place, run)["pid"], signal.SIGKILL)
    answer = one.wait(number)
    assert answer["state"] == "lost"
    assert (answer["known"]["began"], answer["known"]["level"], answer["known"]["rebooted"]) == (True, level, False)
    if level != "none":
        assert gone(f"INTERLOCK_CALL={run}"), "the room ends with its supervisor"
    swept = helper().ask("cancel", run=run)
    assert (swept["state"], swept["left"]) == ("lost", 0)
    assert gone(f"INTERLOCK_CALL={run}", 1)
    again = helper().run(run, "echo again")
    assert (again["state"], again["stdout"]) == ("lost", b"")


def test_a_sweep_ends_what_lost_runs_left(helper: Helpers, place: str, run: str) -> None:
    one = helper()
    one.start(run, "setsid sleep 304 & sleep 305")
    eventually(lambda: len(processes_with(f"INTERLOCK_CALL={run}")) >= 2)
    os.kill(record_of(place, run)["pid"], signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{record_of(place, run)['pid']}/exe").exists())
    assert run in one.ask("sweep")["lost"]
    assert gone(f"INTERLOCK_CALL={run}", 1)


def test_a_background_process_that_holds_the_pipes_does_not_hold_the_result(helper: Helpers, run: str) -> None:
    began = time.monotonic()
    answer = helper().run(run, "sleep 30 & echo said")
    assert (answer["end"]["exit_code"], answer["stdout"]) == (0, b"said\n")
    assert time.monotonic() - began < 5
    assert processes_with(f"INTERLOCK_CALL={run}"), "at level none what it put there goes on"


def test_a_helper_leaves_nothing_but_run_directories(helper: Helpers, place: str, run: str) -> None:
    one = helper()
    one.ask("hello")
    for level in LEVELS:
        assert one.run(f"{run}-{level}", "true", level=level)["end"]["exit_code"] == 0
    time.sleep(0.3)
    pids = [pid for pid in processes_with(place) if pid != os.getpid()]
    assert one.close() == 0
    eventually(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in pids))
    eventually(lambda: names_in(place) == sorted(f"{run}-{level}" for level in LEVELS))
    assert all(names_in(place, f"{run}-{level}") == ["ended"] for level in LEVELS)


# ── through a real sshd ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def own_sshd(tmp_path: Path) -> Iterator[Sshd]:
    with running_sshd(tmp_path / "sshd") as server:
        yield server


def over_ssh(server: Sshd, place: str) -> RunnerChannel:
    exec_ = runner_exec(environment={"INTERLOCK_RUNNER_BASE": place})
    options = ["UserKnownHostsFile=" + str(server.known_hosts), "StrictHostKeyChecking=yes", "BatchMode=yes"]
    words = ["ssh", "-F", "none", "-T", "-i", str(server.folder / "client_key"), "-p", str(server.port)]
    words += [word for option in options for word in ("-o", option)]
    return RunnerChannel([*words, "root@127.0.0.1", exec_.line], exec_.marker)


@needs_openssh
@pytest.mark.skipif(os.geteuid() != 0, reason="logs in as root")
def test_a_run_outlives_its_ssh_connection(own_sshd: Sshd, place: str, work: Path, run: str) -> None:
    one = over_ssh(own_sshd, place)
    one.ask("hello")
    one.start(run, f"echo ran >> {work}/count; echo early; sleep 0.5; echo late")
    eventually((work / "count").exists)
    own_sshd.kill_sessions()
    with pytest.raises(EOFError):
        one.wait(2)
    two = over_ssh(own_sshd, place)
    answer = two.run(run, f"echo ran >> {work}/count")
    assert (answer["attached"], answer["stdout"], answer["end"]["exit_code"]) == (True, b"early\nlate\n", 0)
    assert (work / "count").read_text() == "ran\n"
    assert two.close() == 0
    one.close()
