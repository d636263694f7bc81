"""Reaching hosts: silence, pooling, jumps, breakers and diagnosis, against real OpenSSH servers."""

# ruff: noqa: ASYNC110 - the host's disk and process table are looked at directly

import asyncio
import socket
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from hosts_bench import Bench, bench_of, quick
from interlock.hosts.breaker import BreakerState, Kind
from interlock.hosts.faults import Faulted
from interlock.ports import Authorization, PathQuery, Run
from interlock.settings import SecretRef
from interlock_tools.errors import (
    HostBusy,
    HostKeyMismatch,
    HostUnknown,
    HostUnreachable,
    PolicyDenied,
)
from interlock_tools.plan import WriteFile
from sshd import Sshd, free_port, needs_openssh

pytestmark = [pytest.mark.anyio, needs_openssh]


@contextmanager
def silent_peer():
    """A listener that accepts and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(50)
        yield listener.getsockname()[1]


def logins(server: Sshd) -> int:
    return server.log.count("Accepted publickey")


# ── silence and refusal ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_silent_peer_is_a_typed_error_in_time_and_slows_nobody_else(sshd: Sshd, benches) -> None:
    with silent_peer() as port:
        bench = await benches(
            sshd.settings(), sshd.settings("mute", port=port), limits=quick(connect_timeout_seconds=1.5)
        )
        line = f"[127.0.0.1]:{port} " + sshd.known_hosts.read_text().split(" ", 1)[1]
        sshd_known = bench.state / "known"
        sshd_known.write_text(line)
        bench = await benches(
            sshd.settings(),
            sshd.settings("mute", port=port, known_hosts=sshd_known),
            limits=quick(connect_timeout_seconds=1.5),
        )
        await bench.sh("true")
        started = time.monotonic()
        mute = [asyncio.create_task(bench.sh("true", host="mute")) for _ in range(10)]
        for _ in range(5):
            at = time.monotonic()
            assert (await bench.sh("true")).refusal is None
            assert time.monotonic() - at < 1.4
        done = await asyncio.gather(*mute)
        assert all(isinstance(entry.refusal, HostUnreachable) for entry in done)
        assert time.monotonic() - started < 3.5


async def test_a_closed_port_is_tried_again_and_every_try_is_listed(sshd: Sshd, benches, tmp_path: Path) -> None:
    port = free_port()
    known = tmp_path / "known"
    known.write_text(f"[127.0.0.1]:{port} " + sshd.known_hosts.read_text().split(" ", 1)[1])
    bench = await benches(sshd.settings(port=port, known_hosts=known))
    done = await bench.sh("true")
    assert isinstance(done.refusal, HostUnreachable)
    assert [attempt.outcome for attempt in done.attempts] == ["HOST_UNREACHABLE"] * 3
    assert all(attempt.host == "box" and attempt.started.endswith("+00:00") for attempt in done.attempts)


async def test_a_host_that_comes_back_between_two_tries_is_used(own_sshd: Sshd, benches) -> None:
    bench = await benches(own_sshd.settings(), limits=quick(attempts_max=8))
    own_sshd.stop()
    task = asyncio.create_task(bench.sh("echo back"))
    await asyncio.sleep(0.2)
    own_sshd.start()
    done = await task
    assert done.refusal is None
    assert done.result["stdout"] == "back\n"
    assert done.attempts[0].outcome == "HOST_UNREACHABLE"
    assert done.attempts[-1].outcome == "succeeded"


async def test_an_authorization_that_is_not_accepted_reaches_no_host(own_sshd: Sshd, tmp_path: Path) -> None:
    async with bench_of(tmp_path / "state", own_sshd.settings()) as bench:

        async def refuse(leave: Authorization, run: Run) -> PolicyDenied:
            return PolicyDenied(reason="forged")

        bench.hosts._consume = refuse
        done = await bench.sh(f"touch {tmp_path}/ran")
        assert isinstance(done.refusal, PolicyDenied)
        assert not done.started
        assert done.attempts == ()
        assert not (tmp_path / "ran").exists()
        assert "Connection from" not in own_sshd.log.split("Server listening")[-1] or logins(own_sshd) == 0


async def test_a_host_outside_the_inventory_is_unknown(bench: Bench) -> None:
    assert isinstance((await bench.sh("true", host="nowhere")).refusal, HostUnknown)
    assert isinstance(await bench.hosts.facts("nowhere"), HostUnknown)


# ── one pooled connection ────────────────────────────────────────────────────────────────────────────────────────────


async def test_fifty_first_users_share_one_connection(own_sshd: Sshd, benches) -> None:
    bench = await benches(own_sshd.settings())
    done = await asyncio.gather(*(bench.sh(f"echo {number}", seconds=60) for number in range(50)))
    assert [entry.result["stdout"] for entry in done] == [f"{number}\n" for number in range(50)]
    assert logins(own_sshd) == 1
    assert all(len(entry.attempts) <= 3 for entry in done)


async def test_thirty_names_of_one_server_connect_without_being_reset(start_sshd, benches) -> None:
    server = start_sshd(MaxStartups="10:30:100")
    entries = [server.settings(f"box{number}") for number in range(30)]
    bench = await benches(*entries, limits=quick(connect_timeout_seconds=15))
    done = await asyncio.gather(*(bench.sh("true", host=entry.name, seconds=60) for entry in entries))
    assert [entry.refusal for entry in done] == [None] * 30
    assert [len(entry.attempts) for entry in done] == [1] * 30


async def test_members_put_healthy_hosts_first(sshd: Sshd, benches) -> None:
    groups = frozenset({"web"})
    down = sshd.settings("a-down", port=free_port(), groups=groups)
    known = sshd.folder / "work" / "down_known"
    known.write_text(f"[127.0.0.1]:{down.port} " + sshd.known_hosts.read_text().split(" ", 1)[1])
    bench = await benches(
        replace(down, known_hosts=known),
        sshd.settings("b-idle", groups=groups),
        sshd.settings("c-up", groups=groups),
        sshd.settings("other"),
        limits=quick(breaker_failures_max=2),
    )
    assert bench.hosts.members("web") == ("a-down", "b-idle", "c-up")
    await bench.sh("true", host="c-up")
    await bench.sh("true", host="a-down")
    assert bench.hosts.members("web") == ("c-up", "b-idle", "a-down")


# ── jump hosts ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_host_behind_a_jump_host_is_reached_through_it(start_sshd, benches) -> None:
    jump, inner = start_sshd(), start_sshd()
    bench = await benches(jump.settings("gate"), inner.settings("box", jump="gate"))
    done = await bench.sh("echo $((6 * 7))")
    assert done.result["stdout"] == "42\n"
    assert logins(jump) == 1
    assert logins(inner) == 1
    jump.kill_sessions()
    again = await bench.sh("echo again")
    assert again.result["stdout"] == "again\n"
    assert (await bench.hosts.fingerprints("box"))[0].trusted


async def test_a_jump_host_can_be_written_as_user_address_and_port(start_sshd, benches) -> None:
    jump, inner = start_sshd(), start_sshd()
    key = (inner.folder / "client_key.pub") if (inner.folder / "client_key.pub").exists() else None
    assert key is None
    inner_key = (inner.folder / "authorized_keys").read_text()
    (jump.folder / "authorized_keys").write_text(inner_key)
    known = inner.folder / "both"
    known.write_text(inner.known_hosts.read_text() + "\n" + jump.known_hosts.read_text())
    user = inner.settings().user
    box = inner.settings(jump=f"{user}@127.0.0.1:{jump.port}", known_hosts=known)
    bench = await benches(box)
    assert (await bench.sh("echo hi")).result["stdout"] == "hi\n"
    assert logins(jump) == 1


async def test_jump_hosts_in_a_circle_and_untrusted_ones_are_typed_refusals(start_sshd, benches, tmp_path) -> None:
    server = start_sshd()
    bench = await benches(server.settings("a", jump="b"), server.settings("b", jump="a"))
    done = await bench.sh("true", host="a")
    assert isinstance(done.refusal, HostUnreachable)
    assert "circle" in done.refusal.reason
    other = start_sshd()
    bench = await benches(other.settings("gate", known_hosts=tmp_path / "none"), server.settings("box", jump="gate"))
    done = await bench.sh("true")
    assert isinstance(done.refusal, HostKeyMismatch)
    assert "gate" in done.refusal.reason
    assert logins(other) == 0


# ── the breaker ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Kept:
    """A breaker store in memory, as a restart would find it."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], BreakerState] = {}

    async def load_breakers(self) -> tuple[BreakerState, ...]:
        return tuple(self.rows.values())

    async def save_breaker(self, state: BreakerState) -> None:
        self.rows[state.host, state.kind] = state


async def test_the_breaker_opens_for_that_host_alone_survives_a_restart_and_closes_again(
    start_sshd, tmp_path: Path
) -> None:
    good, bad = start_sshd(), start_sshd()
    now = [1_000.0]
    kept = Kept()
    limits = quick(breaker_failures_max=3, breaker_open_seconds=30.0, attempts_max=1)
    inventory = (good.settings("good"), bad.settings("bad"))
    bad.stop()
    async with bench_of(tmp_path / "s", *inventory, limits=limits, breakers=kept, clock=lambda: now[0]) as bench:
        codes = [(await bench.sh("true", host="bad")).refusal.code for _ in range(5)]
        assert codes == ["HOST_UNREACHABLE"] * 3 + ["HOST_BUSY"] * 2
        busy = (await bench.sh("true", host="bad")).refusal
        assert isinstance(busy, HostBusy)
        assert 0 < busy.retry_after_seconds <= 31
        assert (await bench.sh("true", host="good")).refusal is None
    bad.start()
    async with bench_of(tmp_path / "s", *inventory, limits=limits, breakers=kept, clock=lambda: now[0]) as bench:
        assert isinstance((await bench.sh("true", host="bad")).refusal, HostBusy)
        now[0] += 31
        assert (await bench.sh("true", host="bad")).refusal is None
        assert kept.rows["bad", "connect"].opened_at is None
        assert (await bench.sh("true", host="bad")).refusal is None


async def test_failing_commands_and_refused_credentials_never_open_the_breaker(own_sshd: Sshd, benches) -> None:
    kept = Kept()
    bench = await benches(own_sshd.settings(), breakers=kept, limits=quick(breaker_failures_max=2))
    for _ in range(4):
        assert (await bench.sh("false")).refusal.code == "COMMAND_FAILED"
        await bench.do(WriteFile("/nope/nope", b""), declared=("/nope",))
    assert kept.rows == {}


async def test_a_probe_that_is_cancelled_lets_the_next_one_through(own_sshd: Sshd, benches) -> None:
    now = [0.0]
    bench = await benches(
        own_sshd.settings(), limits=quick(breaker_failures_max=1, attempts_max=1), clock=lambda: now[0]
    )
    own_sshd.stop()
    assert (await bench.sh("true")).refusal.code == "HOST_UNREACHABLE"
    own_sshd.start()
    now[0] += 60
    await bench.hosts._breakers.enter("box", Kind.CONNECT)
    with pytest.raises(Faulted):
        await bench.hosts._breakers.enter("box", Kind.CONNECT)
    bench.hosts._breakers.left("box", Kind.CONNECT)
    assert (await bench.sh("true")).refusal is None


# ── diagnosis ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_doctor_finds_nothing_wrong_with_a_good_host(sshd: Sshd, benches) -> None:
    bench = await benches(sshd.settings())
    found = await bench.hosts.diagnose("box")
    assert [finding.subject for finding in found if not finding.ok] == []
    assert {"host key", "network", "login", "shell", "files", "cwd", "containment"} <= {
        finding.subject for finding in found
    }


async def test_doctor_names_what_is_wrong_and_how_to_mend_it(own_sshd: Sshd, benches, tmp_path: Path) -> None:
    cases = {
        "host key": own_sshd.settings(known_hosts=tmp_path / "none"),
        "key file": own_sshd.settings(identities=(SecretRef("file", "/no/key"),)),
        "identity": own_sshd.settings(identities=()),
        "network": own_sshd.settings(port=free_port()),
        "shell": own_sshd.settings(shell="/no/bash"),
        "cwd": own_sshd.settings(cwd="/no/such/folder"),
    }
    for subject, entry in cases.items():
        bench = await benches(entry)
        wrong = [finding for finding in await bench.hosts.diagnose("box") if not finding.ok]
        assert subject in [finding.subject for finding in wrong]
        assert all(finding.mend for finding in wrong)
    (own_sshd.folder / "authorized_keys").write_text("")
    bench = await benches(own_sshd.settings())
    wrong = [finding for finding in await bench.hosts.diagnose("box") if not finding.ok]
    assert [finding.subject for finding in wrong] == ["login"]


async def test_closing_leaves_no_connection_behind(own_sshd: Sshd, tmp_path: Path) -> None:
    async with bench_of(tmp_path / "s", own_sshd.settings()) as bench:
        await bench.sh("true")
        await bench.hosts.resolve("box", [PathQuery("/")])
        assert own_sshd.sessions()
    async with asyncio.timeout(5):
        while own_sshd.sessions():
            await asyncio.sleep(0.02)


async def test_who_waits_on_a_connection_that_is_given_up_was_not_cancelled(sshd: Sshd, benches, monkeypatch) -> None:
    """The connection breaks while its runner is sent, and while its file channel opens."""

    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    bench = await benches(sshd.settings())
    assert (await bench.sh("true")).refusal is None
    (link,) = bench.hosts._roads._links.values()
    await link.close()
    monkeypatch.setattr("interlock.hosts.link.open_outpost", never)
    monkeypatch.setattr(link, "_open_sftp", never)
    live = await link.live()

    async def with_files() -> None:
        async with link.files(live):
            pass

    for waiting in (link.outpost(live), with_files()):
        task = asyncio.create_task(waiting)
        await asyncio.sleep(0.2)
        link.drop(live)
        with pytest.raises(Faulted, match="given up"):
            await task
        assert not task.cancelling()
        live = await link.live()
    task = asyncio.create_task(link.outpost(live))
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
