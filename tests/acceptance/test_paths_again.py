"""Paths that were looked up a moment ago: not asked for again, and never a way around the decision."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from home import Home, open_home, settings_in, staged_in
from interlock.hosts import resolve
from interlock.ports import PathQuery

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["none", "staged"])
async def home(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Home]:
    if request.param == "staged" and os.geteuid() != 0:
        pytest.skip("the whole root is staged by root")
    settings = staged_in(tmp_path) if request.param == "staged" else settings_in(tmp_path)
    async with open_home(tmp_path, settings=settings) as made:
        for name in ("a", "b"):
            (made.scratch / name).mkdir()
            (made.scratch / name / "file").write_text(f"{name}\n")
        (made.scratch / "way").symlink_to("a")
        yield made


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[PathQuery]:
    """Every path that a host is asked for over the file channel."""
    seen: list[PathQuery] = []

    async def seen_too(sftp: Any, queries: Sequence[PathQuery], *more: Any, **named: Any) -> Any:
        seen.extend(queries)
        return await resolve.resolve_paths(sftp, queries, *more, **named)

    monkeypatch.setattr("interlock.hosts.pool.resolve_paths", seen_too)
    return seen


async def test_a_path_that_was_just_read_is_not_looked_up_again(home: Home, asked: list[PathQuery]) -> None:
    contained = "staged" in str(home.app.settings.hosts["sandbox"].containment)
    assert (await home.call("shell_run", command="cat way/file"))["result"]["stdout"] == "a\n"
    first = len(asked)
    assert (await home.call("shell_run", command="cat way/file"))["result"]["stdout"] == "a\n"
    assert first
    assert (len(asked) == first) is contained  # what runs uncontained may have changed anything
    change = {"writes": [str(home.scratch / "new")], "intent": "Change something"}
    assert (await home.call("shell_run", command="touch new", **change))["ok"]
    before = len(asked)
    assert (await home.call("shell_run", command="cat way/file"))["result"]["stdout"] == "a\n"
    assert len(asked) > before


async def test_a_way_that_changed_meanwhile_is_decided_anew_and_shows_nothing_before(home: Home) -> None:
    assert (await home.call("shell_run", command="cat way/file"))["result"]["stdout"] == "a\n"
    (home.scratch / "other").symlink_to("b")
    os.replace(home.scratch / "other", home.scratch / "way")
    moved = await home.call("shell_run", command="cat way/file")
    if not moved["ok"]:
        assert moved["error"]["code"] == "STALE_STATE", moved
        assert moved["error"]["recovery"]["action"] == "wait"
        assert "stdout" not in moved["result"]
        moved = await home.call("shell_run", command="cat way/file")
    assert moved["result"]["stdout"] == "b\n"


async def test_a_way_that_leads_into_secrets_by_now_is_refused_and_never_shown(home: Home, tmp_path: Path) -> None:
    (home.scratch / "a" / ".env").write_text("TOKEN=correct-horse\n")
    (home.scratch / "notes").write_text("fine\n")
    assert (await home.call("shell_run", command="cat notes"))["result"]["stdout"] == "fine\n"
    (home.scratch / "notes").unlink()
    (home.scratch / "notes").symlink_to("a/.env")
    for _ in range(3):
        answer = await home.call("shell_run", command="cat notes")
        assert "correct-horse" not in str(answer)
        assert not answer["ok"]
    assert answer["error"]["code"] == "APPROVAL_REQUIRED"
