"""Measured changes: each becomes exactly the effect that it is, and nothing escapes the declaration."""

from dataclasses import replace

import pytest
from hypothesis import given

from interlock_policies.measured import (
    PATHS_SHOWN_MAX,
    as_trees,
    changed,
    inverse_changes,
    inverse_effects,
    measured_effects,
    undeclared_changes,
)
from interlock_tools.changes import Change, ChangeOp
from interlock_tools.effects import Declaration, Effect, EffectKind, Effects
from unit.policies.changes import DIFFS, change, changes

READ, WRITE, DELETE = EffectKind.READ, EffectKind.WRITE, EffectKind.DELETE


def seen(diff: tuple[Change, ...], effects: Effects | None = None) -> list[tuple[str, str, str, bool]]:
    found = measured_effects(effects or Effects(), diff)
    assert found.measured
    return [(effect.kind.value, effect.target, effect.by, effect.recursive) for effect in found.inferred]


def test_every_change_is_one_exact_effect() -> None:
    assert seen(changes("+/a", "~/b", "m/c", "-/d")) == [
        ("write", "/a", "shell_run", False),
        ("write", "/b", "shell_run", False),
        ("write", "/c", "shell_run", False),
        ("delete", "/d", "shell_run", False),
    ]


def test_a_change_is_laid_to_the_program_whose_effect_lies_closest_above_it() -> None:
    inferred = (
        Effect(WRITE, "/srv/app", "cp", recursive=True),
        Effect(WRITE, "/srv/app/.git/", "git", recursive=True),
        Effect(DELETE, "/srv/app", "rm", exact=False),
    )
    found = seen(changes("+/srv/app/x", "~/srv/app/.git/config", "-/srv/app/y", "+/etc/z"), Effects(inferred=inferred))
    assert [by for _, _, by, _ in found] == ["cp", "git", "rm", "shell_run"]


@pytest.mark.parametrize("unread", [{"opaque": ("a script",)}, {"unknown_programs": ("zz",)}])
def test_where_a_part_could_not_be_read_anything_may_have_done_it(unread: dict[str, tuple[str, ...]]) -> None:
    git = Effects(inferred=(Effect(WRITE, "/srv/app/.git", "git", recursive=True),), **unread)
    assert seen(changes("+/srv/app/.git/hooks/pre-commit"), git)[0][2] == "shell_run"


def test_what_was_done_elsewhere_stays_and_what_was_read_does_not() -> None:
    inferred = (
        Effect(READ, "/etc/hosts", "cat"),
        Effect(WRITE, "/srv/app/never", "cp"),
        Effect(EffectKind.SERVICE, "restart nginx", "systemctl"),
        Effect(EffectKind.NETWORK, "https://x.example", "curl"),
        Effect(EffectKind.SYSTEM, "git: push", "git"),
    )
    found = measured_effects(Effects(inferred=inferred, programs=("cp",)), changes("+/srv/app/x"))
    assert [effect.kind for effect in found.inferred] == [WRITE, *(effect.kind for effect in inferred[2:])]
    assert found.programs == ("cp",)


def test_a_directory_that_gave_way_to_a_link_is_a_vanished_tree_and_a_write() -> None:
    swapped = replace(change("~/srv/app/data"), kind="link", was={"kind": "directory"})
    assert seen((swapped,)) == [
        ("delete", "/srv/app/data", "shell_run", True),
        ("write", "/srv/app/data", "shell_run", False),
    ]


def test_a_directory_of_which_not_everything_is_listed_may_have_held_anything() -> None:
    tree = replace(change("-/srv/app/old/"), below=2)
    listed = changes("-/srv/app/old/a", "-/srv/app/old/b")
    assert [whole for *_, whole in seen((tree, *listed))] == [False, False, False]
    assert [whole for *_, whole in seen((tree, listed[0]))] == [True, False]


# ── against the declaration ──────────────────────────────────────────────────────────────────────────────────────────

DECLARED = Declaration(writes=("/srv/app/out", "/srv/app/new/deep/file"), deletes=("/srv/app/old",))


@pytest.mark.parametrize(
    ("text", "covered"),
    [
        ("+/srv/app/out", True),
        ("~/srv/app/out/a/b", True),
        ("m/srv/app/out", True),
        ("-/srv/app/out/a", False),
        ("-/srv/app/old", True),
        ("-/srv/app/old/x", True),
        ("+/srv/app/old/x", False),
        ("~/srv/app/output", False),
        ("+/srv/app/new/", True),  # has to be made for what is declared below it
        ("+/srv/app/new/deep/", True),
        ("+/srv/app/new/deep/other", False),
        ("+/srv/app/new", False),  # a file is in no other's way
        ("m/srv/app/new/", False),
        ("-/srv/app/new/", False),
        ("~/etc/passwd", False),
    ],
)
def test_a_change_is_declared_exactly_where_its_kind_is_declared_at_or_above_it(text: str, covered: bool) -> None:
    assert undeclared_changes(DECLARED, changes(text)) == (() if covered else changes(text))


def test_a_directory_that_gave_way_needs_both_declarations() -> None:
    swapped = (replace(change("~/srv/app/out"), kind="link", was={"kind": "directory"}),)
    assert undeclared_changes(DECLARED, swapped) == swapped
    assert undeclared_changes(replace(DECLARED, deletes=("/srv/app/out",)), swapped) == ()


def test_the_root_as_a_declaration_covers_everything_and_an_empty_path_nothing() -> None:
    diff = changes("+/a", "~/srv/app/x")
    assert undeclared_changes(Declaration(writes=("/",)), diff) == ()
    assert undeclared_changes(Declaration(writes=("", "relative")), diff) == diff


# ── undo ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_putting_back_deletes_what_was_created_and_writes_what_was_there() -> None:
    found = inverse_effects(changes("+/a", "~/b", "m/c", "-/d"))
    assert [(effect.kind, effect.target, effect.by) for effect in found] == [
        (DELETE, "/a", "call_undo"),
        (WRITE, "/b", "call_undo"),
        (WRITE, "/c", "call_undo"),
        (WRITE, "/d", "call_undo"),
    ]


def test_putting_back_a_directory_that_gave_way_restores_a_tree() -> None:
    swapped = replace(change("~/srv/app/data"), kind="link", was={"kind": "directory"})
    assert [(e.kind, e.recursive) for e in inverse_effects((swapped,))] == [(WRITE, True)]
    made = replace(change("~/srv/app/data/"), was={"kind": "file"})
    assert [(e.kind, e.recursive) for e in inverse_effects((made,))] == [(DELETE, True), (WRITE, False)]


@given(DIFFS)
def test_undoing_touches_the_same_paths_and_undoing_that_makes_the_same_kinds_again(diff: tuple[Change, ...]) -> None:
    back = inverse_changes(diff)
    assert [found.path for found in back] == [found.path for found in diff]
    assert [found.op for found in inverse_changes(back)] == [found.op for found in diff]
    assert {effect.target for effect in inverse_effects(diff)} == {found.path for found in diff}


def test_what_lies_below_another_effect_of_its_kind_weighs_with_it_as_one_tree() -> None:
    listed = (
        Effect(DELETE, "/srv/tree", "call_undo"),
        Effect(DELETE, "/srv/tree/a", "call_undo"),
        Effect(DELETE, "/srv/tree/a/b", "call_undo"),
        Effect(WRITE, "/srv/tree/c", "call_undo"),
        Effect(DELETE, "/srv/tree-2", "call_undo"),
        Effect(READ, "/srv/tree/a", "call_undo"),
    )
    assert as_trees(Effects(inferred=listed)).inferred == (
        replace(listed[0], recursive=True),
        listed[3],
        listed[4],
        listed[5],
    )


# ── as an answer shows it ────────────────────────────────────────────────────────────────────────────────────────────


def test_the_answer_lists_the_first_paths_and_says_how_many_are_left_out() -> None:
    diff = tuple(change(f"+/srv/app/{n:04}") for n in range(PATHS_SHOWN_MAX + 7)) + changes("m/b", "-/c")
    shown = changed(diff, diff[:2], "staged")
    assert (len(shown.created), shown.modified, shown.deleted) == (PATHS_SHOWN_MAX, ("/b",), ("/c",))
    assert (shown.undeclared, shown.observed, shown.left_out) == (("/srv/app/0000", "/srv/app/0001"), "staged", 7)


def test_a_name_that_would_act_on_a_terminal_or_that_no_text_holds_is_shown_as_an_escape() -> None:
    diff = (Change(ChangeOp.CREATE, "/a\x1b[2J", "file"), Change(ChangeOp.CREATE, "/b\udc80", "file"))
    assert changed(diff, (), "staged").created == (r"/a\u{1b}[2J", r"/b\u{dc80}")
