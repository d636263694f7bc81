"""Does what the README says, line by line, as a newcomer would: the demo, the first host, approving, the Inspector."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client, StdioServerParameters

from node_programs import install
from pages import README
from sshd import Sshd, current_user, free_port, needs_openssh, running_sshd

PROGRAMS = Path(sys.executable).parent
RUN_SECONDS = 60.0
BLOCKS = README.blocks("sh")


def block(containing: str) -> str:
    """The one block of the README that holds these words."""
    (found,) = [body for body in BLOCKS if containing in body]
    return found


def environment(home: Path, **more: str) -> dict[str, str]:
    """A user's environment with a home of its own, in which `interlock` is on the PATH."""
    path = f"{home / 'bin'}:{PROGRAMS}:{os.environ['PATH']}"
    return {"HOME": str(home), "PATH": path, "COLUMNS": "400", "LANG": "C.UTF-8", **more}


def run(line: str, env: Mapping[str, str]) -> str:
    """Run lines of a block as a shell would; what they printed."""
    command = ["bash", "-euc", line]
    done = subprocess.run(
        command, env=dict(env), cwd=env["HOME"], timeout=RUN_SECONDS, check=False, capture_output=True
    )
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    return done.stdout.decode()


def place_program(home: Path, name: str, text: str) -> Path:
    """A small shell program in the home's own bin folder."""
    path = home / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_the_demo_ends_well_and_shows_what_the_readme_shows(tmp_path: Path) -> None:
    assert "make demo" in block("make demo")
    shown = run("interlock demo", environment(tmp_path))
    (excerpt,) = [body for body in README.blocks("") if "EFFECT_UNDECLARED" in body]
    _, held, disk = (" ".join(line.split()) for line in excerpt.splitlines())
    flat = " ".join(shown.split())
    assert '"command": "rm -rf /logs"' in flat
    assert held in flat
    assert disk in flat
    assert '{"command": "rm -rf ./logs"}' in flat
    assert "Landed: 2 paths" in flat
    assert "Undone: 2 paths" in flat
    assert "on the disk: nothing of it is left" in flat
    assert all(client in shown for client in ("Claude Desktop", "Claude Code", "Cursor", "VS Code"))


# ── the first host ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Sshd]:
    with running_sshd(tmp_path / "sshd") as running:
        yield running


def an_editor(home: Path, server: Sshd) -> Path:
    """A human at the editor, who adds the host."""
    work = server.folder / "work"
    table = [
        "[hosts.web1]",
        'address = "127.0.0.1"',
        f"port = {server.port}",
        f'user = "{current_user()}"',
        f'identities = [{{file = "{server.folder / "client_key"}"}}]',
        'labels = {env = "staging"}',
        f'cwd = "{work}"',
        f'workspace = ["{work}"]',
    ]
    return place_program(home, "editor", 'cat >> "$1" <<END\n\n' + "\n".join(table) + "\nEND")


@pytest.mark.anyio
@needs_openssh
async def test_the_five_commands_lead_from_nothing_to_a_change_on_a_real_host(tmp_path: Path, server: Sshd) -> None:
    home = tmp_path / "home"
    home.mkdir()
    init, edit, trust, doctor, serve = block("interlock init").splitlines()
    env = environment(home, EDITOR=str(an_editor(home, server)))
    assert "wrote" in run(init, env)
    run(edit, env)
    assert "Trusted for web1" in in_terminal(trust, "yes", env)
    (checked,) = [line for line in run(doctor, env).splitlines() if "web1" in line]
    assert checked.startswith("ok")
    assert "login" in checked
    target = server.folder / "work" / "hello.txt"
    arguments = {"host": "web1", "path": str(target), "content": "hello\n", "intent": "Say hello"}
    async with client_of(serve, env) as client:
        envelope = await envelope_of(client, "file_write", arguments)
    assert envelope["ok"], envelope["error"]
    assert target.read_text() == "hello\n"


def in_terminal(line: str, typed: str, env: Mapping[str, str]) -> str:
    """Run a line in a terminal of its own, type once it asks, and give what it showed."""
    terminal, theirs = pty.openpty()
    ends = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    with subprocess.Popen(["bash", "-c", line], env=dict(env), start_new_session=True, **ends) as program:
        os.close(theirs)
        shown, deadline = b"", time.monotonic() + RUN_SECONDS
        while chunk := _read(terminal, deadline):
            shown += chunk
            if typed and b"Type yes" in shown:
                os.write(terminal, f"{typed}\n".encode())
                typed = ""
        os.close(terminal)
        assert program.wait(RUN_SECONDS) == 0, shown
    return shown.decode()


def _read(terminal: int, deadline: float) -> bytes:
    """What the terminal shows next; nothing once the program has ended."""
    readable, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
    assert readable, "the program neither asked nor ended"
    try:
        return os.read(terminal, 65_536)
    except OSError:
        return b""


@asynccontextmanager
async def client_of(line: str, env: Mapping[str, str]) -> AsyncIterator[Client]:
    """A client that starts the server with a line of the README."""
    started = StdioServerParameters(command="bash", args=["-c", f"exec {line}"], env=dict(env), cwd=env["HOME"])
    with anyio.fail_after(RUN_SECONDS):
        async with Client(started) as client:
            yield client


async def envelope_of(client: Client, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    answer = await client.call_tool(tool, dict(arguments))
    return dict(answer.structured_content or {})


# ── approving ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.anyio
async def test_the_approval_commands_approve_one_call_and_deny_another(tmp_path: Path) -> None:
    listing, showing, approving, denying = block("interlock approvals list").splitlines()
    env = environment(tmp_path)
    async with client_of("interlock serve", env) as client:
        asked = [await envelope_of(client, "shell_run", a_call_that_asks(number)) for number in (1, 2)]
        first, second = (envelope["result"]["approval_id"] for envelope in asked)
        shown = await anyio.to_thread.run_sync(run, listing, env)
        assert first in shown
        assert second in shown
        for line, approval in ((showing, first), (approving, first), (denying, second)):
            await anyio.to_thread.run_sync(run, line.replace("APPROVAL_ID", approval), env)
        ended = [await status_of(client, envelope["call_id"]) for envelope in asked]
    assert ended[0]["result"]["stdout"] == "1\n"
    assert ended[1]["error"]["code"] == "APPROVAL_DENIED"
    assert "use the staging host" in ended[1]["error"]["message"]


def a_call_that_asks(number: int) -> dict[str, Any]:
    """A signal reaches processes of the host: no containment holds that."""
    return {"host": "sandbox", "command": f"kill -0 1; echo {number}", "intent": "Look whether it lives"}


async def status_of(client: Client, call_id: str) -> dict[str, Any]:
    return await envelope_of(client, "call_status", {"call_id": call_id, "wait_seconds": 30})


# ── the Inspector ────────────────────────────────────────────────────────────────────────────────────────────────────


def an_npx(home: Path) -> None:
    """`npx` with the Inspector that is pinned beside these tests."""
    pinned = install("inspector", "mcp-inspector")
    place_program(home, "npx", f'[ "$1" = @modelcontextprotocol/inspector ] && shift && exec {pinned} "$@"')


def results_in(printed: str) -> tuple[list[str], list[str]]:
    """The names of the tools, and the output of the command, that the Inspector printed."""
    return re.findall(r'"name": "(\w+)"', printed), re.findall(r'"stdout": "(.*?)"', printed)


@pytest.mark.inspector
def test_the_inspectors_commands_list_and_call_over_stdio(tmp_path: Path) -> None:
    an_npx(tmp_path)
    names, said = results_in(run(block("interlock serve\nnpx"), environment(tmp_path)))
    assert {"shell_run", "hosts_list", "call_status"} <= set(names)
    assert said
    assert said[0].startswith("Linux")


@pytest.mark.inspector
def test_the_inspectors_commands_list_and_call_over_http_and_sse(tmp_path: Path) -> None:
    an_npx(tmp_path)
    env, port = environment(tmp_path), free_port()
    token_line, serve_line = block("interlock token create").splitlines()
    token = run(token_line, env).strip()
    clients = block("--transport sse").replace("8808", str(port))
    with served(f"{serve_line} --port {port}", port, env):
        printed = run(clients, {**env, "INTERLOCK_TOKEN": token})
    names, said = results_in(printed)
    assert names.count("shell_run") == 2
    assert len(said) >= 2
    assert all(text.startswith("Linux") for text in said)


@contextmanager
def served(line: str, port: int, env: Mapping[str, str]) -> Iterator[None]:
    """Run the server in the background until the context ends; first wait until it answers."""
    with subprocess.Popen(["bash", "-c", f"exec {line}"], env=dict(env), cwd=env["HOME"]) as program:
        try:
            _wait_until_healthy(f"http://127.0.0.1:{port}/healthz", program)
            yield
        finally:
            program.terminate()
            program.wait(RUN_SECONDS)


def _wait_until_healthy(url: str, program: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + RUN_SECONDS
    while time.monotonic() < deadline:
        assert program.poll() is None, "the server ended"
        try:
            if json.loads(httpx2.get(url).text)["ok"]:
                return
        except httpx2.TransportError:
            select.select([], [], [], 0.05)
    raise AssertionError("the server does not answer")
