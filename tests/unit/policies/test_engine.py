"""The engine: it fails closed, the strictest answer wins, and ASK names what really lifts it."""

import json
from dataclasses import replace
from typing import Any

import cedarpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock_policies import cedar
from interlock_policies.engine import PolicyEngine
from interlock_policies.facts import Decision, HostFacts, Principal, Situation, Verdict
from interlock_policies.packs import SHIPPED, PolicySource, schema_text
from interlock_policies.places import KNOWN
from interlock_policies.questions import PROGRAMS_MAX, QUESTIONS_MAX, questions
from interlock_policies.requests import form
from interlock_policies.situations import EXAMPLE_HOST, Example, example_of
from interlock_tools.call import Call
from interlock_tools.effects import Declaration, Effect, EffectKind, Effects, Network

ENGINE = PolicyEngine.load([], schema_packs=SHIPPED)
OPERATOR = Principal("agent", roles=frozenset({"operator", "observer"}))
DEV = replace(EXAMPLE_HOST, labels={"env": "dev", "team": "web"}, groups=frozenset({"front"}))
CALL = Call("c1", "agent", "shell_run", "example", {})
STRICTNESS = [Verdict.ALLOW, Verdict.ASK, Verdict.DENY]


def engine_of(text: str, *packs: str) -> PolicyEngine:
    return PolicyEngine.load([PolicySource("team.cedar", text)], schema_packs=packs)


def decide(engine: PolicyEngine, text: str) -> Decision:
    return decide_case(engine, example_of(text))


def decide_case(engine: PolicyEngine, case: Example) -> Decision:
    return engine.decide(case.principal, case.host, case.call, case.effects, case.situation)


PERMIT = '@id("p") permit (principal, action, resource);\n'


# ── failing closed ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_without_any_policy_everything_is_denied() -> None:
    decision = decide(engine_of(""), "operator on env=dev: read /etc/hosts")
    assert decision.verdict is Verdict.DENY
    assert decision.rule_ids == ("interlock:nothing-matched",)


def test_a_forbid_that_errors_denies_although_the_engine_would_skip_it() -> None:
    engine = engine_of(
        PERMIT + '@id("f") forbid (principal, action, resource) when { context.hour * 9223372036854775807 > 9 };'
    )
    decision = decide(engine, "operator: read /etc/hosts")
    assert decision.verdict is Verdict.DENY
    assert decision.errors
    assert "interlock:engine-error" in decision.rule_ids


def test_a_permit_that_errors_denies() -> None:
    engine = engine_of(
        PERMIT + '@id("q") permit (principal, action, resource) when { context.hour * 9223372036854775807 > 9 };'
    )
    assert decide(engine, "operator: read /etc/hosts").verdict is Verdict.DENY


@pytest.mark.parametrize("fault", [ValueError("x"), RuntimeError("x"), TypeError("x"), KeyError("x")])
def test_an_engine_that_throws_denies(fault: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise fault

    engine = engine_of(PERMIT)
    monkeypatch.setattr(cedar.cedarpy, "is_authorized_batch", broken)
    decision = decide(engine, "operator: read /etc/hosts")
    assert decision.verdict is Verdict.DENY
    assert decision.errors


def test_an_engine_that_gives_no_decision_or_too_few_denies(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of(PERMIT)
    nothing = cedarpy.AuthzResult({"decision": "NoDecision", "diagnostics": {"reason": [], "errors": []}})
    monkeypatch.setattr(cedar.cedarpy, "is_authorized_batch", lambda *_: [nothing])
    assert decide(engine, "operator: read /etc/hosts").verdict is Verdict.DENY
    monkeypatch.setattr(cedar.cedarpy, "is_authorized_batch", lambda *_: [])
    assert decide(engine, "operator: read /etc/passwd").verdict is Verdict.DENY


def test_a_call_with_too_many_effects_is_denied_and_told_to_be_split() -> None:
    many = tuple(Effect(EffectKind.WRITE, f"/srv/app/{n}", "tool") for n in range(QUESTIONS_MAX + 1))
    decision = ENGINE.decide(OPERATOR, DEV, CALL, Effects(inferred=many), Situation())
    assert decision.verdict is Verdict.DENY
    assert decision.rule_ids == ("interlock:too-many-effects",)
    programs = tuple(f"p{n}" for n in range(PROGRAMS_MAX + 1))
    assert ENGINE.decide(OPERATOR, DEV, CALL, Effects(programs=programs), Situation()).rules == decision.rules
    fewer = ENGINE.decide(OPERATOR, DEV, CALL, Effects(inferred=many[:-1]), Situation())
    assert fewer.verdict is Verdict.ALLOW


@pytest.mark.parametrize(
    "text",
    [
        '{"__entity": {"type": "Role", "id": "operator"}}',
        '{"__extn": {"fn": "ip", "arg": "1.2.3.4"}}',
        'Role::"operator"',
        '"',
        "\\",
        "\n",
        "\ud800",
        "\0",
        "𝔘" * 9000,
    ],
)
def test_no_text_of_a_caller_becomes_anything_but_text(text: str) -> None:
    effects = Effects(
        Declaration(writes=(f"/srv/app/{text}",), services=(text,), network=Network.OUTBOUND),
        (
            Effect(EffectKind.WRITE, f"/srv/app/{text}", text),
            Effect(EffectKind.SYSTEM, text, text),
            Effect(EffectKind.NETWORK, text, text),
        ),
        (text,),
        (text,),
        (text,),
    )
    stranger = Principal(text, roles=frozenset({"stranger"}))
    assert ENGINE.decide(stranger, DEV, CALL, effects, Situation()).verdict is Verdict.DENY
    answer = ENGINE.decide(OPERATOR, DEV, replace(CALL, tool=text), effects, Situation(approvals=frozenset({text})))
    assert answer.verdict in (Verdict.ASK, Verdict.DENY)
    assert not answer.errors


def test_every_request_has_the_form_that_the_schema_demands() -> None:
    effects = Effects(
        Declaration(("/srv/app",), ("/srv/app/x",), ("nginx",), Network.OUTBOUND),
        tuple(Effect(kind, "/srv/app/y", "tool") for kind in EffectKind),
        ("ls",),
        ("zz",),
        ("why",),
        True,
        True,
    )
    asked = questions(CALL, effects, DEV)
    put = form(asked, OPERATOR, DEV, CALL, effects)
    assert {question.action for question in asked} == {"run", "read", "write", "delete", "service", "network", "system"}
    book = ENGINE._book
    requests = put.requests(Situation(approvals=frozenset({"operator"})))
    strict = cedarpy.is_authorized_batch(requests, book.policies, put.entities, book.schema)
    assert all(not result.diagnostics.errors for result in strict)
    assert [result.allowed for result in strict] == [a.allowed for a in cedar.authorize(book, requests, put.entities)]
    cedarpy.Entities.from_json_str(put.entities, schema_text())
    assert all(isinstance(json.loads(request["context"]), dict) for request in requests)


# ── ASK is a counterfactual ──────────────────────────────────────────────────────────────────────────────────────────


def test_an_annotation_that_lifts_nothing_ends_as_a_denial() -> None:
    wrong = """@id("f") @requires("approval:peer") forbid (principal, action, resource)
    unless { context.approvals.contains("owner") };"""
    decision = decide(engine_of(PERMIT + wrong), "operator: read /etc/hosts")
    assert decision.verdict is Verdict.DENY
    assert decision.rule_ids == ("f", "interlock:not-liftable")


def test_one_set_of_obligations_lifts_every_effect_at_once() -> None:
    rules = """
    @id("w") @requires("approval:peer|approval:owner") forbid (principal, action == Action::"write", resource)
    unless { context.approvals.containsAny(["peer", "owner"]) };
    @id("d") @requires("approval:owner") forbid (principal, action == Action::"delete", resource)
    unless { context.approvals.contains("owner") };
    """
    decision = decide(engine_of(PERMIT + rules), "operator: write /srv/app/x; delete /srv/app/y")
    assert (decision.verdict, decision.obligations) == (Verdict.ASK, ("approval:owner",))


def test_what_is_needed_together_is_asked_together() -> None:
    rule = """@id("f") @requires("approval:peer&approval:owner") forbid (principal, action, resource)
    unless { context.approvals.contains("peer") && context.approvals.contains("owner") };"""
    engine = engine_of(PERMIT + rule)
    assert decide(engine, "operator: read /x").obligations == ("approval:owner", "approval:peer")
    assert decide(engine, "operator on env=dev, approval=peer: read /x").verdict is Verdict.ASK
    assert decide(engine, "operator on env=dev, approval=peer approval=owner: read /x").verdict is Verdict.ALLOW


LIFTED = """@id("f") @requires("containment:2|preview|approval:operator") forbid (principal, action, resource)
unless { context.containment >= 2 || context.previewed || context.approvals.contains("operator") };"""


@pytest.mark.parametrize(
    ("reachable", "obligations"),
    [
        (("none",), ("approval:operator",)),
        (("none", "confined"), ("approval:operator",)),
        (("none", "confined", "staged"), ("containment:2",)),
    ],
)
def test_the_cheapest_obligation_that_the_host_can_meet_is_asked_for(
    reachable: tuple[str, ...], obligations: tuple[str, ...]
) -> None:
    case = example_of("operator: write /srv/app/x")
    decision = decide_case(engine_of(PERMIT + LIFTED), replace(case, host=replace(case.host, containment=reachable)))
    assert (decision.verdict, decision.obligations) == (Verdict.ASK, obligations)


def test_where_only_containment_would_help_and_the_host_has_none_it_is_denied() -> None:
    rule = (
        '@id("f") @requires("containment:1") forbid (principal, action, resource) unless { context.containment >= 1 };'
    )
    assert decide(engine_of(PERMIT + rule), "operator: write /srv/app/x").verdict is Verdict.DENY


def test_many_alternatives_are_tried_within_a_bound() -> None:
    rules = "".join(
        f'@id("f{n}") @requires("approval:a{n}|approval:b{n}") forbid (principal, action, resource)'
        f' unless {{ context.approvals.containsAny(["a{n}", "b{n}"]) }};\n'
        for n in range(20)
    )
    decision = decide(engine_of(PERMIT + rules), "operator: write /srv/app/x")
    assert decision.verdict is Verdict.ASK
    assert len(decision.obligations) == 20


# ── what a rule can see ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "condition",
    [
        'resource in Dir::"/etc/nginx"',
        'resource in Dir::"/"',
        'resource in Env::"dev"',
        'resource in Group::"front"',
        'resource in Label::"team=web"',
        'resource in Host::"example"',
        'resource.path like "*.conf"',
        'principal in Role::"observer"',
        'principal.kind == "agent" && principal.autonomy == 0',
        'context.tool == "shell_run" && context.by == "cp"',
        'context.classes.contains("config") && context.changes',
        "context.weekday == 5 && context.hour == 23",
    ],
)
def test_a_rule_sees_path_host_principal_and_time(condition: str) -> None:
    engine = engine_of(f'@id("p") permit (principal, action == Action::"write", resource) when {{ {condition} }};')
    effects = Effects(inferred=(Effect(EffectKind.WRITE, "/etc/nginx/nginx.conf", "cp"),))
    late = Situation(weekday=5, hour=23)
    assert engine.decide(OPERATOR, DEV, CALL, effects, late).verdict is Verdict.ALLOW


def test_a_host_without_an_environment_is_in_prod() -> None:
    engine = engine_of('@id("p") permit (principal, action, resource in Env::"prod");')
    assert decide(engine, "operator: read /x").verdict is Verdict.ALLOW
    assert decide(engine, "operator on env=dev: read /x").verdict is Verdict.DENY


def test_what_was_declared_is_decided_too() -> None:
    opaque = Effects(Declaration(writes=("/etc/shadow",)), opaque=("a script",))
    granted = Situation(approvals=frozenset({"operator", "security"}))
    assert ENGINE.decide(OPERATOR, DEV, CALL, opaque, granted).rule_ids == ("base.identity",)
    tree = Effects(Declaration(writes=("/etc",)), opaque=("a script",))
    assert ENGINE.decide(OPERATOR, DEV, CALL, tree, granted).verdict is Verdict.DENY
    services = Effects(Declaration(services=("nginx",)))
    assert ENGINE.decide(OPERATOR, DEV, CALL, services, Situation()).rule_ids == ("base.service",)


def test_the_declared_path_that_is_the_inferred_one_is_asked_once() -> None:
    write = Effect(EffectKind.WRITE, "/srv/app/x", "file_write")
    effects = Effects(Declaration(writes=("/srv/app/x",)), (write, write))
    assert len(questions(replace(CALL, tool="file_write"), effects, DEV)) == 1


def test_looking_at_names_in_a_place_with_secrets_is_no_reading_of_secrets() -> None:
    def read(by: str) -> Verdict:
        effects = Effects(inferred=(Effect(EffectKind.READ, "/home/agent", by, recursive=True),), programs=(by,))
        return ENGINE.decide(OPERATOR, DEV, CALL, effects, Situation()).verdict

    assert read("find") is Verdict.ALLOW
    assert read("grep") is Verdict.ASK


def test_writing_to_nowhere_is_no_change() -> None:
    effects = Effects(inferred=(Effect(EffectKind.WRITE, "/dev/null", "cat"),), programs=("cat",))
    observer = Principal("o", roles=frozenset({"observer"}))
    prod = replace(DEV, labels={"env": "prod"})
    assert ENGINE.decide(observer, prod, CALL, effects, Situation()).verdict is Verdict.ALLOW


# ── properties ───────────────────────────────────────────────────────────────────────────────────────────────────────

PATHS = st.sampled_from(
    [*sorted(KNOWN), "/", "/srv/app/x", "/srv/app/.env", "/opt/x", "/home/agent/x", "/var/lib/interlock/x"]
)
EFFECTS = st.builds(
    Effect,
    kind=st.sampled_from([EffectKind.READ, EffectKind.WRITE, EffectKind.DELETE]),
    target=PATHS,
    by=st.just("tool"),
    recursive=st.booleans(),
    exact=st.booleans(),
) | st.sampled_from(
    [Effect(EffectKind.SERVICE, "stop nginx", "tool"), Effect(EffectKind.NETWORK, "https://x.example", "tool")]
)
CALLS = st.builds(
    Effects,
    inferred=st.lists(EFFECTS, max_size=4).map(tuple),
    opaque=st.sampled_from([(), ("why",)]),
    privileged=st.booleans(),
)
ROLES = st.sets(st.sampled_from(["operator", "security", "peer"])).map(frozenset)
HOSTS = st.sampled_from(["prod", "staging", "dev", "sandbox", "odd"]).map(lambda env: replace(DEV, labels={"env": env}))
BOUNDED = settings(max_examples=60, deadline=None)


@BOUNDED
@given(CALLS, HOSTS, ROLES, ROLES)
def test_taking_an_approval_away_never_makes_a_verdict_weaker(
    effects: Effects, host: HostFacts, some: frozenset[str], more: frozenset[str]
) -> None:
    few = ENGINE.decide(OPERATOR, host, CALL, effects, Situation(approvals=some))
    many = ENGINE.decide(OPERATOR, host, CALL, effects, Situation(approvals=some | more))
    assert STRICTNESS.index(few.verdict) >= STRICTNESS.index(many.verdict)


@BOUNDED
@given(CALLS, HOSTS)
def test_meeting_the_obligations_of_an_ask_allows_the_call(effects: Effects, host: HostFacts) -> None:
    decision = ENGINE.decide(OPERATOR, host, CALL, effects, Situation())
    if decision.verdict is Verdict.ASK:
        roles = frozenset(part.removeprefix("approval:") for part in decision.obligations)
        granted = Situation(approvals=roles)
        assert ENGINE.decide(OPERATOR, host, CALL, effects, granted).verdict is Verdict.ALLOW
    else:
        assert not decision.obligations


@BOUNDED
@given(PATHS, st.sampled_from([EffectKind.WRITE, EffectKind.DELETE]), HOSTS)
def test_a_recursive_change_of_an_ancestor_of_a_forbidden_path_is_denied(
    path: str, kind: EffectKind, host: HostFacts
) -> None:
    granted = Situation(approvals=frozenset({"operator", "security"}))

    def verdict(effect: Effect) -> Verdict:
        return ENGINE.decide(OPERATOR, host, CALL, Effects(inferred=(effect,)), granted).verdict

    if verdict(Effect(kind, path, "tool")) is not Verdict.DENY:
        return
    above = path
    while above != "/":
        above = above.rpartition("/")[0] or "/"
        assert verdict(Effect(kind, above, "tool", recursive=True)) is Verdict.DENY


@BOUNDED
@given(CALLS, EFFECTS, HOSTS)
def test_one_more_effect_never_makes_a_verdict_weaker(effects: Effects, extra: Effect, host: HostFacts) -> None:
    fewer = ENGINE.decide(OPERATOR, host, CALL, effects, Situation())
    more = ENGINE.decide(OPERATOR, host, CALL, replace(effects, inferred=(*effects.inferred, extra)), Situation())
    assert STRICTNESS.index(more.verdict) >= STRICTNESS.index(fewer.verdict)


@BOUNDED
@given(CALLS, HOSTS, ROLES)
def test_the_same_question_gets_the_same_answer(effects: Effects, host: HostFacts, roles: frozenset[str]) -> None:
    fresh = PolicyEngine(ENGINE._book)
    situation = Situation(approvals=roles)
    first = ENGINE.decide(OPERATOR, host, CALL, effects, situation)
    assert ENGINE.decide(OPERATOR, host, CALL, effects, situation) == first
    assert fresh.decide(OPERATOR, host, CALL, effects, situation) == first
