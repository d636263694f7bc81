"""Changes to files on a real OpenSSH server; the disk is the witness, links are the enemy."""

# ruff: noqa: ASYNC240 - the host's disk and process table are looked at directly

import asyncio
import hashlib
import os
import pwd
import stat
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hosts_bench import Bench, bench_of, quick
from interlock.hosts.program import runner_exec
from interlock_tools.errors import ArgumentInvalid, OutputLimited, PathInvalid, StaleState
from interlock_tools.plan import DeleteFile, EditFile, MoveFile, Replacement, WriteFile
from sshd import Sshd, needs_openssh

pytestmark = [pytest.mark.anyio, needs_openssh]


@pytest.fixture(params=["none", "staged"])
def road(request: pytest.FixtureRequest) -> dict[str, str]:
    """Both ways of a change: the file channel, and the runner, which stages it first."""
    return {"containment": request.param}


@pytest.fixture
async def bench(sshd: Sshd, tmp_path: Path, road: dict[str, str]) -> AsyncIterator[Bench]:
    """Hosts with the one host `box`: the module's server."""
    async with bench_of(tmp_path / "state", sshd.settings(**road)) as made:
        yield made


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if "interlock" in path.name]


def tree(work: Path) -> None:
    (work / "a" / "deep").mkdir(parents=True)
    (work / "a" / "one.py").write_text("import os\nprint('hello')\n")
    (work / "a" / "deep" / "two.py").write_text("x = 1\nprint('HELLO')\ny = 2\n")
    (work / "b.txt").write_text("hello\n")
    (work / ".hidden").write_text("hello\n")
    (work / "link").symlink_to("/etc")
    (work / "weird\nname").write_text("hello $HOME `id`\n")


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_write_keeps_mode_and_owner_and_leaves_nothing_beside(bench: Bench, work: Path) -> None:
    target = work / "conf"
    target.write_text("old")
    target.chmod(0o640)
    os.chown(target, 1234, 2345)
    done = await bench.do(WriteFile(str(target), b"new"), declared=(str(target),))
    assert done.refusal is None
    status = target.stat()
    assert target.read_bytes() == b"new"
    assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o640, 1234, 2345)
    assert done.result["sha256"] == sha(b"new")
    assert not done.result["created"]
    made = await bench.do(WriteFile(str(work / "new"), b"x", mode=0o600), declared=(str(work),))
    assert made.result["created"]
    assert (work / "new").stat().st_mode & 0o7777 == 0o600
    assert not leftovers(work)


async def test_a_reader_sees_the_old_or_the_new_content_and_nothing_between(bench: Bench, work: Path) -> None:
    target = work / "atomic"
    contents = [bytes([65 + number]) * 300_000 for number in range(6)]
    target.write_bytes(contents[0])
    seen: set[str] = set()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.add(sha(target.read_bytes()))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for content in contents[1:]:
            assert (await bench.do(WriteFile(str(target), content), declared=(str(target),))).refusal is None
    finally:
        stop.set()
        reader.join()
    assert seen <= {sha(content) for content in contents}
    assert len(seen) > 1


async def test_a_lost_update_is_refused_with_the_actual_hash(bench: Bench, work: Path) -> None:
    target = work / "guarded"
    target.write_text("theirs")
    mine = WriteFile(str(target), b"mine", expected_sha256=sha(b"what I read"))
    done = await bench.do(mine, declared=(str(target),))
    assert isinstance(done.refusal, StaleState)
    assert done.refusal.allowed == (sha(b"theirs"),)
    assert done.refusal.next_step().tool == "file_read"
    assert target.read_text() == "theirs"
    absent = WriteFile(str(target), b"mine", expected_sha256="absent")
    assert isinstance((await bench.do(absent, declared=(str(target),))).refusal, StaleState)
    assert target.read_text() == "theirs"
    good = WriteFile(str(target), b"mine", expected_sha256=sha(b"theirs"))
    assert (await bench.do(good, declared=(str(target),))).refusal is None
    assert target.read_text() == "mine"
    assert not leftovers(work)


async def test_twenty_racing_creates_make_exactly_one_file(bench: Bench, work: Path) -> None:
    target = str(work / "once")
    plans = [WriteFile(target, f"{number}".encode(), expected_sha256="absent") for number in range(20)]
    done = await asyncio.gather(*(bench.do(plan, declared=(target,)) for plan in plans))
    winners = [number for number, entry in enumerate(done) if entry.refusal is None]
    assert len(winners) == 1
    assert Path(target).read_text() == str(winners[0])
    assert {entry.refusal.code for entry in done if entry.refusal} == {"STALE_STATE"}
    assert not leftovers(work)


async def test_missing_folders_are_made_only_where_asked(bench: Bench, work: Path) -> None:
    target = str(work / "x" / "y" / "file")
    done = await bench.do(WriteFile(target, b"1"), declared=(target,))
    assert isinstance(done.refusal, PathInvalid)
    assert done.refusal.next_step().arguments == {"create_parents": True}
    done = await bench.do(WriteFile(target, b"1", create_parents=True), declared=(target,))
    assert done.refusal is None
    assert Path(target).read_bytes() == b"1"


async def test_nothing_declared_means_nothing_can_be_changed(bench: Bench, work: Path) -> None:
    done = await bench.do(WriteFile(str(work / "f"), b"1"))
    assert isinstance(done.refusal, StaleState)
    assert not done.started
    assert list(work.iterdir()) == []


async def test_edits_are_made_all_or_none_and_the_error_names_the_edit(bench: Bench, work: Path) -> None:
    target = work / "code"
    target.write_text("a = 1\nb = 1\n")
    edits = (Replacement("a = 1", "a = 2"), Replacement("= 1", "= 3", count=2))
    done = await bench.do(EditFile(str(target), edits), declared=(str(target),))
    assert isinstance(done.refusal, ArgumentInvalid)
    assert done.refusal.path == "edits[1]"
    assert target.read_text() == "a = 1\nb = 1\n"
    edits = (Replacement("a = 1", "a = 2"), Replacement("b = 1", "b = 3"))
    done = await bench.do(EditFile(str(target), edits), declared=(str(target),))
    assert done.refusal is None
    assert done.result["replacements"] == 2
    assert target.read_text() == "a = 2\nb = 3\n"


async def test_a_file_above_the_limit_is_not_edited(sshd, benches, work: Path, road) -> None:
    bench = await benches(sshd.settings(**road), limits=quick(file_bytes_max=1000))
    (work / "large").write_bytes(b"a" * 1001)
    plan = EditFile(str(work / "large"), (Replacement("a", "b", count=0),))
    done = await bench.do(plan, declared=(str(work),))
    assert isinstance(done.refusal, OutputLimited)


# ── links ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_link_out_of_what_was_declared_is_not_followed(bench: Bench, work: Path) -> None:
    (work / "secret").write_text("untouched")
    (work / "open").mkdir()
    (work / "open" / "file").symlink_to(work / "secret")
    (work / "open" / "up").symlink_to(work)
    declared = (str(work / "open"),)
    for plan in (
        WriteFile(str(work / "open" / "file"), b"bad"),
        WriteFile(str(work / "open" / "up" / "secret"), b"bad"),
        EditFile(str(work / "open" / "file"), (Replacement("untouched", "bad"),)),
        DeleteFile(str(work / "open" / "up" / "secret")),
        MoveFile(str(work / "open" / "up" / "secret"), str(work / "open" / "taken")),
        MoveFile("/etc/hostname", str(work / "open" / "file"), copy=True, overwrite=True),
    ):
        done = await bench.do(plan, declared=declared)
        assert isinstance(done.refusal, StaleState), plan
        assert not done.started
    assert (work / "secret").read_text() == "untouched"
    assert not leftovers(work)


async def test_a_write_through_a_declared_link_lands_in_its_target(bench: Bench, work: Path) -> None:
    (work / "real").write_text("1")
    (work / "name").symlink_to("real")
    done = await bench.do(WriteFile(str(work / "name"), b"2"), declared=(str(work / "real"),))
    assert done.refusal is None
    assert (work / "name").is_symlink()
    assert (work / "real").read_text() == "2"


async def test_deleting_a_link_deletes_the_link_alone(bench: Bench, work: Path) -> None:
    (work / "real").write_text("1")
    (work / "name").symlink_to("real")
    done = await bench.do(DeleteFile(str(work / "name")), declared=(str(work / "name"),))
    assert done.result == {"path": str(work / "name"), "kind": "link", "entries": 1}
    assert (work / "real").read_text() == "1"


async def test_deleting_a_tree_never_goes_through_its_links(bench: Bench, work: Path) -> None:
    (work / "keep").mkdir()
    (work / "keep" / "precious").write_text("1")
    (work / "tree" / "a b").mkdir(parents=True)
    (work / "tree" / "a b" / "$(touch x)").write_text("1")
    (work / "tree" / "link").symlink_to(work / "keep")
    plan = DeleteFile(str(work / "tree"))
    refused = await bench.do(plan, declared=(str(work / "tree"),))
    assert isinstance(refused.refusal, PathInvalid)
    done = await bench.do(DeleteFile(str(work / "tree"), recursive=True), declared=(str(work / "tree"),))
    assert done.refusal is None
    assert done.result["entries"] == 4
    assert not (work / "tree").exists()
    assert (work / "keep" / "precious").read_text() == "1"


async def test_a_folder_that_is_swapped_for_a_link_all_the_time_never_leads_a_change_astray(
    bench: Bench, work: Path
) -> None:
    inside, outside, name = work / "inside", work / "outside", work / "door"
    inside.mkdir()
    outside.mkdir()
    (outside / "file").write_text("untouched")
    name.symlink_to(inside)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for target in (outside, inside):
                (work / "next").symlink_to(target)
                (work / "next").rename(name)

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        codes = []
        for number in range(60):
            plan = WriteFile(str(name / "file"), f"{number}".encode())
            done = await bench.do(plan, declared=(str(inside),))
            codes.append(done.refusal.code if done.refusal else "")
    finally:
        stop.set()
        swapper.join()
    assert (outside / "file").read_text() == "untouched"
    assert [path.name for path in outside.iterdir()] == ["file"]
    assert set(codes) <= {"", "STALE_STATE", "PATH_INVALID"}


# ── moving and copying ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_files_and_trees_are_moved_and_copied(bench: Bench, work: Path) -> None:
    tree(work)
    declared = (str(work),)
    moved = await bench.do(MoveFile(str(work / "b.txt"), str(work / "c.txt")), declared=declared)
    assert moved.refusal is None
    assert (work / "c.txt").read_text() == "hello\n"
    assert not (work / "b.txt").exists()
    (work / "c.txt").chmod(0o751)
    copied = await bench.do(MoveFile(str(work / "c.txt"), str(work / "d.txt"), copy=True), declared=declared)
    assert copied.refusal is None
    assert (work / "d.txt").read_text() == "hello\n"
    assert (work / "d.txt").stat().st_mode & 0o777 == 0o751
    shallow = await bench.do(MoveFile(str(work / "a"), str(work / "z"), copy=True), declared=declared)
    assert shallow.refusal.next_step().arguments == {"recursive": True}
    plan = MoveFile(str(work / "a"), str(work / "z"), copy=True, recursive=True)
    deep = await bench.do(plan, declared=declared)
    assert deep.refusal is None
    assert (work / "z" / "deep" / "two.py").read_text() == (work / "a" / "deep" / "two.py").read_text()
    assert not leftovers(work)


async def test_what_is_there_is_replaced_only_where_asked(bench: Bench, work: Path) -> None:
    (work / "a").write_text("a")
    (work / "b").write_text("b")
    declared = (str(work),)
    for copy in (False, True):
        done = await bench.do(MoveFile(str(work / "a"), str(work / "b"), copy=copy), declared=declared)
        assert isinstance(done.refusal, PathInvalid)
        assert (work / "b").read_text() == "b"
    done = await bench.do(MoveFile(str(work / "a"), str(work / "b"), overwrite=True), declared=declared)
    assert done.result["replaced"]
    assert (work / "b").read_text() == "a"
    inside = await bench.do(MoveFile(str(work), str(work / "deep" / "er")), declared=("/",))
    assert isinstance(inside.refusal, PathInvalid)


# ── as another user, and when the road fails ─────────────────────────────────────────────────────────────────────────


async def test_file_operations_become_the_other_user_too(sshd, benches, work: Path, road) -> None:
    for folder in (*reversed(work.parents), work):
        if "pytest" in str(folder):
            folder.chmod(0o755)
    theirs = work / "theirs"
    theirs.mkdir()
    nobody = pwd.getpwnam("nobody")
    os.chown(theirs, nobody.pw_uid, nobody.pw_gid)
    bench = await benches(sshd.settings(become="nobody", cwd="/"))
    done = await bench.do(WriteFile(str(theirs / "f"), b"1"), declared=(str(theirs),))
    assert done.refusal is None
    assert (theirs / "f").stat().st_uid == nobody.pw_uid
    denied = await bench.do(WriteFile(str(work / "g"), b"1"), declared=(str(work),))
    assert isinstance(denied.refusal, PathInvalid)
    assert "permission denied" in denied.refusal.reason


async def test_a_user_without_a_home_has_his_runs_in_a_place_of_his_own(sshd, benches) -> None:
    bench = await benches(sshd.settings(become="nobody", cwd="/"))
    assert (await bench.sh("id -un")).result["stdout"] == "nobody\n"
    place = Path(f"/var/tmp/interlock-runs-{pwd.getpwnam('nobody').pw_uid}").stat()
    assert (place.st_uid, stat.S_IMODE(place.st_mode)) == (pwd.getpwnam("nobody").pw_uid, 0o700)


async def test_a_user_without_a_place_for_runs_is_reached_and_stages_nothing(
    sshd, benches, work: Path, monkeypatch
) -> None:
    nowhere = {"INTERLOCK_RUNNER_BASE": "/proc/none/runs"}
    monkeypatch.setattr("interlock.hosts.link.runner_exec", lambda become: runner_exec(become, nowhere))
    bench = await benches(sshd.settings(cwd="/", containment="staged"))
    facts = await bench.hosts.facts("box")
    assert (facts.containment, facts.undo) == (("none",), False)
    done = await bench.do(WriteFile(str(work / "f"), b"1"), declared=(str(work),))
    assert done.refusal.code == "CONTAINMENT_UNAVAILABLE"
    assert not list(work.iterdir())


async def test_a_dropped_connection_is_replaced_for_files_too(own_sshd, benches, road) -> None:
    bench = await benches(own_sshd.settings(**road))
    target = own_sshd.folder / "work" / "f"
    for number in range(3):
        plan = WriteFile(str(target), f"{number}".encode())
        assert (await bench.do(plan, declared=(str(target),))).refusal is None
        own_sshd.kill_sessions()
    assert target.read_text() == "2"
    assert not leftovers(target.parent)


async def test_a_frozen_host_gives_a_typed_error_in_time_and_changes_nothing(own_sshd, benches, road) -> None:
    bench = await benches(own_sshd.settings(**road), limits=quick(connect_timeout_seconds=1.0))
    target = own_sshd.folder / "work" / "f"
    assert (await bench.do(WriteFile(str(target), b"1"), declared=(str(target),))).refusal is None
    own_sshd.freeze()
    done = await bench.do(WriteFile(str(target), b"2"), declared=(str(target),), seconds=2)
    assert done.refusal is not None
    assert done.refusal.code in ("TIMED_OUT", "HOST_UNREACHABLE")
    assert target.read_text() == "1"
    own_sshd.thaw()
    assert (await bench.do(WriteFile(str(target), b"3"), declared=(str(target),))).refusal is None
    assert target.read_text() == "3"


async def test_a_file_operation_that_is_cancelled_leaves_nothing_half_done(bench: Bench, work: Path) -> None:
    target = work / "f"
    target.write_bytes(b"old")
    for step in range(20):
        task = asyncio.create_task(bench.do(WriteFile(str(target), b"new" * 300_000), declared=(str(target),)))
        await asyncio.sleep(step * 0.002)
        task.cancel("its caller")
        done = await task
        content = target.read_bytes()
        if done.refusal is None:
            assert content == b"new" * 300_000
        else:
            assert done.refusal.code == "CANCELLED"
            assert content == b"old"
        target.write_bytes(b"old")
    assert not leftovers(work)
