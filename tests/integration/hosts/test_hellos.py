"""What a host's runner said of its host is told to the next one: over a real sshd a reconnect spares the probe."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import asyncssh
import pytest

from interlock.hosts.hellos import KNOWN_SECONDS_MAX, Hellos
from interlock.hosts.link import Link
from interlock.hosts.outpost import Outpost, open_outpost
from interlock.hosts.program import runner_exec
from interlock.settings import Limits
from runner_channel import order_of
from sshd import Sshd, current_user, needs_openssh

pytestmark = [pytest.mark.anyio, needs_openssh]


def connecting(sshd: Sshd) -> Callable[[Callable[[], None]], object]:
    """How a link dials this server."""

    async def connect(on_lost: Callable[[], None]) -> asyncssh.SSHClientConnection:
        class Client(asyncssh.SSHClient):
            def connection_lost(self, exc: Exception | None) -> None:
                on_lost()

        return await asyncssh.connect(
            "127.0.0.1", sshd.port, username=current_user(), client_keys=[str(sshd.folder / "client_key")],
            known_hosts=str(sshd.known_hosts), config=None, client_factory=Client,
        )  # fmt: skip

    return connect


async def no_files(_connection: asyncssh.SSHClientConnection) -> asyncssh.SFTPClient:
    raise asyncssh.SFTPError(4, "not in this test")


async def reached(link: Link) -> Outpost:
    async with asyncio.timeout(30):
        outpost = await link.outpost(await link.live())
    assert outpost is not None
    return outpost


async def test_after_a_reconnect_the_host_is_not_probed_again_and_says_the_same(own_sshd: Sshd) -> None:
    link = Link(own_sshd.settings(containment="staged"), connecting(own_sshd), no_files, Limits())
    try:
        first = await reached(link)
        live = await link.live()
        assert not first.hello["known"]
        own_sshd.kill_sessions()
        async with asyncio.timeout(10):
            await live.lost.wait()
        second = await reached(link)
        assert second is not first
        assert second.hello["known"]
        changing = {"free_bytes"}
        told = [{k: v for k, v in one.hello["abilities"].items() if k not in changing} for one in (first, second)]
        assert told[0] == told[1]
    finally:
        await link.close()


async def test_of_another_boot_nothing_is_believed(own_sshd: Sshd) -> None:
    hellos = Hellos()
    async with await connecting(own_sshd)(lambda: None) as connection:
        first = await open_outpost(connection, runner_exec(), 20.0, hellos)
        hellos.keep({**first.hello, "boot": "of-before", "abilities": {"levels": ["none"]}})
        second = await open_outpost(connection, runner_exec(), 20.0, hellos)
        assert not second.hello["known"]
        assert second.hello["abilities"]["levels"] == first.hello["abilities"]["levels"]
        assert hellos.known()["known"]["boot"] == second.hello["boot"], "what is true now is remembered"


async def test_a_room_that_the_host_could_not_give_lets_the_next_runner_probe(own_sshd: Sshd, tmp_path: Path) -> None:
    hellos = Hellos()
    async with await connecting(own_sshd)(lambda: None) as connection:
        outpost = await open_outpost(
            connection, runner_exec(environment={"INTERLOCK_RUNNER_BASE": str(tmp_path / "runs")}), 20.0, hellos
        )
        assert hellos.known()
        order = order_of("no-such-room", "true", level="confined", writes=["/"])
        ended = await outpost.ask("start", order, timeout_seconds=20.0)
        assert ended.head["end"]["why"] == "room"
        assert hellos.known() == {}


def test_what_was_said_is_told_for_a_time_that_a_repetition_does_not_lengthen() -> None:
    now = [0.0]
    hellos = Hellos(lambda: now[0])
    assert hellos.known() == {}
    hellos.keep({"boot": "b", "abilities": {"levels": ["none"]}})
    now[0] = KNOWN_SECONDS_MAX - 1
    assert hellos.known()["known"]["boot"] == "b"
    hellos.keep({"boot": "b", "abilities": {"levels": ["none"]}, "known": True})
    now[0] = KNOWN_SECONDS_MAX
    assert hellos.known() == {}
