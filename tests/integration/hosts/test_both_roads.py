"""What a command may count on, whether its host has Python or not; the process table and the disk are the witnesses."""

import asyncio
import hashlib
import shlex
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bare_hosts import bare_sshd, needs_busybox, needs_root, no_outpost
from hosts_bench import Bench, own, quick, until
from interlock_tools.errors import Cancelled, CommandFailed, HostUnreachable, PathInvalid, TimedOut
from sshd import Sshd, needs_openssh, processes_with, running_sshd

pytestmark = [pytest.mark.anyio, needs_openssh]
ROADS = ["python", pytest.param("dash", marks=needs_root), pytest.param("busybox", marks=[needs_root, needs_busybox])]
NONE_LEFT = {"python": "none of its processes is left", "": "none that could be found is left"}
TRICKY = [
    "",
    "plain",
    "it's",
    'say "hi"',
    "back\\slash \\n \\x41 \\c stop",
    "dollar $HOME `id` $(id)",
    "bang! !! !$",
    "line\nbreaks\r\ttabs\n",
    "snow ☃ é 日本 | a||b | \x01\x1b\x7f",
    "%s %b %%",
    "-n",
    "~ * ? [a] {b,c} & | ; < > ( ) # ^",
    "x" * 9_000,
]
# A child in a session of its own, one that ignores TERM, and one that also cleared its environment.
ESCAPING = "setsid sleep {0}1 & (trap '' TERM; sleep {0}2; sleep {0}2) & env -i setsid sleep {0}3 & sleep {0}4"


@pytest.fixture(scope="module", params=ROADS)
def road(request) -> str:
    return request.param


@pytest.fixture(autouse=True)
def _unasked(road: str, monkeypatch) -> None:
    if road != "python":
        monkeypatch.setattr("interlock.hosts.link.Link.outpost", no_outpost)


def _started(stack: ExitStack, road: str, folder: Path, **options: str) -> Sshd:
    if road == "python":
        return stack.enter_context(running_sshd(folder, **options))
    server, _ = stack.enter_context(bare_sshd(folder, busybox=road == "busybox", **options))
    return server


@pytest.fixture(scope="module")
def server(road: str, tmp_path_factory) -> Iterator[Sshd]:
    """One server for the tests that leave it as it was."""
    with ExitStack() as stack:
        yield _started(stack, road, tmp_path_factory.mktemp(road), MaxStartups="100:30:200")


@pytest.fixture
def start(road: str, tmp_path: Path) -> Iterator[Callable[..., Sshd]]:
    """Starts a server of the test's own, with options."""
    with ExitStack() as stack:
        yield lambda **options: _started(stack, road, tmp_path / "own", **options)


@pytest.fixture
async def bench(server: Sshd, benches) -> Bench:
    return await benches(server.settings())


def sleeping(stem: int) -> list[int]:
    """The sleeps of ESCAPING that still run."""
    return [number for number in range(10 * stem + 1, 10 * stem + 5) if processes_with(f"sleep\0{number}")]


# ── what it is given and gives ───────────────────────────────────────────────────────────────────────────────────────


async def test_a_command_gives_its_streams_and_exit_code(bench: Bench) -> None:
    done = await bench.sh("echo out; echo err >&2; exit 3")
    assert isinstance(done.refusal, CommandFailed)
    assert done.started
    assert done.result == {
        "exit_code": 3,
        "stdout": "out\n",
        "stderr": "err\n",
        "truncated": False,
        "stdout_bytes": 4,
        "stderr_bytes": 4,
        "next_offset": None,
    }
    assert [attempt.outcome for attempt in done.attempts] == ["COMMAND_FAILED"]


@pytest.mark.parametrize("shell", ["bash", "dash", "tcsh", "fish", "zsh", "busybox sh"])
async def test_every_byte_reaches_bash_whatever_the_login_shell_is(shell, road: str, start, benches) -> None:
    if shutil.which(shell.split()[0]) is None:
        pytest.skip(f"there is no {shell} on this machine")
    bench = await benches(start(ForceCommand=f'exec {shell} -c "$SSH_ORIGINAL_COMMAND"').settings())
    if (road, shell) == ("busybox", "dash"):  # on a host of busybox alone there is none
        done = await bench.sh("echo here")
        assert isinstance(done.refusal, HostUnreachable)
        assert not done.started
        return
    for text in TRICKY:
        done = await bench.sh(f'printf %s {shlex.quote(text)}; printf %s "$ODD" >&2', environment={"ODD": text})
        assert done.refusal is None
        assert done.result["stdout"] == text
        assert done.result["stderr"] == text


async def test_the_environment_is_clean_and_login_noise_is_not_output(start, benches, tmp_path: Path) -> None:
    # A start-up file that prints, exports and redefines: what users' .bashrc do.
    noisy = tmp_path / "noisy.sh"
    noisy.write_text(
        "echo welcome; echo motd >&2; export LEAK=1 BASH_ENV=/nope LD_DEBUG_OUTPUT=x; ls() { echo fake; }; "
        'export -f ls; set -f; exec bash -c "$SSH_ORIGINAL_COMMAND"'
    )
    bench = await benches(start(ForceCommand=f"bash {noisy}").settings())
    done = await bench.sh(
        "env | cut -d= -f1 | grep -v GIT_CONFIG | sort | tr '\\n' ' '; echo; type -t ls; umask; "
        "echo /et[c]; shopt -q login_shell || echo no"
    )
    names, kind, umask, globbed, login = done.result["stdout"].splitlines()
    assert set(names.split()) == set("HOME INTERLOCK_CALL LANG LOGNAME OLDPWD PATH PWD SHELL SHLVL USER _".split())
    assert (kind, umask, globbed, login) == ("file", "0022", "/etc", "no")
    assert done.result["stderr"] == ""


async def test_the_working_directory_and_standard_input_are_as_asked(bench: Bench, tmp_path: Path) -> None:
    given = "with 'quotes'\nand\0bytes\n" * 20_000
    done = await bench.sh("pwd; cat | sha256sum; cat /dev/stdin | wc -c", cwd=str(tmp_path), stdin=given)
    assert done.result["stdout"] == f"{tmp_path}\n{hashlib.sha256(given.encode()).hexdigest()}  -\n0\n"
    assert (await bench.sh("cat; echo end")).result["stdout"] == "end\n"


async def test_a_missing_working_directory_refuses_and_runs_nothing(bench: Bench, tmp_path: Path) -> None:
    done = await bench.sh(f"touch {tmp_path}/ran", cwd="/no/such/place")
    assert isinstance(done.refusal, PathInvalid)
    assert not done.started
    assert not (tmp_path / "ran").exists()


async def test_a_command_ended_by_a_signal_failed(bench: Bench) -> None:
    done = await bench.sh("kill -9 $$")
    assert isinstance(done.refusal, CommandFailed)
    assert done.result["exit_code"] == 137


async def test_what_goes_on_in_the_background_does_not_hold_the_answer(bench: Bench) -> None:
    started = time.monotonic()
    done = await bench.sh("sleep 47 & echo up", call_id=own("background-1"))
    assert done.refusal is None
    assert done.result["stdout"] == "up\n"
    assert time.monotonic() - started < 10
    assert processes_with(f"INTERLOCK_CALL={own('background-1')}")  # as on any host, it goes on
    assert (await bench.hosts.left_behind("box", own("background-1"))) != ()
    ended = await bench.hosts.end("box", own("background-1"))
    assert (ended.found, ended.left) == (1, 0)
    assert not processes_with(f"INTERLOCK_CALL={own('background-1')}")


async def test_output_that_comes_after_the_end_was_told_is_not_lost(bench: Bench) -> None:
    done = await bench.sh("(for n in 1 2 3 4 5 6 7; do sleep 0.3; echo late $n; done) & echo early")
    assert done.refusal is None
    assert done.result["stdout"].splitlines() == ["early", *(f"late {number}" for number in range(1, 8))]


async def test_progress_is_told_while_it_runs(bench: Bench) -> None:
    told: list[tuple[str, int]] = []

    async def listen(sentence: str, output_bytes: int) -> None:
        told.append((sentence, output_bytes))

    done = await bench.sh("echo hello; sleep 1.5; echo done", progress=listen)
    assert done.result["stdout"] == "hello\ndone\n"
    assert 6 in [output_bytes for _, output_bytes in told]
    told.clear()
    await bench.sh("echo hello; sleep 0.9", progress=listen)
    assert len(told) >= 2
    assert told[-1][1] == 6


async def test_a_full_disk_here_ends_no_command_there(bench: Bench, monkeypatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("interlock.spool.os.open", full)
    done = await bench.sh("echo shown; exit 0")
    assert done.refusal is None
    assert done.result["exit_code"] == 0
    assert done.result["truncated"]
    assert done.result["stdout_bytes"] == 6


# ── its end is asked for ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_timeout_ends_the_whole_tree_and_keeps_the_partial_output(road: str, bench: Bench) -> None:
    done = await bench.sh("echo partial; " + ESCAPING.format(79), seconds=1.0, call_id=own("timeout-1"))
    assert isinstance(done.refusal, TimedOut)
    assert NONE_LEFT.get(road, NONE_LEFT[""]) in done.refusal.reason
    assert done.result["stdout"] == "partial\n"
    assert done.started
    assert not sleeping(79)
    assert not processes_with(own("timeout-1"))


@pytest.mark.parametrize("times", [1, 2])
async def test_a_cancellation_ends_the_whole_tree_before_it_is_answered(bench: Bench, times: int) -> None:
    call_id = own(f"cancel-{times}")
    task = asyncio.create_task(bench.sh("echo begun; " + ESCAPING.format(78), call_id=call_id, seconds=60))
    await until(lambda: processes_with("sleep\0" + "784"))
    task.cancel("its caller")
    if times == 2:
        await asyncio.sleep(0.1)
        task.cancel("twice")
    done = await task
    assert isinstance(done.refusal, Cancelled)
    assert "its caller" in done.refusal.reason
    assert done.result["stdout"] == "begun\n"
    assert not sleeping(78)
    assert not processes_with(call_id)
    assert (await bench.sh("echo next")).result["stdout"] == "next\n"


@pytest.mark.parametrize("pause", [0.0007, 0.003])
async def test_cancelling_at_any_moment_leaves_no_process_behind(bench: Bench, pause: float) -> None:
    await bench.sh("true")
    for step in range(25):
        call_id = own(f"moment-{int(pause * 10_000)}-{step}")
        task = asyncio.create_task(bench.sh("sleep 777", call_id=call_id))
        await asyncio.sleep(step * pause)
        task.cancel("its caller")
        done = await task
        assert isinstance(done.refusal, Cancelled)
        assert not processes_with(call_id)
    await asyncio.sleep(1.0)  # what was still on its way starts nothing later
    assert not processes_with("sleep\0" + "777")


# ── roads that are bad or narrow ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_wedged_connection_mid_command_ends_the_command_on_a_new_one(start, benches) -> None:
    server = start()
    bench = await benches(server.settings(), limits=quick(connect_timeout_seconds=1.0))
    task = asyncio.create_task(bench.sh("sleep 761", seconds=2, call_id=own("wedged-1")))
    await until(lambda: processes_with("sleep\0" + "761"))
    server.freeze_sessions()
    done = await task
    assert isinstance(done.refusal, TimedOut)
    assert not processes_with(own("wedged-1"))


async def test_a_login_that_starts_no_shell_is_a_typed_refusal_and_nothing_ran(start, benches) -> None:
    bench = await benches(start(ForceCommand="echo This account is currently not available.; exit 1").settings())
    for _ in range(7):
        done = await bench.sh("true")
        assert isinstance(done.refusal, HostUnreachable)
        assert not done.started


async def test_a_shell_that_is_missing_is_a_typed_refusal(server: Sshd, benches) -> None:
    bench = await benches(server.settings(shell="/opt/no/bash"))
    done = await bench.sh("true")
    assert isinstance(done.refusal, HostUnreachable)
    assert "/opt/no/bash did not start" in done.refusal.reason
    assert not done.started


async def test_a_server_with_one_session_still_works(start, benches) -> None:
    bench = await benches(start(MaxSessions="1").settings(sessions_max=1))
    done = await asyncio.gather(*(bench.sh(f"echo {number}", seconds=60) for number in range(5)))
    assert [entry.result.get("stdout") for entry in done] == [f"{number}\n" for number in range(5)]
    task = asyncio.create_task(bench.sh("sleep 776", call_id=own("only-1")))
    await until(lambda: processes_with("sleep\0" + "776"))
    task.cancel("its caller")
    assert isinstance((await task).refusal, Cancelled)
    assert not processes_with(own("only-1"))


async def test_many_calls_at_once_all_answer(bench: Bench) -> None:
    done = await asyncio.gather(*(bench.sh(f"echo {number}", seconds=60) for number in range(40)))
    assert [entry.result.get("stdout") for entry in done] == [f"{number}\n" for number in range(40)]
