"""A host that stages: what was declared lands, what was not is held and shown, and what landed is taken back."""

# ruff: noqa: ASYNC110 - a test polls for what nobody tells it

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from home import Home, open_home, staged_in
from interlock.hosts.outpost import Outpost, Reply, RunnerFault
from interlock.ports import Authorization, Executed, Progress, Run
from interlock.records import LayerRow, LayerState
from interlock_tools.errors import HostUnreachable
from interlock_tools.plan import CommitLayer
from sshd import processes_with

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(os.geteuid() != 0, reason="the whole root is staged by root"),
]


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Home]:
    async with open_home(tmp_path, settings=staged_in(tmp_path)) as made:
        (made.scratch / "logs").mkdir()
        (made.scratch / "logs" / "app.log").write_text("line\n")
        yield made


@pytest.fixture
def outside() -> Iterator[Path]:
    """A folder of the host that is neither workspace nor scratch."""
    folder = Path(tempfile.mkdtemp(prefix="interlock-test-", dir="/srv"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


async def remove_logs(home: Home, command: str, **more: object) -> dict:
    declared = {"deletes": [str(home.scratch / "logs")], "intent": "Remove the old logs of the app"}
    return await home.call("shell_run", command=command, **{**declared, **more})


async def test_what_was_declared_lands_and_is_measured(home: Home) -> None:
    done = await remove_logs(home, "rm -rf ./logs")
    assert done["state"] == "succeeded", done
    assert done["effects"]["observed"] == "staged"
    assert str(home.scratch / "logs") in done["effects"]["deleted"]
    assert done["scores"]["side_effects"] == 1.0
    assert done["undo"]["available"]
    assert not (home.scratch / "logs").exists()


async def test_what_was_not_declared_is_shown_and_changes_nothing(home: Home, outside: Path) -> None:
    other = outside
    (other / "precious").write_text("data")
    done = await remove_logs(home, f"rm -rf {other}")
    assert done["error"]["code"] == "EFFECT_UNDECLARED", done
    assert str(other / "precious") in done["effects"]["deleted"] + done["effects"]["undeclared"]
    assert done["scores"]["side_effects"] < 1.0
    assert (other / "precious").read_text() == "data"


async def test_who_hit_another_tree_is_told_the_command_that_was_meant(home: Home, outside: Path) -> None:
    (outside / "logs").mkdir()
    (outside / "logs" / "precious").write_text("data")
    held = await remove_logs(home, f"rm -rf {outside}/logs")
    assert held["error"]["code"] == "EFFECT_UNDECLARED", held
    step = held["error"]["recovery"]
    assert step["action"] == "change_arguments", step
    done = await remove_logs(home, step["arguments"]["command"])
    assert done["ok"], done
    assert not (home.scratch / "logs").exists()
    assert (outside / "logs" / "precious").read_text() == "data"


async def test_a_read_that_the_kernel_confined_is_scored_as_what_it_is(home: Home) -> None:
    done = await home.call("shell_run", command="cat logs/app.log; wc -l < logs/app.log")
    assert done["result"]["stdout"] == "line\n1\n"
    assert done["effects"]["observed"] == "confined"
    assert done["scores"]["side_effects"] == 1.0


async def test_what_a_signal_ended_is_no_success_and_lands_nothing(home: Home) -> None:
    done = await remove_logs(home, "rm -rf ./logs; exec python3 -c 'import os; os.kill(os.getpid(), 9)'")
    assert done["error"]["code"] == "COMMAND_FAILED", done
    assert done["result"]["exit_code"] == 137
    assert (home.scratch / "logs" / "app.log").exists()


async def test_an_unread_script_is_held_where_it_does_more_and_lands_as_it_was_shown(home: Home) -> None:
    script = 'python3 -c \'open("a","w").write("1"); open("b","w").write("2")\''
    held = await home.call("shell_run", command=script, writes=[str(home.scratch / "a")], intent="Write a file")
    assert held["state"] == "held", held
    assert held["effects"]["undeclared"] == [str(home.scratch / "b")]
    assert not (home.scratch / "a").exists()
    step = held["error"]["recovery"]
    assert (step["action"], step["tool"]) == ("use_tool", "call_commit")
    done = await home.call(step["tool"], **step["arguments"])
    assert done["ok"], done
    assert (home.scratch / "a").read_text() == "1"
    assert (home.scratch / "b").read_text() == "2"
    again = await home.call(step["tool"], **step["arguments"])
    assert again["error"]["code"] == "STALE_STATE"
    status = await home.call("call_status", call_id=held["call_id"])
    assert status["state"] == "succeeded"


async def test_a_preview_changes_nothing_and_lands_only_when_committed(home: Home) -> None:
    target = home.scratch / "logs" / "app.log"
    shown = await home.call(
        "shell_run", command="echo more >> logs/app.log", writes=[str(target)], intent="Add a line", mode="preview"
    )
    assert (shown["ok"], shown["state"]) == (True, "held"), shown
    assert shown["effects"]["modified"] == [str(target)]
    assert "+more" in shown["result"]["diff"]
    assert target.read_text() == "line\n"
    done = await home.call("call_commit", call_id=shown["call_id"], writes=[str(target)], intent="Add the line now")
    assert done["ok"], done
    assert target.read_text() == "line\nmore\n"


async def test_a_held_change_does_not_land_over_a_newer_one(home: Home) -> None:
    target = home.scratch / "logs" / "app.log"
    shown = await home.call(
        "shell_run", command="echo more >> logs/app.log", writes=[str(target)], intent="Add a line", mode="preview"
    )
    target.write_text("somebody else\n")
    done = await home.call("call_commit", call_id=shown["call_id"], writes=[str(target)], intent="Add the line now")
    assert done["error"]["code"] == "STALE_STATE", done
    assert target.read_text() == "somebody else\n"


async def test_undo_puts_back_what_was_there(home: Home) -> None:
    target = home.scratch / "logs" / "app.log"
    target.chmod(0o640)
    before = target.stat()
    done = await remove_logs(home, "rm -rf ./logs")
    assert not target.exists()
    undone = await home.call("call_undo", call_id=done["call_id"], intent="It was needed after all")
    assert undone["ok"], undone
    after = target.stat()
    assert target.read_text() == "line\n"
    assert (after.st_mode, after.st_mtime_ns, after.st_ino) == (before.st_mode, before.st_mtime_ns, before.st_ino)
    again = await home.call("call_undo", call_id=done["call_id"], intent="Once more")
    assert again["error"]["code"] == "UNDO_UNAVAILABLE"


async def test_an_undo_does_not_run_over_a_later_change(home: Home) -> None:
    target = home.scratch / "logs" / "app.log"
    done = await home.call("shell_run", command="echo x > logs/app.log", writes=[str(target)], intent="Shorten it")
    assert done["ok"], done
    target.write_text("later\n")
    undone = await home.call("call_undo", call_id=done["call_id"], intent="Back to what it was")
    assert undone["error"]["code"] == "STALE_STATE"
    assert target.read_text() == "later\n"


async def test_a_command_that_failed_lands_nothing(home: Home) -> None:
    done = await home.call(
        "shell_run", command="echo x > half; false", writes=[str(home.scratch / "half")], intent="Fail halfway"
    )
    assert (done["state"], done["error"]["code"]) == ("failed", "COMMAND_FAILED"), done
    assert not (home.scratch / "half").exists()


async def test_a_command_that_a_signal_ended_is_no_success_and_lands_nothing(home: Home) -> None:
    half = home.scratch / "half"
    done = await home.call("shell_run", command="echo x > half; kill -9 $$", writes=[str(half)], intent="Die halfway")
    if done["state"] == "awaiting_approval":
        await home.app.approve(done["result"]["approval_id"], approve=True, by="a human", reason="")
        done = await home.call("call_status", call_id=done["call_id"], wait_seconds=10)
    assert (done["state"], done["error"]["code"]) == ("failed", "COMMAND_FAILED"), done
    assert done["result"]["exit_code"] == 128 + 9


async def test_a_script_that_a_signal_ended_in_its_layer_lands_nothing(home: Home) -> None:
    half = home.scratch / "half"
    script = 'python3 -c \'import os; open("half", "w").write("x"); os.kill(os.getppid(), 9)\'; true'
    done = await home.call("shell_run", command=script, writes=[str(half)], intent="Die halfway")
    assert (done["state"], done["error"]["code"]) == ("failed", "COMMAND_FAILED"), done
    assert not half.exists()


async def test_a_human_decides_on_the_measured_change_and_it_lands_once(home: Home, outside: Path) -> None:
    target = outside / "app.conf"
    target.write_text("old\n")
    asked = await home.call("shell_run", command=f"echo new > {target}", writes=[str(target)], intent="Configure it")
    assert (asked["state"], asked["error"]["code"]) == ("held", "APPROVAL_REQUIRED"), asked
    assert target.read_text() == "old\n"
    row = await home.app.store.approval(asked["result"]["approval_id"])
    assert row is not None
    assert f"lands: modify file {target}" in row.summary
    assert "+new" in row.summary
    await home.app.approve(row.approval_id, approve=True, by="a human", reason="looked at the diff")
    async with asyncio.timeout(10):
        while (await home.call("call_status", call_id=asked["call_id"], wait_seconds=2))["state"] != "succeeded":
            pass
    assert target.read_text() == "new\n"


async def test_a_cancelled_held_change_is_gone(home: Home) -> None:
    target = home.scratch / "x"
    shown = await home.call("shell_run", command="echo 1 > x", writes=[str(target)], intent="Show it", mode="preview")
    await home.call("call_cancel", call_id=shown["call_id"])
    done = await home.call("call_commit", call_id=shown["call_id"], writes=[str(target)], intent="Land it anyway")
    assert not done["ok"]
    assert not target.exists()


async def test_what_the_record_does_not_hold_whole_is_never_landed(home: Home) -> None:
    target = home.scratch / "x"
    shown = await home.call("shell_run", command="echo 1 > x", writes=[str(target)], intent="Show it", mode="preview")
    layer = await home.app.store.layer(shown["call_id"])
    assert layer is not None
    cut = replace(layer, truncated=True)

    async def partly(call_id: str) -> LayerRow | None:
        return cut if call_id == layer.run_id else None

    home.app.store.layer = partly  # type: ignore[method-assign]  # as the store gives a list over its limit
    done = await home.call("call_commit", call_id=layer.run_id, writes=[str(target)], intent="Land it anyway")
    assert done["error"]["code"] == "POLICY_DENIED", done
    assert not target.exists()


async def test_a_host_that_is_gone_when_it_should_land_keeps_the_change_held(home: Home) -> None:
    target = home.scratch / "x"
    hosts, execute = home.app.hosts, home.app.hosts.execute

    async def unreachable(leave: Authorization, run: Run, progress: Progress | None = None) -> Executed:
        if isinstance(run.plan, CommitLayer):
            return Executed({}, HostUnreachable(reason="it went away"), started=False)
        return await execute(leave, run, progress)

    hosts.execute = unreachable  # type: ignore[method-assign]  # the host goes between the run and the landing
    held = await home.call("shell_run", command="echo 1 > x", writes=[str(target)], intent="Write it")
    assert (held["state"], held["error"]["code"]) == ("held", "HOST_UNREACHABLE"), held
    assert not target.exists()
    hosts.execute = execute  # type: ignore[method-assign]  # and is there again
    done = await home.call("call_commit", call_id=held["call_id"], writes=[str(target)], intent="Land it now")
    assert done["ok"], done
    assert target.read_text() == "1\n"


async def test_what_another_made_during_an_uncontained_run_is_not_blamed_on_it(home: Home) -> None:
    running = asyncio.create_task(home.call("shell_run", command="ps aux > /dev/null; sleep 1.0417"))
    async with asyncio.timeout(10):
        while not processes_with("sleep\x001.0417"):
            await asyncio.sleep(0.02)
    (home.scratch / "foreign").write_text("by somebody else")
    done = await running
    assert done["state"] == "succeeded", done
    assert done["effects"]["observed"] == "scanned"
    assert done["scores"]["side_effects"] is None
    assert any("another may have made them" in notice for notice in done["notices"])


async def test_a_landing_that_failed_without_saying_where_is_unknown_and_not_called_held_or_gone(home: Home) -> None:
    target = home.scratch / "x"
    ask = Outpost.ask

    async def broken(self: Outpost, do: str, *more: Any, **named: Any) -> Reply:
        reply = await ask(self, do, *more, **named)
        if do == "land":  # it has landed, and then something broke on its way back
            raise RunnerFault({"fault": "internal", "reason": "a worker ended"})
        return reply

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Outpost, "ask", broken)
        done = await home.call("shell_run", command="echo 1 > x", writes=[str(target)], intent="Write it")
    assert (done["state"], done["error"]["code"]) == ("unknown", "OUTCOME_UNKNOWN"), done
    assert target.read_text() == "1\n"
    layer = await home.app.store.layer(done["call_id"])
    assert layer is not None
    assert layer.state is LayerState.LANDING  # claimed: its host is asked again
