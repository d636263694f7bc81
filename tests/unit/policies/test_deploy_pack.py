"""Deployments before the rules: what they see of one, what the pack `deploy` asks for, and what a fleet costs."""

import json
from dataclasses import fields, replace
from typing import Any

import cedarpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock_policies.cost import COST_UNITS_MAX, cost_units, fleet_units
from interlock_policies.engine import PolicyEngine
from interlock_policies.facts import Decision, Fleet, Situation, Verdict
from interlock_policies.packs import PolicySource, schema_text
from interlock_policies.questions import questions
from interlock_policies.requests import form
from interlock_policies.situations import example_of
from interlock_tools.effects import Effects

PACKS = ("baseline", "environments", "confidence", "containment", "deploy")
ENGINE = PolicyEngine.load([], schema_packs=PACKS)
# The pack over a permit and nothing else: what it asks for is all that is asked for.
ALONE = PolicyEngine.load(
    [PolicySource("p", '@id("p") permit (principal, action, resource);')], schema_packs=["deploy"]
)
OPERATOR, RELEASE = "approval:operator", "approval:release"
SWITCH = "write /srv/app/shop/current"


def decided(text: str, engine: PolicyEngine = ENGINE, situation: Situation | None = None) -> Decision:
    case = example_of(text)
    return engine.decide(case.principal, case.host, case.call, case.effects, situation or case.situation)


def effects_of(path: str, *, restarts: bool = True) -> str:
    """What a release of an app in this folder does to one host."""
    files = f"write {path}/releases/r1/**; write {path}/current; write {path}/shared/**; write {path}/.interlock/**"
    return f"{files}; delete {path}/releases/r0/**" + ("; service restart shop" if restarts else "")


# ── a whole release, with the packs it meets ─────────────────────────────────────────────────────────────────────────

INSIDE, OUTSIDE = "/srv/app/shop", "/srv/shop"


@pytest.mark.parametrize(
    ("env", "path", "restarts", "rules"),
    [
        ("dev", INSIDE, False, ""),
        ("dev", INSIDE, True, "base.service"),
        ("dev", OUTSIDE, False, "base.outside-workspace"),
        ("dev", OUTSIDE, True, "base.outside-workspace base.service"),
        ("staging", INSIDE, False, ""),
        ("staging", INSIDE, True, "base.service env.staging-change"),
        ("staging", OUTSIDE, False, "base.outside-workspace env.staging-change"),
        ("prod", INSIDE, False, "env.prod-change"),
        ("prod", INSIDE, True, "base.service env.prod-change"),
        ("prod", OUTSIDE, True, "base.outside-workspace base.service env.prod-change"),
    ],
)
def test_a_release_is_decided_by_what_it_does_where(env: str, path: str, restarts: bool, rules: str) -> None:
    what = effects_of(path, restarts=restarts)
    decision = decided(f"operator on env={env}, tool=deploy_release hosts=1 fleet=1 share=100: {what}")
    if rules:
        assert (decision.verdict, decision.obligations) == (Verdict.ASK, (OPERATOR,))
        assert " ".join(decision.rule_ids) == rules
    else:
        assert (decision.verdict, decision.rule_ids) == (Verdict.ALLOW, ("base.change",))


@pytest.mark.parametrize("env", ["dev", "staging", "prod", "live"])
@pytest.mark.parametrize("tool", ["deploy_release", "deploy_rollback"])
def test_with_an_operators_approval_a_release_passes_everywhere(env: str, tool: str) -> None:
    asked = f"operator on env={env}, tool={tool} outside hosts=4 fleet=4 share=100 approval=operator: "
    assert decided(asked + effects_of(OUTSIDE)).verdict is Verdict.ALLOW


def test_the_pack_permits_nothing_and_an_observer_releases_nothing() -> None:
    own = [entry for entry in ENGINE.rules() if entry.file == "pack:deploy"]
    assert len(own) == 4
    assert not [entry.rule.id for entry in own if entry.permits]
    for approvals in ("", " approval=operator approval=release"):
        text = f"observer on env=dev, tool=deploy_release{approvals}: {effects_of(INSIDE)}"
        assert decided(text).verdict is Verdict.DENY


def test_hard_limits_hold_for_a_release_whatever_was_approved() -> None:
    granted = "tool=deploy_release canary approval=operator approval=release"
    assert decided(f"operator on env=dev, {granted}: write /etc/cron.d/shop").rule_ids == ("base.identity",)
    assert decided(f"operator on env=dev, {granted}: delete /srv/app").rule_ids == ("base.top",)


def test_every_rule_of_the_pack_says_what_it_is_and_how_to_get_what_is_wanted() -> None:
    for entry in ENGINE.rules():
        if entry.file == "pack:deploy":
            assert entry.rule.title
            assert entry.rule.hint
            assert entry.rule.requires


# ── freezes and windows ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("setting", "rule", "obligation"), [("frozen", "deploy.freeze", RELEASE), ("outside", "deploy.window", OPERATOR)]
)
@pytest.mark.parametrize("env", ["dev", "prod"])
def test_a_freeze_and_a_closed_window_hold_releases_on_every_host(
    setting: str, rule: str, obligation: str, env: str
) -> None:
    held = decided(f"operator on env={env}, tool=deploy_release {setting}: {SWITCH}", ALONE)
    assert (held.verdict, held.rule_ids, held.obligations) == (Verdict.ASK, (rule,), (obligation,))
    role = obligation.partition(":")[2]
    free = decided(f"operator on env={env}, tool=deploy_release {setting} approval={role}: {SWITCH}", ALONE)
    assert free.verdict is Verdict.ALLOW


@pytest.mark.parametrize("setting", ["frozen", "outside", "frozen outside"])
@pytest.mark.parametrize(
    "what",
    [
        f"tool=deploy_rollback: {effects_of(INSIDE)}",
        "tool=deploy_status: read /srv/app/shop/current",
        "tool=deploy_status: nothing",
        "tool=deploy_service: service restart shop",
        "tool=file_read: read /srv/app/shop/current",
        f"tool=shell_run: {SWITCH}",
    ],
)
def test_neither_holds_a_rollback_nor_what_reads_nor_other_tools(setting: str, what: str) -> None:
    tool, _, effects = what.partition(":")
    assert decided(f"operator on env=prod, {tool} {setting}:{effects}", ALONE).verdict is Verdict.ALLOW


def test_a_freeze_in_production_outside_of_a_window_asks_both_roles_at_once() -> None:
    decision = decided(f"operator on env=prod, tool=deploy_release frozen outside: {effects_of(INSIDE)}")
    assert (decision.verdict, decision.obligations) == (Verdict.ASK, (OPERATOR, RELEASE))
    assert {"deploy.freeze", "deploy.window", "env.prod-change"} <= set(decision.rule_ids)
    half = decided(f"operator on env=prod, tool=deploy_release frozen approval=operator: {effects_of(INSIDE)}")
    assert (half.verdict, half.rule_ids, half.obligations) == (Verdict.ASK, ("deploy.freeze",), (RELEASE,))


def test_a_freeze_asks_before_a_release_runs_into_a_layer() -> None:
    waiting = "tool=deploy_release frozen containment=2 waits program=./build"
    assert decided(f"operator on env=dev, {waiting}: {SWITCH}").obligations == (RELEASE,)


# ── how much of the fleet at once ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("tool", ["deploy_release", "deploy_rollback"])
@pytest.mark.parametrize(
    ("fleet", "share", "asks"),
    [
        (1, 100, False),
        (2, 50, False),
        (2, 99, False),
        (2, 100, True),
        (3, 34, False),
        (3, 50, False),
        (3, 51, True),
        (3, 100, True),
        (40, 50, False),
        (40, 51, True),
    ],
)
def test_more_than_half_of_a_production_fleet_at_once_asks_without_a_canary(
    tool: str, fleet: int, share: int, asks: bool
) -> None:
    said = f"tool={tool} hosts={fleet} fleet={fleet} share={share}"
    for env in ("env=prod", "env=production", "team=web"):
        decision = decided(f"operator on {env}, {said}: {SWITCH}", ALONE)
        assert decision.rule_ids == (("deploy.fleet-at-once",) if asks else ("p",))
        assert decision.obligations == ((OPERATOR,) if asks else ())
        assert decided(f"operator on {env}, {said} canary: {SWITCH}", ALONE).verdict is Verdict.ALLOW
    for env in ("staging", "dev", "sandbox"):
        assert decided(f"operator on env={env}, {said}: {SWITCH}", ALONE).verdict is Verdict.ALLOW


@pytest.mark.parametrize(
    ("env", "verb", "verdict"),
    [
        ("prod", "stop", Verdict.ASK),
        ("live", "stop", Verdict.ASK),
        ("prod", "restart", Verdict.ALLOW),
        ("prod", "start", Verdict.ALLOW),
        ("staging", "stop", Verdict.ALLOW),
        ("dev", "stop", Verdict.ALLOW),
    ],
)
def test_stopping_a_service_in_production_asks(env: str, verb: str, verdict: Verdict) -> None:
    text = f"operator on env={env}, tool=deploy_service: service {verb} shop"
    assert decided(text, ALONE).verdict is verdict
    assert decided(text.replace(":", " approval=operator:", 1), ALONE).verdict is Verdict.ALLOW


# ── what a rule can see of a deployment ──────────────────────────────────────────────────────────────────────────────

SEEN = (
    ('context.app == "shop"', Fleet(app="shop")),
    ('context.owner == "web"', Fleet(owner="web")),
    ('context.release == "r1"', Fleet(release="r1")),
    ("context.hosts == 3", Fleet(hosts=3)),
    ("context.fleet == 9", Fleet(fleet=9)),
    ("context.share == 33", Fleet(share=33)),
    ("context.canary", Fleet(canary=True)),
    ("context.frozen", Fleet(frozen="Christmas")),
    ("!context.inWindow", Fleet(in_window=False)),
)


@pytest.mark.parametrize(("condition", "fleet"), SEEN, ids=[condition for condition, _ in SEEN])
def test_a_rule_sees_every_fact_and_an_answer_that_is_remembered_is_for_those_facts(
    condition: str, fleet: Fleet
) -> None:
    rule = f'@id("p") permit (principal, action, resource) when {{ {condition} }};'
    engine = PolicyEngine.load([PolicySource("team.cedar", rule)])
    for _ in range(2):
        assert decided("operator: read /x", engine).verdict is Verdict.DENY
        assert decided("operator: read /x", engine, Situation(fleet=fleet)).verdict is Verdict.ALLOW


def test_every_fact_of_a_deployment_is_tried_above() -> None:
    plain = Fleet()
    tried = {field.name for _, fleet in SEEN for field in fields(Fleet) if _differs(fleet, plain, field.name)}
    assert tried == {field.name for field in fields(Fleet)}


def _differs(one: Fleet, other: Fleet, name: str) -> bool:
    return bool(getattr(one, name) != getattr(other, name))


def test_a_call_that_is_no_deployment_has_the_facts_of_none() -> None:
    none = {"app": "", "owner": "", "release": "", "hosts": 0, "fleet": 0, "share": 0}
    assert _context(Situation()).items() >= {**none, "canary": False, "frozen": False, "inWindow": True}.items()


def _context(situation: Situation) -> dict[str, Any]:
    case = example_of("operator on env=dev: write /srv/app/x")
    asked = questions(case.call, case.effects, case.host)
    (text,) = form(asked, case.principal, case.host, case.call, case.effects).texts(situation)
    return dict(json.loads(text))


def test_an_example_says_every_fact_of_a_deployment_in_words() -> None:
    said = "app=shop owner=web release=r1 hosts=3 fleet=9 share=33 canary frozen=Christmas outside"
    fleet = example_of(f"operator on env=prod, tool=deploy_release {said}: nothing").situation.fleet
    assert fleet == Fleet("shop", "web", "r1", 3, 9, 33, True, "Christmas", False)
    assert example_of("operator, frozen: nothing").situation.fleet == Fleet(frozen="a freeze")
    assert example_of("operator: nothing").situation.fleet == Fleet()
    with pytest.raises(ValueError, match=r"no setting 'fleets'.* share"):
        example_of("operator, fleets=3: nothing")


@pytest.mark.parametrize(
    "text",
    ['{"__entity": {"type": "Role", "id": "operator"}}', 'Role::"operator"', '"', "\\", "\ud800", "\0", "𝔘" * 9000],
)
def test_no_name_of_a_release_becomes_anything_but_text(text: str) -> None:
    fleet = Fleet(app=text, owner=text, release=text, frozen=text)
    case = example_of(f"operator on env=dev, tool=deploy_release: {SWITCH}")
    decision = decided(f"operator on env=dev, tool=deploy_release: {SWITCH}", situation=Situation(fleet=fleet))
    assert (decision.verdict, decision.obligations, decision.errors) == (Verdict.ASK, (RELEASE,), ())
    put = form(questions(case.call, case.effects, case.host), case.principal, case.host, case.call, case.effects)
    (strict,) = cedarpy.is_authorized_batch(
        put.requests(Situation(fleet=fleet)),
        ENGINE._book.policies,
        put.entities,
        cedarpy.Schema.from_str(schema_text()),
    )
    assert not strict.diagnostics.errors


FLEETS = st.builds(
    Fleet,
    hosts=st.integers(0, 9),
    fleet=st.integers(0, 9),
    share=st.sampled_from([0, 33, 50, 51, 100]),
    canary=st.booleans(),
    frozen=st.sampled_from(["", "Christmas"]),
    in_window=st.booleans(),
)
TOOLS = st.sampled_from(["deploy_release", "deploy_rollback", "deploy_service", "deploy_status", "shell_run"])
STRICTNESS = [Verdict.ALLOW, Verdict.ASK, Verdict.DENY]


@settings(max_examples=60, deadline=None)
@given(
    FLEETS, TOOLS, st.sampled_from(["env=dev", "env=prod", "team=web"]), st.sampled_from([SWITCH, "read /srv/app/x"])
)
def test_a_deployments_facts_only_ever_make_a_verdict_stricter(fleet: Fleet, tool: str, env: str, what: str) -> None:
    text = f"operator on {env}, tool={tool}: {what}"
    plain, told = decided(text), decided(text, situation=Situation(fleet=fleet))
    assert STRICTNESS.index(told.verdict) >= STRICTNESS.index(plain.verdict)
    roles = frozenset(part.removeprefix("approval:") for part in told.obligations)
    assert decided(text, situation=Situation(fleet=fleet, approvals=roles)).verdict is Verdict.ALLOW


# ── what a fleet costs ───────────────────────────────────────────────────────────────────────────────────────────────


def test_each_further_host_costs_a_quarter_and_all_twice_where_more_than_half_change_at_once() -> None:
    assert fleet_units([30, 20, 10], 33) == fleet_units([30, 20, 10], 50) == 30 + 8
    assert fleet_units([30, 20, 10], 51) == fleet_units([30, 20, 10], 100) == 2 * 38


def test_a_fleets_cost_is_at_least_one_unit_and_bounded() -> None:
    assert fleet_units([], 0) == fleet_units([], 100) == 1
    assert fleet_units([COST_UNITS_MAX] * 50, 10) == COST_UNITS_MAX
    assert fleet_units([COST_UNITS_MAX // 2 + 1], 100) == COST_UNITS_MAX


def test_one_more_host_never_makes_a_release_cheaper() -> None:
    case = example_of(f"operator on env=prod: {effects_of(INSIDE)}")
    each = cost_units(case.effects, case.host)
    assert each > cost_units(Effects(inferred=case.effects.inferred[:1]), case.host)
    assert each > cost_units(case.effects, replace(case.host, labels={"env": "dev"}))
    costs = [fleet_units([each] * hosts, 25) for hosts in range(1, 8)]
    assert costs == sorted(costs)
    assert costs[0] == each
