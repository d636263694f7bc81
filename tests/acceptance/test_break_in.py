"""An agent that wants out: it may change its workspace on a dev host, and tries to reach secrets and its own guard.

Each attempt declares the whole workspace, so that only what lies beyond it can be refused. The witness is the disk.
"""

import json
import sqlite3
import unicodedata
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from attempts import (
    CHECKS,
    CODE,
    COMPUTED,
    FED,
    FILE_TOOLS,
    HARMLESS,
    SECRET_READS,
    THROUGH_LINKS,
    UNSEEN,
    WAYS_OUT,
)
from guarded import Guarded, Member
from interlock.app import App, open_app
from interlock.config import load
from interlock.ports import Request
from sshd import running_sshd

pytestmark = [pytest.mark.anyio, pytest.mark.openssh]

CANARY = "plain-canary-7f3a9"  # no pattern knows it: only what is never read stays unseen
ROOMY = """
rate_calls_per_minute = 6000
rate_burst_calls = 3000
loop_repeats_max = 50
loop_pause_repeats_max = 60
approvals_pending_max = 1000
budget_units_per_day = 1000000
"""
PRINCIPALS = "".join(f'[principals.{name}]\nroles = ["operator"]\nhosts = ["*"]\n' for name in ("agent", "other"))


@dataclass
class Thief:
    """A principal with the role operator, and what it is after."""

    app: App
    house: Guarded
    principal: str = "agent"

    @property
    def work(self) -> Path:
        return self.house.work

    async def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        envelope = await self.app.front.call(Request(self.principal, "session", tool, arguments))
        return envelope.to_json()

    async def attempt(self, command: str, **more: Any) -> dict[str, Any]:
        """Run it for real, with all of the workspace declared."""
        area = [str(self.work)]
        declared = {"writes": area, "deletes": area, "intent": "Break in", "timeout_seconds": 10}
        return await self.call("shell_run", **{"host": "dev", "command": self.filled(command), **declared, **more})

    async def verdict(self, command: str, **more: Any) -> str:
        area = [str(self.work)]
        arguments = {"host": "dev", "command": self.filled(command), "writes": area, "deletes": area, "intent": "Try"}
        checked = await self.call("call_check", tool="shell_run", arguments={**arguments, **more})
        return checked["result"]["verdict"]

    def filled(self, command: str) -> str:
        """With the places of this house."""
        places = {"@STATE": self.house.state, "@ETC": self.house.config.parent, "@TOP": self.house.folder}
        for name, place in places.items():
            command = command.replace(name, str(place))
        return command.replace("@WORK", str(self.work))

    def picture(self) -> dict[str, tuple[int, bytes]]:
        """All that an attempt could have changed: what lies beside the workspace, the secret, the configuration."""
        found = {}
        for path in sorted(self.house.folder.rglob("*")):
            ours = path.is_relative_to(self.house.state) or path.name == "log"
            if not ours:
                content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
                found[str(path)] = (path.lstat().st_mode, content)
        return found


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def thief(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Thief]:
    folder = tmp_path_factory.mktemp("house")
    (folder / "sshd").mkdir()
    with running_sshd(folder / "sshd", MaxStartups="100:30:200") as server:
        house = Guarded(folder, limits=ROOMY, principals=PRINCIPALS)
        house.write(Member("dev", server, groups=("all",)), Member("prod", server, env="prod", groups=("all",)))
        (house.work / "sub").mkdir()
        (house.work / "notes.txt").write_text("b\na\n")
        (house.work / ".env").write_text(f"pg {CANARY}\n")
        (folder / "keep").write_text("kept\n")
        (house.work / "sub" / "config").symlink_to(house.config.parent)
        (house.work / "sub" / "everything").symlink_to(folder)
        (house.config.parent / "policy").mkdir()
        (house.work / "sub" / "policy").symlink_to(house.config.parent / "policy")
        (house.work / "code").write_text(CODE)
        async with open_app(load(house.config)) as app:
            yield Thief(app, house)


def refused(answer: dict[str, Any]) -> None:
    """Refused for what it is, and not because some limit was reached."""
    assert answer["state"] in ("denied", "awaiting_approval", "invalid"), answer
    assert answer["error"]["code"] not in ("CONCURRENCY_LIMITED", "RATE_LIMITED", "BUDGET_EXHAUSTED", "INTERNAL"), (
        answer
    )


# ── secrets ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("command", SECRET_READS.strip().splitlines())
async def test_a_secret_is_never_read_without_a_human(thief: Thief, command: str) -> None:
    before = thief.picture()
    answer = await thief.attempt(command)
    refused(answer)
    told = json.dumps(answer)
    assert CANARY not in told
    assert "state_dir =" not in told
    assert thief.picture() == before


@pytest.mark.parametrize("name", FILE_TOOLS)
async def test_no_file_tool_reaches_a_secret_or_the_guard(thief: Thief, name: str) -> None:
    tool, arguments = FILE_TOOLS[name]
    arguments = {key: thief.filled(value) if isinstance(value, str) else value for key, value in arguments.items()}
    before = thief.picture()
    changing = {} if tool in ("file_read", "file_list", "file_search") else {"intent": "Break in"}
    answer = await thief.call(tool, host="dev", **arguments, **changing)
    refused(answer)
    assert CANARY not in json.dumps(answer)
    assert thief.picture() == before


@pytest.mark.parametrize(("check", "target", "expected"), CHECKS)
async def test_a_postcondition_is_no_oracle_and_no_way_around(
    thief: Thief, check: str, target: str, expected: str
) -> None:
    before = thief.picture()
    verify = [{"check": check, "target": thief.filled(target), "expected": expected}]
    answer = await thief.call("shell_run", host="dev", command="true", verify=verify)
    refused(answer)
    assert answer["verified"] == []
    assert thief.picture() == before


@pytest.mark.parametrize("target", ["@WORK/$(touch ../broke-out)", "@WORK/'; touch ../broke-out; '", "@WORK/`touch x`"])
async def test_a_postconditions_target_is_data(thief: Thief, target: str) -> None:
    before = thief.picture()
    verify = [{"check": "path_exists", "target": thief.filled(target), "expected": ""}]
    answer = await thief.call("shell_run", host="dev", command="true", verify=verify)
    assert [entry["passed"] for entry in answer["verified"]] == [False]
    assert thief.picture() == before


# ── beyond the workspace ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("command", WAYS_OUT.strip().splitlines())
async def test_nothing_beyond_the_declared_workspace_changes_without_a_human(thief: Thief, command: str) -> None:
    before = thief.picture()
    answer = await thief.attempt(command)
    refused(answer)
    assert thief.picture() == before


@pytest.mark.parametrize("command", [*THROUGH_LINKS.strip().splitlines(), *COMPUTED.strip().splitlines()])
async def test_neither_a_link_nor_arithmetic_is_a_way_around(thief: Thief, command: str) -> None:
    before = thief.picture()
    answer = await thief.attempt(command)
    refused(answer)
    assert "state_dir =" not in json.dumps(answer)
    assert thief.picture() == before


@pytest.mark.parametrize("command", UNSEEN.strip().splitlines())
async def test_no_option_and_no_glob_hides_what_is_read_or_written(thief: Thief, command: str) -> None:
    before = thief.picture()
    answer = await thief.attempt(command, network="outbound" if command.startswith("curl") else "none")
    refused(answer)
    assert CANARY not in json.dumps(answer)
    assert thief.picture() == before


@pytest.mark.parametrize("command", HARMLESS.strip().splitlines())
async def test_everyday_reading_stays_free(thief: Thief, command: str) -> None:
    assert await thief.verdict(command) == "ALLOW"


@pytest.mark.parametrize("command", FED)
async def test_standard_input_is_no_second_command_line(thief: Thief, command: str) -> None:
    before = thief.picture()
    answer = await thief.attempt(command, stdin=FED[command])
    refused(answer)
    assert thief.picture() == before


@pytest.mark.parametrize("command", ["cat interlock.toml", "cat ./inter*", "head -c 9 *", "echo x > new", "rm -rf ./*"])
@pytest.mark.parametrize("cwd", ["@ETC", "@WORK/sub/config"])
async def test_a_working_directory_inside_the_guard_opens_nothing(thief: Thief, command: str, cwd: str) -> None:
    before = thief.picture()
    answer = await thief.attempt(command, cwd=thief.filled(cwd))
    refused(answer)
    assert thief.picture() == before


# ── identities ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_one_principal_did_is_nothing_to_another(thief: Thief) -> None:
    mine = await thief.call("shell_run", host="dev", command="echo mine", idempotency_key="k1")
    again = await thief.call("shell_run", host="dev", command="echo mine", idempotency_key="k1")
    assert again["replayed"]
    assert again["call_id"] == mine["call_id"]
    thief.principal = "other"
    try:
        theirs = await thief.call("shell_run", host="dev", command="echo mine", idempotency_key="k1")
        assert not theirs["replayed"]
        assert theirs["call_id"] != mine["call_id"]
        for tool in ("call_status", "call_cancel"):
            assert (await thief.call(tool, call_id=mine["call_id"]))["error"]["code"] == "CALL_UNKNOWN"
        assert await thief.app.front.read_resource("other", f"interlock://calls/{mine['call_id']}") is None
        thief.principal = "nobody-at-all"
        assert (await thief.call("hosts_list"))["result"]["hosts"] == []
        assert (await thief.call("shell_run", host="dev", command="true"))["error"]["code"] == "HOST_UNKNOWN"
    finally:
        thief.principal = "agent"


@pytest.mark.parametrize(
    "host", ["DEV", "dеv", "dev ", "../dev", "127.0.0.1", "any:", "any:nobody", "\ud800", "x" * 9_999]
)
async def test_a_host_is_one_of_the_inventory_or_none(thief: Thief, host: str) -> None:
    answer = await thief.call("shell_run", host=host, command="true")
    assert answer["state"] == "invalid"
    assert answer["error"]["code"] in ("HOST_UNKNOWN", "ARGUMENT_INVALID")


# ── what a human is shown, and what is kept ──────────────────────────────────────────────────────────────────────────

INJECTION = "ok\x1b[2J\x1b]0;x\x07 \u202egnp.exe\u202c \u200b\u2066 \r approved \x9b31m \ue000 \U000e0041 \u3164"


async def test_what_an_approver_reads_holds_no_control_or_hidden_character(thief: Thief) -> None:
    doubtful = {"confidence": "low", "doubts": [INJECTION], "intent": INJECTION, "stdin": INJECTION}
    asked = await thief.attempt("tee zz", **doubtful)
    assert asked["state"] == "awaiting_approval"
    summary = (await thief.app.store.approval(asked["result"]["approval_id"])).summary
    hidden = [char for char in summary if unicodedata.category(char) in ("Cc", "Cf", "Co", "Cs") and char != "\n"]
    assert hidden == []
    assert "\u3164" not in summary
    assert "\\u{1b}" in summary


async def test_a_command_with_hidden_or_look_alike_characters_is_not_even_shown(thief: Thief) -> None:
    for command in ("echo \x1b[2J", "touch\u00a0zz", "touch 'nоtes.txt'", "echo a\0b", "echo \u202e"):
        assert (await thief.attempt(command))["error"]["code"] == "COMMAND_UNREADABLE"


async def test_no_secret_that_was_sent_is_kept_anywhere(thief: Thief) -> None:
    password, key = "hunter2-kept-nowhere", "sk-ant-api03-" + "Zx9" * 12
    here = {"host": "dev"}
    await thief.call("shell_run", **here, command=f"echo password={password} {key}")
    await thief.call("shell_run", **here, command=f"PGPASSWORD={password} true")
    await thief.call("shell_run", **here, command="cat", stdin=f"AWS_SECRET_ACCESS_KEY={key}{password}\n")
    await thief.call("shell_run", **here, command=f"printf 'password=hun'; sleep 0.2; echo {password[3:]}")
    await thief.attempt("tee zz", intent=f"use token={password}", doubts=[f"password: {password}"], confidence="low")
    await thief.attempt(f"curl -H 'Authorization: Bearer {password}' http://u:{password}@127.0.0.1:9/")
    await thief.call("shell_run", host=f"https://u:{password}@h", command="true")
    await thief.call("file_read", **here, path=f"/srv/password={password}")
    kept = "".join(path.read_bytes().decode("latin-1") for path in thief.house.state.rglob("*") if path.is_file())
    assert password not in kept
    assert key not in kept
    with closing(sqlite3.connect(f"file:{thief.house.state}/store.db?mode=ro", uri=True)) as store:
        dump = "\n".join(store.iterdump())
    assert password not in dump
    assert key not in dump


# ── too much of anything ─────────────────────────────────────────────────────────────────────────────────────────────


def _nested(levels: int) -> list:
    value: list = []
    for _ in range(levels):
        value = [value]
    return value


TOO_MUCH: dict[str, dict[str, Any]] = {
    "a command of 20 MB": {"command": "x" * 20_000_000},
    "ten thousand declared paths": {"command": "true", "writes": [f"/w/{n}" for n in range(10_000)], "intent": "all"},
    "five thousand levels": {"command": "true", "verify": _nested(5_000)},
    "five thousand levels of something unknown": {"command": "true", "stray": _nested(5_000)},
    "three thousand subshells": {"command": "(" * 3_000 + "true" + ")" * 3_000},
    "three hundred substitutions": {"command": "$(" * 300 + "true" + ")" * 300},
    "a thousand paths": {"command": "cat " + " ".join(f"/etc/f{n}" for n in range(1_000))},
    "a number of 400 digits": {"command": "true", "timeout_seconds": 10**400},
    "infinity": {"command": "true", "timeout_seconds": float("inf")},
    "no number": {"command": "true", "timeout_seconds": float("nan")},
    "a negative number": {"command": "true", "wait_seconds": -1},
    "a truth for a number": {"command": "true", "timeout_seconds": True},
    "a NUL": {"command": "echo a\0b"},
    "half a character": {"command": "echo \ud800"},
    "half a character in a key": {"command": "true", "\ud800": 1},
    "an object for a command": {"command": {"a": "true"}},
    "a list for a command": {"command": ["rm", "-rf", "/"]},
}


@pytest.mark.parametrize("name", TOO_MUCH)
async def test_too_much_of_anything_is_refused_typed_and_the_house_stands(thief: Thief, name: str) -> None:
    answer = await thief.call("shell_run", host="dev", **TOO_MUCH[name])
    assert answer["state"] in ("invalid", "denied"), answer
    assert answer["error"]["code"] != "INTERNAL"
    assert len(json.dumps(answer)) < 20_000
    assert (await thief.call("shell_run", host="dev", command=f"echo {len(name)}"))["ok"]


@pytest.mark.parametrize("arguments", [None, [], "x", 5])
async def test_arguments_that_are_no_object_are_refused(thief: Thief, arguments: object) -> None:
    envelope = await thief.app.front.call(Request("agent", "session", "shell_run", arguments))
    assert envelope.state.value == "invalid"


async def test_after_all_of_it_the_record_verifies(thief: Thief) -> None:
    await thief.attempt("echo last")
    verification = await thief.app.store.verify_chain()
    assert verification.ok, verification
