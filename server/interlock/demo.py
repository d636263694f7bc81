"""The demo: a scripted agent against a real server over stdio, on the embedded host. It fakes nothing it prints."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mcp.client.session import ClientSession
from mcp.client.stdio import StdioServerParameters, stdio_client
from rich.console import Console
from rich.markup import escape

from interlock_tools.visible import visible

CALL_SECONDS_MAX = 60.0
OUTPUT_CHARS_MAX = 400

Json = dict[str, Any]


class Agent:
    """A client without a model: it makes its calls, and does what `recovery` says."""

    def __init__(self, session: ClientSession, console: Console, folder: str) -> None:
        self._session = session
        self._console = console
        self._folder = folder

    async def call(self, tool: str, arguments: Json) -> Json:
        """One call and its envelope, both shown."""
        shown = json.dumps({name: value for name, value in arguments.items() if name != "host"}, ensure_ascii=False)
        self._print(f"  [bold cyan]agent →[/] {tool} {self._brief(shown)}")
        result = await asyncio.wait_for(self._session.call_tool(tool, arguments), CALL_SECONDS_MAX)
        envelope: Json = result.structured_content or {}
        self._show(envelope)
        return envelope

    async def call_and_recover(self, tool: str, arguments: Json) -> Json:
        """One call; where it is refused with changed arguments, the call again with them."""
        envelope = await self.call(tool, arguments)
        recovery = (envelope.get("error") or {}).get("recovery") or {}
        if recovery.get("action") != "change_arguments":
            return envelope
        return await self.call(tool, merge_patch(arguments, recovery["arguments"]))

    def _show(self, envelope: Json) -> None:
        error = envelope.get("error")
        colour = "green" if envelope.get("ok") else ("yellow" if envelope["state"] == "awaiting_approval" else "red")
        line = f"  [bold {colour}]{envelope['state']}[/]"
        if not error:
            result = envelope["result"]
            output = result.get("stdout") or result.get("path") or "done"
            self._print(f"{line}  {self._brief(' | '.join(output.splitlines()))}")
            return
        self._print(f"{line}  {error['code']}: {self._brief(error['message'])}")
        recovery = error["recovery"]
        patch = json.dumps(recovery["arguments"], ensure_ascii=False)
        self._print(f"    recovery: {recovery['action']} {recovery['tool']} {self._brief(patch)}")

    def _brief(self, text: str) -> str:
        """Text that came from elsewhere, safe to print, with the demo's own folder left out."""
        return escape(visible(text.replace(self._folder, "…"), OUTPUT_CHARS_MAX).replace("\\\\", "\\"))

    def _print(self, line: str) -> None:
        self._console.print(line, soft_wrap=True)


def merge_patch(target: Mapping[str, Any], patch: Mapping[str, Any]) -> Json:
    """A JSON merge patch (RFC 7396) on one level: null removes, anything else replaces."""
    merged = {**target, **patch}
    return {name: value for name, value in merged.items() if value is not None}


def run_demo() -> int:
    """Run the whole demo in a folder of its own; 0 where every step ended as it should."""
    with tempfile.TemporaryDirectory(prefix="interlock-demo-") as folder:
        environment = {
            **os.environ,
            "XDG_STATE_HOME": f"{folder}/state",
            "XDG_DATA_HOME": f"{folder}/data",
            "XDG_CONFIG_HOME": f"{folder}/config",
        }
        environment.pop("INTERLOCK_CONFIG", None)
        return asyncio.run(_play(environment))


async def _play(environment: dict[str, str]) -> int:
    console = Console(highlight=False)
    console.print("[bold]Interlock[/]: the agent proposes, the infrastructure enforces.\n")
    server = StdioServerParameters(command=_program(), args=["serve"], env=environment)
    async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        agent = Agent(session, console, f"{environment['XDG_DATA_HOME']}/interlock")
        results = [
            await _reads_and_writes(agent, console),
            await _near_miss(agent, console),
            await _script(agent, console, environment),
        ]
        _say(console, "What is on record, and what it is worth")
        for command in (["trace", "list"], ["scores"]):
            await _interlock(command, environment, console)
        last = results[-1][1]
        await _interlock(["trace", "show", last], environment, console)
    _connect_lines(console)
    return 0 if all(passed for passed, _ in results) else 1


async def _reads_and_writes(agent: Agent, console: Console) -> tuple[bool, str]:
    _say(console, "1. A read, and a write inside the workspace")
    read = await agent.call("shell_run", {"host": "sandbox", "command": "uname -sr; pwd; ls"})
    where = read["result"]["stdout"].splitlines()[1]
    write = await agent.call(
        "file_write",
        {
            "host": "sandbox",
            "path": f"{where}/logs/app.log",
            "content": "started\n",
            "create_parents": True,
            "intent": "Create the log folder of the app",
        },
    )
    return bool(read["ok"] and write["ok"]), write["call_id"]


async def _near_miss(agent: Agent, console: Console) -> tuple[bool, str]:
    _say(console, "2. `rm -rf` of another folder of that name, then of `/logs`, where `./logs` was meant and declared")
    where = (await agent.call("shell_run", {"host": "sandbox", "command": "pwd"}))["result"]["stdout"].strip()
    other = Path(where, "billing", "logs")
    _make(other / "june.log")
    declared = {
        "host": "sandbox",
        "deletes": [f"{where}/logs"],
        "intent": "Remove the old logs of the app",
        "verify": [{"check": "path_absent", "target": f"{where}/logs", "expected": ""}],
    }
    wrong = await agent.call("shell_run", {**declared, "command": f"rm -rf {other}"})
    kept = _is_there(other / "june.log")
    console.print(f"  on the disk: billing/logs/june.log is {'still there' if kept else 'GONE'}")
    if wrong["state"] == "held":
        await agent.call("call_cancel", {"call_id": wrong["call_id"]})
    absent = await agent.call_and_recover("shell_run", {**declared, "command": "rm -rf /logs"})
    return bool(kept and not wrong["ok"] and absent["ok"]), absent["call_id"]


async def _script(agent: Agent, console: Console, environment: dict[str, str]) -> tuple[bool, str]:
    _say(console, "3. A script that nobody can read beforehand, and that does more than it says: a human decides")
    where = (await agent.call("shell_run", {"host": "sandbox", "command": "pwd"}))["result"]["stdout"].strip()
    arguments = {
        "host": "sandbox",
        "command": """python3 -c 'print("42 rows", file=open("migrated", "w")); open("old.conf", "w").write("a=1")'""",
        "writes": [f"{where}/migrated"],
        "intent": "Run the migration script",
    }
    asked = await agent.call("shell_run", arguments)
    call_id = asked["call_id"]
    if asked["state"] != "held":
        console.print("  this machine stages no command (interlock doctor --verbose says why): its text is decided on")
        approval = asked["result"].get("approval_id", "")
        await _interlock(["approvals", "list"], environment, console)
        await _interlock(["approvals", "approve", approval, "--reason", "read it, fine"], environment, console)
        recovery = (asked["error"] or {}).get("recovery", {})
        done = await agent.call(recovery["tool"], recovery["arguments"])
        return bool(done["ok"]), call_id
    untouched = not _is_there(where, "migrated")
    shown = await _interlock(["held", "show", call_id], environment, console)
    await _interlock(["held", "land", call_id, "--reason", "both files are wanted"], environment, console)
    done = await agent.call("call_status", {"call_id": call_id})
    landed = _is_there(where, "old.conf")
    await _interlock(["undo", call_id, "--reason", "the wrong day"], environment, console)
    undone = not _is_there(where, "migrated") and not _is_there(where, "old.conf")
    console.print(f"  on the disk: {'nothing of it is left' if undone else 'it is STILL THERE'}")
    return bool(done["ok"] and untouched and shown and landed and undone), call_id


def _make(file: Path) -> None:
    file.parent.mkdir(parents=True)
    file.write_text("not yours\n")


def _is_there(*where: str | Path) -> bool:
    """The disk is the witness."""
    return Path(*where).exists()


async def _interlock(arguments: list[str], environment: dict[str, str], console: Console) -> bool:
    console.print(f"  [bold magenta]human →[/] interlock {escape(shlex.join(arguments))}", soft_wrap=True)
    done = await asyncio.to_thread(
        subprocess.run,
        [_program(), *arguments],
        env={**environment, "COLUMNS": str(max(console.width - 4, 80))},
        capture_output=True,
        text=True,
        timeout=CALL_SECONDS_MAX,
        check=False,
    )
    for line in (done.stdout + done.stderr).rstrip().splitlines():
        folder = f"{environment['XDG_DATA_HOME']}/interlock"
        console.print(f"    {escape(line.replace(folder, '…'))}", soft_wrap=True)
    return done.returncode == 0


def _say(console: Console, sentence: str) -> None:
    console.print(f"\n[bold]{sentence}[/]")


def _program() -> str:
    beside = Path(sys.executable).parent / "interlock"
    return str(beside) if beside.exists() else "interlock"


def _connect_lines(console: Console) -> None:
    program = _program()
    entry = json.dumps({"mcpServers": {"interlock": {"command": program, "args": ["serve"]}}})
    code = json.dumps({"servers": {"interlock": {"type": "stdio", "command": program, "args": ["serve"]}}})
    _say(console, "Connect your own agent")
    for client, line in (
        ("Claude Desktop", f"claude_desktop_config.json: {entry}"),
        ("Claude Code", f"claude mcp add interlock -- {program} serve"),
        ("Cursor", f"~/.cursor/mcp.json: {entry}"),
        ("VS Code", f".vscode/mcp.json: {code}"),
    ):
        console.print(f"  [bold]{client}[/]  {escape(line)}", soft_wrap=True)
