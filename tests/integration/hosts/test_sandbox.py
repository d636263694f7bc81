"""The embedded host: a real SSH server in this process."""

# ruff: noqa: ASYNC110, ASYNC240 - the host's disk and process table are looked at directly

import asyncio
import stat
from pathlib import Path

import asyncssh
import pytest

from hosts_bench import Bench, bench_of, own
from interlock.hosts.sandbox import open_sandbox
from interlock.ports import PathQuery
from interlock.settings import HostSettings
from interlock_tools.errors import CommandFailed, PathInvalid, TimedOut
from interlock_tools.plan import (
    DeleteFile,
    EditFile,
    ListFiles,
    MoveFile,
    ReadFile,
    Replacement,
    SearchFiles,
    WriteFile,
)
from sshd import current_user, processes_with

pytestmark = pytest.mark.anyio


@pytest.fixture
async def host(tmp_path: Path):
    embedded = HostSettings(
        "sandbox", "127.0.0.1", 0, user=current_user(), cwd=str(tmp_path / "scratch"), embedded=True
    )
    async with open_sandbox(embedded, tmp_path / "state") as reached:
        yield reached


@pytest.fixture
async def bench(host: HostSettings, tmp_path: Path):
    async with bench_of(tmp_path / "state", host) as made:
        yield made


async def run(bench: Bench, command: str, **more: object):
    return await bench.sh(command, host="sandbox", **more)


async def test_commands_run_in_the_scratch_folder_and_their_home_lies_beside_it(bench: Bench, tmp_path: Path) -> None:
    done = await run(bench, "pwd; echo ~; echo hi > made; exit 2")
    assert isinstance(done.refusal, CommandFailed)
    assert done.result["stdout"] == f"{tmp_path}/scratch\n{tmp_path}/scratch-home\n"
    assert (tmp_path / "scratch" / "made").read_text() == "hi\n"
    facts = await bench.hosts.facts("sandbox")
    assert (facts.home, facts.cwd) == (f"{tmp_path}/scratch-home", f"{tmp_path}/scratch")


async def test_every_file_operation_works(bench: Bench, tmp_path: Path) -> None:
    folder = str(tmp_path / "scratch")
    path, declared = f"{folder}/f", (folder,)
    for plan in (
        WriteFile(path, b"one\n", expected_sha256="absent"),
        EditFile(path, (Replacement("one", "two"),)),
        ReadFile(path),
        ListFiles(folder),
        SearchFiles(folder, "two"),
        MoveFile(path, f"{folder}/g"),
        MoveFile(f"{folder}/g", f"{folder}/h", copy=True),
        DeleteFile(f"{folder}/g"),
    ):
        done = await bench.do(plan, host="sandbox", declared=declared)
        assert done.refusal is None, (plan, done)
    assert [entry.name for entry in Path(folder).iterdir()] == ["h"]
    assert Path(folder, "h").read_text() == "two\n"


async def test_a_timeout_ends_the_tree_and_background_work_does_not_hold_the_answer(bench: Bench) -> None:
    done = await run(bench, "setsid sleep 41 & sleep 42", seconds=1)
    assert isinstance(done.refusal, TimedOut)
    assert not processes_with("sleep\0" + "41")
    async with asyncio.timeout(5):
        done = await run(bench, "sleep 43 & echo up")
    assert done.result["stdout"] == "up\n"


async def test_paths_resolve_as_on_openssh(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "dangling").symlink_to("/srv/none/such")
    found = await bench.hosts.resolve("sandbox", [PathQuery(f"{tmp_path}/dangling"), PathQuery(f"{tmp_path}/x/y")])
    assert list(found.paths.values()) == ["/srv/none/such", f"{tmp_path}/x/y"]
    assert isinstance(await bench.hosts.resolve("sandbox", [PathQuery(f"{tmp_path}/a")]), PathInvalid)


async def test_large_output_and_input_pass(bench: Bench) -> None:
    done = await run(bench, "head -c 30000000 /dev/zero | tr '\\0' x", seconds=60)
    assert done.result["stdout_bytes"] == 30_000_000
    fed = await run(bench, "wc -c", stdin="y" * 300_000)
    assert fed.result["stdout"].strip() == "300000"


async def test_only_our_own_key_gets_in_and_keys_are_private(host: HostSettings, tmp_path: Path) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519")
    with pytest.raises(asyncssh.PermissionDenied):
        await asyncssh.connect(
            host.address, host.port, username=host.user, client_keys=[other], known_hosts=None, config=None
        )
    folder = tmp_path / "state" / "hosts" / "sandbox"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert host.address == "127.0.0.1"


async def test_what_a_channel_started_ends_with_the_sandbox(tmp_path: Path) -> None:
    embedded = HostSettings("sandbox", "127.0.0.1", 0, user=current_user(), cwd=str(tmp_path / "s"), embedded=True)
    async with open_sandbox(embedded, tmp_path / "state") as host:
        key = str(tmp_path / "state" / "hosts" / "sandbox" / "identity")
        async with asyncssh.connect(
            host.address, host.port, username=host.user, client_keys=[key], known_hosts=None, config=None
        ) as connection:
            await connection.create_process("sleep 44.44 & echo started; wait")
            async with asyncio.timeout(5):
                while not processes_with("sleep\0" + "44.44"):
                    await asyncio.sleep(0.02)
    assert not processes_with("sleep\0" + "44.44")


async def test_what_a_call_left_in_the_background_goes_on_as_on_any_host(tmp_path: Path) -> None:
    embedded = HostSettings("sandbox", "127.0.0.1", 0, user=current_user(), cwd=str(tmp_path / "s"), embedded=True)
    async with open_sandbox(embedded, tmp_path / "state") as host, bench_of(tmp_path / "state", host) as bench:
        await bench.sh("sleep 44.45 & echo started", host="sandbox", call_id=own("left-1"))
    assert processes_with("sleep\0" + "44.45")
    async with open_sandbox(embedded, tmp_path / "state") as host, bench_of(tmp_path / "state", host) as bench:
        ended = await bench.hosts.end("sandbox", own("left-1"))
        assert (ended.found, ended.left) == (1, 0)
    assert not processes_with("sleep\0" + "44.45")
