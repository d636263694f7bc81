"""What a human approved is what runs: once, unchanged, in time; and nothing else runs."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from home import open_home, settings_in
from interlock.records import ApprovalState

pytestmark = pytest.mark.anyio


async def _finished(home, call_id: str) -> dict:
    return await home.call("call_status", call_id=call_id, wait_seconds=20)


async def test_nothing_runs_before_a_human_approves_and_it_runs_by_itself_then(tmp_path: Path) -> None:
    async with open_home(tmp_path) as home:
        asked = await home.ask()
        assert asked["state"] == "awaiting_approval"
        assert asked["error"]["code"] == "APPROVAL_REQUIRED"
        assert not (tmp_path / "sandbox" / "asked.txt").exists()
        await home.app.approve(asked["result"]["approval_id"], True, "mira", "read it")
        done = await _finished(home, asked["call_id"])
        assert done["state"] == "succeeded"
        assert (tmp_path / "sandbox" / "asked.txt").read_text() == "ok"


async def test_twenty_racing_approvals_run_the_call_exactly_once(tmp_path: Path) -> None:
    async with open_home(tmp_path) as home:
        asked = await home.ask(content="x")
        approval = asked["result"]["approval_id"]
        answers = await asyncio.gather(*(home.app.approve(approval, True, f"human-{n}", "") for n in range(20)))
        assert sum(not isinstance(answer, str) for answer in answers) == 1
        assert (await _finished(home, asked["call_id"]))["state"] == "succeeded"
        assert (tmp_path / "sandbox" / "asked.txt").read_text() == "x"


async def test_a_denied_call_never_runs_and_its_reason_reaches_the_agent(tmp_path: Path) -> None:
    async with open_home(tmp_path) as home:
        asked = await home.ask()
        await home.app.approve(asked["result"]["approval_id"], False, "mira", "not on a Friday")
        done = await _finished(home, asked["call_id"])
        assert done["error"]["code"] == "APPROVAL_DENIED"
        assert "not on a Friday" in done["error"]["message"]
        again = await home.app.approve(asked["result"]["approval_id"], True, "mira", "")
        assert isinstance(again, str)
        assert not (tmp_path / "sandbox" / "asked.txt").exists()


async def test_a_used_approval_approves_nothing_more(tmp_path: Path) -> None:
    async with open_home(tmp_path) as home:
        asked = await home.ask(content="x")
        approval = asked["result"]["approval_id"]
        await home.app.approve(approval, True, "mira", "")
        await _finished(home, asked["call_id"])
        assert isinstance(await home.app.approve(approval, True, "mira", ""), str)
        taken = await home.app.store.dispatch(asked["call_id"], approval, home.app.clock())
        assert isinstance(taken, str)
        second = await home.ask(content="x")
        assert second["state"] == "awaiting_approval"
        assert second["result"]["approval_id"] != approval
        assert (tmp_path / "sandbox" / "asked.txt").read_text() == "x"


async def test_a_forged_approval_id_approves_nothing(tmp_path: Path) -> None:
    async with open_home(tmp_path) as home:
        asked = await home.ask()
        for forged in ("", "a_0", asked["call_id"], asked["result"]["approval_id"] + "0"):
            assert isinstance(await home.app.approve(forged, True, "mallory", ""), str)
        assert not (tmp_path / "sandbox" / "asked.txt").exists()


async def test_an_approval_that_came_too_late_is_none(tmp_path: Path) -> None:
    async with open_home(tmp_path, approve_within_seconds=1) as home:
        asked = await home.ask()
        done = await _finished(home, asked["call_id"])
        assert done["error"]["code"] == "APPROVAL_EXPIRED"
        assert isinstance(await home.app.approve(asked["result"]["approval_id"], True, "mira", ""), str)
        assert not (tmp_path / "sandbox" / "asked.txt").exists()


async def test_a_path_that_was_swapped_for_a_link_after_asking_is_not_what_was_approved(tmp_path: Path) -> None:
    async with open_home(tmp_path) as home:
        asked = await home.ask(name="asked.txt")
        victim = tmp_path / "victim.txt"
        victim.write_text("untouched")
        (tmp_path / "sandbox" / "asked.txt").symlink_to(victim)
        await home.app.approve(asked["result"]["approval_id"], True, "mira", "")
        done = await _finished(home, asked["call_id"])
        assert done["error"]["code"] == "APPROVAL_EXPIRED"
        assert victim.read_text() == "untouched"


async def test_a_policy_that_changed_after_asking_takes_the_approval_with_it(tmp_path: Path) -> None:
    rules = tmp_path / "team.cedar"
    rules.write_text('@id("team-none")\nforbid (principal in Role::"nobody", action, resource);\n')
    async with open_home(tmp_path, settings=replace(settings_in(tmp_path), policy_files=(rules,))) as home:
        asked = await home.ask()
        rules.write_text('@id("team-none-2")\nforbid (principal in Role::"nobody", action, resource);\n')
        assert home.app.reload_policy() == ""
        await home.app.approve(asked["result"]["approval_id"], True, "mira", "")
        done = await _finished(home, asked["call_id"])
        assert done["error"]["code"] == "APPROVAL_EXPIRED"
        assert not (tmp_path / "sandbox" / "asked.txt").exists()


async def test_an_approval_survives_a_restart_and_the_call_runs_once(tmp_path: Path) -> None:
    async with open_home(tmp_path) as home:
        asked = await home.ask(content="x")
    async with open_home(tmp_path) as home:
        pending = await home.app.store.approvals(ApprovalState.PENDING)
        assert [row.call_id for row in pending] == [asked["call_id"]]
        await home.app.approve(pending[0].approval_id, True, "mira", "")
        assert (await _finished(home, asked["call_id"]))["state"] == "succeeded"
        assert (tmp_path / "sandbox" / "asked.txt").read_text() == "x"


async def test_a_withdrawn_call_cannot_be_approved_any_more(tmp_path: Path) -> None:
    async with open_home(tmp_path) as home:
        asked = await home.ask()
        ended = await home.call("call_cancel", call_id=asked["call_id"])
        assert ended["result"]["state"] == "cancelled"
        assert isinstance(await home.app.approve(asked["result"]["approval_id"], True, "mira", ""), str)
        assert not (tmp_path / "sandbox" / "asked.txt").exists()


async def test_another_principal_can_neither_see_nor_cancel_a_call(tmp_path: Path) -> None:
    async with open_home(tmp_path) as home:
        asked = await home.ask()
        home.principal = "somebody-else"
        for tool in ("call_status", "call_cancel"):
            answer = await home.call(tool, call_id=asked["call_id"])
            assert answer["error"]["code"] == "CALL_UNKNOWN"


async def test_what_a_human_reads_shows_both_ends_of_a_long_command_and_every_finding(tmp_path: Path) -> None:
    async with open_home(tmp_path) as home:
        command = f"python3 -c 'print(1)' # {'x' * 9_000}\nprintf hidden-at-the-end"
        asked = await home.call(
            "shell_run", command=command, writes=[str(home.scratch)], intent="fine\nrule: base.ok: approved"
        )
        row = await home.app.store.approval(asked["result"]["approval_id"])
        lines = row.summary.splitlines()
        assert any("python3 -c" in line and "hidden-at-the-end" in line for line in lines)
        assert any(line.startswith("rule: base.opaque") for line in lines)
        assert not any(line.startswith("rule: base.ok") for line in lines)


async def test_an_idempotency_key_is_never_kept_as_it_was_sent(tmp_path: Path) -> None:
    async with open_home(tmp_path) as home:
        first = await home.call("shell_run", command="echo one", idempotency_key="password=hunter2-key")
        again = await home.call("shell_run", command="echo one", idempotency_key="password=hunter2-key")
        assert again["replayed"]
        assert again["call_id"] == first["call_id"]
        await home.call("shell_run", command="mysql -phunter2-key -e 'select 1'")
    kept = b"".join(path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file())
    assert b"hunter2-key" not in kept
