"""File tools on a host that stages, where somebody decides: a human on the diff, a rule on the containment."""

# ruff: noqa: ASYNC240 - the host's disk is looked at directly

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from home import Home, open_home, staged_in

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(os.geteuid() != 0, reason="a folder outside of the workspace is made by root"),
]
WHY = "It is part of the test"
STAGED_ONLY = """
@id("team.contained")
@title("Files are written contained, or a human agrees")
@requires("containment:1|approval:operator")
forbid (principal, action == Action::"write", resource)
unless { context.containment >= 1 || context.approvals.contains("operator") };
"""


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Home]:
    async with open_home(tmp_path, settings=staged_in(tmp_path)) as made:
        yield made


@pytest.fixture
def target() -> Iterator[Path]:
    """A file of the host that is not in the workspace."""
    folder = Path(tempfile.mkdtemp(prefix="interlock-test-", dir="/srv"))
    (folder / "app.conf").write_text("old\n")
    (folder / "app.conf").chmod(0o640)
    yield folder / "app.conf"
    shutil.rmtree(folder, ignore_errors=True)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def test_a_human_decides_on_the_diff_and_the_answer_is_the_tools_own(home: Home, target: Path) -> None:
    asked = await home.call("file_write", path=str(target), content="new\n", intent=WHY)
    assert (asked["state"], asked["error"]["code"]) == ("held", "APPROVAL_REQUIRED"), asked
    assert target.read_text() == "old\n"
    row = await home.app.store.approval(asked["result"]["approval_id"])
    assert row is not None
    assert "+new" in row.summary
    await home.app.approve(row.approval_id, approve=True, by="a human", reason="looked at the diff")
    async with asyncio.timeout(10):
        while (status := await home.call("call_status", call_id=asked["call_id"], wait_seconds=2))["state"] == "held":
            pass
    assert status["state"] == "succeeded", status
    assert target.read_text() == "new\n"
    assert (status["result"]["sha256"], status["result"]["mode"]) == (sha(b"new\n"), "0640")
    assert status["undo"]["available"]


async def test_a_denied_change_is_gone_and_changed_nothing(home: Home, target: Path) -> None:
    asked = await home.call("file_write", path=str(target), content="new\n", intent=WHY)
    await home.app.approve(asked["result"]["approval_id"], approve=False, by="a human", reason="no")
    async with asyncio.timeout(10):
        while (status := await home.call("call_status", call_id=asked["call_id"], wait_seconds=2))["state"] == "held":
            pass
    assert status["error"]["code"] == "APPROVAL_DENIED", status
    assert target.read_text() == "old\n"


async def test_a_secret_place_is_not_copied_out_whatever_would_land(home: Home) -> None:
    done = await home.call(
        "file_move", path="/etc/shadow", destination=f"{home.scratch}/copy", action="copy", intent=WHY, mode="preview"
    )
    assert done["error"]["code"] in ("POLICY_DENIED", "APPROVAL_REQUIRED"), done
    assert done["state"] != "held"
    assert list(home.scratch.iterdir()) == []


@pytest.mark.parametrize(("containment", "state"), [("staged", "succeeded"), ("confined", "awaiting_approval")])
async def test_a_rule_that_demands_containment_is_met_by_staging_alone(
    tmp_path: Path, containment: str, state: str
) -> None:
    chosen = staged_in(tmp_path)
    sandbox = replace(chosen.hosts["sandbox"], containment=containment)
    rules = tmp_path / "team.cedar"
    rules.write_text(STAGED_ONLY)
    chosen = replace(chosen, hosts={"sandbox": sandbox}, policy_files=(rules,))
    async with open_home(tmp_path, settings=chosen) as home:
        written = home.scratch / "f"
        done = await home.call("file_write", path=str(written), content="new\n", intent=WHY)
        assert done["state"] == state, done
        assert written.exists() == (state == "succeeded")


async def test_a_host_without_staging_shows_no_preview_and_says_so(tmp_path: Path) -> None:
    async with open_home(tmp_path) as home:
        done = await home.call("file_write", path=f"{home.scratch}/f", content="x", intent=WHY, mode="preview")
        assert done["error"]["code"] == "CONTAINMENT_UNAVAILABLE", done
        assert list(home.scratch.iterdir()) == []
