"""Commands on a host without Python; the process table, a counter file and the run directories are the witnesses."""

# ruff: noqa: ASYNC110, ASYNC240 - the host's disk and process table are looked at directly

import asyncio
import hashlib
import shlex
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bare_hosts import BUSYBOX, bare_sshd, needs_root, no_outpost
from hosts_bench import Bench, quick
from interlock_tools.errors import Cancelled, CommandFailed, HostUnreachable, PathInvalid, TimedOut
from sshd import needs_openssh, processes_with

pytestmark = [pytest.mark.anyio, needs_root, needs_openssh]
KINDS = [
    "dash",
    pytest.param("busybox", marks=pytest.mark.skipif(not BUSYBOX, reason="there is no busybox on this machine")),
]
TRICKY = [
    "",
    'it\'s "quoted" \\n \\x41 \\c $HOME `id` $(id) bang! !! !$',
    "line\nbreaks\r\ttabs\n",
    "snow ☃ é 日本 | a||b | %s %b %% \x01\x1b\x7f",
    "~ * ? [a] {b,c} & ; < > ( ) # ^ -n",
    "x" * 9_000,
]


async def until(condition, seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.fixture(autouse=True)
def _unasked(request, monkeypatch) -> None:
    if "asked" not in request.fixturenames:
        monkeypatch.setattr("interlock.hosts.link.Link.outpost", no_outpost)


@pytest.fixture
def asked() -> None:
    """The host is asked for its Python, as it is without a test."""


@pytest.fixture(scope="module", params=KINDS)
def bare(request, tmp_path_factory) -> Iterator[tuple]:
    folder = tmp_path_factory.mktemp("bare")
    with bare_sshd(folder, busybox=request.param == "busybox", MaxStartups="100:30:200") as (server, runs):
        yield server, runs


@pytest.fixture
async def bench(bare, benches) -> Bench:
    return await benches(bare[0].settings())


@pytest.fixture
def runs(bare) -> Path:
    return bare[1]


async def test_a_host_that_has_no_python_runs_commands_all_the_same(asked, bench: Bench, runs: Path) -> None:
    for _ in range(2):
        assert (await bench.sh("echo here", call_id="asked-1")).result["stdout"] == "here\n"
    assert (runs / "asked-1" / "claim").exists()  # by the sh form: nothing else was there to run it


async def test_doctor_says_that_such_a_host_contains_nothing_and_what_would(asked, bench: Bench) -> None:
    (found,) = [finding for finding in await bench.hosts.diagnose("box") if finding.subject == "containment"]
    assert not found.ok
    assert found.detail.startswith("none: ")
    assert "Install Python" in found.mend


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


@pytest.mark.parametrize("shell", ["bash", "dash", "tcsh", "fish", "zsh", "busybox sh"])
async def test_every_byte_reaches_bash_whatever_the_login_shell_is(shell, benches, tmp_path) -> None:
    if shutil.which(shell.split()[0]) is None:
        pytest.skip(f"there is no {shell} on this machine")
    with bare_sshd(tmp_path / "own", ForceCommand=f'exec {shell} -c "$SSH_ORIGINAL_COMMAND"') as (server, _):
        bench = await benches(server.settings())
        for text in TRICKY:
            done = await bench.sh(f'printf %s {shlex.quote(text)}; printf %s "$ODD" >&2', environment={"ODD": text})
            assert done.refusal is None
            assert done.result["stdout"] == text
            assert done.result["stderr"] == text


async def test_the_environment_is_clean_and_login_noise_is_not_output(benches, tmp_path: Path) -> None:
    noisy = tmp_path / "noisy.sh"
    noisy.write_text(
        "echo welcome; echo motd >&2; export LEAK=1 BASH_ENV=/nope; ls() { echo fake; }; "
        'export -f ls; set -f; exec bash -c "$SSH_ORIGINAL_COMMAND"'
    )
    with bare_sshd(tmp_path / "own", ForceCommand=f"bash {noisy}") as (server, _):
        bench = await benches(server.settings())
        done = await bench.sh("env | cut -d= -f1 | grep -v GIT_CONFIG | sort | tr '\\n' ' '; type -t ls; umask; set -o")
    names = set(done.result["stdout"].split("file")[0].split())
    assert names == set("HOME INTERLOCK_CALL LANG LOGNAME OLDPWD PATH PWD SHELL SHLVL USER _".split())
    assert "file\n0022\n" in done.result["stdout"]
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
    done = await bench.sh("sleep 47 & echo up", call_id="background-1")
    assert done.refusal is None
    assert done.result["stdout"] == "up\n"
    assert time.monotonic() - started < 10
    assert processes_with("INTERLOCK_CALL=background-1")
    ended = await bench.hosts.end("box", "background-1")
    assert (ended.found, ended.left) == (1, 0)


async def test_output_that_comes_after_the_end_was_told_is_not_lost(bench: Bench) -> None:
    done = await bench.sh("(for n in 1 2 3 4 5 6 7; do sleep 0.3; echo late $n; done) & echo early")
    assert done.refusal is None
    assert done.result["stdout"].splitlines() == ["early", *(f"late {number}" for number in range(1, 8))]


ESCAPING = "setsid sleep {0}1 & (trap '' TERM; sleep {0}2; sleep {0}2) & env -i setsid sleep {0}3 & sleep {0}4"


async def test_a_timeout_ends_the_whole_tree_and_keeps_the_partial_output(bench: Bench) -> None:
    done = await bench.sh("echo partial; " + ESCAPING.format(79), seconds=1.0, call_id="timeout-1")
    assert isinstance(done.refusal, TimedOut)
    assert "none that could be found is left" in done.refusal.reason
    assert done.result["stdout"] == "partial\n"
    assert done.started
    assert not [number for number in range(791, 795) if processes_with(f"sleep\0{number}")]
    assert not processes_with("timeout-1")


async def test_a_cancellation_ends_the_whole_tree_before_it_is_answered(bench: Bench) -> None:
    task = asyncio.create_task(bench.sh("echo begun; " + ESCAPING.format(78), call_id="cancel-1", seconds=60))
    await until(lambda: processes_with("sleep\0" + "784"))
    task.cancel("its caller")
    await asyncio.sleep(0.1)
    task.cancel("twice")
    done = await task
    assert isinstance(done.refusal, Cancelled)
    assert "its caller" in done.refusal.reason
    assert done.result["stdout"] == "begun\n"
    assert not [number for number in range(781, 785) if processes_with(f"sleep\0{number}")]
    assert not processes_with("cancel-1")
    assert (await bench.sh("echo next")).result["stdout"] == "next\n"


async def test_cancelling_at_any_moment_leaves_no_process_behind(bench: Bench) -> None:
    await bench.sh("true")
    for step in range(25):
        task = asyncio.create_task(bench.sh("sleep 777", call_id=f"moment-{step}"))
        await asyncio.sleep(step * 0.003)
        task.cancel("its caller")
        done = await task
        assert isinstance(done.refusal, Cancelled)
        assert not processes_with(f"moment-{step}")
    await asyncio.sleep(1.0)  # an exec that was still on its way starts nothing later
    assert not processes_with("sleep\0" + "777")


async def test_interrupts_reach_a_command_where_env_can_give_them_back(bench: Bench, runs: Path) -> None:
    done = await bench.sh("trap 'echo caught' INT; kill -INT $$; echo end")
    able = "default-signal" in (runs / ".env").read_text()
    assert done.result["stdout"] == ("caught\nend\n" if able else "end\n")


async def test_fifty_megabytes_are_capped_counted_and_leave_the_disk_flat(bench: Bench, runs: Path) -> None:
    done = await bench.sh("yes 0123456789abcdef | head -c 50000000; echo; echo the end", call_id="big-1", seconds=120)
    assert done.refusal is None
    assert done.result["stdout_bytes"] == 50_000_009
    assert done.result["truncated"]
    assert done.result["stdout"].endswith("the end\n")
    assert (bench.state / "output" / "big-1.stdout").stat().st_size <= 10 * 1024 * 1024
    kept = sum(path.stat().st_size for path in (runs / "big-1").iterdir())
    assert 10 * 1024 * 1024 < kept < 11 * 1024 * 1024


async def test_progress_is_told_while_it_runs(bench: Bench) -> None:
    told: list[int] = []

    async def listen(_: str, output_bytes: int) -> None:
        told.append(output_bytes)

    done = await bench.sh("echo hello; sleep 1.5; echo done", progress=listen)
    assert done.result["stdout"] == "hello\ndone\n"
    assert 6 in told


async def test_a_shell_that_is_missing_is_a_typed_refusal(bare, benches) -> None:
    bench = await benches(bare[0].settings(shell="/opt/no/bash"))
    done = await bench.sh("true")
    assert isinstance(done.refusal, HostUnreachable)
    assert "/opt/no/bash did not start" in done.refusal.reason
    assert not done.started


async def test_a_login_that_starts_no_shell_is_a_typed_refusal_and_nothing_ran(benches, tmp_path) -> None:
    with bare_sshd(tmp_path / "own", ForceCommand="echo This account is not available.; exit 1") as (server, _):
        bench = await benches(server.settings())
        for _ in range(7):
            done = await bench.sh("true")
            assert isinstance(done.refusal, HostUnreachable)
            assert not done.started


async def test_a_server_with_one_session_still_works(benches, tmp_path) -> None:
    with bare_sshd(tmp_path / "own", MaxSessions="1") as (server, _):
        bench = await benches(server.settings(sessions_max=1))
        done = await asyncio.gather(*(bench.sh(f"echo {number}", seconds=60) for number in range(5)))
        assert [entry.result.get("stdout") for entry in done] == [f"{number}\n" for number in range(5)]
        task = asyncio.create_task(bench.sh("sleep 776", call_id="only-1"))
        await until(lambda: processes_with("sleep\0" + "776"))
        task.cancel("its caller")
        assert isinstance((await task).refusal, Cancelled)
        assert not processes_with("only-1")


async def test_many_calls_at_once_all_answer(bench: Bench) -> None:
    done = await asyncio.gather(*(bench.sh(f"echo {number}", seconds=60) for number in range(40)))
    assert [entry.result.get("stdout") for entry in done] == [f"{number}\n" for number in range(40)]


async def test_become_runs_as_the_other_user_in_run_directories_of_its_own(bare, benches, tmp_path: Path) -> None:
    bench = await benches(bare[0].settings(become="games", cwd="/"))
    home = (await bench.hosts.facts("box")).home
    Path(home).mkdir(exist_ok=True)
    shutil.chown(home, "games")
    done = await bench.sh("id -un; cat /etc/shadow >/dev/null 2>&1 || echo closed")
    assert done.result["stdout"] == "games\nclosed\n"
    place = Path(home) / ".local/state/interlock-runs"
    assert place.stat().st_mode & 0o777 == 0o700
    assert place.owner() == "games"
    late = await bench.sh("setsid sleep 751 & sleep 752", seconds=1, call_id="become-1")
    assert isinstance(late.refusal, TimedOut)
    assert not processes_with("sleep\0" + "751")
    shutil.rmtree(Path(home) / ".local")


async def test_a_full_disk_here_ends_no_command_there(bench: Bench, monkeypatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("interlock.spool.os.open", full)
    done = await bench.sh("echo shown; exit 0")
    assert done.refusal is None
    assert done.result["exit_code"] == 0
    assert done.result["truncated"]
    assert done.result["stdout_bytes"] == 6


async def test_a_wedged_connection_mid_command_ends_the_command_on_a_new_one(benches, tmp_path) -> None:
    with bare_sshd(tmp_path / "own") as (server, _):
        bench = await benches(server.settings(), limits=quick(connect_timeout_seconds=1.0))
        task = asyncio.create_task(bench.sh("sleep 761", seconds=2, call_id="wedged-1"))
        await until(lambda: processes_with("sleep\0" + "761"))
        server.freeze_sessions()
        done = await task
        assert isinstance(done.refusal, TimedOut)
        assert not processes_with("wedged-1")
