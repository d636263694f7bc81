"""call_commit and call_undo: what an agent that is confused may send, and that nothing of it widens anything."""

from __future__ import annotations

import pytest

from interlock_tools.call import Call
from interlock_tools.effects import Declaration, Network
from interlock_tools.errors import Action, StaleState, UndoUnavailable
from interlock_tools.plan import CommitLayer, UndoRun
from unit.tools.follower import follow, sandbox_catalog

CATALOG = sandbox_catalog()
COMMIT = {"call_id": "c_7", "intent": "land it"}


def accepted(tool: str, **sent: object) -> Call:
    call = CATALOG.accept(tool, {"call_id": "c_7", "intent": "do it"} | sent, call_id="c_9", principal="agent")
    assert isinstance(call, Call), call
    return call


def test_a_commit_lands_the_run_it_names_under_a_declaration_of_its_own() -> None:
    call = accepted("call_commit", writes=["/srv//a/"], deletes=["/srv/b"])
    assert CATALOG.tool("call_commit").plan(call) == CommitLayer("c_7")
    assert call.declaration == Declaration(("/srv/a",), ("/srv/b",), (), Network.NONE)
    assert (call.call_id, call.host, call.wait_seconds) == ("c_9", "", 50)


def test_an_undo_names_a_run_and_nothing_that_would_decide_whose_version_wins() -> None:
    call = accepted("call_undo")
    assert CATALOG.tool("call_undo").plan(call) == UndoRun("c_7")
    assert call.declaration.is_empty
    assert set(CATALOG.contracts()[5].input_schema["properties"]) == {"call_id", "intent", "wait_seconds"}


def test_the_plan_follows_from_the_id_alone() -> None:
    assert CATALOG.tool("call_commit").plan_of({"call_id": "c_1"}) == CommitLayer("c_1")
    assert CATALOG.tool("call_undo").plan_of({"call_id": "c_1"}) == UndoRun("c_1")


@pytest.mark.parametrize("tool", ["call_commit", "call_undo"])
def test_landing_and_undoing_are_never_taken_for_reading(tool: str) -> None:
    call = accepted(tool)
    hints = CATALOG.tool(tool).hints
    assert (hints.read_only, hints.destructive, hints.idempotent, hints.open_world) == (False, True, False, False)
    assert not CATALOG.tool(tool).reads_only(call)
    assert CATALOG.tool(tool).effects(call) == ()


def test_two_commits_with_other_declarations_or_of_other_runs_are_other_calls() -> None:
    first = accepted("call_commit", writes=["/srv/a"])
    assert accepted("call_commit", writes=["/srv/a"], wait_seconds=1).digest == first.digest
    assert accepted("call_commit", writes=["/srv/b"]).digest != first.digest
    assert accepted("call_commit", call_id="c_8", writes=["/srv/a"]).digest != first.digest
    assert accepted("call_undo").digest != accepted("call_commit").digest


@pytest.mark.parametrize("tool", ["call_commit", "call_undo"])
@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"host": "sandbox"}, "host"),  # the record knows where it ran; another host must not be meant
        ({"mode": "preview"}, "mode"),
        ({"dry_run": True}, "dry_run"),
        ({"keep": "ours"}, "keep"),
        ({"digest": "ab"}, None),
    ],
)
def test_what_could_limit_or_redirect_it_is_asked_about_and_never_dropped(tool, more, path) -> None:
    followed = follow(CATALOG, tool, COMMIT | more)
    if path is None:
        assert followed.end.arguments["call_id"] == "c_7"
        return
    assert [(refusal.code, refusal.path) for refusal in followed.refusals] == [("ARGUMENT_UNKNOWN", path)]
    assert followed.end.next_step().action is Action.ASK_HUMAN


@pytest.mark.parametrize("more", [{"force": True}, {"confirm": True}, {"colour": "red"}, {"stream": ""}])
def test_what_adds_nothing_is_dropped(more) -> None:
    followed = follow(CATALOG, "call_undo", COMMIT | more)
    assert isinstance(followed.end, Call)
    assert CATALOG.tool("call_undo").plan(followed.end) == UndoRun("c_7")


@pytest.mark.parametrize(
    ("sent", "code", "held"),
    [
        ({"id": "c_7", "intent": "land it"}, "ARGUMENT_UNKNOWN", {"call_id": "c_7"}),
        (COMMIT | {"write": ["/a"]}, "ARGUMENT_UNKNOWN", {"writes": ["/a"]}),
        (COMMIT | {"writes": "/a"}, "ARGUMENT_INVALID", {"writes": ["/a"]}),
        (COMMIT | {"call_id": " c_7\n"}, "ARGUMENT_INVALID", {"call_id": "c_7"}),
    ],
)
def test_applying_the_recovery_once_makes_the_commit_pass(sent, code, held) -> None:
    followed = follow(CATALOG, "call_commit", sent)
    assert isinstance(followed.end, Call)
    assert [refusal.code for refusal in followed.refusals] == [code]
    assert {name: followed.end.arguments[name] for name in held} == held


@pytest.mark.parametrize("missing", ["call_id", "intent"])
@pytest.mark.parametrize("tool", ["call_commit", "call_undo"])
def test_which_call_and_why_only_the_caller_can_say(tool, missing) -> None:
    sent = {name: value for name, value in COMMIT.items() if name != missing}
    refused = CATALOG.accept(tool, sent, call_id="c_9", principal="agent")
    assert (refused.code, refused.path, refused.next_step().action) == ("ARGUMENT_MISSING", missing, Action.ASK_HUMAN)


def test_a_relative_path_in_a_commit_is_not_guessed_at() -> None:
    """Without a host there is no working directory that it could be relative to."""
    followed = follow(sandbox_catalog(hosts=["a", "b"], cwd_of=lambda _: ""), "call_commit", COMMIT | {"writes": ["x"]})
    assert followed.refusals[0].code == "PATH_INVALID"
    assert followed.end.next_step().action is Action.ASK_HUMAN


def test_a_name_for_secrets_is_not_a_name_for_any_reading() -> None:
    sent = {"host": "sandbox", "command": "cat a", "intent": "look", "inputs": ["/srv/work/a"]}
    followed = follow(CATALOG, "shell_run", sent)
    assert followed.end.arguments["reads"] == []


def test_a_state_that_is_over_tells_to_make_a_new_call() -> None:
    for refusal in (StaleState(reason="/srv/a changed since"), UndoUnavailable(reason="it was undone already")):
        assert refusal.next_step().action is Action.GIVE_UP
        assert "new call" in refusal.next_step().because
