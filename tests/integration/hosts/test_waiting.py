"""The shell that waits for the next command: faster, and otherwise as if it were not there."""

import asyncio
import os
import signal

import pytest

from hosts_bench import Bench
from interlock.hosts import waiting
from interlock_tools.plan import RunCommand
from sshd import Sshd, descendants, needs_openssh, processes_with

pytestmark = [pytest.mark.anyio, needs_openssh]

WAIT_SECONDS = 10.0
WAITING = "INTERLOCK_CALL && IFS= read"  # stands in the command line of a shell that waits, and of no other


def _shells(server: Sshd) -> list[int]:
    """The processes of the shells that wait on this server."""
    assert server.process is not None
    return sorted(set(processes_with(WAITING)) & set(descendants(server.process.pid)))


async def _waiting(server: Sshd, count: int) -> list[int]:
    """The same, once there are so many."""
    for _ in range(int(WAIT_SECONDS / 0.05)):
        found = _shells(server)
        if len(found) == count:
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"{len(_shells(server))} shells wait, not {count}")


async def test_one_command_leaves_nothing_for_the_next(bench: Bench) -> None:
    first = "cd /tmp; x=left; export y=left; set -f; umask 077; trap 'echo trapped' EXIT; f() { echo left; }; echo $$"
    started = (await bench.sh(first)).result["stdout"].splitlines()[0]
    second = (await bench.sh("pwd; echo [$x$y]; umask; type -t f; echo /e*; echo $$")).result["stdout"].splitlines()
    assert second[0] != "/tmp"
    assert second[1] == "[]"
    assert second[2] != "0077"
    assert "/etc" in second[3]
    assert second[-1] != started


async def test_the_environment_is_the_same_with_and_without_it(bench: Bench, sshd: Sshd) -> None:
    ask = "env | sed 's/CALL=.*/CALL=/' | sort; pwd; umask; set -o; shopt -p; readlink /proc/self/fd/0"
    first = (await bench.sh(ask)).result["stdout"]
    await _waiting(sshd, 1)
    second = (await bench.sh(ask)).result["stdout"]
    assert second == first
    assert "/dev/null" in second


async def test_standard_input_reaches_the_command(bench: Bench) -> None:
    for _ in range(3):
        done = await bench.do(RunCommand("cat; echo end", stdin="one\ntwo\0three\n"))
        assert done.result["stdout"] == "one\ntwo\0three\nend\n"


async def test_a_command_longer_than_an_order_runs_all_the_same(bench: Bench) -> None:
    text = "x" * (waiting.ORDER_BYTES_MAX + 1)
    for _ in range(2):
        assert (await bench.sh(f"echo {text}")).result["stdout"] == text + "\n"


async def test_a_working_directory_that_is_not_there_runs_nothing(bench: Bench, sshd: Sshd) -> None:
    await bench.sh("true")
    await _waiting(sshd, 1)
    done = await bench.do(RunCommand("echo ran", cwd="/nowhere"))
    assert done.refusal is not None
    assert not done.started
    assert done.result["stdout"] == ""


async def test_a_waiting_shell_that_was_killed_costs_nothing(bench: Bench, sshd: Sshd) -> None:
    await bench.sh("true")
    for pid in await _waiting(sshd, 1):
        os.kill(pid, signal.SIGKILL)
    done = await bench.sh("echo here")
    assert done.refusal is None
    assert done.result["stdout"] == "here\n"


async def test_it_ends_when_nobody_comes(bench: Bench, sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "IDLE_SECONDS_MAX", 0.2)
    await bench.sh("true")
    await _waiting(sshd, 0)


async def test_nothing_of_it_is_left_when_the_connection_closes(bench: Bench, sshd: Sshd) -> None:
    await bench.sh("true")
    await _waiting(sshd, 1)
    await bench.hosts.close()
    await _waiting(sshd, 0)


async def test_a_command_that_was_never_told_to_begin_did_not_run(own_sshd: Sshd, benches, tmp_path) -> None:
    made = await benches(own_sshd.settings())
    await made.sh("true")
    (pid,) = await _waiting(own_sshd, 1)
    os.kill(pid, signal.SIGSTOP)  # it takes the order and cannot answer
    counter = tmp_path / "counter"
    done = await made.sh(f"echo x >> {counter}")
    assert done.refusal is None
    os.kill(pid, signal.SIGCONT)
    await _waiting(own_sshd, 1)  # the one that was stopped ends; the next one waits
    assert counter.read_text() == "x\n"
