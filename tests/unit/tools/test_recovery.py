"""What acceptance refuses, and what a client that only applies `recovery` makes of it."""

from __future__ import annotations

import pytest

from interlock_tools.call import Call
from interlock_tools.errors import Action
from unit.tools.follower import follow, sandbox_catalog

SHELL = {"host": "sandbox", "command": "ls"}
WRITE = {"host": "sandbox", "path": "/srv/work/a", "content": "x", "intent": "write a"}
READ = {"host": "sandbox", "path": "/srv/work/a"}
EDIT = {"host": "sandbox", "path": "/srv/work/a", "intent": "edit a"}
MOVE = {"host": "sandbox", "path": "/a", "destination": "/b", "intent": "move a"}
SUM = "a" * 64

RECOVERED = [
    # tool, sent, code, what the accepted call's arguments hold
    ("shell_run", {"hots": "sandbox", "command": "ls"}, "ARGUMENT_UNKNOWN", {"host": "sandbox"}),
    ("shell_run", {"host": "sandbox", "cmd": "ls"}, "ARGUMENT_UNKNOWN", {"command": "ls"}),
    ("shell_run", {"host": "sandbox", "comand": "ls"}, "ARGUMENT_UNKNOWN", {"command": "ls"}),
    ("shell_run", SHELL | {"timeoutSeconds": 5}, "ARGUMENT_UNKNOWN", {"timeout_seconds": 5}),
    ("shell_run", SHELL | {"timeout": "5"}, "ARGUMENT_UNKNOWN", {"timeout_seconds": 5}),
    ("shell_run", SHELL | {"colour": "red"}, "ARGUMENT_UNKNOWN", {"command": "ls"}),
    ("shell_run", SHELL | {"dry_run": True}, "ARGUMENT_UNKNOWN", {"mode": "preview"}),
    ("shell_run", SHELL | {"dryRun": "yes"}, "ARGUMENT_UNKNOWN", {"mode": "preview"}),
    ("shell_run", SHELL | {"check": True, "mode": "apply"}, "ARGUMENT_UNKNOWN", {"mode": "preview"}),
    ("shell_run", SHELL | {"noop": 1}, "ARGUMENT_UNKNOWN", {"mode": "preview"}),
    ("shell_run", SHELL | {"confirm": False}, "ARGUMENT_UNKNOWN", {"mode": "preview"}),
    ("shell_run", SHELL | {"dry_run": False}, "ARGUMENT_UNKNOWN", {"mode": "apply"}),
    ("file_delete", READ | {"intent": "delete a", "simulate": True}, "ARGUMENT_UNKNOWN", {"mode": "preview"}),
    ("file_read", READ | {"dry_run": True}, "ARGUMENT_UNKNOWN", {"path": "/srv/work/a"}),
    ("file_read", READ | {"max_depth": 3}, "ARGUMENT_UNKNOWN", {"path": "/srv/work/a"}),
    ("shell_run", SHELL | {"sudo": True}, "ARGUMENT_UNKNOWN", {"command": "ls"}),
    ("file_write", WRITE | {"overwrite": True}, "ARGUMENT_UNKNOWN", {"path": "/srv/work/a"}),
    ("file_edit", EDIT | {"edits": [{"old_string": "a", "new_string": "b"}]}, "ARGUMENT_UNKNOWN", {}),
    ("shell_run", {"command": "ls"}, "ARGUMENT_MISSING", {"host": "sandbox"}),
    ("shell_run", SHELL | {"timeout_seconds": "5"}, "ARGUMENT_INVALID", {"timeout_seconds": 5}),
    ("shell_run", SHELL | {"timeout_seconds": 10**9}, "ARGUMENT_INVALID", {"timeout_seconds": 3_600}),
    ("shell_run", SHELL | {"timeout_seconds": 0}, "ARGUMENT_INVALID", {"timeout_seconds": 1}),
    ("shell_run", {"host": "sandbox", "command": ["ls", "a b"]}, "ARGUMENT_INVALID", {"command": "ls 'a b'"}),
    ("shell_run", SHELL | {"stdin": None}, "ARGUMENT_INVALID", {"stdin": ""}),
    ("shell_run", SHELL | {"mode": "dry-run"}, "ARGUMENT_INVALID", {"mode": "preview"}),
    ("shell_run", SHELL | {"mode": "Preview"}, "ARGUMENT_INVALID", {"mode": "preview"}),
    ("shell_run", SHELL | {"confidence": "LOW"}, "ARGUMENT_INVALID", {"confidence": "low"}),
    ("shell_run", SHELL | {"doubts": "is it this one?"}, "ARGUMENT_INVALID", {"doubts": ["is it this one?"]}),
    ("shell_run", SHELL | {"network": True, "intent": "fetch"}, "ARGUMENT_INVALID", {"network": "outbound"}),
    ("shell_run", SHELL | {"writes": '["/a"]', "intent": "make a"}, "ARGUMENT_INVALID", {"writes": ["/a"]}),
    ("shell_run", SHELL | {"verify": {"check": "exit_code", "expected": 0}}, "ARGUMENT_INVALID", {}),
    ("file_list", READ | {"recursive": "true"}, "ARGUMENT_INVALID", {"recursive": True}),
    ("file_read", READ | {"encoding": "utf-8"}, "ARGUMENT_INVALID", {"encoding": "text"}),
    ("file_write", WRITE | {"encoding": "base64", "content": "eA"}, "ARGUMENT_INVALID", {"content": "eA=="}),
    ("file_write", WRITE | {"expected_sha256": f"sha256:{SUM}"}, "ARGUMENT_INVALID", {"expected_sha256": SUM}),
    ("file_write", WRITE | {"file_mode": "0o644"}, "ARGUMENT_INVALID", {"file_mode": "0644"}),
    ("file_move", MOVE | {"action": "cp"}, "ARGUMENT_INVALID", {"action": "copy"}),
    ("call_check", {"tool": "shell_run", "arguments": '{"host": "sandbox"}'}, "ARGUMENT_INVALID", {}),
    ("call_status", {"call_id": " c_1\n"}, "ARGUMENT_INVALID", {"call_id": "c_1"}),
    ("shel_run", SHELL, "ARGUMENT_INVALID", {"command": "ls"}),
    ("shell_run", {"host": "Sandbox", "command": "ls"}, "HOST_UNKNOWN", {"host": "sandbox"}),
    ("shell_run", {"host": "sandbxo", "command": "ls"}, "HOST_UNKNOWN", {"host": "sandbox"}),
    ("file_read", READ | {"path": "logs/../a"}, "PATH_INVALID", {"path": "/srv/work/a"}),
    ("file_read", READ | {"path": "~/a"}, "PATH_INVALID", {"path": "/home/agent/a"}),
    ("file_read", READ | {"path": "file:///etc/hosts"}, "PATH_INVALID", {"path": "/etc/hosts"}),
    (
        "shell_run",
        SHELL | {"deletes": ["a", "/b"], "intent": "tidy"},
        "PATH_INVALID",
        {"deletes": ["/srv/work/a", "/b"]},
    ),
    ("shell_run", SHELL | {"verify": [{"check": "path_exists", "target": "a"}]}, "PATH_INVALID", {}),
    (
        "shell_run",
        SHELL | {"services": ["ngnix"], "intent": "restart"},
        "APP_UNKNOWN",
        {"services": ["nginx"]},
    ),
]


@pytest.mark.parametrize(("tool", "sent", "code", "held"), RECOVERED, ids=lambda value: str(value)[:60])
def test_applying_the_recovery_once_makes_the_call_pass(tool, sent, code, held) -> None:
    followed = follow(sandbox_catalog(services=["nginx", "postgresql"]), tool, sent)
    assert isinstance(followed.end, Call)
    assert [refusal.code for refusal in followed.refusals] == [code]
    assert {name: followed.end.arguments[name] for name in held} == held


FOR_A_HUMAN = [
    ("file_write", WRITE | {"append": True}, "ARGUMENT_UNKNOWN"),
    ("file_write", WRITE | {"overwrite": False}, "ARGUMENT_UNKNOWN"),
    ("file_delete", READ | {"intent": "delete a", "exclude": ["*.log"]}, "ARGUMENT_UNKNOWN"),
    ("file_delete", READ | {"intent": "delete a", "file": "/srv/other"}, "ARGUMENT_UNKNOWN"),
    ("shell_run", SHELL | {"user": "nobody"}, "ARGUMENT_UNKNOWN"),
    ("shell_run", SHELL | {"env": {"A": "b"}}, "ARGUMENT_UNKNOWN"),
    ("call_cancel", {"call_id": "c_1", "dry_run": True}, "ARGUMENT_UNKNOWN"),
    ("shell_run", {"host": "sandbox"}, "ARGUMENT_MISSING"),
    ("file_write", {name: value for name, value in WRITE.items() if name != "intent"}, "ARGUMENT_MISSING"),
    ("shell_run", SHELL | {"writes": ["/a"]}, "ARGUMENT_MISSING"),
    ("shell_run", SHELL | {"mode": "careful"}, "ARGUMENT_INVALID"),
    ("shell_run", SHELL | {"timeout_seconds": "soon"}, "ARGUMENT_INVALID"),
    ("file_write", WRITE | {"file_mode": 644}, "ARGUMENT_INVALID"),
    ("file_write", WRITE | {"file_mode": "4755"}, "ARGUMENT_INVALID"),
    ("file_write", WRITE | {"encoding": "base64", "content": "ä"}, "ARGUMENT_INVALID"),
    ("file_edit", EDIT | {"edits": [{"old": "a", "new": "b", "count": -1}]}, "ARGUMENT_INVALID"),
    ("file_read", READ | {"path": "$HOME/a"}, "PATH_INVALID"),
    ("file_read", READ | {"path": "/a\x00b"}, "PATH_INVALID"),
    ("file_read", READ | {"path": "/a\nb"}, "PATH_INVALID"),
    ("file_read", READ | {"path": "/" + "a" * 300}, "PATH_INVALID"),
    ("shell_run", SHELL | {"services": ["redis"], "intent": "restart"}, "APP_UNKNOWN"),
]


@pytest.mark.parametrize(("tool", "sent", "code"), FOR_A_HUMAN, ids=lambda value: str(value)[:60])
def test_what_cannot_be_derived_is_asked_of_a_human_and_never_guessed(tool, sent, code) -> None:
    followed = follow(sandbox_catalog(services=["nginx", "postgresql"]), tool, sent)
    assert [refusal.code for refusal in followed.refusals] == [code]
    assert followed.end.next_step().action is Action.ASK_HUMAN


@pytest.mark.parametrize("host", ["web-3", "web-a", "xy", "us-web", "db"])
def test_a_host_that_could_be_another_one_is_looked_up_instead_of_replaced(host) -> None:
    catalog = sandbox_catalog(hosts=["web-1", "web-b", "eu-web", "dc"], cwd_of=lambda _: "")
    answer = catalog.accept("shell_run", {"host": host, "command": "ls"}, call_id="c_1", principal="agent")
    assert (answer.code, answer.next_step().action, answer.next_step().tool) == (
        "HOST_UNKNOWN",
        Action.USE_TOOL,
        "hosts_list",
    )


def test_a_group_is_refused_where_something_changes() -> None:
    catalog = sandbox_catalog(hosts=["web-1", "web-2"], groups=["web"])
    reading = catalog.accept("shell_run", {"host": "any:web", "command": "ls"}, call_id="c_1", principal="agent")
    assert isinstance(reading, Call)
    changing = {"host": "any:web", "command": "rm /a", "deletes": ["/a"], "intent": "tidy"}
    refused = catalog.accept("shell_run", changing, call_id="c_1", principal="agent")
    assert (refused.code, refused.next_step().tool) == ("HOST_UNKNOWN", "hosts_list")
    writing = catalog.accept("file_write", WRITE | {"host": "any:web"}, call_id="c_1", principal="agent")
    assert writing.code == "HOST_UNKNOWN"


def test_one_patch_mends_everything_that_can_be_mended() -> None:
    sent = {
        "server": "sandbxo",
        "cmd": ["rm", "a"],
        "deletes": "a",
        "reason": "tidy up",
        "dry_run": True,
        "timeout": "9999",
    }
    followed = follow(sandbox_catalog(), "shell_run", sent)
    assert len(followed.refusals) == 1
    held = followed.end.arguments
    assert (held["host"], held["command"], held["deletes"]) == ("sandbox", "rm a", ["/srv/work/a"])
    assert (held["intent"], held["mode"], held["timeout_seconds"]) == ("tidy up", "preview", 3_600)


def test_the_closest_name_is_said() -> None:
    answer = sandbox_catalog().accept("shell_run", SHELL | {"dry_run": True}, call_id="c_1", principal="agent")
    assert answer.message == "There is no argument dry_run here: the closest is 'mode'."
    assert answer.allowed[0] == "mode"
