"""The fleet itself: hosts that share no disk, no network, no processes and no fate, and leave nothing behind."""

import asyncio
import errno
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path

import asyncssh
import pytest

from fleet import Fleet, needs_fleet, running_fleet, toml
from fleet_host import Host, wait_for
from hosts_bench import bench_of, own
from interlock.config import load
from interlock.ports import Authorization, Bounds, Executed, Run
from interlock_policies.facts import Level
from interlock_tools.plan import RunCommand
from sshd import needs_openssh

pytestmark = [pytest.mark.anyio, needs_openssh, needs_fleet]
WAIT_SECONDS = 20.0
MASTER = "nginx: master process"


def lay_page(host: Host, text: str) -> None:
    page = host.root / "shop/current/public/index.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(f"{text}\nmore\n")


def master(host: Host) -> int:
    (found,) = [number for number, line in host.processes().items() if line.startswith(MASTER)]
    return found


def refuses(host: Host) -> bool:
    with socket.socket() as probe:
        probe.settimeout(WAIT_SECONDS)
        return probe.connect_ex(("127.0.0.1", host.door.port)) == errno.ECONNREFUSED


async def connected(host: Host) -> asyncssh.SSHClientConnection:
    entry = host.settings()
    keys = [identity.name for identity in entry.identities]
    return await asyncssh.connect(
        entry.address, entry.port, username=entry.user, client_keys=keys, known_hosts=str(entry.known_hosts)
    )


async def run_at(host: Host, folder: Path, level: Level, command: str, *writes: str) -> Executed:
    async with bench_of(folder, host.settings()) as bench:
        call = own(f"fleet-{level.name.lower()}")
        leave = Authorization(call, "digest", "plan", host.name, "policy", "nonce", 0.0, 1.0)
        run = Run(call, "digest", host.name, RunCommand(command), WAIT_SECONDS, writes, Bounds(level, writes=writes))
        return await bench.hosts.execute(leave, run)


@pytest.fixture(autouse=True)
def tidy(request: pytest.FixtureRequest) -> None:
    if "fleet" in request.fixturenames:
        for host in request.getfixturevalue("fleet"):
            shutil.rmtree(host.root / "shop", ignore_errors=True)


# ── what is each host's own ──────────────────────────────────────────────────────────────────────────────────────────


def test_every_host_serves_its_own_page_or_none(fleet: Fleet) -> None:
    assert [host.get()[0] for host in fleet] == [404, 404, 404]
    lay_page(fleet[0], "one")
    lay_page(fleet[1], "two")
    assert [host.get() for host in fleet][:2] == [(200, "one\nmore\n"), (200, "two\nmore\n")]
    assert fleet[2].get()[0] == 404
    assert len({host.run(["cat", "/proc/sys/kernel/random/boot_id"]).stdout for host in fleet}) == 3
    assert [host.run(["hostname"]).stdout.strip() for host in fleet] == ["web1", "web2", "web3"]


def test_what_one_host_writes_is_on_its_own_disk(fleet: Fleet) -> None:
    for place in (
        "/srv/shop",
        "/etc/service/of-web1",
        "/var/log/of-web1",
        "/tmp/of-web1",
        f"{Path.home()}/of-web1",
        "/run/of-web1",
    ):
        assert fleet[0].run(["mkdir", place]).returncode == 0
        assert fleet[1].run(["test", "-e", place]).returncode == 1
        assert not Path(place).exists()
    assert (fleet[0].root / "shop").is_dir()
    assert not (fleet[1].root / "shop").exists()
    fleet[0].run(["rmdir", "/etc/service/of-web1"])


async def test_a_login_is_quick_and_finds_a_shell_and_the_disk(fleet: Fleet) -> None:
    lay_page(fleet[0], "one")
    seconds = []
    for _ in range(5):
        began = time.monotonic()
        async with await connected(fleet[0]) as connection:
            seconds.append(time.monotonic() - began)
            told = await connection.run("cat /srv/shop/current/public/index.html; hostname")
            async with connection.start_sftp_client() as sftp:
                assert "current" in await sftp.listdir("/srv/shop")
        assert told.stdout == "one\nmore\nweb1\n"
    assert min(seconds) < 0.3


@pytest.mark.parametrize("level", [Level.CONFINED, Level.STAGED])
async def test_the_runner_contains_a_run_there(fleet: Fleet, tmp_path: Path, level: Level) -> None:
    (fleet[0].root / "shop").mkdir()
    (fleet[0].root / "beside").mkdir(exist_ok=True)
    async with bench_of(tmp_path / "state", fleet[0].settings()) as bench:
        assert set((await bench.hosts.facts("web1")).containment) == {"none", "confined", "staged"}
    command = "echo yes >/srv/shop/in; echo no >/srv/beside/out; ls /proc"
    done = await run_at(fleet[0], tmp_path / "again", level, command, "/srv/shop")
    assert done.measured.observed == level.name.lower(), done
    assert (fleet[0].root / "shop/in").exists() == (level is Level.CONFINED)
    assert not (fleet[0].root / "beside/out").exists()
    assert MASTER not in " ".join(done.result["stdout"].split())


def test_the_inventory_of_a_fleet_is_one_that_loads(fleet: Fleet, tmp_path: Path) -> None:
    path = tmp_path / "interlock.toml"
    path.write_text(toml(fleet))
    path.chmod(0o600)
    settings = load(path)
    hosts = [settings.hosts[host.name] for host in fleet]
    assert [host.port for host in hosts] == [host.door.port for host in fleet]
    assert settings.principals["agent"].roles == frozenset({"operator"})


# ── services ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("service", "restart"),
    [
        ("runit", ["sv", "restart", "nginx"]),
        ("supervisor", ["supervisorctl", "restart", "nginx"]),
        ("systemd", ["systemctl", "restart", "nginx"]),
    ],
)
def test_a_restart_is_seen_by_who_asks_all_the_while(
    start_fleet: Callable[..., Fleet], service: str, restart: list[str]
) -> None:
    (host,) = start_fleet(1, service=service)
    lay_page(host, "one")
    before = master(host)
    with host.poll() as answers:
        assert host.run(restart).returncode == 0
        lay_page(host, "two")
        wait_for(lambda: host.get() == (200, "two\nmore\n"), "the page after the restart")
    assert master(host) != before
    assert answers[0].status == 200
    assert answers[0].line == "one"
    assert {answer.status for answer in answers} <= {0, 200}
    assert answers[0].at < answers[-1].at


# ── what a test does to a host ───────────────────────────────────────────────────────────────────────────────────────


async def test_a_host_that_is_stopped_refuses_and_comes_back_with_its_disk(start_fleet: Callable[..., Fleet]) -> None:
    fleet = start_fleet(2)
    lay_page(fleet[0], "kept")
    boot, port = fleet[0].run(["cat", "/proc/sys/kernel/random/boot_id"]).stdout, fleet[0].door.port
    connection = await connected(fleet[0])
    with fleet[0].poll() as answers:
        fleet[0].stop()
        assert fleet[0].processes() == {}
        assert refuses(fleet[0])
        assert fleet[0].get()[0] == 0
        assert fleet[1].get()[0] == 404
        await asyncio.wait_for(connection.wait_closed(), WAIT_SECONDS)
        fleet[0].start()
        assert fleet[0].get() == (200, "kept\nmore\n")
    assert fleet[0].door.port == port
    assert fleet[0].run(["cat", "/proc/sys/kernel/random/boot_id"]).stdout not in ("", boot)
    assert [answers[0].status, answers[-1].status] == [200, 200]
    async with await connected(fleet[0]) as again:
        assert (await again.run("cat /srv/shop/current/public/index.html")).stdout == "kept\nmore\n"


async def test_connections_are_cut_while_the_host_and_what_they_started_go_on(
    start_fleet: Callable[..., Fleet],
) -> None:
    (host,) = start_fleet(1)
    before = master(host)
    connection = await connected(host)
    process = await connection.create_process("echo begun; sleep 1000")
    assert await asyncio.wait_for(process.stdout.readline(), WAIT_SECONDS) == "begun\n"
    host.cut()
    await asyncio.wait_for(connection.wait_closed(), WAIT_SECONDS)
    assert "sleep 1000" in host.processes().values()
    assert master(host) == before
    async with await connected(host) as again:
        assert (await again.run("hostname")).stdout == "web1\n"


def test_a_disk_of_its_own_can_be_filled_and_outlives_a_stop(start_fleet: Callable[..., Fleet]) -> None:
    host, other = start_fleet(2, disk_bytes=8 * 1024 * 1024)
    lay_page(host, "before")
    host.fill()
    assert host.run(["sh", "-c", "echo more >/srv/shop/more"]).returncode != 0
    assert other.run(["sh", "-c", "mkdir /srv/shop && echo more >/srv/shop/more"]).returncode == 0
    host.stop()
    host.start()
    assert host.run(["sh", "-c", "echo more >/srv/shop/more"]).returncode != 0
    host.unfill()
    assert host.run(["sh", "-c", "echo more >/srv/shop/more"]).returncode == 0
    assert host.get() == (200, "before\nmore\n")


def test_a_host_without_a_disk_of_its_own_fills_nobodys(fleet: Fleet) -> None:
    with pytest.raises(ValueError, match="disk_bytes"):
        fleet[0].fill()


@pytest.mark.parametrize("service", ["runit", "supervisor", "systemd"])
def test_nothing_of_a_fleet_is_left_when_its_test_fails(tmp_path: Path, service: str) -> None:
    fleets = []

    def failing() -> None:
        with running_fleet(tmp_path / "fleet", 2, service=service, disk_bytes=4 * 1024 * 1024) as fleet:
            fleets.append(fleet)
            assert fleet.left()
            fleet[1].run(["sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 </dev/null &"])
            fleet[0].stop()
            raise RuntimeError("the test failed")

    with pytest.raises(RuntimeError, match="the test failed"):
        failing()
    assert fleets[0].left() == []
    assert all(host.processes() == {} for host in fleets[0])
