"""Commands on a real OpenSSH server; the process table and the disk are the witnesses."""

# ruff: noqa: ASYNC240 - the host's disk and process table are looked at directly

import asyncio
import os
import resource
from pathlib import Path

import pytest

from hosts_bench import Bench, own, quick, until
from interlock.ports import LEFT, Run
from interlock.runner.rundirs import runs_place
from interlock_tools.errors import (
    Cancelled,
    OutcomeUnknown,
    TimedOut,
)
from interlock_tools.plan import RunCommand
from sshd import Sshd, needs_openssh, processes_with

pytestmark = [pytest.mark.anyio, needs_openssh]


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
    heard: list[int] = []

    async def listen(_: str, output_bytes: int) -> None:
        heard.append(output_bytes)

    command = "echo before; sleep 71; echo after"
    task = asyncio.create_task(bench.sh(command, call_id=own("lost-2"), progress=listen))
    await until(lambda: processes_with("sleep\0" + "71") and 7 in heard)
    own_sshd.stop()
    done = await task
    assert isinstance(done.refusal, OutcomeUnknown)
    assert done.refusal.call_id == own("lost-2")
    assert done.started
    assert done.result["exit_code"] is None
    assert done.result["stdout"] == "before\n"
    own_sshd.start()
    pids = await bench.hosts.left_behind("box", own("lost-2"))
    assert set(pids) == set(processes_with(f"INTERLOCK_CALL={own('lost-2')}"))
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
    assert [attempt.outcome for attempt in done.attempts] == ["succeeded"]
    assert done.result["stdout"] == "2\n"


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


async def test_many_calls_at_once_stay_below_max_sessions(start_sshd, benches, tmp_path: Path) -> None:
    server = start_sshd(MaxSessions="4")
    bench = await benches(server.settings(sessions_max=4))
    done = await asyncio.gather(*(bench.sh(f"echo {number}", seconds=60) for number in range(40)))
    assert [entry.result.get("stdout") for entry in done] == [f"{number}\n" for number in range(40)]


async def test_what_expired_on_its_host_is_unknown_and_never_begins_again(bench: Bench, work: Path) -> None:
    counter, call_id = work / "counter", own("expired-1")
    command = f"echo x >> {counter}; echo said"
    assert (await bench.sh(command, call_id=call_id)).refusal is None
    (link,) = bench.hosts._roads._links.values()
    outpost = await link.outpost(await link.live())
    os.utime(Path(runs_place(), call_id), (1, 1))
    await outpost.ask("expire", {"days": 10_000}, timeout_seconds=20)
    for _ in range(2):
        found = await bench.hosts.collect(Run(call_id, "digest", "box", RunCommand(command), 20.0))
        assert isinstance(found.refusal, OutcomeUnknown)
        assert "expired" in found.refusal.reason
        again = await bench.sh(command, call_id=call_id)
        assert isinstance(again.refusal, OutcomeUnknown)
        assert again.started
    assert counter.read_text() == "x\n"


async def test_output_that_its_host_kept_no_longer_is_not_told_as_silence(bench: Bench) -> None:
    call_id = own("silent-1")
    await bench.sh("echo said; echo more >&2; exit 3", call_id=call_id)
    for name in ("out", "err"):
        Path(runs_place(), call_id, name).unlink()
    found = await bench.hosts.collect(Run(call_id, "digest", "box", RunCommand(""), 20.0))
    assert found.result["exit_code"] == 3
    assert found.result["truncated"]
    assert (found.result["stdout_bytes"], found.result["stderr_bytes"]) == (5, 5)


async def test_a_connection_that_lives_long_lets_old_runs_expire_again_and_again(bench: Bench, monkeypatch) -> None:
    monkeypatch.setattr("interlock.hosts.link.TIDY_AGAIN_SECONDS", 0.05)
    for number in range(2):
        call_id = own(f"old-{number}")
        await bench.sh("true", call_id=call_id)
        folder = Path(runs_place(), call_id)
        os.utime(folder, (1, 1))
        await bench.sh("true")  # only where something was asked for is it looked at again
        await until(lambda folder=folder: not folder.exists())


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


async def test_who_only_stops_following_is_not_told_that_nothing_ran(sshd: Sshd, benches) -> None:
    bench = await benches(sshd.settings(sessions_max=1))
    first = asyncio.create_task(bench.sh("sleep 2"))
    await until(lambda: processes_with("sleep\0" + "2"))
    second = asyncio.create_task(bench.sh("true"))
    await asyncio.sleep(0.1)
    second.cancel(LEFT)
    with pytest.raises(asyncio.CancelledError):
        await second
    assert (await first).refusal is None


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
