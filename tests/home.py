"""A whole Interlock in this process, on the embedded host, as a test's client sees it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from interlock.app import App, open_app
from interlock.config.embedded import embedded
from interlock.ports import Request
from interlock.settings import Settings
from interlock.trail import OnStep, unwatched

HOSTLESS = ("hosts_list", "call_check", "call_status", "call_cancel", "call_commit", "call_undo")


@dataclass
class Home:
    """One app, and the folder its sandbox works in."""

    app: App
    scratch: Path
    principal: str = "agent"
    session: str = "session-1"
    busy: asyncio.Task[dict[str, Any]] | None = None  # a call that a test left running

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """One tool call; on the sandbox unless the arguments name another host."""
        if tool not in HOSTLESS:
            arguments = {"host": "sandbox", **arguments}
        envelope = await self.app.front.call(Request(self.principal, self.session, tool, arguments))
        return envelope.to_json()

    async def ask(self, name: str = "asked.txt", content: str = "ok") -> dict[str, Any]:
        """A call that waits for a human: a script that analysis cannot read."""
        return await self.call(
            "shell_run",
            command=f'python3 -c \'open("{name}", "a").write("{content}")\'',
            writes=[str(self.scratch / name)],
            intent="Run a script",
        )


def settings_in(folder: Path, **limits: Any) -> Settings:
    """The embedded default in a folder of the test's own, but uncontained: what runs is seen on the disk at once."""
    chosen = staged_in(folder, **limits)
    return replace(chosen, hosts={"sandbox": replace(chosen.hosts["sandbox"], containment="none")})


def staged_in(folder: Path, **limits: Any) -> Settings:
    """The embedded default as it is, in a folder of the test's own: its sandbox stages where this machine can."""
    found = embedded(folder / "state", folder / "sandbox")
    return replace(found, limits=replace(found.limits, **limits))


@asynccontextmanager
async def open_home(
    folder: Path, *, settings: Settings | None = None, on_step: OnStep = unwatched, **limits: Any
) -> AsyncIterator[Home]:
    """Open an Interlock in `folder`; its state stays there when it closes."""
    chosen = settings or settings_in(folder, **limits)
    async with open_app(chosen, on_step=on_step) as app:
        yield Home(app, folder / "sandbox")
