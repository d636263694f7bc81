"""Scope: what was inferred stays within what was declared, or is named."""

import pytest

from interlock_policies.scope import honest_declaration, path_queries, resolved, undeclared
from interlock_tools.effects import Declaration, Effect, EffectKind, Effects, Network

DECLARED = Declaration(
    writes=("/srv/app/config", "/srv/app/logs/"), deletes=("/srv/app/old",), services=("nginx",), network=Network.NONE
)


@pytest.mark.parametrize(
    ("kind", "target", "covered"),
    [
        (EffectKind.READ, "/etc/passwd", True),
        (EffectKind.WRITE, "/srv/app/config", True),
        (EffectKind.WRITE, "/srv/app/config/a/b", True),
        (EffectKind.WRITE, "/srv/app/logs/x", True),
        (EffectKind.WRITE, "/srv/app/config/../secret", False),
        (EffectKind.WRITE, "/srv/app/configuration", False),
        (EffectKind.WRITE, "/srv/app", False),
        (EffectKind.WRITE, "/srv/app/old", False),
        (EffectKind.WRITE, "relative", False),
        (EffectKind.WRITE, "/dev/null", True),
        (EffectKind.DELETE, "/dev/null", False),
        (EffectKind.DELETE, "/srv/app/old/x", True),
        (EffectKind.DELETE, "/srv/app/config", False),
        (EffectKind.SERVICE, "restart nginx", True),
        (EffectKind.SERVICE, "restart nginx.service", True),
        (EffectKind.SERVICE, "stop postgresql", False),
        (EffectKind.NETWORK, "https://example.com", False),
        (EffectKind.SYSTEM, "apt-get: install nginx", True),
    ],
)
def test_an_effect_is_covered_exactly_by_what_was_declared_for_its_kind(
    kind: EffectKind, target: str, covered: bool
) -> None:
    effect = Effect(kind, target, "program")
    assert undeclared(Effects(DECLARED, (effect,))) == (() if covered else (effect,))


def test_the_honest_declaration_covers_everything_and_keeps_what_was_declared() -> None:
    inferred = (
        Effect(EffectKind.WRITE, "/etc/app.conf", "cp"),
        Effect(EffectKind.DELETE, "/srv/app/tmp", "rm", recursive=True),
        Effect(EffectKind.SERVICE, "restart php-fpm", "systemctl"),
        Effect(EffectKind.NETWORK, "?", "curl"),
    )
    patch = honest_declaration(Effects(DECLARED, inferred))
    assert patch == {
        "writes": ["/srv/app/config", "/srv/app/logs/", "/etc/app.conf"],
        "deletes": ["/srv/app/old", "/srv/app/tmp"],
        "services": ["nginx", "php-fpm"],
        "network": "outbound",
    }
    honest = Declaration(
        tuple(patch["writes"]), tuple(patch["deletes"]), tuple(patch["services"]), Network(patch["network"])
    )
    assert undeclared(Effects(honest, inferred)) == ()


def test_nothing_is_patched_where_nothing_is_missing() -> None:
    assert honest_declaration(Effects(DECLARED, (Effect(EffectKind.READ, "/x", "cat"),))) == {}


def test_the_places_of_secrets_that_a_call_asks_to_see_are_looked_up_behind_their_links() -> None:
    effects = Effects(Declaration(reads=("/home/agent/keys",)))
    assert path_queries(effects) == (("/home/agent/keys", True),)
    there = resolved(effects, {("/home/agent/keys", True): "/home/agent/.ssh"})
    assert there.declared.reads == ("/home/agent/.ssh",)
    assert undeclared(there) == ()


def test_a_write_follows_a_link_and_a_delete_removes_it_unless_it_is_of_what_lies_behind() -> None:
    effects = Effects(
        Declaration(writes=("/srv/app/w",), deletes=("/srv/app/d",)),
        (
            Effect(EffectKind.WRITE, "/srv/app/w", "cp"),
            Effect(EffectKind.DELETE, "/srv/app/link", "rm"),
            Effect(EffectKind.DELETE, "/srv/app/link", "rm", exact=False),
            Effect(EffectKind.SERVICE, "restart nginx", "systemctl"),
        ),
    )
    queries = path_queries(effects)
    assert queries == (("/srv/app/w", True), ("/srv/app/link", False), ("/srv/app/link", True), ("/srv/app/d", False))
    there = resolved(effects, {("/srv/app/link", True): "/etc", ("/srv/app/w", True): "/mnt/w"})
    assert [effect.target for effect in there.inferred] == ["/mnt/w", "/srv/app/link", "/etc", "restart nginx"]
    assert there.declared == Declaration(writes=("/mnt/w",), deletes=("/srv/app/d",))
