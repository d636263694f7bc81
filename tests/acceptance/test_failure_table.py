"""What goes wrong with servers for agents, row by row: a real client, `interlock serve`, a real OpenSSH host.

The witnesses are the host's process table and disk, never a return value alone.
"""

# ruff: noqa: ASYNC240 - the host's disk and process table are looked at directly

import asyncio
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from guarded import FAST, WAIT_SECONDS, Agent, Guarded, Member, codes, of_call, picture, resident_bytes, until
from sshd import Sshd, processes_with, running_sshd

pytestmark = [pytest.mark.anyio, pytest.mark.openssh]

BIG_BYTES = 50_000_000
KEPT_BYTES = 1_000_000


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Sshd]:
    """A server of the test's own, to be broken."""
    (tmp_path / "sshd").mkdir()
    with running_sshd(tmp_path / "sshd") as server:
        yield server


@pytest.fixture
def house(tmp_path: Path, box: Sshd) -> Guarded:
    return Guarded(tmp_path, limits=FAST).write(Member("box", box))


def tree(mark: Path) -> str:
    """A command of three generations that says that it runs, and then goes on for longer than any test."""
    return f"echo begun; echo x >> {mark}; (sleep 3971; true) & (sleep 3972; true) & sleep 3973; echo y >> {mark}"


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """End what a test left running on its host on purpose."""
    yield
    for pid in {pid for number in range(3970, 3974) for pid in processes_with(f"sleep\x00{number}")}:
        os.kill(pid, 9)


async def begun(agent: Agent, mark: Path, **more: object) -> tuple[asyncio.Task, str]:
    """Start the tree without waiting for its end: the call's task and, from the process table, its id."""
    task = asyncio.create_task(agent.sh(tree(mark), writes=[str(mark)], timeout_seconds=600, **more))
    await until(mark.exists)
    sleeper = (await until(lambda: processes_with("sleep\x003973")))[0]
    environment = Path(f"/proc/{sleeper}/environ").read_text()
    return task, re.search(r"INTERLOCK_CALL=(c_[0-9a-f]{32})", environment)[1]


async def lost_on(box: Sshd, agent: Agent, mark: Path) -> tuple[str, dict]:
    """A call that runs on while its host is away: its id, and the answer that its outcome is unknown."""
    task, call_id = await begun(agent, mark)
    box.stop()
    answer = await task
    assert answer["state"] == "unknown"
    return call_id, answer


# ── connection killed mid-command; and the remote process ────────────────────────────────────────────────────────────


async def test_a_connection_killed_mid_command_loses_neither_the_command_nor_its_output(
    house: Guarded, box: Sshd
) -> None:
    mark = house.work / "mark"
    async with house.client() as agent:
        task, call_id = await begun(agent, mark)
        box.kill_sessions()
        (sleeper,) = processes_with("sleep\x003973")
        os.kill(sleeper, 9)  # the long wait is over: the command goes on to its end
        answer = await task
        assert answer["ok"], answer
        assert answer["call_id"] == call_id
        assert answer["result"]["stdout"] == "begun\n"
        assert mark.read_text() == "x\ny\n"


async def test_a_host_that_stays_away_is_an_unknown_outcome_until_it_is_back_and_asked(
    tmp_path: Path, box: Sshd
) -> None:
    # How often it was tried in vain meanwhile is a matter of the machine: no breaker is what this is about.
    limits = f"{FAST}reattach_seconds_max = 1\nbreaker_failures_max = 50\n"
    house = Guarded(tmp_path, limits=limits).write(Member("box", box))
    mark = house.work / "mark"
    async with house.client() as agent:
        call_id, answer = await lost_on(box, agent, mark)
        assert answer["error"]["code"] == "OUTCOME_UNKNOWN"
        assert not answer["ok"]
        assert answer["call_id"] == call_id
        assert len(of_call(call_id)) >= 3
        assert call_id in (await house.command("reconcile")).stdout  # a person is told of it
        box.start()
        shown = await house.command("reconcile", call_id)
        assert all(str(pid) in shown.stdout for pid in of_call(call_id)), shown.stdout
        await followed_again(agent, call_id)
        ended = await agent.call("call_cancel", call_id=call_id)
        assert ended["result"]["state"] == "cancelled", ended
        assert not of_call(call_id)
        assert call_id not in (await house.command("reconcile")).stdout
        assert mark.read_text() == "x\n"  # it ran once, and nobody ran it again


async def test_a_person_says_what_became_of_a_call_whose_host_stays_away(tmp_path: Path, box: Sshd) -> None:
    house = Guarded(tmp_path, limits=f"{FAST}reattach_seconds_max = 1\n").write(Member("box", box))
    mark = house.work / "mark"
    async with house.client() as agent:
        call_id, _ = await lost_on(box, agent, mark)
        ended = await house.command("reconcile", call_id, "--as", "failed", "--reason", "the machine burned down")
        assert ended.returncode == 0, ended.stderr
        assert (await agent.call("call_status", call_id=call_id))["state"] == "failed"
        assert call_id not in (await house.command("reconcile")).stdout
        assert mark.read_text() == "x\n"
    box.start()  # for the check that nothing is left behind


async def followed_again(agent: Agent, call_id: str) -> None:
    """Return once the server found the call on its host and follows it."""
    async with asyncio.timeout(WAIT_SECONDS):
        while (await agent.call("call_status", call_id=call_id))["state"] != "running":  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.1)


# ── cancel, timeout ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_client_that_cancels_ends_the_whole_tree_and_the_record_says_so(house: Guarded) -> None:
    mark = house.work / "mark"
    async with house.client() as agent:
        task, call_id = await begun(agent, mark)
        task.cancel()
        await asyncio.wait({task})
        await until(lambda: not of_call(call_id))
        said = await agent.call("call_status", call_id=call_id, wait_seconds=20)
        assert said["state"] == "cancelled"
        assert said["error"]["code"] == "CANCELLED"
        assert "none of its processes is left" in said["error"]["message"]
        assert said["result"]["stdout"] == "begun\n"
        assert mark.read_text() == "x\n"


async def test_a_second_hand_cancels_by_id_and_the_first_gets_the_truth(house: Guarded) -> None:
    mark = house.work / "mark"
    async with house.client() as agent:
        task, call_id = await begun(agent, mark)
        ended = await agent.call("call_cancel", call_id=call_id)
        assert ended["result"]["state"] == "cancelled"
        assert not of_call(call_id)
        assert (await task)["state"] == "cancelled"


async def test_a_timeout_ends_the_whole_tree_and_keeps_what_was_printed(house: Guarded) -> None:
    mark = house.work / "mark"
    async with house.client() as agent:
        answer = await agent.sh(tree(mark), writes=[str(mark)], timeout_seconds=2)
        assert answer["state"] == "failed"
        assert answer["error"]["code"] == "TIMED_OUT"
        assert "none of its processes is left" in answer["error"]["message"]
        assert answer["result"]["stdout"] == "begun\n"
        assert not of_call(answer["call_id"])
        assert mark.read_text() == "x\n"


# ── the server itself is killed ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_killed_servers_call_goes_on_is_found_again_and_is_never_run_again(house: Guarded) -> None:
    mark = house.work / "mark"
    try:
        async with house.client() as agent:
            task, call_id = await begun(agent, mark)
            house.kill_servers()
            (lost,) = await asyncio.gather(task, return_exceptions=True)
            assert isinstance(lost, Exception)  # its own client is told that nobody answers any more
    except Exception as fault:  # noqa: BLE001 - however the client says that its server has gone
        assert "sleep" not in str(fault)
    async with house.client() as agent:
        await followed_again(agent, call_id)
        assert (await agent.sh("true"))["ok"]
        assert of_call(call_id)
        ended = await agent.call("call_cancel", call_id=call_id)
        assert ended["result"]["state"] == "cancelled", ended
        assert not of_call(call_id)
        said = await agent.call("call_status", call_id=call_id)
        assert said["result"]["stdout"] == "begun\n"
    verified = await house.command("trace", "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert mark.read_text() == "x\n"


# ── 50 MB of output ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_fifty_megabytes_are_capped_marked_and_pageable_and_the_servers_memory_stays_flat(
    tmp_path: Path, box: Sshd
) -> None:
    house = Guarded(tmp_path, limits=f"{FAST}output_bytes_max = {KEPT_BYTES}").write(Member("box", box))
    async with house.client() as agent:
        await agent.sh("true")
        (server,) = house.servers()
        before, most, watching = resident_bytes(server), 0, True

        async def watch() -> None:
            nonlocal most
            while watching:
                most = max(most, resident_bytes(server))
                await asyncio.sleep(0.02)

        watcher = asyncio.create_task(watch())
        answer = await agent.sh(f"yes 0123456789abcde | head -c {BIG_BYTES}", timeout_seconds=60)
        watching = False
        await watcher
        assert answer["ok"], answer
        result = answer["result"]
        assert result["truncated"] is True
        assert result["stdout_bytes"] == BIG_BYTES
        assert len(result["stdout"]) <= 25_000
        assert result["next_offset"] is not None
        page = await agent.call(
            "call_status", call_id=answer["call_id"], stream="stdout", offset=result["next_offset"], limit=16_000
        )
        assert len(page["result"]["output"]["text"]) == 16_000
        assert page["result"]["output"]["next_offset"] == result["next_offset"] + 16_000
        assert most - before < 20_000_000, (before, most)
        kept = sum(file.stat().st_size for file in (house.state / "output").rglob("*") if file.is_file())
        assert kept <= 2 * KEPT_BYTES


# ── the road ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_changed_host_key_is_refused_and_nothing_is_sent(house: Guarded, box: Sshd) -> None:
    mark = house.work / "mark"
    async with house.client() as agent:
        assert (await agent.sh("true"))["ok"]
        box.change_host_key()
        seen = len(box.log)
        answer = await agent.sh(f"echo x >> {mark}", writes=[str(mark)])
        assert answer["error"]["code"] == "HOST_KEY_MISMATCH"
        assert not answer["error"]["retryable"]
        assert not mark.exists()
        assert "Accepted" not in box.log[seen:]
        assert "Starting session" not in box.log[seen:]


async def test_a_silent_peer_is_a_typed_error_within_the_timeout_and_other_hosts_go_on(
    tmp_path: Path, box: Sshd
) -> None:
    (tmp_path / "other").mkdir()
    with running_sshd(tmp_path / "other") as other:
        house = Guarded(tmp_path, limits=FAST).write(Member("box", box), Member("other", other))
        async with house.client() as agent:
            box.freeze()
            try:
                loop = asyncio.get_running_loop()
                started = loop.time()
                silent = asyncio.create_task(agent.sh("true", host="box"))
                meanwhile = [await agent.sh(f"echo {n}", host="other") for n in range(5)]
                assert not silent.done()  # five answers while the silent host was still waited for
                answer = await silent
                assert loop.time() - started < 15
            finally:
                box.thaw()
        assert codes(meanwhile) == [""] * 5
        assert answer["error"]["code"] == "HOST_UNREACHABLE"
        assert answer["error"]["retryable"]


async def test_after_a_wedged_connection_the_next_call_works(house: Guarded, box: Sshd) -> None:
    async with house.client() as agent:
        assert (await agent.sh("true"))["ok"]
        box.freeze_sessions()
        first = await agent.sh("echo wedged")
        second = await agent.sh("echo free")
        assert first["ok"] or first["error"]["code"] in ("HOST_UNREACHABLE", "OUTCOME_UNKNOWN")
        assert second["ok"], second
        assert second["result"]["stdout"] == "free\n"


# ── what is not understood does not run ──────────────────────────────────────────────────────────────────────────────


async def test_an_unknown_argument_is_rejected_with_the_nearest_field_and_nothing_runs(house: Guarded) -> None:
    mark = house.work / "mark"
    async with house.client() as agent:
        for stray in ("dry_run", "dryRun", "simulate", "mod"):
            answer = await agent.sh(f"echo x >> {mark}", writes=[str(mark)], **{stray: True})
            assert answer["state"] == "invalid"
            assert answer["error"]["code"] == "ARGUMENT_UNKNOWN"
            assert "mode" in str(answer["error"]["recovery"]) + str(answer["error"]["allowed"])
        assert not mark.exists()


async def test_a_missing_argument_is_rejected_and_nothing_runs(house: Guarded, box: Sshd) -> None:
    async with house.client() as agent:
        seen = len(box.log)
        missing = await agent.call("shell_run", host="box")
        empty = await agent.call("shell_run", host="box", command="")
        nowhere = await agent.call("shell_run", command="true")
        assert codes([missing, empty, nowhere]) == ["ARGUMENT_MISSING", "ARGUMENT_INVALID", "ARGUMENT_MISSING"]
        assert "Starting session" not in box.log[seen:]


# ── nobody approves ──────────────────────────────────────────────────────────────────────────────────────────────────

MUTATIONS = """
touch new; echo x > new; echo x >> kept; : > kept; rm kept; rm -rf tree; mv kept moved;
cp kept copied; ln -s kept link;
ln kept hard; mkdir made; rmdir empty; chmod 777 kept; chown nobody kept; truncate -s 0 kept;
dd if=/dev/zero of=kept count=1; tee new < kept;
sed -i s/k/x/ kept; install kept installed; find . -name kept -delete; sort -o kept kept; git init .;
tar -cf made.tar kept; gzip kept; split kept part; python3 -c 'open("new","w")'; perl -e 'unlink "kept"';
awk 'BEGIN{print > "new"}'; bash -c 'touch new';
xargs touch <<< new; patch -p0 < kept; eval 'touch new'; touch "$(echo new)"
"""


async def test_thirty_three_mutations_without_a_human_change_nothing(tmp_path: Path, box: Sshd) -> None:
    limits = f"{FAST}rate_burst_calls = 200\nloop_repeats_max = 50\n"
    house = Guarded(tmp_path, limits=limits).write(Member("box", box, env="prod"))
    (house.work / "tree").mkdir()
    (house.work / "empty").mkdir()
    (house.work / "kept").write_text("kept\n")
    (house.work / "tree" / "leaf").write_text("leaf\n")
    commands = [command.strip() for command in MUTATIONS.replace("\n", " ").split(";") if command.strip()]
    assert len(commands) == 33
    before = picture(house.work)
    everything = {"writes": [str(house.work)], "deletes": [str(house.work)]}
    async with house.client() as agent:
        for command in commands:
            for declared in ({}, everything):
                answer = await agent.sh(command, **declared)
                assert answer["state"] in ("awaiting_approval", "denied"), (command, answer)
                assert not answer["ok"]
        waiting = await house.command("approvals", "list")
        assert waiting.returncode == 0
    assert picture(house.work) == before


READING = [
    ("sort -o {out} kept", "sort"),
    ("sort kept --output={out}", "sort"),
    ("sort --outp={out} kept", "sort"),
    ("uniq kept {out}", "uniq"),
    ("sort --compress-program={evil} -S 1 kept", "sort"),
    ("sort --compress-prog={evil} -S 1 kept", "sort"),
    ("find kept -fprint {out}", "find"),
    ("sed -n 'w {out}' kept", "sed"),
    ("awk '{{print > \"{out}\"}}' kept", "awk"),
    ("cat kept > {out}", "cat"),
    ("tar -cf {out} kept", "tar"),
    ("git -c core.pager='touch {out}' -p log", "git"),
    ("find kept -exec touch {out} +", "find"),
    ("shuf -o {out} kept", "shuf"),
    ("date -f kept > {out}", "date"),
    ("env touch {out}", "env"),
    ("timeout 5 touch {out}", "timeout"),
    ("xargs -a kept touch", "xargs"),
]


@pytest.mark.parametrize(("command", "program"), READING, ids=[f"{n}-{name}" for n, (_, name) in enumerate(READING)])
async def test_a_reading_command_that_declares_nothing_cannot_write(
    command: str, program: str, shared: tuple[Guarded, Agent]
) -> None:
    house, agent = shared
    out, evil = house.work / f"out-{program}", house.work / "evil"
    before = picture(house.work)
    answer = await agent.sh(command.format(out=out, evil=evil))
    assert not answer["ok"]
    assert answer["state"] in ("denied", "awaiting_approval"), answer
    assert picture(house.work) == before


@pytest.fixture
async def shared(tmp_path: Path, box: Sshd):
    house = Guarded(tmp_path, limits=FAST).write(Member("box", box))
    (house.work / "kept").write_text("kept\n")
    evil = house.work / "evil"
    evil.write_text(f"#!/bin/sh\ntouch {house.work}/ran-evil\ncat\n")
    evil.chmod(0o755)
    async with house.client() as agent:
        yield house, agent
