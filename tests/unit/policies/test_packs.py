"""The shipped packs together: who gets which verdict for what, where."""

from collections.abc import Callable

import pytest

from interlock_policies.engine import PolicyEngine
from interlock_policies.facts import Decision
from interlock_policies.packs import SHIPPED, shipped
from interlock_policies.situations import example_of

Ask = Callable[[str], Decision]


@pytest.fixture(scope="module")
def ask() -> Ask:
    engine = PolicyEngine.load([], schema_packs=SHIPPED)

    def decide(text: str) -> Decision:
        case = example_of(text)
        return engine.decide(case.principal, case.host, case.call, case.effects, case.situation)

    return decide


OPERATOR = "approval:operator"


@pytest.mark.parametrize(
    ("text", "verdict", "obligations"),
    [
        # reading
        ("observer on env=prod: read /etc/nginx/nginx.conf", "ALLOW", ""),
        ("observer on env=prod, program=ls program=cat: read /var/log/syslog", "ALLOW", ""),
        ("observer on env=prod, program=ls: nothing", "ALLOW", ""),
        ("observer: nothing", "ALLOW", ""),
        ("observer+operator on env=prod, confidence=low doubts=3: read /etc/hosts", "ALLOW", ""),
        ("observer on env=prod: read /etc/shadow", "ASK", "approval:security"),
        ("operator on env=dev: read /srv/app/.env", "ASK", "approval:security"),
        ("operator on env=dev: read /etc/**", "ASK", OPERATOR),
        ("operator on env=dev: read /var/lib/interlock/keys", "DENY", ""),
        ("operator on env=dev: read /var/lib/**", "ASK", OPERATOR),
        ("operator on env=dev: read /dev/sda", "DENY", ""),
        ("nobody on env=dev: read /etc/hosts", "DENY", ""),
        ("nobody on env=dev: nothing", "DENY", ""),
        # an observer changes nothing
        ("observer on env=dev: write /srv/app/x", "DENY", ""),
        ("observer on env=dev, approval=operator: write /srv/app/x", "DENY", ""),
        ("observer on env=dev: delete /tmp/x", "DENY", ""),
        ("observer on env=dev, opaque: nothing", "DENY", ""),
        ("observer on env=dev, unknown=x: nothing", "DENY", ""),
        ("observer on env=dev, privileged program=sudo: read /etc/hosts", "DENY", ""),
        ("observer on env=dev: network http://localhost/", "DENY", ""),
        # environments
        ("operator on env=dev: write /srv/app/x", "ALLOW", ""),
        ("operator on env=sandbox: delete /srv/app/old/**", "ALLOW", ""),
        ("operator on env=dev: delete /srv/app/*", "ASK", OPERATOR),
        ("operator on env=dev: delete /srv/app/build/*", "ALLOW", ""),
        ("operator on env=dev: write /tmp/x", "ALLOW", ""),
        ("operator on env=dev: write /tmp; write /srv/app", "ALLOW", ""),
        ("operator on env=dev: write /srv/app/**", "DENY", ""),
        ("operator on env=dev: delete /tmp", "DENY", ""),
        ("operator on env=dev: network http://localhost:8080/", "ALLOW", ""),
        ("operator on env=staging: write /srv/app/x", "ALLOW", ""),
        ("operator on env=staging: write /tmp/x", "ASK", OPERATOR),
        ("operator on env=staging: network http://localhost:8080/", "ASK", OPERATOR),
        ("operator on env=prod: write /srv/app/x", "ASK", OPERATOR),
        ("operator: write /srv/app/x", "ASK", OPERATOR),
        ("operator on env=production: write /tmp/x", "ASK", OPERATOR),
        ("operator on env=prod, approval=operator: write /srv/app/x", "ALLOW", ""),
        ("operator on env=prod, approval=security: write /srv/app/x", "ASK", OPERATOR),
        ("operator on env=dev: write /etc/nginx/nginx.conf", "ASK", OPERATOR),
        ("operator on env=dev: delete /srv/other/**", "ASK", OPERATOR),
        ("operator on env=dev: service restart nginx", "ASK", OPERATOR),
        ("operator on env=dev: network https://example.com", "ALLOW", ""),
        ("operator on env=staging: network https://example.com", "ASK", OPERATOR),
        ("operator on env=dev, by=curl: network http://127.1/", "ASK", OPERATOR),
        ("operator on env=dev: network http://169.254.169.254/", "ASK", "approval:security"),
        ("operator on env=dev: system apt-get: install nginx", "ASK", OPERATOR),
        ("operator on env=dev, privileged program=sudo: read /etc/hosts", "ASK", OPERATOR),
        ("operator on env=dev, opaque: nothing", "ASK", OPERATOR),
        ("operator on env=dev, unknown=frobnicate: nothing", "ASK", OPERATOR),
        ("operator on env=prod, opaque unknown=x privileged: write /srv/app/x; service stop nginx", "ASK", OPERATOR),
        # containment: nothing contained asks, what waits in a layer runs, and what was measured is decided
        ("operator on env=dev, program=cp: write /srv/app/x", "ASK", OPERATOR),
        ("operator on env=dev, program=cp reaches=confined: write /srv/app/x", "ASK", "containment:1"),
        ("operator on env=dev, program=cp containment=1: write /srv/app/x", "ALLOW", ""),
        ("operator on env=dev, program=cp tool=file_write: read /srv/app/x", "ALLOW", ""),
        ("operator on env=dev, opaque reaches=staged: nothing", "ASK", "containment:2"),
        ("operator on env=dev, opaque reaches=confined: nothing", "ASK", OPERATOR),
        ("operator on env=prod, opaque containment=2 waits: nothing", "ALLOW", ""),
        ("operator on env=prod, opaque containment=1 waits: nothing", "ASK", OPERATOR),
        ("operator on env=prod, opaque containment=2 waits: delete /etc/passwd", "ALLOW", ""),
        ("operator on env=prod, opaque containment=2 measured: write /srv/app/x", "ASK", OPERATOR),
        ("operator on env=dev, opaque containment=2 measured: write /srv/app/x", "ALLOW", ""),
        ("operator on env=dev, opaque containment=2 measured approval=operator: write /etc/passwd", "DENY", ""),
        ("observer on env=dev, opaque containment=2 waits: nothing", "ALLOW", ""),
        ("observer on env=dev, opaque containment=2 measured: write /srv/app/x", "DENY", ""),
        ("operator on env=dev, measured by=git containment=2: write /srv/app/.git/config", "ALLOW", ""),
        ("operator on env=dev, measured by=shell_run containment=2: write /srv/app/.git/config", "ASK", OPERATOR),
        # secrets that a call asks to see
        ("operator on env=dev, containment=2 waits reads=/home/agent/.aws: nothing", "ASK", "approval:security"),
        ("operator on env=dev, reads=/etc/shadow: nothing", "ASK", "approval:security"),
        ("operator on env=dev, reads=/srv/app/src: nothing", "ALLOW", ""),
        ("operator on env=dev, approval=security reads=/var/lib/interlock: nothing", "DENY", ""),
        # confidence
        ("operator on env=dev, confidence=low: write /srv/app/x", "ASK", OPERATOR),
        ("operator on env=dev, confidence=medium doubts=1: write /srv/app/x", "ASK", OPERATOR),
        ("operator on env=dev, confidence=medium: write /srv/app/x", "ALLOW", ""),
        ("operator on env=dev, confidence=low approval=operator: write /srv/app/x", "ALLOW", ""),
        # hard limits
        ("operator on env=dev, approval=operator: delete /**", "DENY", ""),
        ("operator on env=dev, approval=operator: delete /*", "DENY", ""),
        ("operator on env=dev, approval=operator: write /*", "DENY", ""),
        ("operator on env=dev, approval=operator: delete /etc", "DENY", ""),
        ("operator on env=dev, approval=operator: delete /home/agent/*", "DENY", ""),
        ("operator on env=dev, approval=operator: delete /srv/app", "DENY", ""),
        ("operator on env=dev, approval=operator: delete /var/**", "DENY", ""),
        ("operator on env=dev, approval=operator: write /usr/bin/ls", "DENY", ""),
        ("operator on env=dev, approval=operator: write /dev/sda", "DENY", ""),
        ("operator on env=dev, approval=operator: write /etc/shadow", "DENY", ""),
        ("operator on env=dev, approval=operator: write /root/.ssh/authorized_keys", "DENY", ""),
        ("operator on env=dev, approval=operator: delete /var/log/wtmp", "DENY", ""),
        ("operator on env=dev, approval=operator: write /var/lib/interlock/x", "DENY", ""),
        ("operator on env=dev, approval=operator download: network https://x.example", "DENY", ""),
        ("operator on env=dev, kind=human approval=operator: write /etc/passwd", "DENY", ""),
        ("operator on env=prod, kind=human: write /srv/app/x", "ASK", OPERATOR),
        # one effect among many decides for all
        ("operator on env=dev: write /srv/app/x; write /srv/app/y; delete /etc/passwd", "DENY", ""),
        (
            "operator on env=dev: read /srv/app/.env; service restart nginx",
            "ASK",
            "approval:operator approval:security",
        ),
    ],
)
def test_the_packs_decide(ask: Ask, text: str, verdict: str, obligations: str) -> None:
    decision = ask(text)
    assert (decision.verdict.value, " ".join(decision.obligations)) == (verdict, obligations), decision.rule_ids


def test_every_denial_by_a_rule_has_a_hint_or_a_title(ask: Ask) -> None:
    decision = ask("operator on env=dev: delete /etc/passwd")
    assert decision.rule_ids == ("base.identity",)
    assert decision.rules[0].title
    assert decision.rules[0].hint


def test_what_nothing_lifts_is_named_first(ask: Ask) -> None:
    assert ask("operator on env=prod: delete /etc/passwd; write /srv/app/x").rule_ids == ("base.identity",)
    assert ask("observer on env=dev: delete /etc/passwd; write /srv/app/x").rule_ids == (
        "base.identity",
        "interlock:nothing-matched",
    )


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_pack_loads_alone(name: str) -> None:
    assert PolicyEngine.load([], schema_packs=[name]).rules()


def test_a_pack_that_is_not_shipped_is_named() -> None:
    with pytest.raises(KeyError, match=r"baseline, environments, confidence"):
        shipped("basline")
