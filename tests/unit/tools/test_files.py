"""What the arguments of the acting tools mean: the plan they ask of a host, the effects they have, the declaration."""

from __future__ import annotations

import base64

import pytest

from interlock_tools.call import Call
from interlock_tools.effects import Declaration, EffectKind
from interlock_tools.plan import (
    DeleteFile,
    EditFile,
    ListFiles,
    MoveFile,
    ReadFile,
    Replacement,
    RunCommand,
    SearchFiles,
    WriteFile,
)
from unit.tools.follower import sandbox_catalog

CATALOG = sandbox_catalog()
SUM = "A" * 64


def accepted(tool: str, **sent: object) -> Call:
    known = {"host": "sandbox", "intent": "test it"}
    call = CATALOG.accept(tool, known | sent, call_id="c_1", principal="agent")
    assert isinstance(call, Call), call
    return call


PLANS = [
    ("shell_run", {"command": "ls", "cwd": "/srv/", "stdin": "x"}, RunCommand("ls", "/srv", "x")),
    ("file_read", {"path": "/a"}, ReadFile("/a", 1, -1, 2_000, "text")),
    ("file_read", {"path": "/a", "line": 5, "limit": 3}, ReadFile("/a", 5, -1, 3, "text")),
    ("file_read", {"path": "/a", "offset": 0}, ReadFile("/a", 1, 0, 16_384, "text")),
    ("file_read", {"path": "/a", "encoding": "base64"}, ReadFile("/a", 1, 0, 16_384, "base64")),
    ("file_list", {"path": "/a", "glob": "*.log"}, ListFiles("/a", "*.log", False, True, 200, "")),
    ("file_search", {"path": "/a", "pattern": "x\ty"}, SearchFiles("/a", "x\ty", False, False, "", 0, 100)),
    ("file_write", {"path": "/a", "content": "ä"}, WriteFile("/a", "ä".encode(), None, False, "")),
    (
        "file_write",
        {
            "path": "/a",
            "content": base64.b64encode(b"\0\1").decode(),
            "encoding": "base64",
            "file_mode": "600",
            "create_parents": True,
            "expected_sha256": SUM,
        },
        WriteFile("/a", b"\0\1", 0o600, True, SUM.lower()),
    ),
    (
        "file_write",
        {"path": "/a", "content": "", "expected_sha256": "absent"},
        WriteFile("/a", b"", None, False, "absent"),
    ),
    (
        "file_edit",
        {"path": "/a", "edits": [{"old": "x", "new": ""}, {"old": "y", "new": "z", "count": 0}]},
        EditFile("/a", (Replacement("x", "", 1), Replacement("y", "z", 0)), ""),
    ),
    ("file_move", {"path": "/a", "destination": "/b"}, MoveFile("/a", "/b", False, False, False)),
    (
        "file_move",
        {"path": "/a", "destination": "/b", "action": "copy", "overwrite": True, "recursive": True},
        MoveFile("/a", "/b", True, True, True),
    ),
    ("file_delete", {"path": "/a", "recursive": True}, DeleteFile("/a", True, "")),
]


@pytest.mark.parametrize(("tool", "sent", "plan"), PLANS, ids=lambda value: str(value)[:50])
def test_arguments_become_this_plan(tool, sent, plan) -> None:
    call = accepted(tool, **sent)
    assert CATALOG.tool(tool).plan(call) == plan


EFFECTS = [
    ("file_read", {"path": "/a"}, {("read", "/a", False)}),
    ("file_list", {"path": "/a", "recursive": True}, {("read", "/a", True)}),
    ("file_search", {"path": "/a", "pattern": "x"}, {("read", "/a", True)}),
    ("file_write", {"path": "/x/../a", "content": ""}, {("write", "/a", False)}),
    (
        "file_edit",
        {"path": "/a", "edits": [{"old": "x", "new": "y"}]},
        {("read", "/a", False), ("write", "/a", False)},
    ),
    (
        "file_move",
        {"path": "/a", "destination": "/b"},
        {("read", "/a", True), ("delete", "/a", True), ("write", "/b", True)},
    ),
    (
        "file_move",
        {"path": "/a", "destination": "/b", "action": "copy"},
        {("read", "/a", False), ("write", "/b", False)},
    ),
    ("file_delete", {"path": "/a"}, {("delete", "/a", False)}),
    ("file_delete", {"path": "/a", "recursive": True}, {("delete", "/a", True)}),
    ("shell_run", {"command": "rm /a", "deletes": ["/a"]}, set()),
]


@pytest.mark.parametrize(("tool", "sent", "effects"), EFFECTS, ids=lambda value: str(value)[:50])
def test_arguments_mean_these_effects(tool, sent, effects) -> None:
    call = accepted(tool, **sent)
    found = CATALOG.tool(tool).effects(call)
    assert {(effect.kind.value, effect.target, effect.recursive) for effect in found} == effects
    assert {effect.by for effect in found} <= {tool}


@pytest.mark.parametrize(("tool", "sent", "effects"), EFFECTS[:-1], ids=lambda value: str(value)[:50])
def test_a_file_tool_declares_exactly_what_its_arguments_mean(tool, sent, effects) -> None:
    call = accepted(tool, **sent)
    assert call.declaration == Declaration(
        writes=tuple(target for kind, target, _ in effects if kind == EffectKind.WRITE),
        deletes=tuple(target for kind, target, _ in effects if kind == EffectKind.DELETE),
    )
    assert CATALOG.tool(tool).reads_only(call) is call.declaration.is_empty


def test_a_command_only_reads_where_it_declares_nothing() -> None:
    tool = CATALOG.tool("shell_run")
    assert tool.reads_only(accepted("shell_run", command="ls"))
    assert not tool.reads_only(accepted("shell_run", command="ls", network="outbound"))


def test_a_command_that_wants_to_see_secrets_says_which_and_why_and_still_only_reads() -> None:
    sent = {"host": "sandbox", "command": "aws s3 ls", "reads": ["/home/agent/.aws/"]}
    refused = CATALOG.accept("shell_run", sent, call_id="c_1", principal="agent")
    assert (refused.code, refused.path) == ("ARGUMENT_MISSING", "intent")
    call = accepted("shell_run", command="aws s3 ls", reads=["/home/agent/.aws/"])
    assert call.declaration == Declaration(reads=("/home/agent/.aws",))
    assert call.declaration.is_empty
    assert CATALOG.tool("shell_run").reads_only(call)
    assert accepted("shell_run", command="aws s3 ls").digest != call.digest


@pytest.mark.parametrize(
    ("tool", "sent"),
    [
        ("hosts_list", {}),
        ("call_check", {"tool": "shell_run", "arguments": {"host": "sandbox", "command": "ls"}}),
        ("call_status", {"call_id": "c_1"}),
        ("call_cancel", {"call_id": "c_1"}),
    ],
)
def test_the_server_answers_these_itself(tool, sent) -> None:
    call = CATALOG.accept(tool, sent, call_id="c_2", principal="agent")
    assert isinstance(call, Call)
    assert call.host == ""
    assert CATALOG.tool(tool).plan(call) is None
    assert CATALOG.tool(tool).effects(call) == ()


def test_the_digest_is_of_what_was_asked_for_and_of_nothing_else() -> None:
    first = accepted("shell_run", command="ls")
    assert accepted("shell_run", command="ls", wait_seconds=1, idempotency_key="k").digest == first.digest
    assert accepted("shell_run", command="ls", cwd="/srv").digest != first.digest
