"""kill -9 of the server at every step: nothing ran without a record, nothing runs twice, nothing is invented."""

# ruff: noqa: ASYNC110 - a test polls for what nobody tells it

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from home import open_home, staged_in
from interlock.records import CallRow, Life
from interlock.trail import Step
from killed_server import WRITTEN

pytestmark = pytest.mark.anyio

HERE = Path(__file__).parent.parent
WAIT_SECONDS = 60
PLACES = [(step, moment) for step in Step for moment in ("begin", "end")]


def _kill_at(folder: Path, step: Step, moment: str, *more: str) -> None:
    folder.mkdir(exist_ok=True)
    command = [sys.executable, str(HERE / "killed_server.py"), str(folder), step.value, moment, *more]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=WAIT_SECONDS, check=False)
    reached = done.returncode == -signal.SIGKILL
    assert reached or done.returncode == 0, done.stderr[-2_000:]


def _count(folder: Path) -> int:
    counter = folder / "sandbox" / "counter"
    return len(counter.read_text().splitlines()) if counter.exists() else 0


OPEN = (Life.DISPATCHED, Life.UNKNOWN)


async def _rows(folder: Path) -> tuple[list[CallRow], list[str]]:
    """The recorded acting calls once a restart asked their host, and what the chain's verification says is wrong."""
    async with open_home(folder) as home, asyncio.timeout(WAIT_SECONDS):
        rows = await home.app.store.calls()
        while any(row.life in OPEN for row in rows):
            await asyncio.sleep(0.05)
            rows = await home.app.store.calls()
        rows = [row for row in rows if row.tool == "shell_run"]
        verification = await home.app.store.verify_chain()
        return rows, [] if verification.ok else [str(verification)]


@pytest.mark.parametrize(("step", "moment"), PLACES, ids=str)
async def test_after_a_kill_the_record_tells_the_truth(tmp_path: Path, step: Step, moment: str) -> None:
    _kill_at(tmp_path, step, moment)
    rows, wrong = await _rows(tmp_path)
    ran = _count(tmp_path)
    assert not wrong
    assert ran <= 1
    assert len(rows) == 1 or ran == 0  # nothing reached the host without a record
    for row in rows:
        assert row.state.value == ("succeeded" if ran else "cancelled"), row  # no result is lost, none is invented
    await _rows(tmp_path)
    assert _count(tmp_path) == ran  # and nothing ran again by itself


async def test_who_only_follows_a_call_does_not_end_it_by_leaving(tmp_path: Path) -> None:
    command = [sys.executable, str(HERE / "killed_server.py"), str(tmp_path), "none", "none", "long"]
    with subprocess.Popen(command, cwd=HERE) as first:  # noqa: ASYNC220 - it is killed before it is waited for
        async with asyncio.timeout(WAIT_SECONDS):
            while not _count(tmp_path):
                await asyncio.sleep(0.02)
        first.kill()
    async with open_home(tmp_path) as home, asyncio.timeout(WAIT_SECONDS):
        (row,) = await home.app.store.calls()
        while row.call_id not in home.app.live.running():
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.5)  # it is on its host by now, and follows
        assert _count(tmp_path) == 1
    (row,), wrong = await _rows(tmp_path)
    assert not wrong
    assert row.state.value == "succeeded", row
    assert _count(tmp_path) == 2


@pytest.mark.parametrize(
    ("step", "moment"),
    [(step, moment) for step, moment in PLACES if step in (Step.APPROVE, Step.AUTHORIZE, Step.DISPATCH, Step.SETTLE)],
    ids=str,
)
async def test_an_approved_call_is_not_run_twice_by_a_kill(tmp_path: Path, step: Step, moment: str) -> None:
    _kill_at(tmp_path, step, moment, "ask")
    rows, wrong = await _rows(tmp_path)
    ran = _count(tmp_path)
    assert not wrong
    assert ran <= 1
    assert len(rows) == 1
    assert (ran == 1) == (rows[0].state.value == "succeeded")
    await _rows(tmp_path)
    assert _count(tmp_path) == ran


async def test_what_was_approved_just_before_the_server_died_is_carried_out_once(tmp_path: Path) -> None:
    _kill_at(tmp_path, Step.APPROVE, "begin", "ask")
    assert _count(tmp_path) == 0
    for _ in range(2):
        async with open_home(tmp_path) as home, asyncio.timeout(WAIT_SECONDS):
            await home.app.approvals.take_up()
            while home.app.live.running():
                await asyncio.sleep(0.05)
            (row,) = [row for row in await home.app.store.calls() if row.tool == "shell_run"]
            assert row.state.value == "succeeded", row
            assert (await home.app.store.verify_chain()).ok
        assert _count(tmp_path) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="the whole root is staged by root")
@pytest.mark.parametrize(("step", "moment"), PLACES, ids=str)
async def test_a_staged_call_is_found_again_and_lands_once_or_waits(tmp_path: Path, step: Step, moment: str) -> None:
    _kill_at(tmp_path, step, moment, "staged")
    async with open_home(tmp_path, settings=staged_in(tmp_path)) as home, asyncio.timeout(WAIT_SECONDS):
        rows = await home.app.store.calls()
        while any(row.life in OPEN for row in rows):
            await asyncio.sleep(0.05)
            rows = await home.app.store.calls()
        assert (await home.app.store.verify_chain()).ok
        ran = _count(tmp_path)
        assert ran <= 1
        assert len(rows) == 1 or ran == 0
        for row in rows:
            if ran:
                assert row.state.value == "succeeded", row
                continue
            assert row.state.value in ("cancelled", "held"), row
            if row.state.value == "held":
                done = await home.call(
                    "call_commit",
                    call_id=row.call_id,
                    writes=[str(tmp_path / "sandbox" / "counter")],
                    intent="Land what was found",
                )
                assert done["ok"], done
                assert _count(tmp_path) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="the whole root is staged by root")
@pytest.mark.parametrize(("step", "moment"), PLACES, ids=str)
async def test_a_file_is_the_old_or_the_new_one_and_the_answer_agrees(tmp_path: Path, step: Step, moment: str) -> None:
    target = tmp_path / "sandbox" / "conf"
    target.parent.mkdir()
    target.write_text("old\n")
    _kill_at(tmp_path, step, moment, "file")
    assert target.read_text() in ("old\n", WRITTEN)
    async with open_home(tmp_path, settings=staged_in(tmp_path)) as home, asyncio.timeout(WAIT_SECONDS):
        rows = await home.app.store.calls()
        while any(row.life in (Life.DISPATCHED, Life.UNKNOWN) for row in rows):
            await asyncio.sleep(0.05)
            rows = await home.app.store.calls()
        assert (await home.app.store.verify_chain()).ok
        landed = target.read_text() == WRITTEN
        assert landed or target.read_text() == "old\n"
        assert len(rows) == 1 or not landed
        for row in rows:
            assert (row.state.value == "succeeded") == landed, row.state
            assert landed or row.state.value in ("cancelled", "held"), row
            if row.state.value == "held":
                done = await home.call(
                    "call_commit", call_id=row.call_id, writes=[str(target)], intent="Land what was found"
                )
                assert done["ok"], done["error"]
            if row.state.value in ("succeeded", "held"):
                assert target.read_text() == WRITTEN
                stored = (await home.call("call_status", call_id=row.call_id))["result"]
                assert stored["bytes"] == len(WRITTEN)
                undone = await home.call("call_undo", call_id=row.call_id, intent="Back to what it was")
                assert undone["ok"], undone["error"]
                assert target.read_text() == "old\n"
        assert not [path for path in target.parent.iterdir() if "interlock" in path.name]
