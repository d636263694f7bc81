"""Commands on a real OpenSSH server; the process table and the disk are the witnesses."""

# ruff: noqa: ASYNC110, ASYNC240 - the host's disk and process table are looked at directly

import asyncio
import resource
import shlex
import time
from pathlib import Path

import pytest

from hosts_bench import Bench, own, quick
from interlock_tools.errors import (
    Cancelled,
    CommandFailed,
    HostUnreachable,
    OutcomeUnknown,
    PathInvalid,
    TimedOut,
)
from sshd import Sshd, needs_openssh, processes_with

pytestmark = [pytest.mark.anyio, needs_openssh]


async def until(condition, seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


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


TRICKY = [
    "",
    "plain",
    "it's",
    'say "hi"',
    "back\\slash \\n \\x41 \\c stop",
    "dollar $HOME `id` $(id)",
    "bang! !! !$",
    "line\nbreaks\r\ttabs\n",
    "snow ☃ é 日本",
    "%s %b %%",
    "-n",
    "~ * ? [a] {b,c} & | ; < > ( ) # ^",
]


@pytest.mark.parametrize("text", TRICKY)
@pytest.mark.parametrize("shell", ["/bin/bash", "/bin/dash"])
async def test_every_byte_reaches_bash_whatever_the_login_shell_is(shell, text, start_sshd, benches) -> None:
    server = start_sshd(ForceCommand=f'exec {shell} -c "$SSH_ORIGINAL_COMMAND"')
    bench = await benches(server.settings())
    done = await bench.sh(f"printf %s {shlex.quote(text)}")
    assert done.refusal is None
    assert done.result["stdout"] == text


async def test_the_environment_is_clean_and_login_noise_is_not_output(start_sshd, benches, tmp_path: Path) -> None:
    # A start-up file that prints, exports and redefines: what users' .bashrc do.
    noisy = tmp_path / "noisy.sh"
    noisy.write_text(
        "echo welcome; echo motd >&2; export LEAK=1 BASH_ENV=/nope LD_DEBUG_OUTPUT=x; ls() { echo fake; }; "
        'export -f ls; set -f; exec bash -c "$SSH_ORIGINAL_COMMAND"'
    )
    bench = await benches(start_sshd(ForceCommand=f"bash {noisy}").settings())
    done = await bench.sh(
        "env | cut -d= -f1 | sort | tr '\\n' ' '; type -t ls; echo *; shopt -q login_shell || echo no"
    )
    names, kind, globbed, login = (
        done.result["stdout"].split("\n")[0].rsplit(" ", 1)[0],
        *done.result["stdout"].split("\n")[0:3],
    )
    ours = {name for name in names.split() if not name.startswith("GIT_CONFIG_")}
    assert ours == {
        "HOME",
        "INTERLOCK_CALL",
        "LANG",
        "LOGNAME",
        "OLDPWD",
        "PATH",
        "PWD",
        "SHELL",
        "SHLVL",
        "USER",
        "_",
    }
    assert "LEAK" not in kind
    assert "file" in kind
    assert globbed == "*"
    assert login == "no"
    assert done.result["stderr"] == ""


async def test_the_working_directory_and_standard_input_are_as_asked(bench: Bench, work: Path) -> None:
    done = await bench.sh("pwd; cat", cwd=str(work), stdin="with 'quotes'\nand lines")
    assert done.result["stdout"] == f"{work}\nwith 'quotes'\nand lines"
    empty = await bench.sh("cat; echo end")
    assert empty.result["stdout"] == "end\n"


async def test_a_missing_working_directory_refuses_and_runs_nothing(bench: Bench, work: Path) -> None:
    done = await bench.sh(f"touch {work}/ran", cwd="/no/such/place")
    assert isinstance(done.refusal, PathInvalid)
    assert not done.started
    assert not (work / "ran").exists()


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


async def test_a_timeout_ends_the_whole_tree_and_keeps_the_partial_output(bench: Bench) -> None:
    # A TERM-ignoring child, one in a session of its own, and one that cleared its environment.
    command = "echo partial; setsid sleep 91 & (trap '' TERM; sleep 92; sleep 92) & env -i setsid sleep 93 & sleep 94"
    done = await bench.sh(command, seconds=1.0, call_id=own("timeout-1"))
    assert isinstance(done.refusal, TimedOut)
    assert "none of its processes is left" in done.refusal.reason
    assert done.result["stdout"] == "partial\n"
    assert done.started
    for seconds in (91, 92, 93, 94):
        assert not processes_with(f"sleep\0{seconds}")


async def test_a_cancellation_ends_the_whole_tree_before_it_is_answered(bench: Bench) -> None:
    task = asyncio.create_task(bench.sh("echo begun; setsid sleep 81 & sleep 82", call_id=own("cancel-1")))
    await until(lambda: processes_with("sleep\0" + "82"))
    task.cancel("its caller")
    done = await task
    assert isinstance(done.refusal, Cancelled)
    assert "its caller" in done.refusal.reason
    assert done.result["stdout"] == "begun\n"
    assert not processes_with(f"INTERLOCK_CALL={own('cancel-1')}")
    assert (await bench.sh("echo next")).result["stdout"] == "next\n"


async def test_a_second_cancellation_does_not_leave_the_command_running(bench: Bench) -> None:
    task = asyncio.create_task(bench.sh("trap '' TERM; sleep 83; sleep 83", call_id=own("cancel-2")))
    await until(lambda: processes_with("sleep\0" + "83"))
    task.cancel("once")
    await asyncio.sleep(0.1)
    task.cancel("twice")
    done = await task
    assert isinstance(done.refusal, Cancelled)
    assert not processes_with(f"INTERLOCK_CALL={own('cancel-2')}")


async def test_a_connection_killed_mid_command_loses_nothing_of_it(own_sshd: Sshd, benches, work: Path) -> None:
    bench = await benches(own_sshd.settings())
    command = f"echo before; echo x >> {work}/counter; sleep 1.71; echo after"
    task = asyncio.create_task(bench.sh(command, call_id=own("lost-1")))
    await until(lambda: processes_with("sleep\0" + "1.71"))
    own_sshd.kill_sessions()
    done = await task
    assert done.refusal is None
    assert done.result["exit_code"] == 0
    assert done.result["stdout"] == "before\nafter\n"
    assert (work / "counter").read_text() == "x\n"


async def test_a_host_that_does_not_come_back_is_never_a_success(own_sshd: Sshd, benches, work: Path) -> None:
    bench = await benches(own_sshd.settings(), limits=quick(reattach_seconds_max=1.0))
    task = asyncio.create_task(bench.sh("echo before; sleep 71; echo after", call_id=own("lost-2")))
    await until(lambda: processes_with("sleep\0" + "71"))
    own_sshd.stop()
    done = await task
    assert isinstance(done.refusal, OutcomeUnknown)
    assert done.refusal.call_id == own("lost-2")
    assert done.started
    assert done.result["exit_code"] is None
    assert done.result["stdout"] == "before\n"
    own_sshd.start()
    pids = await bench.hosts.left_behind("box", own("lost-2"))
    assert set(processes_with(f"INTERLOCK_CALL={own('lost-2')}")) <= set(pids)
    assert pids
    ended = await bench.hosts.end("box", own("lost-2"))
    assert ended.left == 0
    assert not processes_with(f"INTERLOCK_CALL={own('lost-2')}")


async def test_the_call_after_a_dropped_connection_works_on_a_new_one(own_sshd: Sshd, benches) -> None:
    bench = await benches(own_sshd.settings())
    assert (await bench.sh("echo 1")).refusal is None
    own_sshd.kill_sessions()
    for number in range(3):
        assert (await bench.sh(f"echo {number}")).result["stdout"] == f"{number}\n"


async def test_the_call_after_a_wedged_connection_works_on_a_new_one(own_sshd: Sshd, benches) -> None:
    bench = await benches(own_sshd.settings(), limits=quick(connect_timeout_seconds=1.5))
    assert (await bench.sh("echo 1")).refusal is None
    own_sshd.freeze_sessions()
    done = await bench.sh("echo 2", seconds=30)
    assert done.refusal is None
    assert done.result["stdout"] == "2\n"


async def test_a_wedged_connection_mid_command_ends_the_command_on_a_new_one(own_sshd: Sshd, benches) -> None:
    bench = await benches(own_sshd.settings(), limits=quick(connect_timeout_seconds=1.0))
    task = asyncio.create_task(bench.sh("sleep 61", seconds=2, call_id=own("wedged-1")))
    await until(lambda: processes_with("sleep\0" + "61"))
    own_sshd.freeze_sessions()
    done = await task
    assert isinstance(done.refusal, TimedOut)
    assert not processes_with(f"INTERLOCK_CALL={own('wedged-1')}")


async def test_fifty_megabytes_are_capped_counted_and_leave_memory_flat(bench: Bench) -> None:
    await bench.sh("true")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    done = await bench.sh(
        "yes 0123456789abcdef | head -c 50000000; echo; echo the end", call_id=own("big-1"), seconds=120
    )
    grown_kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert done.refusal is None
    assert done.result["stdout_bytes"] == 50_000_009
    assert done.result["truncated"]
    assert done.result["stdout"].endswith("the end\n")
    assert "left out" in done.result["stdout"]
    assert len(done.result["stdout"]) < 21_000
    assert (bench.state / "output" / f"{own('big-1')}.stdout").stat().st_size <= 10 * 1024 * 1024
    assert grown_kilobytes < 30_000
    page = await bench.spool.page(own("big-1"), "stdout", done.result["next_offset"], 100)
    assert page.text.replace("\n", "") in "0123456789abcdef" * 8
    assert page.next_offset == done.result["next_offset"] + 100


async def test_secrets_are_taken_out_of_output_before_it_is_kept(sshd: Sshd, benches) -> None:
    bench = await benches(sshd.settings(), secrets=("correct-horse-battery",))
    done = await bench.sh("printf 'a correct-horse'; sleep 0.2; echo '-battery staple'", call_id=own("secret-1"))
    assert "correct-horse-battery" not in done.result["stdout"]
    assert "staple" in done.result["stdout"]
    assert b"correct-horse-battery" not in (bench.state / "output" / f"{own('secret-1')}.stdout").read_bytes()
    assert oct((bench.state / "output" / f"{own('secret-1')}.stdout").stat().st_mode)[-3:] == "600"


async def test_progress_is_told_while_it_runs(bench: Bench) -> None:
    told: list[tuple[str, int]] = []

    async def listen(sentence: str, output_bytes: int) -> None:
        told.append((sentence, output_bytes))

    await bench.sh("echo hello; sleep 0.9", progress=listen)
    assert len(told) >= 2
    assert told[-1][1] == 6


async def test_a_login_that_starts_no_shell_is_a_typed_refusal_and_nothing_ran(start_sshd, benches) -> None:
    bench = await benches(start_sshd(ForceCommand="echo This account is currently not available.; exit 1").settings())
    for _ in range(7):
        done = await bench.sh("true")
        assert isinstance(done.refusal, HostUnreachable)
        assert not done.started


async def test_a_shell_that_is_missing_is_a_typed_refusal(sshd: Sshd, benches) -> None:
    bench = await benches(sshd.settings(shell="/opt/no/bash"))
    done = await bench.sh("true")
    assert isinstance(done.refusal, HostUnreachable)
    assert "/opt/no/bash did not start" in done.refusal.reason
    assert not done.started


async def test_many_calls_at_once_stay_below_max_sessions(start_sshd, benches, tmp_path: Path) -> None:
    server = start_sshd(MaxSessions="4")
    bench = await benches(server.settings(sessions_max=4))
    done = await asyncio.gather(*(bench.sh(f"echo {number}", seconds=60) for number in range(40)))
    assert [entry.result.get("stdout") for entry in done] == [f"{number}\n" for number in range(40)]


async def test_a_server_with_one_session_still_works(start_sshd, benches) -> None:
    bench = await benches(start_sshd(MaxSessions="1").settings(sessions_max=1))
    done = await asyncio.gather(*(bench.sh(f"echo {number}", seconds=60) for number in range(5)))
    assert [entry.result.get("stdout") for entry in done] == [f"{number}\n" for number in range(5)]


async def test_a_full_queue_is_a_typed_refusal_with_a_time_to_come_back(sshd: Sshd, benches) -> None:
    limits = quick(session_queue_max=2, session_wait_seconds=0.5)
    bench = await benches(sshd.settings(sessions_max=1), limits=limits)
    done = await asyncio.gather(*(bench.sh("sleep 2.5") for _ in range(6)))
    codes = sorted(entry.refusal.code if entry.refusal else "" for entry in done)
    assert codes == ["", "HOST_BUSY", "HOST_BUSY", "HOST_BUSY", "HOST_BUSY", "HOST_BUSY"]
    assert all(entry.refusal.retry_after_seconds for entry in done if entry.refusal)
    assert all(not entry.started for entry in done if entry.refusal)


async def test_become_runs_as_the_other_user_and_its_tree_can_be_ended(sshd: Sshd, benches, work: Path) -> None:
    sshd.folder.chmod(0o755)
    work.chmod(0o777)
    bench = await benches(sshd.settings(become="nobody", cwd="/"))
    facts = await bench.hosts.facts("box")
    assert facts.user == "nobody"
    done = await bench.sh("id -un; echo $USER; cat /etc/shadow >/dev/null 2>&1 || echo closed")
    assert done.result["stdout"] == "nobody\nnobody\nclosed\n"
    late = await bench.sh("setsid sleep 51 & sleep 52", seconds=1, call_id=own("become-1"))
    assert isinstance(late.refusal, TimedOut)
    assert not processes_with("sleep\0" + "51")
    assert not processes_with("sleep\0" + "52")


async def test_a_call_cancelled_while_it_waits_for_its_turn_ran_nothing(sshd: Sshd, benches, work: Path) -> None:
    bench = await benches(sshd.settings(sessions_max=1))
    first = asyncio.create_task(bench.sh("sleep 2"))
    await until(lambda: processes_with("sleep\0" + "2"))
    second = asyncio.create_task(bench.sh(f"touch {work}/ran"))
    await asyncio.sleep(0.1)
    second.cancel("its caller")
    done = await second
    assert isinstance(done.refusal, Cancelled)
    assert not done.started
    assert (await first).refusal is None
    assert not (work / "ran").exists()


async def test_cancelling_at_any_moment_leaves_no_process_behind(bench: Bench) -> None:
    await bench.sh("true")
    for step in range(25):
        task = asyncio.create_task(bench.sh("sleep 77", call_id=own(f"moment-{step}")))
        await asyncio.sleep(step * 0.0007)
        task.cancel("its caller")
        done = await task
        assert isinstance(done.refusal, Cancelled)
        assert not processes_with(f"INTERLOCK_CALL={own(f'moment-{step}')}")
    assert not processes_with("sleep\0" + "77")


async def test_output_that_comes_soon_after_the_end_is_part_of_the_answer(bench: Bench) -> None:
    command = "(for n in 1 2 3; do sleep 0.05; echo late $n; done) & echo early"
    done = await bench.sh(command)
    assert done.refusal is None
    assert done.result["stdout"].splitlines() == ["early", "late 1", "late 2", "late 3"]


async def test_a_full_disk_here_ends_no_command_there(bench: Bench, monkeypatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("interlock.spool.os.open", full)
    done = await bench.sh("echo shown; exit 0")
    assert done.refusal is None
    assert done.result["exit_code"] == 0
    assert done.result["truncated"]
    assert done.result["stdout_bytes"] == 6


async def test_a_listener_that_fails_does_not_disturb_the_command(bench: Bench) -> None:
    async def broken(sentence: str, output_bytes: int) -> None:
        raise RuntimeError(sentence)

    assert (await bench.sh("sleep 0.6; echo fine", progress=broken)).result["stdout"] == "fine\n"


async def test_git_runs_no_program_that_a_repository_names(bench: Bench, work: Path) -> None:
    made = (
        "git init -q . && git config user.email a@example.org && git config user.name a && "
        f"printf '#!/bin/sh\\ntouch {work}/hook-ran\\n' > .git/hooks/pre-commit && chmod +x .git/hooks/pre-commit && "
        f"git config core.fsmonitor 'touch {work}/monitor-ran' && echo 1 > f && git add f && "
        "git commit -qm one && git status"
    )
    for _ in range(2):  # in a shell of its own, then in the one that waited
        done = await bench.sh(made + " || true", cwd=str(work))
        assert "nothing to commit" in done.result["stdout"], done.result["stderr"]
    assert sorted(path.name for path in work.iterdir()) == [".git", "f"]
