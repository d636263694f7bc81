"""The border: whatever is sent, acceptance answers with a value, repeats nothing, and agrees with what it published."""

from __future__ import annotations

import json
import time

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock_tools.call import Call, Mode
from interlock_tools.catalog import Catalog, FieldLimits
from interlock_tools.errors import Action, Refusal
from unit.tools.follower import STEPS_MAX, follow, merged, sandbox_catalog

SECRET = "zQ7-hunter2"
CATALOG = sandbox_catalog(groups=["web"], services=["nginx"])
CONTRACTS = {contract.name: contract for contract in CATALOG.contracts()}
VALIDATORS = {name: jsonschema.Draft202012Validator(dict(found.input_schema)) for name, found in CONTRACTS.items()}

texts = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            *("sandbox", "any:web", "/srv/a", "a/b", "~/x", "true", "5", "-1", "apply", "preview", "text", "base64"),
            *("absent", "0644", "c_1", "ls -l", "nginx", "exit_code", "path_exists", "[]", '["a"]', '{"a": 1}'),
            *("\ud800", "a\x00", ""),
        ]
    ),
)
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=12,
)
entries = st.dictionaries(
    st.sampled_from(["old", "new", "count", "check", "target", "expected", "old_string", "odd"]), values, max_size=4
)
likely = st.one_of(values, st.lists(entries, max_size=3), st.lists(texts, max_size=3))


FILE = {"host": "sandbox", "path": "/srv/a", "intent": "try it"}
GOOD = {
    "hosts_list": {"filter": "sand"},
    "call_check": {"tool": "shell_run", "arguments": {"host": "sandbox", "command": "ls"}},
    "call_status": {"call_id": "c_1"},
    "call_cancel": {"call_id": "c_1"},
    "shell_run": {"host": "sandbox", "command": "ls", "writes": ["/srv/a"], "intent": "try it"},
    "file_read": FILE,
    "file_list": FILE,
    "file_search": FILE | {"pattern": "x"},
    "file_write": FILE | {"content": "x"},
    "file_edit": FILE | {"edits": [{"old": "a", "new": "b"}]},
    "file_move": FILE | {"destination": "/srv/b"},
    "file_delete": FILE,
}
FIT = {
    "timeout_seconds": st.integers(-5, 9_999),
    "wait_seconds": st.integers(-5, 999),
    "limit": st.integers(-5, 10**6),
    "offset": st.integers(-1, 99),
    "stream": texts,
    "cwd": texts,
    "stdin": texts,
    "doubts": st.lists(texts, max_size=3),
    "mode": texts,
    "confidence": st.sampled_from(["high", "LOW", "lo"]),
    "recursive": st.sampled_from([True, "no", 1]),
    "writes": st.lists(texts, max_size=3),
    "verify": st.lists(entries, max_size=2),
    "encoding": texts,
}


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, dict[str, object]]:
    """A tool, and a good call's arguments with some of them changed, renamed, left out and others put in."""
    name = draw(st.sampled_from(sorted(GOOD)))
    tool = CATALOG.tool(name)
    arguments: dict[str, object] = dict(GOOD[name])
    for field in draw(st.lists(st.sampled_from([field.name for field in tool.fields]), max_size=3)):
        arguments[field] = draw(FIT.get(field, likely) if draw(st.integers(0, 3)) else likely)
    others = [(field.name, other) for field in tool.fields for other in field.also]
    for own, other in draw(st.lists(st.sampled_from(others), max_size=2)):
        if own in arguments:
            arguments[other] = arguments.pop(own)
    odd = st.one_of(
        st.sampled_from(["dry_run", "noop", "apply", "force", "append", "hots", "Path"]), st.text(max_size=9)
    )
    for more in draw(st.lists(odd, max_size=2)):
        arguments[more] = draw(likely)
    if arguments and not draw(st.integers(0, 5)):
        del arguments[draw(st.sampled_from(sorted(arguments)))]
    return name, arguments


@given(st.one_of(texts, st.sampled_from(sorted(CONTRACTS))), values)
def test_no_json_value_ever_raises(tool, arguments) -> None:
    answer = CATALOG.accept(tool, arguments, call_id="c_1", principal="agent")
    assert isinstance(answer, Call | Refusal)
    if isinstance(answer, Refusal):
        assert answer.message
        assert answer.next_step().because


@settings(max_examples=400)
@given(calls())
def test_following_recoveries_ends_in_a_call_or_at_a_human_within_two_changes(call) -> None:
    followed = follow(CATALOG, *call)
    assert len(followed.refusals) <= STEPS_MAX
    changes = [refusal for refusal in followed.refusals if refusal.next_step().action is Action.CHANGE_ARGUMENTS]
    assert len(changes) <= 2


@settings(max_examples=400)
@given(calls())
def test_what_is_accepted_is_valid_under_the_published_schema(call) -> None:
    tool, arguments = call
    followed = follow(CATALOG, tool, arguments)
    if isinstance(followed.end, Call):
        sent = arguments
        name = tool
        for refusal in followed.refusals:
            step = refusal.next_step()
            name, sent = (name, merged(sent, step.arguments)) if not step.tool else (step.tool, dict(step.arguments))
        VALIDATORS[name].validate(sent)
        VALIDATORS[name].validate(published(followed.end))


def published(call: Call) -> dict[str, object]:
    """A call's complete arguments without what stands for "not sent"."""
    return {name: value for name, value in call.arguments.items() if value != -1}


@settings(max_examples=400)
@given(calls())
def test_accepting_what_was_accepted_changes_nothing(call) -> None:
    first = follow(CATALOG, *call).end
    if isinstance(first, Call):
        sent = {
            name: value
            for field in CATALOG.tool(first.tool).fields
            for name, value in [(field.name, first.arguments[field.name])]
            if value != field.fallback
        }
        again = CATALOG.accept(first.tool, sent, call_id="c_1", principal="agent")
        assert isinstance(again, Call)
        assert again.digest == first.digest


def marked(value: object) -> object:
    """The same value with a secret in every string of it."""
    if isinstance(value, str):
        return SECRET + value
    if isinstance(value, list):
        return [marked(entry) for entry in value]
    return {name: marked(entry) for name, entry in value.items()} if isinstance(value, dict) else value


@settings(max_examples=400)
@given(calls())
def test_no_refusal_repeats_a_value(call) -> None:
    tool, arguments = call
    answer = CATALOG.accept(tool, marked(arguments), call_id="c_1", principal="agent")
    if isinstance(answer, Refusal):
        said = answer.to_json()
        said["recovery"] = {"because": said["recovery"]["because"], "tool": said["recovery"]["tool"]}
        assert SECRET not in json.dumps(said)


@pytest.mark.parametrize("arguments", [[], "text", 5, True, {1: "a"}, {"host": object}, {"a": {2: 3}}])
def test_what_is_no_json_object_is_refused(arguments) -> None:
    answer = CATALOG.accept("shell_run", arguments, call_id="c_1", principal="agent")
    assert answer.code in ("ARGUMENT_INVALID", "ARGUMENT_UNKNOWN", "HOST_UNKNOWN")


def test_none_stands_for_no_arguments() -> None:
    assert isinstance(CATALOG.accept("hosts_list", None, call_id="c_1", principal="agent"), Call)


def nested(depth: int) -> object:
    value: object = "x"
    for _ in range(depth):
        value = {"a": [value]}
    return value


BIG = FieldLimits(total_chars_max=100_000)
TOO_LARGE = [
    {f"a{index}": 1 for index in range(101)},
    {"zzz": nested(5_000)},
    {"zzz": "x" * 200_000},
    {"zzz": ["x"] * 10_000},
    {"zzz": {str(index): index for index in range(10_000)}},
    {"command": "x" * 20_000, "host": "sandbox"},
    {"command": "x", "host": "sandbox", "writes": ["/a"] * 101, "intent": "write"},
    {"command": "x", "host": "sandbox", "doubts": ["y" * 501]},
]


@pytest.mark.parametrize("arguments", TOO_LARGE, ids=range(len(TOO_LARGE)))
def test_everything_has_a_limit(arguments) -> None:
    answer = sandbox_catalog(limits=BIG).accept("shell_run", arguments, call_id="c_1", principal="agent")
    assert answer.code == "ARGUMENT_INVALID"
    assert answer.next_step().action is Action.ASK_HUMAN
    assert len(json.dumps(answer.to_json())) < 2_000


def test_a_checked_call_may_not_be_larger_than_a_real_one() -> None:
    catalog: Catalog = sandbox_catalog(limits=BIG)
    for arguments in TOO_LARGE[1:5]:
        sent = {"tool": "shell_run", "arguments": arguments}
        answer = catalog.accept("call_check", sent, call_id="c_1", principal="agent")
        assert answer.code == "ARGUMENT_INVALID"


def test_a_call_is_accepted_in_less_than_a_tenth_of_a_millisecond() -> None:
    sent = {"host": "sandbox", "command": "ls -l", "writes": ["/srv/x"], "intent": "make x", "timeout_seconds": 5}
    fastest = 1.0
    for _ in range(50):
        start = time.perf_counter()
        CATALOG.accept("shell_run", sent, call_id="c_1", principal="agent")
        fastest = min(fastest, time.perf_counter() - start)
    assert fastest < 100e-6


@settings(max_examples=300)
@given(calls(), st.sampled_from(["dry_run", "dryRun", "noop", "simulate", "check", "preview", "what-if"]), likely)
def test_a_call_that_asked_to_be_shown_first_never_lands(call, word, value) -> None:
    tool, arguments = call
    end = follow(CATALOG, tool, arguments | {word: value}).end
    off = ("false", "no", "off", "0", "none", "never", "")
    asked = value.strip().lower() not in off if isinstance(value, str) else bool(value)
    if isinstance(end, Call) and asked and not CATALOG.tool(end.tool).hints.read_only:
        assert end.mode is Mode.PREVIEW
