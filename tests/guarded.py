"""A whole Interlock as its users meet it: `interlock serve` over stdio, a configuration on disk, OpenSSH hosts."""

# ruff: noqa: ASYNC110 - what a host shows can only be polled

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters

from sshd import Sshd, processes_with

WAIT_SECONDS = 40.0
MAIN = ["-c", "from interlock.cli import main; main()"]
MARK = "INTERLOCK_TESTS_MARK"
FAST = "connect_timeout_seconds = 2\nlogin_timeout_seconds = 2\nkeepalive_seconds = 1\n"
_marks = itertools.count(1)


@dataclass(frozen=True)
class Member:
    """One host of the configuration: a real server under a name, with its environment label and groups."""

    name: str
    server: Sshd
    env: str = "dev"
    groups: tuple[str, ...] = ()
    more: str = ""
    containment: str = "none"  # what runs is seen on the disk at once

    def toml(self, workspace: Path) -> str:
        """Its table in interlock.toml."""
        return f"""
[hosts.{self.name}]
address = "127.0.0.1"
port = {self.server.port}
identities = [{{file = "{self.server.folder / "client_key"}"}}]
known_hosts = "{self.server.known_hosts}"
cwd = "{workspace}"
workspace = ["{workspace}"]
labels = {{env = "{self.env}"}}
groups = {json.dumps(list(self.groups))}
containment = "{self.containment}"
{self.more}
"""


@dataclass
class Guarded:
    """A configured Interlock: its folder, and ways to start it. `work` is the hosts' workspace."""

    folder: Path
    limits: str = ""
    principals: str = '[principals.agent]\nroles = ["operator"]\nhosts = ["*"]\n'
    mark: str = field(default_factory=lambda: f"{os.getpid()}-{next(_marks)}")

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def config(self) -> Path:
        return self.folder / "etc" / "interlock.toml"

    def write(self, *members: Member) -> Guarded:
        """Write the configuration of these hosts."""
        self.work.mkdir(exist_ok=True)
        self.config.parent.mkdir(mode=0o700, exist_ok=True)
        head = f'[server]\nstate_dir = "{self.state}"\nprincipal = "agent"\n[limits]\n{self.limits}\n{self.principals}'
        self.config.write_text(head + "".join(member.toml(self.work) for member in members))
        self.config.chmod(0o600)
        return self

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "INTERLOCK_CONFIG": str(self.config), MARK: self.mark}

    @asynccontextmanager
    async def client(self, *words: str) -> AsyncIterator[Agent]:
        """A client with a server of its own over stdio."""
        server = StdioServerParameters(command=sys.executable, args=[*MAIN, "serve", *words], env=self.environment)
        async with Client(server) as client:
            yield Agent(client)

    def servers(self) -> list[int]:
        """The process ids of this house's servers."""
        return [pid for pid in processes_with(f"{MARK}={self.mark}") if b"\0serve" in _command(pid)]

    def kill_servers(self) -> None:
        """SIGKILL every server of this house."""
        for pid in self.servers():
            os.kill(pid, signal.SIGKILL)

    async def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """One run of the command line."""
        run = [sys.executable, *MAIN, *words]
        return await asyncio.to_thread(
            subprocess.run,
            run,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            check=False,
        )


@dataclass
class Agent:
    """One MCP client; `call` gives the envelope."""

    client: Client

    async def call(self, tool: str, progress: Callable[..., Any] | None = None, **arguments: Any) -> dict[str, Any]:
        """One call, waited for within WAIT_SECONDS."""
        async with asyncio.timeout(WAIT_SECONDS):
            result = await self.client.call_tool(tool, arguments, progress_callback=progress)
        assert result.structured_content is not None, result
        return result.structured_content

    async def sh(self, command: str, host: str = "box", **arguments: Any) -> dict[str, Any]:
        """A command line; with writes or deletes it says why."""
        if {"writes", "deletes", "services", "network"} & set(arguments):
            arguments.setdefault("intent", "A test that changes something")
        return await self.call("shell_run", host=host, command=command, **arguments)


async def until(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Wait until the condition holds; its value."""
    async with asyncio.timeout(seconds):
        while not (value := condition()):
            await asyncio.sleep(0.02)
    return value


def of_call(call_id: str) -> list[int]:
    """The host's living processes of a call."""
    return processes_with(f"INTERLOCK_CALL={call_id}")


def resident_bytes(pid: int) -> int:
    """The memory a process has now."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"process {pid} has no memory")


def codes(envelopes: Sequence[dict[str, Any]]) -> list[str]:
    """Each envelope's error code; "" where it has none."""
    return [(envelope["error"] or {}).get("code", "") for envelope in envelopes]


def picture(folder: Path) -> dict[str, object]:
    """Everything below a folder: kind, mode and content."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[str(path.relative_to(folder))] = (mode, content)
    return found


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
