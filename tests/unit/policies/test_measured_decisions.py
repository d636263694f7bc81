"""Decisions in two phases: the run alone while its changes wait in a layer, then every path that was measured."""

from dataclasses import replace
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock_policies import alike
from interlock_policies.alike import Sight, asked_of, like, sight_of
from interlock_policies.engine import MEASURED_ASKED_MAX, MEASURED_MAX, PolicyEngine
from interlock_policies.facts import Decision, Level, Principal, Situation, Verdict
from interlock_policies.measured import inverse_effects, measured_effects
from interlock_policies.packs import SHIPPED, PolicySource
from interlock_policies.situations import EXAMPLE_HOST, example_of
from interlock_tools.call import Call
from interlock_tools.changes import Change
from interlock_tools.effects import Declaration, Effect, EffectKind, Effects
from unit.policies.changes import DIFFS, change, changes

ENGINE = PolicyEngine.load([], schema_packs=SHIPPED)
OPERATOR = Principal("agent", roles=frozenset({"operator"}))
ABLE = tuple(level.word for level in Level)
DEV = replace(EXAMPLE_HOST, labels={"env": "dev"}, containment=ABLE)
PROD = replace(DEV, labels={"env": "prod"})
CALL = Call("c1", "agent", "shell_run", "example", {})
STAGED = Situation(containment=Level.STAGED)
WAITS = replace(STAGED, lands=False)
OPAQUE = Effects(opaque=("a script",), programs=("python3",))


def files(count: int) -> tuple[Change, ...]:
    return tuple(change(f"~/srv/app/{n % 7}/{n}") for n in range(count))


def landed(diff: tuple[Change, ...], situation: Situation = STAGED, engine: PolicyEngine = ENGINE) -> Decision:
    return engine.decide(OPERATOR, DEV, CALL, measured_effects(OPAQUE, diff), situation)


# ── the run alone ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "text",
    [
        "operator on env=prod, program=rm: delete /srv/app/**",
        "operator on env=prod, program=cp: write /etc/nginx/nginx.conf",
        "operator on env=prod, program=cp: write /etc/passwd",
        "operator on env=prod, opaque unknown=frobnicate: nothing",
        "operator on env=prod, program=cp confidence=low: write /srv/app/x",
        "observer on env=prod, opaque: nothing",
    ],
)
def test_what_waits_in_a_layer_runs_without_being_asked_about(text: str) -> None:
    case = example_of(text)
    assert ENGINE.decide(case.principal, case.host, case.call, case.effects, WAITS).verdict is Verdict.ALLOW
    whole = ENGINE.decide(case.principal, case.host, case.call, case.effects, STAGED).verdict
    assert whole is not Verdict.ALLOW or case.effects.opaque


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("operator on env=dev: read /etc/shadow", "base.secret"),
        ("operator on env=dev, reads=/home/agent/.ssh: nothing", "base.secret"),
        ("operator on env=dev: service restart nginx", "base.service"),
        ("operator on env=dev: system apt-get: install nginx", "base.system-change"),
        ("operator on env=staging: network https://example.com", "base.network"),
        ("operator on env=dev, program=sudo privileged: nothing", "base.privileged"),
        ("operator on env=prod, program=curl: network https://example.com", "env.prod-change"),
    ],
)
def test_what_no_layer_holds_is_asked_about_before_it_runs(text: str, rule: str) -> None:
    case = example_of(text)
    decision = ENGINE.decide(case.principal, case.host, case.call, case.effects, WAITS)
    assert decision.verdict is Verdict.ASK
    assert rule in decision.rule_ids


def test_declared_changes_wait_too_and_declared_services_do_not() -> None:
    declared = Declaration(writes=("/etc",), deletes=("/srv",))
    assert ENGINE.decide(OPERATOR, PROD, CALL, replace(OPAQUE, declared=declared), WAITS).verdict is Verdict.ALLOW
    services = replace(declared, services=("nginx",))
    decision = ENGINE.decide(OPERATOR, PROD, CALL, replace(OPAQUE, declared=services), WAITS)
    assert "base.service" in decision.rule_ids


@pytest.mark.parametrize("level", [Level.NONE, Level.CONFINED])
def test_without_a_layer_nothing_waits_whatever_is_claimed(level: Level) -> None:
    case = example_of("operator on env=dev: write /etc/passwd")
    for lands in (True, False):
        situation = Situation(containment=level, lands=lands)
        decision = ENGINE.decide(case.principal, case.host, case.call, case.effects, situation)
        assert decision.rule_ids == ("base.identity",)


def test_what_cannot_be_read_counts_as_a_change_unless_a_layer_holds_it() -> None:
    low = replace(OPAQUE, opaque=("x",))
    for level, verdict in ((Level.NONE, Verdict.ASK), (Level.CONFINED, Verdict.ASK), (Level.STAGED, Verdict.ALLOW)):
        assert ENGINE.decide(OPERATOR, PROD, CALL, low, Situation(containment=level)).verdict is verdict


def test_a_host_that_cannot_do_what_policy_demands_is_named_as_the_reason() -> None:
    rule = (
        '@id("f") @requires("containment:2") forbid (principal, action, resource) unless { context.containment >= 2 };'
    )
    engine = PolicyEngine.load([PolicySource("t", '@id("p") permit (principal, action, resource);' + rule)])
    decision = engine.decide(OPERATOR, replace(DEV, containment=("none",)), CALL, Effects(), Situation())
    assert (decision.verdict, decision.rule_ids) == (Verdict.DENY, ("f", "interlock:containment-unavailable"))
    assert engine.decide(OPERATOR, DEV, CALL, Effects(), Situation()).obligations == ("containment:2",)


# ── what was measured ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_measured_change_is_decided_by_what_it_is_and_not_by_what_the_command_looked_like() -> None:
    assert landed(changes("+/srv/app/x", "-/srv/app/y")).verdict is Verdict.ALLOW
    assert landed(changes("+/srv/app/x", "+/etc/app.conf")).rule_ids == ("base.outside-workspace",)
    assert landed(changes("+/srv/app/x", "~/etc/passwd")).rule_ids == ("base.identity",)
    assert landed(changes("+/srv/app/.git/hooks/pre-commit")).rule_ids == ("base.repository",)


def test_one_grave_path_among_five_thousand_is_found_wherever_it_lies() -> None:
    diff = files(MEASURED_MAX - 1)
    for at in (0, 2_345, len(diff)):
        decision = landed((*diff[:at], change("~/etc/sudoers.d/x"), *diff[at:]))
        assert decision.rule_ids == ("base.identity",)


def test_a_vanished_tree_of_which_not_all_is_listed_may_have_held_anything() -> None:
    tree = replace(change("-/var/lib/"), below=50)
    assert landed((tree,)).verdict is Verdict.DENY
    swapped = replace(change("~/home/agent"), kind="link", was={"kind": "directory"})
    assert landed((swapped,)).verdict is Verdict.DENY


def test_what_was_declared_and_did_not_happen_is_not_asked_about_again() -> None:
    effects = measured_effects(Effects(Declaration(writes=("/etc/nginx", "/srv/app"))), changes("+/srv/app/x"))
    assert ENGINE.decide(OPERATOR, DEV, CALL, effects, STAGED).verdict is Verdict.ALLOW


def test_an_undo_is_decided_path_by_path_as_well() -> None:
    back = Effects(inferred=inverse_effects(files(1_000)))
    assert ENGINE.decide(OPERATOR, DEV, CALL, back, STAGED, measured=True).verdict is Verdict.ALLOW
    assert ENGINE.decide(OPERATOR, PROD, CALL, back, STAGED, measured=True).verdict is Verdict.ASK
    grave = Effects(inferred=inverse_effects(changes("+/etc/sudoers.d/x")))
    assert ENGINE.decide(OPERATOR, DEV, CALL, grave, STAGED, measured=True).rule_ids == ("base.identity",)


def test_deleting_most_of_a_workspace_asks_as_a_sweep_of_it_does() -> None:
    gone = tuple(change(f"-/srv/app/{n}") for n in range(alike.SWEEP_ENTRIES_MIN))
    assert landed(gone).rule_ids == ("base.workspace-sweep",)
    assert landed(gone[1:]).verdict is Verdict.ALLOW
    deeper = tuple(change(f"-/srv/app/build/{n}") for n in range(500))
    assert landed(deeper).verdict is Verdict.ALLOW


def test_beyond_five_thousand_paths_an_operator_agrees_and_beyond_twenty_thousand_nothing_helps() -> None:
    agreed = replace(STAGED, approvals=frozenset({"operator"}))
    assert landed(files(MEASURED_MAX)).verdict is Verdict.ALLOW
    more = files(MEASURED_MAX + 1)
    decision = landed(more)
    assert (decision.verdict, decision.obligations) == (Verdict.ASK, ("approval:operator",))
    assert decision.rule_ids == ("interlock:too-many-effects",)
    assert landed(more, agreed).verdict is Verdict.ALLOW
    assert landed((*more, change("~/etc/passwd")), agreed).rule_ids == ("base.identity",)
    too_many = landed(files(MEASURED_ASKED_MAX + 1), agreed)
    assert (too_many.verdict, too_many.rule_ids) == (Verdict.DENY, ("interlock:too-many-effects",))


def test_an_ask_for_other_reasons_keeps_its_obligations_beside_the_operators() -> None:
    rule = """@id("t") @requires("approval:dba") forbid (principal, action == Action::"write", resource)
    unless { context.approvals.contains("dba") };"""
    engine = PolicyEngine.load([PolicySource("t", rule)], schema_packs=SHIPPED)
    decision = landed(files(MEASURED_MAX + 1), engine=engine)
    assert decision.obligations == ("approval:dba", "approval:operator")
    assert decision.rule_ids == ("interlock:too-many-effects", "t")


# ── which paths are alike ────────────────────────────────────────────────────────────────────────────────────────────


def test_the_shipped_rules_see_nothing_of_a_path_but_its_classes_and_so_few_questions_are_put() -> None:
    sight = ENGINE._book.sight
    assert sight == Sight()
    assert len(asked_of(CALL, measured_effects(Effects(), files(5_000)), DEV, sight)) == 1


@pytest.mark.parametrize(
    ("condition", "sight"),
    [
        ('resource in Dir::"/srv"', Sight(directories=frozenset({"/srv"}))),
        ('resource in [Dir::"/a", Dir :: "/b"]', Sight(directories=frozenset({"/a", "/b"}))),
        ('resource == Path::"/x"', Sight(paths=frozenset({"/x"}))),
        ('resource.path == "/x" || resource.path != "/y"', Sight(paths=frozenset({"/x", "/y"}))),
        ('resource . path like "*.lock"', Sight(patterns=frozenset({"*.lock"}))),
        ('resource.path like "a\\\\*"', Sight(whole=True)),
        ('resource["path"] == "/x"', Sight(whole=True)),
        ('"/x" == resource.path', Sight(whole=True)),
        ("resource has path", Sight(whole=True)),
        ("resource is Path", Sight(whole=True)),
        ("context.changes // resource.path", Sight()),
    ],
)
def test_what_a_rule_can_see_of_a_path_is_read_off_its_text_and_in_doubt_it_is_all(
    condition: str, sight: Sight
) -> None:
    text = f'@id("x") @title("a path, Dir") permit (principal, action, resource) when {{ {condition}\n}};'
    assert sight_of([text]) == sight


@pytest.mark.parametrize(
    ("text", "pattern", "matches"),
    [
        ("/a/b.lock", "*.lock", True),
        ("/a/b.lock", "/a/*.lock", True),
        ("/a/b", "/a/b", True),
        ("/a/b", "/a/b/*", False),
        ("/a", "*", True),
        ("", "*", True),
        ("aba", "ab*ba", False),
        ("/x/conf/y/z", "/x/*/y/*", True),
        ("/a\nb", "/a*b", True),
        ("/a.b", "/a?b", False),
    ],
)
def test_a_pattern_means_what_it_means_to_cedar(text: str, pattern: str, matches: bool) -> None:
    rule = (
        f'@id("p") permit (principal, action == Action::"write", resource) when {{ resource.path like "{pattern}" }};'
    )
    assert like(text, pattern) is matches
    if text.startswith("/"):
        effects = Effects(inferred=(Effect(EffectKind.WRITE, text, "x"),))
        engine = PolicyEngine.load([PolicySource("t", rule)])
        assert (engine.decide(OPERATOR, DEV, CALL, effects, Situation()).verdict is Verdict.ALLOW) is matches


RULES = [
    'forbid (principal, action == Action::"write", resource in Dir::"/srv/app/conf");',
    'forbid (principal, action == Action::"delete", resource) when { resource.path like "/srv/*/a" };',
    'forbid (principal, action == Action::"delete", resource) when { resource.path == "/etc/nginx/a" };',
    'forbid (principal, action, resource == Path::"/opt/a");',
    'forbid (principal, action == Action::"write", resource) when { resource has path && resource.path like "*b" };',
    'forbid (principal, action == Action::"write", resource) when { context.by == "git" };',
]


@settings(max_examples=80, deadline=None)
@given(st.lists(st.sampled_from(RULES), max_size=3, unique=True), DIFFS, st.booleans())
def test_the_verdict_on_all_paths_is_the_strictest_of_the_verdicts_on_each(
    rules: list[str], diff: tuple[Change, ...], prod: bool
) -> None:
    text = "".join(f'@id("r{n}") {rule}\n' for n, rule in enumerate(rules))
    engine = PolicyEngine.load([PolicySource("t", text)], schema_packs=SHIPPED)
    host = PROD if prod else DEV
    effects = measured_effects(Effects(), diff)
    if not diff:
        return

    def decide(some: tuple[Effect, ...]) -> Decision:
        return engine.decide(OPERATOR, host, CALL, replace(effects, inferred=some), STAGED)

    alone = [decide((found,)) for found in effects.inferred]
    order = [Verdict.ALLOW, Verdict.ASK, Verdict.DENY]
    whole = decide(effects.inferred)
    assert whole.verdict is max((found.verdict for found in alone), key=order.index)
    assert set(whole.rule_ids) <= set(chain.from_iterable(found.rule_ids for found in alone))


def test_a_large_decision_is_not_remembered_as_text() -> None:
    sees = '@id("s") forbid (principal, action, resource) when { resource has path && resource.path == "/never" };'
    engine = PolicyEngine.load([PolicySource("t", sees)], schema_packs=SHIPPED)
    engine._remembered.clear()
    assert landed(files(300), engine=engine).verdict is Verdict.ALLOW
    assert not engine._remembered
