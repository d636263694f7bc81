"""Runs every example: the client configurations, the client that only follows `recovery`, and the team's policy."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters

from house import ROOT
from interlock.config import load
from interlock.settings import HttpSettings
from interlock_policies.engine import PolicyEngine
from interlock_policies.packs import PolicySource
from interlock_policies.statements import PolicyFault

pytestmark = pytest.mark.anyio

CLIENTS = ROOT / "examples" / "clients"
TEAM = ROOT / "examples" / "team-policy"
PROGRAMS = Path(sys.executable).parent
START_SECONDS = 30.0


def configurations(kind: str) -> list[Path]:
    return sorted(path for path in CLIENTS.glob(f"*/{kind}.*"))


def server_of(path: Path) -> Mapping[str, Any]:
    """The entry for our server, in whichever form this client has."""
    text = path.read_text("utf-8")
    parsed = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    (table,) = (parsed[name] for name in ("mcpServers", "servers", "mcp_servers") if name in parsed)
    return table["interlock"]


def of_client(path: Path) -> str:
    return path.parent.name


def test_each_of_the_five_clients_has_both_configurations_and_is_explained() -> None:
    clients = {path.name for path in CLIENTS.iterdir() if path.is_dir()}
    assert clients == {"claude-desktop", "claude-code", "cursor", "vscode", "codex"}
    assert {of_client(path) for path in configurations("stdio")} == clients
    assert {of_client(path) for path in configurations("http")} == clients
    explained = (CLIENTS / "README.md").read_text("utf-8")
    assert all(name in explained for name in ("Claude Desktop", "Claude Code", "Cursor", "VS Code", "Codex"))


@pytest.mark.parametrize("path", configurations("stdio"), ids=of_client)
async def test_the_stdio_configuration_starts_a_server_that_lists_its_tools(path: Path, tmp_path: Path) -> None:
    entry = server_of(path)
    command = PROGRAMS / entry["command"]
    assert command.is_file()
    home = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    server = StdioServerParameters(command=str(command), args=entry["args"], env=home, cwd=tmp_path)
    with anyio.fail_after(START_SECONDS):
        async with Client(server) as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
    assert {"shell_run", "call_check", "call_status"} <= names


@pytest.mark.parametrize("path", configurations("http"), ids=of_client)
def test_the_http_configuration_points_at_the_default_port_and_holds_no_token(path: Path) -> None:
    text = path.read_text("utf-8")
    entry = json.dumps(server_of(path))
    assert f"http://127.0.0.1:{HttpSettings().port}/mcp" in entry
    assert re.search(r"Bearer \$\{(?:env:|input:)?INTERLOCK_TOKEN\}|bearer_token_env_var", text)


def test_the_lines_for_claude_code_name_the_same_server_and_token() -> None:
    explained = (CLIENTS / "README.md").read_text("utf-8")
    stdio, http = re.findall(r"^claude mcp add .*$", explained, re.MULTILINE)
    assert stdio.endswith(" -- interlock serve")
    assert f"http://127.0.0.1:{HttpSettings().port}/mcp" in http
    assert "$INTERLOCK_TOKEN" in http


@pytest.fixture(scope="module")
def example() -> ModuleType:
    """The recovering client, imported from its file as a reader would run it."""
    spec = importlib.util.spec_from_file_location("recovering_client", ROOT / "examples" / "recovering_client.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("target", "patch", "merged"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": "foo"}, {"a": {"b": {"c": None}}}, {"a": {"b": {}}}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_the_merge_patch_gives_what_rfc_7396_says(
    example: ModuleType, target: object, patch: object, merged: object
) -> None:
    assert example.merge_patch(target, patch) == merged


def answer(action: str = "", seconds: int | None = None, tool: str = "", **arguments: object) -> dict[str, Any]:
    """An envelope with this recovery, or one without an error."""
    if not action:
        return {"ok": True, "state": "succeeded", "result": {}, "error": None}
    recovery = {"action": action, "tool": tool, "arguments": arguments, "because": "it says so"}
    error = {"code": "SOME_CODE", "message": "No.", "retry_after_seconds": seconds, "recovery": recovery}
    return {"ok": False, "state": "denied", "result": {}, "error": error}


class Script:
    """A server that gives these answers in order (the last one again and again), and remembers what it was sent."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.answers = list(answers)
        self.sent: list[tuple[str, Mapping[str, Any]]] = []
        self.waited: list[float] = []

    async def send(self, tool: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        self.sent.append((tool, arguments))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    async def pause(self, seconds: float) -> None:
        self.waited.append(seconds)


async def test_changed_arguments_are_merged_and_the_call_is_sent_again(example: ModuleType) -> None:
    script = Script(answer("change_arguments", command="rm -rf ./logs", surplus=None), answer())
    steps = await example.follow(script.send, "shell_run", {"command": "rm -rf /logs", "surplus": 1, "host": "h"})
    assert script.sent[1] == ("shell_run", {"command": "rm -rf ./logs", "host": "h"})
    assert steps[-1].envelope["ok"]


async def test_another_tool_is_called_with_exactly_what_the_recovery_holds(example: ModuleType) -> None:
    script = Script(answer("use_tool", tool="call_status", call_id="c1"), answer())
    await example.follow(script.send, "shell_run", {"command": "true"})
    assert script.sent[1] == ("call_status", {"call_id": "c1"})


async def test_a_wait_is_waited_and_then_the_same_call_is_sent(example: ModuleType) -> None:
    script = Script(answer("wait", seconds=7), answer())
    await example.follow(script.send, "shell_run", {"command": "true"}, pause=script.pause)
    assert script.waited == [7.0]
    assert script.sent[0] == script.sent[1]


@pytest.mark.parametrize("action", ["ask_human", "give_up"])
async def test_where_only_a_human_can_go_on_it_stops(example: ModuleType, action: str) -> None:
    script = Script(answer(action))
    assert len(await example.follow(script.send, "shell_run", {"command": "true"})) == 1


async def test_a_change_that_changes_nothing_is_not_sent_again(example: ModuleType) -> None:
    script = Script(answer("change_arguments", command="true"))
    assert len(await example.follow(script.send, "shell_run", {"command": "true"})) == 1


async def test_a_server_that_never_agrees_is_asked_a_bounded_number_of_times(example: ModuleType) -> None:
    script = Script(answer("wait", seconds=1))
    steps = await example.follow(script.send, "shell_run", {}, steps_max=5, pause=script.pause)
    assert len(steps) == 5


async def test_a_wait_longer_than_a_minute_is_left_to_whoever_called(example: ModuleType) -> None:
    script = Script(answer("wait", seconds=3_600))
    assert len(await example.follow(script.send, "shell_run", {}, pause=script.pause)) == 1


async def test_a_mistake_on_the_real_server_is_recovered_by_the_example_as_it_stands(tmp_path: Path) -> None:
    program = [sys.executable, str(ROOT / "examples" / "recovering_client.py")]
    call = ["file_list", json.dumps({"host": "sandbx", "path": "."}), str(PROGRAMS / "interlock"), "serve"]
    home = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    with anyio.fail_after(START_SECONDS):
        done = await anyio.run_process([*program, *call], env=home, cwd=tmp_path, check=False)
    printed = done.stdout.decode()
    assert done.returncode == 0, printed + done.stderr.decode()
    assert "invalid" in printed
    assert "succeeded" in printed


def team_rules() -> PolicySource:
    return PolicySource("team.cedar", (TEAM / "team.cedar").read_text("utf-8"))


def test_the_team_policy_loads_with_the_packs_and_all_its_examples_hold() -> None:
    settings = load(TEAM / "interlock.toml")
    assert settings.policy_files == (TEAM / "team.cedar",)
    engine = PolicyEngine.load([team_rules()], schema_packs=settings.packs)
    assert {"team.deployer-files", "team.weekend-freeze"} <= {entry.rule.id for entry in engine.rules()}


def test_the_examples_of_the_team_policy_are_not_idle() -> None:
    text = team_rules().text.replace("context.hour >= 16", "context.hour >= 18")
    with pytest.raises(PolicyFault, match=r"team\.weekend-freeze"):
        PolicyEngine.load([PolicySource("team.cedar", text)], schema_packs=("baseline", "environments", "confidence"))
