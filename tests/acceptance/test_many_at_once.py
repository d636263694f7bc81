"""Groups of hosts, many calls at once, two servers on one store: through real clients, on real OpenSSH hosts."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from guarded import FAST, Guarded, Member, codes, until
from home import open_home
from interlock.pipeline import Line
from interlock.ports import Request
from interlock.ticket import Ticket
from interlock_tools.envelope import Envelope
from sshd import Sshd, processes_with, running_sshd

pytestmark = [pytest.mark.anyio, pytest.mark.openssh]


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Sshd]:
    """A server of the test's own, to be broken."""
    (tmp_path / "sshd").mkdir()
    with running_sshd(tmp_path / "sshd") as server:
        yield server


@pytest.fixture
def house(tmp_path: Path, box: Sshd) -> Guarded:
    return Guarded(tmp_path, limits=FAST).write(Member("box", box))


# ── any:GROUP ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_read_of_any_member_goes_on_past_a_dead_and_a_silent_one_and_lists_every_attempt(
    tmp_path: Path,
) -> None:
    with ExitStack() as stack:
        servers = []
        for name in ("one", "two", "three"):
            (tmp_path / name).mkdir()
            servers.append(stack.enter_context(running_sshd(tmp_path / name)))
        members = [Member(f"web-{n}", server, groups=("web",)) for n, server in enumerate(servers, 1)]
        house = Guarded(tmp_path, limits=FAST).write(*members)
        servers[0].stop()
        async with house.client() as agent:
            servers[1].freeze()
            stack.callback(servers[1].thaw)
            read = await agent.sh("echo here", host="any:web")
            assert read["ok"], read
            assert read["result"]["stdout"] == "here\n"
            assert [attempt["host"] for attempt in read["attempts"]] == ["web-1", "web-2", "web-3"]
            assert [attempt["outcome"] for attempt in read["attempts"][:2]] == ["HOST_UNREACHABLE"] * 2
            mark = house.work / "mark"
            for declared in ({}, {"writes": [str(mark)]}):
                change = await agent.sh(f"touch {mark}", host="any:web", **declared)
                assert not change["ok"]
                assert change["state"] in ("invalid", "denied"), change
            written = await agent.call(
                "file_write", host="any:web", path=str(mark), content="x", intent="Write anywhere at all"
            )
            assert written["state"] == "invalid"
            assert not mark.exists()


# ── many at once ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_fifty_calls_at_once_are_all_answered_on_a_host_with_ten_sessions(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    with running_sshd(tmp_path / "small", MaxSessions="10") as server:
        limits = FAST + "rate_burst_calls = 200\n"
        house = Guarded(tmp_path, limits=limits).write(Member("box", server))
        async with house.client() as agent:
            answers = await asyncio.gather(*(agent.sh(f"echo {n}") for n in range(50)))
            typed = {"", "CONCURRENCY_LIMITED", "HOST_BUSY", "RATE_LIMITED"}
            assert set(codes(answers)) <= typed, codes(answers)
            assert len({answer["call_id"] for answer in answers}) == 50
            for number, answer in enumerate(answers):
                if answer["ok"]:
                    assert answer["result"]["stdout"] == f"{number}\n"
            assert sum(answer["ok"] for answer in answers) >= 10
            listed = await house.command("trace", "list", "--json", "--limit", "60")
            assert listed.stdout.count('"c_') >= 50, listed.stderr


async def test_a_second_server_goes_through_the_first_and_says_so_when_it_dies(house: Guarded) -> None:
    gone: Exception | None = None
    async with house.client() as first:
        assert (await first.sh("echo one"))["ok"]
        (owner,) = house.servers()
        try:
            async with house.client() as second:
                assert (await second.sh("echo two"))["result"]["stdout"] == "two\n"
                running = asyncio.create_task(second.sh("sleep 3970", timeout_seconds=600))
                sleeper = (await until(lambda: processes_with("sleep\x003970")))[0]
                stopped = await house.command("trace", "list")
                assert "sleep 3970" in stopped.stdout or "running" in stopped.stdout, stopped.stdout
                os.kill(owner, 9)
                try:
                    await running
                except Exception as fault:  # noqa: BLE001 - however the client's library words it
                    gone = fault
                await until(lambda: owner not in house.servers())
                os.kill(sleeper, 9)
        except Exception as fault:  # noqa: BLE001 - the same at its end
            gone = gone or fault
    assert gone is not None
    async with house.client() as third:
        assert (await third.sh("echo three"))["ok"]


async def test_a_call_that_was_admitted_just_now_is_not_taken_for_one_that_a_dead_server_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter = Line.enter

    async def slowly(line: Line, request: Request, call_id: str) -> Ticket | Envelope:
        entered = await enter(line, request, call_id)
        await asyncio.sleep(0.5)  # on record as dispatched, and without a task still
        return entered

    monkeypatch.setattr(Line, "enter", slowly)
    monkeypatch.setattr("interlock.recovering.AGAIN_SECONDS", 0.02)
    async with open_home(tmp_path) as home:
        done = await home.call("shell_run", command="echo ran")
        assert (done["state"], done["result"].get("stdout")) == ("succeeded", "ran\n"), done["error"]
