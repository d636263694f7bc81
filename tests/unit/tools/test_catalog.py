"""The catalog as clients see it: its tools, the subset they keep to, their weight, and the enum of hosts."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import jsonschema
import pytest

from interlock_tools.call import Call, Confidence, Mode
from interlock_tools.catalog import FieldLimits, build_catalog
from interlock_tools.lint import lint, lint_all, wire_chars
from interlock_tools.tool import Contract
from unit.tools.follower import sandbox_catalog

NAMES = [
    *("hosts_list", "call_check", "call_status", "call_cancel", "call_commit", "call_undo"),
    *("shell_run", "file_read", "file_list", "file_search", "file_write", "file_edit", "file_move", "file_delete"),
]
SHARED = {
    *("host", "intent", "verify", "mode", "confidence", "doubts", "idempotency_key", "timeout_seconds", "wait_seconds"),
}
READING = {"hosts_list", "call_check", "call_status", "file_read", "file_list", "file_search"}


def contracts(**changes: object) -> dict[str, Contract]:
    return {contract.name: contract for contract in sandbox_catalog(**changes).contracts()}


def test_every_tool_of_the_contract_is_there() -> None:
    assert list(contracts()) == NAMES


def test_every_client_accepts_every_contract() -> None:
    for changes in ({}, {"hosts": []}, {"hosts": [f"h{n}" for n in range(500)], "groups": ["a", "b"]}):
        assert lint_all(sandbox_catalog(**changes).contracts()) == ()


def test_every_schema_is_a_valid_schema() -> None:
    for contract in contracts().values():
        jsonschema.Draft202012Validator.check_schema(dict(contract.input_schema))
        jsonschema.Draft202012Validator.check_schema(dict(contract.output_schema))


@pytest.mark.parametrize("inventory", [{}, {"hosts": ["web-1", "web-2", "db-1"], "groups": ["web"]}])
def test_all_schemas_together_take_at_most_16_000_characters(inventory) -> None:
    listed = [
        {
            "name": contract.name,
            "title": contract.title,
            "description": contract.description,
            "inputSchema": contract.input_schema,
            "outputSchema": contract.output_schema,
            "annotations": {name.replace("_", "") + "Hint": hint for name, hint in asdict(contract.hints).items()},
        }
        for contract in contracts(**inventory).values()
    ]
    assert len(json.dumps(listed, separators=(",", ":"))) <= 16_000
    assert sum(map(wire_chars, contracts(**inventory).values())) <= 14_000


def test_hints_say_which_tools_only_read() -> None:
    found = contracts()
    assert {name for name, contract in found.items() if contract.hints.read_only} == READING
    assert {name for name, contract in found.items() if contract.hints.destructive} == {
        *("call_commit", "call_undo", "shell_run", "file_write", "file_edit", "file_move", "file_delete"),
    }
    assert [name for name, contract in found.items() if contract.hints.open_world] == ["shell_run"]


def test_every_tool_that_can_change_something_has_the_shared_fields() -> None:
    for name in ("shell_run", "file_write", "file_edit", "file_move", "file_delete"):
        assert set(contracts()[name].input_schema["properties"]) >= SHARED
    for name in ("file_write", "file_edit", "file_move", "file_delete"):
        assert "intent" in contracts()[name].input_schema["required"]
        assert not {"writes", "deletes", "services", "network"} & set(contracts()[name].input_schema["properties"])


def test_hosts_are_an_enum_up_to_100_and_2_000_characters() -> None:
    def host(hosts: list[str], tool: str = "file_read") -> dict[str, object]:
        return contracts(hosts=hosts, groups=["web"])[tool].input_schema["properties"]["host"]

    few = [f"host-{n}" for n in range(99)]
    assert host(few)["enum"] == [*few, "any:web"]
    assert host(few, "file_write")["enum"] == few
    assert "enum" not in host([*few, "one-more"])
    assert "enum" not in host(["h" * 1_000, "g" * 1_000])
    assert "enum" not in host([], "file_write")


def test_a_long_inventory_is_checked_though_it_is_not_printed() -> None:
    catalog = build_catalog(hosts=[f"host-{n:03}" for n in range(500)], groups=[])
    good = catalog.accept("shell_run", {"host": "host-417", "command": "ls"}, call_id="c_1", principal="agent")
    assert isinstance(good, Call)
    bad = catalog.accept("shell_run", {"host": "host-999", "command": "ls"}, call_id="c_1", principal="agent")
    assert bad.code == "HOST_UNKNOWN"
    assert len(bad.to_json()["allowed"]) <= 20


def test_an_accepted_call_is_complete() -> None:
    sent = {"host": "sandbox", "command": "touch /srv/a", "writes": ["/srv//x/../a/"], "intent": "make a"}
    call = sandbox_catalog().accept("shell_run", sent, call_id="c_9", principal="agent")
    assert isinstance(call, Call)
    assert (call.call_id, call.principal, call.tool, call.host) == ("c_9", "agent", "shell_run", "sandbox")
    assert call.declaration.writes == ("/srv/a",)
    assert (call.mode, call.confidence, call.timeout_seconds, call.wait_seconds) == (
        Mode.APPLY,
        Confidence.HIGH,
        60,
        50,
    )
    assert set(call.arguments) == {field.name for field in sandbox_catalog().tool("shell_run").fields}


def test_preview_confidence_doubts_and_checks_reach_the_call() -> None:
    sent = {
        "host": "sandbox",
        "command": "ls",
        "mode": "preview",
        "confidence": "low",
        "doubts": ["which one?"],
        "verify": [{"check": "exit_code"}, {"check": "path_exists", "target": "/a/./b"}],
    }
    call = sandbox_catalog().accept("shell_run", sent, call_id="c_1", principal="agent")
    assert (call.mode, call.confidence, call.doubts) == (Mode.PREVIEW, Confidence.LOW, ("which one?",))
    assert [(check.check, check.target, check.expected) for check in call.verify] == [
        ("exit_code", "", "0"),
        ("path_exists", "/a/b", ""),
    ]


@pytest.mark.parametrize(
    "check",
    [
        {"check": "path_exists"},
        {"check": "path_contains", "target": "/a"},
        {"check": "path_sha256", "target": "/a", "expected": "short"},
        {"check": "service_active", "target": "a b"},
        {"check": "port_open", "target": "host:99999"},
        {"check": "http_ok", "target": "ftp://a"},
        {"check": "command_ok", "target": " "},
        {"check": "exit_code", "expected": "fine"},
        {"check": "nothing"},
    ],
)
def test_a_postcondition_that_cannot_be_measured_is_refused(check) -> None:
    sent = {"host": "sandbox", "command": "ls", "verify": [check]}
    answer = sandbox_catalog().accept("shell_run", sent, call_id="c_1", principal="agent")
    assert answer.code in ("ARGUMENT_INVALID", "ARGUMENT_MISSING")
    assert answer.path.startswith("verify[0]")


def test_limits_are_those_that_were_configured() -> None:
    limits = FieldLimits(timeout_seconds_max=30, wait_seconds_max=10, file_bytes_max=10)
    catalog = sandbox_catalog(limits=limits)
    call = catalog.accept("shell_run", {"host": "sandbox", "command": "ls"}, call_id="c_1", principal="agent")
    assert (call.timeout_seconds, call.wait_seconds) == (30, 10)
    sent = {"host": "sandbox", "path": "/a", "content": "ä" * 6, "intent": "write a"}
    answer = catalog.accept("file_write", sent, call_id="c_1", principal="agent")
    assert (answer.code, answer.path) == ("ARGUMENT_INVALID", "content")


# ── lint ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

GOOD = contracts()["file_read"]
BROKEN_PROPERTIES = [
    {"type": "string"},  # no description
    {"type": ["string", "null"], "description": "x"},
    {"anyOf": [{"type": "string"}], "description": "x"},
    {"$ref": "#/x", "description": "x"},
    {"const": "a", "description": "x"},
    {"type": "array", "description": "x"},
    {"type": "array", "items": {"type": "array", "items": {"type": "string"}}, "description": "x"},
    {"type": "object", "description": "x"},
    {"type": "string", "enum": [], "description": "x"},
    {"type": "string", "enum": [1], "description": "x"},
    {"type": "string", "enum": ["a", "a"], "description": "x"},
    {"type": "string", "enum": [f"v{n}" for n in range(101)], "description": "x"},
    {"type": "string", "enum": ["a" * 2_001], "description": "x"},
    {"type": "string", "description": "x" * 2_000},
]


@pytest.mark.parametrize("broken", BROKEN_PROPERTIES, ids=range(len(BROKEN_PROPERTIES)))
def test_lint_finds_a_property_that_some_client_refuses(broken) -> None:
    schema = {**GOOD.input_schema, "properties": {"odd": broken}, "required": []}
    assert [problem.path for problem in lint(replace(GOOD, input_schema=schema))][:1] == ["input_schema.odd"]


@pytest.mark.parametrize(
    "broken",
    [
        {"name": "File_read"},
        {"name": "f" * 41},
        {"title": ""},
        {"description": ""},
        {"input_schema": {"type": "string"}},
        {"input_schema": {"type": "object", "properties": {}}},
        {"input_schema": {**GOOD.input_schema, "oneOf": []}},
        {"input_schema": {**GOOD.input_schema, "required": ["nothing"]}},
        {"output_schema": {"type": "array"}},
        {"output_schema": {"type": "object", "anyOf": []}},
        {"hints": replace(GOOD.hints, idempotent=None)},
        {"hints": replace(GOOD.hints, destructive=True)},
    ],
    ids=lambda broken: next(iter(broken)),
)
def test_lint_finds_a_contract_that_some_client_refuses(broken) -> None:
    assert lint(GOOD) == ()
    assert lint(replace(GOOD, **broken))


def test_lint_finds_what_is_too_much_together() -> None:
    assert lint_all([GOOD, GOOD])[0].text == "two tools have this name"
    many = [replace(GOOD, name=f"tool_{n}") for n in range(21)]
    assert [problem.text for problem in lint_all(many)] == ["21 tools; clients work best with at most 20"]
    assert len(lint_all([replace(tool, description="d" * 1_000) for tool in many])) == 2
