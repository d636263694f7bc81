"""The honest declaration: short, sendable, and what it is sent with covers everything that was measured."""

import json

from hypothesis import given, settings

from interlock_policies.honest import PATHS_MAX, honest_commit
from interlock_policies.measured import undeclared_changes
from interlock_policies.places import TOP
from interlock_tools.call import Call
from interlock_tools.catalog import build_catalog
from interlock_tools.changes import Change, ChangeOp
from interlock_tools.effects import Declaration, Effect
from unit.policies.changes import DIFFS, change, changes

CATALOG = build_catalog(hosts=["example"], groups=[])


def committed(patch: dict[str, list[str]]) -> Declaration:
    """The declaration of a call_commit with these arguments, as the server would read it off the wire."""
    sent = json.loads(json.dumps({"call_id": "c_1", "intent": "land it", **patch}))
    call = CATALOG.accept("call_commit", sent, call_id="c_2", principal="agent")
    assert isinstance(call, Call), call
    return call.declaration


def test_it_names_what_was_not_declared_and_keeps_what_covers_something() -> None:
    declared = Declaration(writes=("/srv/app/build", "/srv/app/unused"), deletes=("/srv/app/old",))
    diff = changes("+/srv/app/build/a", "~/srv/app/build/b", "~/etc/app.conf", "-/srv/app/old/x", "-/srv/app/y")
    assert honest_commit(declared, diff) == {
        "writes": ["/etc/app.conf", "/srv/app/build"],
        "deletes": ["/srv/app/old", "/srv/app/y"],
    }


def test_a_new_directory_stands_for_all_below_it() -> None:
    assert honest_commit(Declaration(), changes("+/srv/app/n/", "+/srv/app/n/a", "+/srv/app/n/b/c")) == {
        "writes": ["/srv/app/n"]
    }


def test_nothing_changed_needs_no_declaration() -> None:
    assert honest_commit(Declaration(writes=("/srv/app",)), ()) == {}


def test_many_neighbours_are_gathered_under_their_directory() -> None:
    diff = tuple(change(f"~/srv/app/pages/{n}.html") for n in range(500)) + changes("~/etc/nginx/a", "-/srv/app/z")
    patch = honest_commit(Declaration(), diff)
    assert patch == {"writes": ["/etc/nginx/a", "/srv/app/pages"], "deletes": ["/srv/app/z"]}
    assert undeclared_changes(committed(patch), diff) == ()


def test_both_lists_together_stay_within_the_limit() -> None:
    diff = tuple(change(f"~/srv/app/{n // 9}/{n}") for n in range(400)) + tuple(
        change(f"-/srv/app/old/{n // 9}/{n}") for n in range(300)
    )
    patch = honest_commit(Declaration(), diff)
    assert 2 <= len(patch["writes"]) + len(patch["deletes"]) <= PATHS_MAX
    assert undeclared_changes(committed(patch), diff) == ()


def test_policy_is_asked_before_a_directory_is_declared_as_a_whole() -> None:
    diff = tuple(change(f"~/srv/app/pages/{n}.html") for n in range(100))
    asked: list[Effect] = []

    def refuses(effect: Effect) -> bool:
        asked.append(effect)
        return False

    assert honest_commit(Declaration(), diff, refuses) == {}
    assert {(effect.target, effect.recursive, effect.exact) for effect in asked} == {("/srv/app/pages", True, False)}


def test_no_standard_directory_is_ever_declared_as_a_whole() -> None:
    assert honest_commit(Declaration(), tuple(change(f"~/etc/{n}.conf") for n in range(100))) == {}
    assert honest_commit(Declaration(), tuple(change(f"+/{n}") for n in range(100))) == {}


def test_a_name_that_no_argument_can_hold_is_declared_by_the_directory_it_lies_in() -> None:
    for name in ("line\nbreak", "half\udc80", "x" * 300):
        diff = (Change(ChangeOp.CREATE, f"/srv/app/up/{name}", "file"),)
        patch = honest_commit(Declaration(), diff)
        assert patch == {"writes": ["/srv/app/up"]}
        assert undeclared_changes(committed(patch), diff) == ()
        assert honest_commit(Declaration(), diff, lambda _: False) == {}
        assert honest_commit(Declaration(), (Change(ChangeOp.CREATE, f"/etc/{name}", "file"),)) == {}


@settings(deadline=None)
@given(DIFFS)
def test_whatever_was_measured_the_commit_with_it_is_valid_and_covers_all(diff: tuple[Change, ...]) -> None:
    patch = honest_commit(Declaration(), diff)
    if not patch:
        return
    assert sum(map(len, patch.values())) <= PATHS_MAX
    assert undeclared_changes(committed(patch), diff) == ()
    named = {found.path for found in diff}
    assert not {path for paths in patch.values() for path in paths} & (TOP - named)
