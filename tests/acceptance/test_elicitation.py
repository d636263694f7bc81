"""A form in the client is enough only where policy says so, and only for exactly the call it was shown for."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters
from mcp_types import ElicitResult

from interlock.config.places import scratch_dir

pytestmark = pytest.mark.anyio

WAIT_SECONDS = 60


def _server(folder: Path, *roles: str) -> StdioServerParameters:
    config = folder / "config" / "interlock.toml"  # a folder of its own: no tool may touch what lies in it
    config.parent.mkdir()
    config.write_text(
        f"""
[server]
state_dir = "{folder}/state"
principal = "agent"
[principals.agent]
roles = ["operator"]
hosts = ["*"]
[hosts.sandbox]
embedded = true
labels = {{ env = "sandbox" }}
containment = "none"
[policy]
elicit_roles = {list(roles)!r}
""".replace("'", '"')
    )
    config.chmod(0o600)
    program = str(Path(sys.executable).parent / "interlock")
    return StdioServerParameters(command=program, args=["serve", "--config", str(config)])


class Human:
    """The client's human, who answers every form the same way and keeps what was shown."""

    def __init__(self, *, approve: bool) -> None:
        self.approve = approve
        self.shown: list[str] = []

    async def __call__(self, _context: object, params: Any) -> ElicitResult:
        self.shown.append(params.message)
        return ElicitResult(action="accept", content={"approve": self.approve, "reason": "I looked"})


async def _asked(folder: Path, human: Human, *roles: str, command: str = "", era: str = "auto") -> dict[str, Any]:
    command = command or 'python3 -c \'open("made", "w").write("x")\''
    async with (
        asyncio.timeout(WAIT_SECONDS),
        Client(_server(folder, *roles), mode=era, elicitation_callback=human) as client,
    ):
        writes = [str(scratch_dir(folder / "state") / "made")]
        arguments = {"host": "sandbox", "command": command, "writes": writes, "intent": "Make it"}
        answer = await client.call_tool("shell_run", arguments)
        return answer.structured_content or {}


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_a_form_that_is_enough_lets_the_call_run_once(tmp_path: Path, era: str) -> None:
    human = Human(approve=True)
    done = await _asked(tmp_path, human, "operator", era=era)
    assert done["state"] == "succeeded"
    assert (scratch_dir(tmp_path / "state") / "made").read_text() == "x"
    assert len(human.shown) == 1
    assert "python3 -c" in human.shown[0]


async def test_a_no_in_the_form_is_a_no(tmp_path: Path) -> None:
    done = await _asked(tmp_path, Human(approve=False), "operator")
    assert done["error"]["code"] == "APPROVAL_DENIED"
    assert not (scratch_dir(tmp_path / "state") / "made").exists()


async def test_no_form_is_shown_where_policy_does_not_say_that_one_is_enough(tmp_path: Path) -> None:
    human = Human(approve=True)
    done = await _asked(tmp_path, human)
    assert done["state"] == "awaiting_approval"
    assert human.shown == []
    assert not (scratch_dir(tmp_path / "state") / "made").exists()


async def test_no_form_is_shown_where_one_of_several_roles_needs_more_than_a_form(tmp_path: Path) -> None:
    scratch_dir(tmp_path / "state").mkdir(parents=True)
    (scratch_dir(tmp_path / "state") / ".env").write_text("KEY=canary-value-of-a-secret\n")
    human = Human(approve=True)
    done = await _asked(tmp_path, human, "operator", command="cat .env; python3 -c 'print(1)'")
    assert done["state"] == "awaiting_approval"
    assert human.shown == []
    assert "canary" not in str(done)
