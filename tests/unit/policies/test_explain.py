"""Explanations: they say what the engine would answer, and nothing else."""

from interlock_policies.engine import PolicyEngine
from interlock_policies.explain import allowed_for, sentence
from interlock_policies.facts import Decision, Principal, Verdict
from interlock_policies.packs import SHIPPED
from interlock_policies.situations import example_of

ENGINE = PolicyEngine.load([], schema_packs=SHIPPED)


def lines(text: str) -> list[str]:
    case = example_of(text)
    return ENGINE.explain(case.principal, case.host, case.call, case.effects, case.situation).lines()


def test_a_change_in_production_is_explained_with_what_would_pass() -> None:
    told = lines("operator on env=prod: write /srv/app/x")
    assert told[0] == "asks: needs approval by operator (Every change in production needs an operator's approval)"
    assert "would pass: the same call, with approval by operator" in told
    assert "would pass: the same on a host with env=dev" in told


def test_a_denied_delete_is_told_where_it_would_pass() -> None:
    told = lines("operator on env=dev: delete /etc/passwd; write /srv/app/x")
    assert told[0].startswith("denied: Accounts, sudo, SSH")
    assert "delete /etc/passwd: denied: Accounts, sudo, SSH, cron and start-up files are never changed" in told
    assert "write /srv/app/x: allowed" in told
    assert "would pass: the same below /srv/app" in told


def test_an_observer_is_told_that_an_operator_could() -> None:
    assert "would pass: the same by a principal with the role operator" in lines(
        "observer on env=dev: write /srv/app/x"
    )


def test_doubts_and_opacity_are_named_as_what_stands_in_the_way() -> None:
    assert "would pass: the same with confidence high" in lines("operator on env=dev, confidence=low: write /srv/app/x")
    assert "would pass: the same as plain commands of known programs" in lines("operator on env=dev, opaque: nothing")
    assert "would pass: the same without becoming another user" in lines("operator on env=dev, privileged: nothing")


def test_an_allowed_call_needs_no_advice_and_the_json_says_the_same() -> None:
    case = example_of("operator on env=dev: write /srv/app/x")
    told = ENGINE.explain(case.principal, case.host, case.call, case.effects, case.situation)
    assert told.would_pass == ()
    assert told.to_json()["verdict"] == "ALLOW"
    assert told.to_json()["rules"] == [{"id": "base.change", "title": ENGINE.rules()[2].rule.title, "hint": ""}]


def test_what_a_principal_may_do_is_said_in_words_per_host() -> None:
    case = example_of("operator on env=staging: nothing")
    text = allowed_for(ENGINE, Principal("claude", roles=frozenset({"operator"})), case.host)
    assert "- write a file below /srv/app: allowed." in text
    assert "- start, stop or restart a service: asks: needs approval by operator" in text
    assert "- change accounts, sudo, SSH, cron: denied: " in text
    observer = allowed_for(ENGINE, Principal("watcher", roles=frozenset({"observer"})), case.host)
    assert "- write a file below /srv/app: denied: Nothing permits this." in observer
    assert "- run a command that only reads: allowed." in observer


def test_a_host_that_stages_is_described_as_what_may_be_done_there_staged() -> None:
    case = example_of("operator on env=dev, reaches=staged: nothing")
    text = allowed_for(ENGINE, Principal("claude", roles=frozenset({"operator"})), case.host)
    assert "Commands are at most staged." in text
    assert "- run what cannot be read (scripts, interpreters): allowed." in text
    told = lines("operator on env=dev, opaque reaches=staged: nothing")
    assert told[0] == "asks: needs a staged run (What cannot be read runs contained, or a human reads it)"


def test_a_decision_without_rules_still_has_a_sentence() -> None:
    assert sentence(Decision(Verdict.DENY)) == "denied: nothing matched"
