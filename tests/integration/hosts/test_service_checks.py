"""Services controlled and checked where they really run: runit, supervisord, systemd, scripts of /etc/init.d, nginx."""

import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fleet import needs_fleet, running_fleet
from fleet_host import Host, wait_for
from hosts_bench import bench_of
from interlock.hosts.checks import measure
from interlock.hosts.facts import surroundings
from interlock_tools.apps import HealthCheck, ManagerKind, Service
from interlock_tools.call import Check
from interlock_tools.envelope import Verified
from interlock_tools.service_words import active_command, health_check, service_command
from sshd import needs_openssh

pytestmark = [pytest.mark.anyio, needs_openssh, needs_fleet]
PAGE = "http://127.0.0.1:8080/"
PROGRAMS = {
    "flaps": "exit 1",
    "stubborn": "trap '' TERM; while :; do sleep 0.1; done",
}
SUPERVISED = (
    "\n[program:{name}]\ncommand=/bin/bash /etc/supervisor/{name}\nautostart=false\nstartsecs=1\nstartretries=1000\n"
)


@dataclass(frozen=True)
class Served:
    """A host, and its nginx as a configured service."""

    host: Host
    nginx: Service

    def does(self, service: Service, action: str) -> subprocess.CompletedProcess:
        return self.host.run(["bash", "-c", service_command(service, action)])

    def is_active(self, service: Service) -> bool:
        return self.host.run(["bash", "-c", active_command(service)]).returncode == 0

    def numbers(self, kind: str) -> set[int]:
        return {number for number, line in self.host.processes().items() if line.startswith(f"nginx: {kind} process")}


@pytest.fixture(scope="module")
def served_by_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Served]]:
    """One host with each manager; on two of them also a program that falls over, and one that does not let go."""
    folder = tmp_path_factory.mktemp("served")
    with (
        running_fleet(folder / "runit", 1) as (runit,),
        running_fleet(folder / "supervisor", 1, service="supervisor") as (supervisor,),
        running_fleet(folder / "systemd", 1, service="systemd") as (systemd,),
    ):
        config = supervisor.folder / "supervisor" / "supervisord.conf"
        for name, program in PROGRAMS.items():
            place = runit.folder / "service" / name
            place.mkdir()
            (place / "down").touch()
            (place / "run").write_text(f"#!/bin/bash\n{program}\n")
            (place / "run").chmod(0o755)
            (supervisor.folder / "supervisor" / name).write_text(program)
            config.write_text(config.read_text() + SUPERVISED.format(name=name))
        assert supervisor.run(["supervisorctl", "update"]).returncode == 0
        for name in PROGRAMS:
            wait_for(lambda name=name: runit.run(["sv", "status", name]).stdout.startswith("down:"), name)
        yield {
            "runit": Served(runit, Service("nginx", ManagerKind.RUNIT, timeout_seconds=10)),
            "supervisor": Served(supervisor, Service("nginx", ManagerKind.SUPERVISOR, timeout_seconds=10)),
            "systemd": Served(systemd, Service("nginx", ManagerKind.SYSTEMD, timeout_seconds=10)),
        }


@pytest.fixture(params=["runit", "supervisor", "systemd"])
def served(served_by_all: dict[str, Served], request: pytest.FixtureRequest) -> Served:
    """Each of them, with nginx running."""
    one = served_by_all[request.param]
    if not one.is_active(one.nginx):
        assert one.does(one.nginx, "start").returncode == 0
    return one


async def measured(host: Host, folder: Path, check: Check, wait_seconds: float = 5.0) -> Verified:
    async with bench_of(folder, host.settings(containment="none")) as bench:
        link = bench.hosts._roads.link(host.name)
        live = await link.live()
        around = await surroundings(link, live)
        (found,) = await measure(link, live, around, [check], 0, str, wait_seconds)
        return found


# ── what is done ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_service_that_was_stopped_is_down_and_one_that_was_started_is_up(served: Served) -> None:
    assert served.does(served.nginx, "stop").returncode == 0
    assert not served.numbers("master")
    assert not served.is_active(served.nginx)
    assert served.does(served.nginx, "stop").returncode == 0  # it is what was asked for
    assert served.does(served.nginx, "start").returncode == 0
    wait_for(lambda: len(served.numbers("master")) == 1, "one nginx")
    assert served.is_active(served.nginx)
    assert served.does(served.nginx, "start").returncode == 0


def test_a_restart_is_a_new_process_and_a_reload_is_not(served: Served) -> None:
    wait_for(lambda: served.numbers("worker"), "a worker")
    before, workers = served.numbers("master"), served.numbers("worker")
    assert served.does(served.nginx, "reload").returncode == 0
    assert served.numbers("master") == before
    wait_for(lambda: served.numbers("worker") and not served.numbers("worker") & workers, "new workers")
    assert served.does(served.nginx, "restart").returncode == 0
    wait_for(lambda: len(served.numbers("master")) == 1, "one nginx")
    assert not served.numbers("master") & before


def test_a_restart_starts_what_was_down(served: Served) -> None:
    assert served.does(served.nginx, "stop").returncode == 0
    assert served.does(served.nginx, "restart").returncode == 0
    assert served.is_active(served.nginx)


def test_a_restart_right_after_a_start_is_a_new_process_too(served: Served) -> None:
    for _ in range(5):
        before = served.numbers("master")
        assert served.does(served.nginx, "restart").returncode == 0
        assert not served.numbers("master") & before


def test_what_is_down_cannot_be_reloaded(served: Served) -> None:
    served.does(served.nginx, "stop")
    assert served.does(served.nginx, "reload").returncode != 0


@pytest.mark.parametrize("action", ["start", "stop", "restart", "reload", "status"])
def test_a_service_that_is_not_there_fails(served: Served, action: str) -> None:
    assert served.does(replace(served.nginx, unit="nobody"), action).returncode != 0
    assert not served.is_active(replace(served.nginx, unit="nobody"))


@pytest.mark.parametrize("manager", ["runit", "supervisor"])
@pytest.mark.parametrize("action", ["start", "restart"])
def test_a_program_that_falls_over_was_not_started(served_by_all: dict[str, Served], manager: str, action: str) -> None:
    served = served_by_all[manager]
    flaps = replace(served.nginx, unit="flaps", timeout_seconds=2)
    assert served.does(flaps, action).returncode != 0
    served.does(flaps, "stop")


def test_supervisor_calls_a_program_started_that_falls_over_again_and_again_and_we_do_not(
    served_by_all: dict[str, Served],
) -> None:
    served = served_by_all["supervisor"]
    flaps = replace(served.nginx, unit="flaps", timeout_seconds=1)
    served.host.run(["supervisorctl", "start", "flaps"])
    told = served.host.run(["supervisorctl", "start", "flaps"])
    assert (told.returncode, told.stdout) == (0, "flaps: ERROR (already started)\n")
    assert served.does(flaps, "start").returncode != 0
    assert not served.is_active(flaps)
    served.does(flaps, "stop")


def test_a_program_that_does_not_let_go_is_not_called_restarted(served_by_all: dict[str, Served]) -> None:
    served = served_by_all["runit"]
    stubborn = replace(served.nginx, unit="stubborn", timeout_seconds=3)
    assert served.does(stubborn, "start").returncode == 0
    wait_for(lambda: "sleep 0.1" in served.host.processes().values(), "the trap to be set")
    for action in ("restart", "stop"):
        began = time.monotonic()
        assert served.does(stubborn, action).returncode != 0
        assert 1.5 < time.monotonic() - began < 10
    assert served.host.run(["sv", "kill", "stubborn"]).returncode == 0
    wait_for(lambda: not served.is_active(stubborn), "the end of the stubborn one")


def test_a_supervisor_that_does_not_run_fails_whatever_it_is_told(served_by_all: dict[str, Served]) -> None:
    served = served_by_all["supervisor"]
    config = served.host.folder / "supervisor" / "other.conf"
    config.write_text("[supervisorctl]\nserverurl=unix:///run/nobody.sock\n")
    other = replace(served.nginx, config="/etc/supervisor/other.conf")
    for action in ("start", "stop", "restart", "reload", "status"):
        assert served.does(other, action).returncode != 0
    assert not served.is_active(other)


def test_a_configuration_in_the_folder_of_a_release_is_not_taken(served_by_all: dict[str, Served]) -> None:
    served = served_by_all["supervisor"]
    (served.host.root / "supervisord.conf").write_text("[supervisorctl]\nserverurl=unix:///srv/theirs.sock\n")
    theirs = served.host.run(["bash", "-c", "cd /srv && supervisorctl status nginx"])
    assert "theirs.sock" in theirs.stdout
    line = f"cd /srv && {active_command(served.nginx)}"
    wait_for(lambda: served.host.run(["bash", "-c", line]).returncode == 0, "nginx")


# ── what is checked ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_service_is_asked_of_the_manager_that_knows_it(served: Served, tmp_path: Path) -> None:
    for name in ("nginx", "nginx.service"):
        found = await measured(served.host, tmp_path / name, Check("service_active", name))
        assert found.passed, found
    served.does(served.nginx, "stop")
    found = await measured(served.host, tmp_path / "down", Check("service_active", "nginx"), 0.0)
    assert not found.passed
    assert found.detail.startswith("it is not active")


async def test_a_health_check_of_a_service_passes_while_it_runs(served: Served, tmp_path: Path) -> None:
    check = health_check(HealthCheck("service"), served.nginx)
    assert (await measured(served.host, tmp_path / "up", check)).passed
    served.does(served.nginx, "stop")
    assert not (await measured(served.host, tmp_path / "down", check)).passed


@pytest.mark.parametrize("manager", ["runit", "supervisor"])
async def test_a_script_of_init_d_is_asked_where_no_manager_knows_the_name(
    served_by_all: dict[str, Served], manager: str, tmp_path: Path
) -> None:
    served = served_by_all[manager]
    scripts = served.host.root / "init.d"
    scripts.mkdir(exist_ok=True)
    for name, code in (("works", 0), ("fails", 3)):
        (scripts / name).write_text(f'#!/bin/sh\necho "$1 of {name}"\nexit {code}\n')
        (scripts / name).chmod(0o755)
    (scripts / "no-program").touch()
    assert served.host.run(["mount", "--bind", "/srv/init.d", "/etc/init.d"]).returncode == 0
    try:
        found = [
            await measured(served.host, tmp_path / name, Check("service_active", name), 0.0)
            for name in ("works", "fails", "no-program")
        ]
    finally:
        served.host.run(["umount", "/etc/init.d"])
    assert [one.passed for one in found] == [True, False, False]
    assert [one.detail for one in found[:2]] == ["it is active: status of works", "it is not active: status of fails"]
    assert found[2].detail.startswith("it cannot be measured on this host")


@pytest.fixture
def bare(served: Served) -> Iterator[Host]:
    """A host with neither curl nor wget, and a page."""
    page = served.host.root / "shop/current/public/index.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("all is well\n")
    (page.parent / "long").write_text("begin\n" + "x" * 3_000_000)
    wait_for(lambda: served.host.get()[0] == 200, "the page")
    over = "upperdir=/srv/upper,workdir=/srv/work"
    removed = [path for path in ("/usr/bin/curl", "/usr/bin/wget") if Path(path).exists()]
    script = f"""set -e
        mkdir -p /srv/upper /srv/work; mount -t overlay -o lowerdir=/usr/bin,{over} programs /usr/bin
        rm -f {" ".join(removed)}"""
    assert served.host.run(["sh", "-c", script]).returncode == 0
    yield served.host
    assert served.host.run(["umount", "-l", "/usr/bin"]).returncode == 0
    assert all(Path(path).exists() for path in removed)


async def test_a_page_is_asked_for_without_any_program_for_it(bare: Host, tmp_path: Path) -> None:
    cases = [
        (PAGE, "", True, "it answered: status 200"),
        (PAGE, "all is well", True, "it answered: status 200"),
        (f"{PAGE}?a=b%20c&d='e'", "200", True, "it answered: status 200"),
        (f"{PAGE}long", "begin", True, "it answered: status 200"),
        (PAGE, "all is ill", False, "it did not answer so: status 200"),
        (PAGE, "HTTP", False, "it did not answer so: status 200"),
        (f"{PAGE}none", "", False, "it did not answer so: status 404"),
        (f"{PAGE}none", "404", True, "it answered: status 404"),
        ("http://127.0.0.1:8081/", "", False, "it did not answer so: bash: connect: Connection refused"),
        ("https://127.0.0.1:8080/", "", False, "it cannot be measured on this host: there is neither curl nor wget"),
        ("http://me:it@127.0.0.1:8080/", "", False, "it cannot be measured on this host"),
    ]
    for number, (url, expected, passed, detail) in enumerate(cases):
        found = await measured(bare, tmp_path / str(number), Check("http_ok", url, expected), 0.0)
        assert (found.passed, found.detail[: len(detail)]) == (passed, detail), (url, found)


async def test_who_tries_by_himself_waits_for_nothing_and_others_wait(served: Served, tmp_path: Path) -> None:
    seconds = []
    for wait in (0.0, 4.0):
        began = time.monotonic()
        assert not (await measured(served.host, tmp_path / str(wait), Check("port_open", "8099"), wait)).passed
        seconds.append(time.monotonic() - began)
    assert seconds[1] - seconds[0] > 2
