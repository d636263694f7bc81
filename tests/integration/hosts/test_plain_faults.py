"""Runs on a host without Python while everything around them breaks; a counter file on the host is the witness."""

# ruff: noqa: ASYNC110, ASYNC220, ASYNC221 - the host's disk and process table are touched directly

import asyncio
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import asyncssh
import pytest

from bare_hosts import bare_sshd, needs_root, no_outpost
from hosts_bench import Bench, quick, until
from interlock.hosts.script import build_request, script
from interlock.ports import Run
from interlock_tools.errors import CommandFailed, ContainmentUnavailable, HostUnreachable, OutcomeUnknown
from interlock_tools.plan import RunCommand
from sshd import Sshd, needs_openssh, processes_with

pytestmark = [pytest.mark.anyio, needs_root, needs_openssh]
CHAOS_RUNS = 120
CHAOS_KILLS = 50  # connections; then the rest may end in peace
HARDY = {"breaker_failures_max": 100_000, "attempts_max": 20, "reattach_seconds_max": 600.0}


@pytest.fixture(autouse=True)
def _unasked(monkeypatch) -> None:
    monkeypatch.setattr("interlock.hosts.link.Link.outpost", no_outpost)


@pytest.fixture
def bare(tmp_path) -> Iterator[tuple[Sshd, Path]]:
    with bare_sshd(tmp_path / "bare", MaxStartups="100:30:200") as (server, runs):
        yield server, runs


@pytest.fixture
async def bench(bare, benches) -> Bench:
    return await benches(bare[0].settings())


def run_of(call_id: str, seconds: float = 20.0) -> Run:
    return Run(call_id, "digest", "box", RunCommand(""), seconds)


def supervisor_of(runs: Path, call_id: str) -> int:
    return int((runs / call_id / "sup").read_text().split()[0])


async def test_twenty_racing_starts_of_one_run_run_it_once(bare, benches, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    made = [await benches(bare[0].settings()) for _ in range(20)]
    await asyncio.gather(*(bench.sh("true") for bench in made))
    command = f"echo x >> {counter}; sleep 0.3; echo done; exit 4"
    done = await asyncio.gather(*(bench.sh(command, call_id="race-1") for bench in made))
    assert counter.read_text() == "x\n"
    assert {(entry.refusal.code, entry.result["stdout"]) for entry in done} == {("COMMAND_FAILED", "done\n")}


async def test_sessions_killed_at_any_time_lose_double_and_invent_nothing(bare, benches, tmp_path: Path) -> None:
    server, _ = bare
    counter = tmp_path / "counter"
    counter.touch()
    chance = random.Random(7)
    bench = await benches(server.settings(), limits=quick(**HARDY))
    began = time.monotonic()
    await bench.sh("true")
    usual_seconds = time.monotonic() - began  # a connection and a run; this machine may be busy
    many = asyncio.Semaphore(6)
    kills = 0

    async def one(number: int):
        async with many:
            word = hashlib.sha256(str(number).encode()).hexdigest()
            script = f"echo {number} >> {counter}; sleep 0.{chance.randint(0, 4)}; echo {word}; exit {number % 3}"
            return number, word, await bench.sh(script, call_id=f"chaos-{number}", seconds=600)

    async def killer() -> None:
        nonlocal kills
        for _ in range(CHAOS_KILLS):
            while not server.sessions():
                await asyncio.sleep(0.02)
            await asyncio.sleep(chance.uniform(0.1, 3.0) * usual_seconds)
            sessions = server.sessions()
            for pid in chance.sample(sessions, min(len(sessions), 2)):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    kills += 1

    killing = asyncio.create_task(killer())
    done = await asyncio.gather(*(one(number) for number in range(CHAOS_RUNS)))
    killing.cancel()
    ran = Counter(map(int, counter.read_text().split()))
    assert kills > 30
    odd = [(number, entry) for number, _, entry in done if entry.started != bool(ran[number])]
    assert not odd
    assert ran == Counter(number for number, _, entry in done if entry.started), "as often as told, and never twice"
    for number, word, entry in done:
        assert entry.started, entry.refusal
        assert entry.result["stdout"] == word + "\n"
        assert entry.result["exit_code"] == number % 3
        assert (entry.refusal is None) == (number % 3 == 0)


async def test_offsets_are_exact_whatever_is_cut(bare, benches, tmp_path: Path) -> None:
    server, _ = bare
    data = random.Random(3).randbytes(3_000_000).hex().encode()
    source = tmp_path / "data"
    source.write_bytes(data)
    bench = await benches(server.settings(), limits=quick(**HARDY))
    command = f"for n in 1 2 3 4 5 6; do tail -c +$((n * 1000000 - 999999)) {source} | head -c 1000000; sleep 0.4; done"
    task = asyncio.create_task(bench.sh(command, call_id="exact-1", seconds=60))
    chance = random.Random(5)
    for _ in range(8):
        await asyncio.sleep(chance.uniform(0.2, 1.0))
        server.kill_sessions()
    done = await task
    assert done.refusal is None
    assert done.result["stdout_bytes"] == len(data)
    assert (bench.state / "output" / "exact-1.stdout").read_bytes() == data


async def test_a_killed_supervisor_is_unknown_and_never_run_again(bare, bench: Bench, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    command = f"echo x >> {counter}; sleep 733"
    task = asyncio.create_task(bench.sh(command, call_id="lost-1"))
    await until(lambda: processes_with("sleep\0" + "733"))
    os.kill(supervisor_of(bare[1], "lost-1"), signal.SIGKILL)
    done = await task
    assert isinstance(done.refusal, OutcomeUnknown)
    assert done.started
    assert done.refusal.call_id == "lost-1"
    assert "still runs there" in done.refusal.reason
    ended = await bench.hosts.end("box", "lost-1")
    assert ended.left == 0
    again = await bench.sh(command, call_id="lost-1")
    assert isinstance(again.refusal, OutcomeUnknown)
    assert "none of its processes" in again.refusal.reason
    assert counter.read_text() == "x\n"
    await asyncio.sleep(1.5)
    assert not processes_with("lost-1"), "the watch ends with its supervisor"


async def test_after_a_power_cut_that_took_the_gate_a_run_that_may_have_begun_is_unknown_and_not_run_again(
    bare, bench: Bench, tmp_path: Path
) -> None:
    counter = tmp_path / "counter"
    assert (await bench.sh(f"echo x >> {counter}", call_id="cut-1")).refusal is None
    left = bare[1] / "cut-1"
    for name in ("sup", "end", "out", "err", "leader"):
        (left / name).unlink()
    claim = (left / "claim").read_text().splitlines()
    (left / "claim").write_text(f"{claim[0]}\nof-before\n")
    for again in (await bench.sh(f"echo x >> {counter}", call_id="cut-1"), await bench.hosts.collect(run_of("cut-1"))):
        assert isinstance(again.refusal, OutcomeUnknown)
        assert again.started
    assert counter.read_text() == "x\n"


SERVER = """
import asyncio, sys
from pathlib import Path
import interlock.hosts.link
from bare_hosts import no_outpost
from hosts_bench import bench_of
from interlock.settings import HostSettings, SecretRef
interlock.hosts.link.Link.outpost = no_outpost
async def main():
    folder, port, command = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    keys = (SecretRef("file", str(folder / "client_key")),)
    host = HostSettings(name="box", address="127.0.0.1", port=port, user=sys.argv[4], identities=keys, cwd="/",
        known_hosts=folder / "known_hosts")
    async with bench_of(Path(sys.argv[5]), host) as bench:
        await bench.sh(command, call_id="restart-1", seconds=60)
asyncio.run(main())
"""


async def test_a_server_that_was_killed_is_followed_by_one_that_collects(bare, benches, tmp_path: Path) -> None:
    server, _ = bare
    counter = tmp_path / "counter"
    host = server.settings()
    command = f"echo x >> {counter}; echo early; sleep 2; echo late; exit 5"
    words = [str(server.folder), str(server.port), command, host.user, str(tmp_path / "first")]
    first = subprocess.Popen(
        [sys.executable, "-c", SERVER, *words], env={**os.environ, "PYTHONPATH": ":".join(sys.path)}
    )
    await until(counter.exists, 20)
    first.kill()
    first.wait()
    bench = await benches(host)
    done = await bench.hosts.collect(run_of("restart-1"))
    assert isinstance(done.refusal, CommandFailed)
    assert done.result["stdout"] == "early\nlate\n"
    assert done.result["exit_code"] == 5
    again = await bench.hosts.collect(run_of("restart-1"))
    assert again.result == done.result
    assert counter.read_text() == "x\n"


async def test_a_run_that_never_began_is_told_so_and_then_never_begins(bench: Bench, tmp_path: Path) -> None:
    assert await bench.hosts.collect(run_of("absent-1")) is None
    late = await bench.sh(f"touch {tmp_path}/ran", call_id="absent-1")
    assert late.refusal is not None
    assert not late.started
    assert not (tmp_path / "ran").exists()


async def test_a_claim_whose_maker_died_is_taken_over_by_a_start_and_voided_by_a_look(bare, bench, tmp_path) -> None:
    for name in ("stalled-1", "stalled-2"):
        (bare[1] / name).mkdir(mode=0o700)
    done = await bench.sh("echo ran; cat", call_id="stalled-1", stdin="input")
    assert done.result["stdout"] == "ran\ninput"
    assert await bench.hosts.collect(run_of("stalled-2")) is None


async def test_a_run_of_the_other_form_is_never_started_again(bare, bench: Bench, tmp_path: Path) -> None:
    (bare[1] / "foreign-1").mkdir(mode=0o700)
    (bare[1] / "foreign-1" / "claim.json").write_text("{}")
    done = await bench.sh(f"touch {tmp_path}/ran", call_id="foreign-1")
    assert isinstance(done.refusal, OutcomeUnknown)
    assert not (tmp_path / "ran").exists()


async def test_an_upload_cut_anywhere_starts_nothing(bare, bench: Bench, tmp_path: Path) -> None:
    server, runs = bare
    await bench.sh("true")
    home = (await bench.hosts.facts("box")).home
    key = asyncssh.read_private_key(server.folder / "client_key")
    fields = [
        100,
        0,
        0,
        script().digest,
        1_000,
        65_536,
        100,
        0,
        0,
        "/bin/bash",
        "/",
        f"touch {tmp_path}/ran; cat",
        "A=1",
    ]
    text = len(script().line)
    async with asyncssh.connect("127.0.0.1", server.port, client_keys=[key], known_hosts=None, config=None) as there:
        whole = build_request("start", "cut-0", home, *fields, stdin=b"x" * 100).upload
        cuts = [0, 1, text // 2, text, text + 1, *range(text + 2, len(whole) - 1, 17), len(whole) - 1]
        for number, cut in enumerate(cuts):
            asked = build_request("start", f"cut-{number}", home, *fields, stdin=b"x" * 100)
            length = cut + len(asked.upload) - len(whole) if cut > text + 1 else cut
            async with there.create_process(asked.exec.line, encoding=None) as process:
                process.stdin.write(asked.upload[:length])
                process.stdin.write_eof()
                await process.wait()
        assert len(cuts) > 20
        assert not list(runs.glob("cut-*"))
        assert not list(runs.glob(".in.*"))
        assert not (tmp_path / "ran").exists()


async def test_run_directories_are_private_and_expire(bare, benches) -> None:
    server, runs = bare
    bench = await benches(server.settings(), limits=quick(layer_hours_max=1, runs_bytes_max=8 * 1024 * 1024))
    for number in range(3):
        await bench.sh(f"head -c 3000000 /dev/zero; exit {number}", call_id=f"old-{number}")
        os.utime(runs / f"old-{number}", (time.time() - 100 + number,) * 2)
    going = asyncio.create_task(bench.sh("sleep 2; echo went on", call_id="going-1"))
    await until((runs / "going-1" / "leader").exists)
    os.utime(runs / "going-1", (1, 1))
    (runs / "foreign-1").mkdir()
    (runs / "foreign-1" / "claim.json").write_text("{}")
    os.utime(runs / "foreign-1", (1, 1))
    assert {oct(path.stat().st_mode)[-3:] for path in (runs, *runs.iterdir()) if path.is_dir()} == {"700", "755"}
    assert oct((runs / "foreign-1").stat().st_mode)[-3:] == "755"  # the test's own
    os.utime(runs / "old-2", (time.time() - 3700,) * 2)
    new = await benches(server.settings(), limits=quick(layer_hours_max=1, runs_bytes_max=8 * 1024 * 1024))
    await new.sh("true", call_id="new-1")  # the first of a connection looks for old ones
    await until(lambda: not (runs / "old-2").exists())
    assert {path.name for path in runs.iterdir()} >= {"going-1", "foreign-1", "new-1", "old-1"}
    assert (await going).result["stdout"] == "went on\n"
    again = await new.sh(f"touch {runs}/ran", call_id="old-2")
    asked = await new.hosts.collect(run_of("old-2"))
    for told in (again, asked):
        assert isinstance(told.refusal, OutcomeUnknown)
        assert "expired" in told.refusal.reason
    assert not (runs / "ran").exists()
    assert not (runs / "old-2").exists()
    small = await benches(server.settings(), limits=quick(layer_hours_max=1, runs_bytes_max=5 * 1024 * 1024))
    await small.sh("true")
    await until(lambda: not (runs / "old-0").exists())
    assert (runs / "old-1").exists()


async def test_run_directories_that_others_can_write_are_refused(bare, bench: Bench) -> None:
    bare[1].chmod(0o777)
    done = await bench.sh("true")
    assert isinstance(done.refusal, HostUnreachable)
    assert "can be written by others" in done.refusal.reason
    assert not done.started


async def test_a_full_disk_on_the_host_refuses_or_keeps_the_command_going(bare, benches, tmp_path: Path) -> None:
    """Two megabytes of room: a command whose output does not fit ends as it would, its output counted."""
    server, _ = bare
    inside = ["nsenter", "-t", str(server.process.pid), "-m"]
    subprocess.run(
        [*inside, "mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs", "/var/lib/interlock-runs"], check=True
    )
    bench = await benches(server.settings())
    done = await bench.sh("head -c 6000000 /dev/zero | tr '\\0' x; echo >&2 said; exit 7", call_id="full-1")
    assert isinstance(done.refusal, CommandFailed)
    assert done.result["exit_code"] == 7
    assert done.result["stdout_bytes"] > 1_900_000
    refused = await bench.sh(f"touch {tmp_path}/ran", call_id="full-2")
    assert isinstance(refused.refusal, ContainmentUnavailable)
    assert not refused.started
    assert not (tmp_path / "ran").exists()


async def test_on_a_full_disk_a_refused_start_makes_room_for_the_next(bare, benches) -> None:
    server, _ = bare
    inside = ["nsenter", "-t", str(server.process.pid), "-m"]
    place = "/var/lib/interlock-runs"
    subprocess.run([*inside, "mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs", place], check=True)
    bench = await benches(server.settings())
    await bench.sh("head -c 1200000 /dev/zero | tr '\\0' x", call_id="old-1")
    fill = f"touch -d '90 days ago' {place}/old-1; cat /dev/zero > {place}/.ballast"
    subprocess.run([*inside, "sh", "-c", fill], check=False, stderr=subprocess.DEVNULL)
    new = await benches(server.settings())  # the first start of a connection looks for what is old
    refused = await new.sh("true", call_id="new-1")
    assert isinstance(refused.refusal, ContainmentUnavailable)
    there = [*inside, "sh", "-c", f"ls {place}; cat {place}/.expired"]
    await until(lambda: subprocess.run(there, check=False, capture_output=True, text=True).stdout.endswith("old-1\n"))
    assert (await new.sh("echo ran", call_id="new-2")).result["stdout"] == "ran\n"
