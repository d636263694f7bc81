"""Commands on a host without Python; the process table, a counter file and the run directories are the witnesses."""

# ruff: noqa: ASYNC240 - the host's disk and process table are looked at directly

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bare_hosts import bare_sshd, needs_busybox, needs_root, no_outpost
from hosts_bench import Bench
from interlock_tools.errors import TimedOut
from sshd import needs_openssh, processes_with

pytestmark = [pytest.mark.anyio, needs_root, needs_openssh]
KINDS = [
    "dash",
    pytest.param("busybox", marks=needs_busybox),
]


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
