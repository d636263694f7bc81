"""Loading: all or nothing, and every fault says where it is and what was meant."""

import pytest

from interlock_policies.engine import PolicyEngine
from interlock_policies.obligations import alternatives_of, combinations
from interlock_policies.packs import PolicySource
from interlock_policies.situations import EXAMPLE_HOST, example_of
from interlock_policies.statements import FILE_CHARS_MAX, STATEMENT_CHARS_MAX, PolicyFault, cut


def load(text: str, *packs: str) -> PolicyEngine:
    return PolicyEngine.load([PolicySource("team.cedar", text)], schema_packs=packs)


OK = '@id("ok") permit (principal, action, resource);\n'


@pytest.mark.parametrize(
    ("text", "line", "says", "hint"),
    [
        ("permit (principal, action, resource);", 1, "has no @id", "@id"),
        ('@id("a b") permit (principal, action, resource);', 1, "cannot be an id", ""),
        (OK + OK, 2, "is taken", "team.cedar:1"),
        ('@id("a")\n@requre("x")\nforbid (principal, action, resource);', 2, "no annotation @requre", "requires"),
        (
            OK + '@id("a") permit (principal, action, resource)\nwhen { context.tocuhes.contains("x") };',
            3,
            "tocuhes",
            "'touches'",
        ),
        ('@id("a") permit (principal, action == Action::"wirte", resource);', 1, "wirte", "'write'"),
        ('@id("a") permit (principal in Rol::"x", action, resource);', 1, "Rol", "'Role'"),
        (
            '// a comment\n\n@id("a") permit (principal, action, resource)\nwhen { context.classes.contians("x") };',
            4,
            "contians",
            "'contains'",
        ),
        ('@id("a") permit (principal, action, resource)\nwhn { true };', 2, "whn", "'when'"),
        (
            (
                '@id("a") permit (principal, action, resource)\n'
                'when { context.touches.containsAny(["secret",\n"identiy"]) };'
            ),
            3,
            "identiy",
            "'identity'",
        ),
        ('@id("a") permit (principal, action, resource) when { context.doubts == "x" };', 1, "Long and String", ""),
        (OK + '@id("a") permit (principal, action, resource)', 2, "has no end", ""),
        ('@id("a") permit (principal, action, resource));', 1, "too many", ""),
        ('@id("a") permit (principal == Principal::"x\n", action, resource);', 1, "not closed", ""),
        ('@id("a") permit (principal == ?principal, action, resource);', 1, "templates", ""),
        ('@id("a") @requires("approval:x") permit (principal, action, resource);', 1, "permit", "forbid"),
        ('@id("a")\n@requires("aproval:x")\nforbid (principal, action, resource);', 2, "aproval:x", "approval:ROLE"),
        ('@id("a") @requires("containment:9") forbid (principal, action, resource);', 1, "containment:9", "0 to 2"),
        (
            '@id("a") permit (principal, action, resource) when { ' + "(" * 999 + "true" + ")" * 999 + " };",
            1,
            "nested",
            "",
        ),
        (
            '@id("a") permit (principal, action, resource) when { ' + "true && " * STATEMENT_CHARS_MAX + "true };",
            1,
            "longer",
            "",
        ),
        ("// " + "x" * FILE_CHARS_MAX, 0, "longer", "split"),
    ],
)
def test_a_broken_file_says_where_and_what_was_meant(text: str, line: int, says: str, hint: str) -> None:
    with pytest.raises(PolicyFault) as caught:
        load(text)
    fault = caught.value
    assert (fault.file, fault.line) == ("team.cedar", line)
    assert says in fault.message
    assert hint in fault.hint
    assert str(fault).startswith(f"team.cedar:{line}: ")


def test_comments_and_strings_hide_what_looks_like_syntax() -> None:
    title = '@title("; ) } // not a comment \\" (")'
    text = f'// permit ( ; {{\n@id("a") {title} permit (principal, action, resource); // end ;\n'
    assert [statement.line for statement in cut("f", text + OK)] == [2, 3]
    assert len(load(text + OK).rules()) == 2


def test_the_version_changes_with_every_letter_and_with_nothing_else() -> None:
    assert load(OK).version == load(OK).version
    assert load(OK).version != load(OK + "\n").version
    assert load(OK).version != load(OK, "baseline").version


# ── examples ─────────────────────────────────────────────────────────────────────────────────────────────────────────

NGINX = """
{comment}
@id("team.nginx")
@requires("approval:web")
forbid (principal, action, resource in Dir::"/etc/nginx")
when {{ action != Action::"read" }}
unless {{ context.approvals.contains("web") }};
"""


@pytest.mark.parametrize(
    "example",
    [
        "match:     operator on env=prod team=web: write /etc/nginx/nginx.conf",
        "match: operator: read /etc/hosts; delete /etc/nginx/sites-enabled/**",
        "not_match: operator on env=prod, approval=web: write /etc/nginx/nginx.conf",
        "not_match: operator: read /etc/nginx/nginx.conf",
        "expect ASK: operator on env=dev: write /etc/nginx/nginx.conf",
        "expect team.nginx: operator on env=dev: write /etc/nginx/nginx.conf",
        "expect DENY: observer: write /etc/nginx/nginx.conf",
        "expect ALLOW: operator on env=dev, approval=web approval=operator: write /etc/nginx/x",
        "just a comment: with a colon",
        "todo: nothing",
    ],
)
def test_a_true_example_loads(example: str) -> None:
    assert load(NGINX.format(comment=f"// {example}"), "baseline")


@pytest.mark.parametrize(
    ("example", "says"),
    [
        ("match: operator: read /etc/nginx/nginx.conf", "does not match"),
        ("not_match: operator: write /etc/nginx/nginx.conf", "the rule matches"),
        ("expect ALLOW: operator on env=dev: write /etc/nginx/nginx.conf", "expected ALLOW, got ASK by"),
        ("match: operator writes /etc/nginx", "cannot be read"),
        ("match: operator: wriet /etc/nginx", "is no effect"),
        ("match: operator: write etc/nginx", "paths are absolute"),
        ("match: operator on env=dev, confidnce=low: write /x", "no setting"),
        ("match: operator on env=dev, hour=x: write /x", "cannot be read"),
        ("expect: operator: write /x", "written wrongly"),
        ("match ASK: operator: write /x", "written wrongly"),
        ("macth: operator: write /x", "cannot be read"),
        ("not-match: operator: write /x", "cannot be read"),
    ],
)
def test_a_file_whose_example_fails_does_not_load(example: str, says: str) -> None:
    with pytest.raises(PolicyFault) as caught:
        load(NGINX.format(comment=f"// {example}"), "baseline")
    assert caught.value.line == 2
    assert says in caught.value.message


def test_an_example_reads_as_it_is_written() -> None:
    case = example_of(
        "operator+deployer on env=prod team=web, autonomy=3 confidence=low hour=22 unknown=x: delete /a/*; nothing"
    )
    assert case.principal.roles == {"operator", "deployer"}
    assert case.principal.autonomy == 3
    assert case.host.labels == {"env": "prod", "team": "web"}
    assert case.situation.hour == 22
    assert case.effects.unknown_programs == ("x",)
    assert [(e.target, e.exact) for e in case.effects.inferred] == [("/a", False)]


# ── obligations ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_obligations_are_read_and_tried_cheapest_first() -> None:
    assert alternatives_of("containment:2|preview & approval:peer") == (
        frozenset({"containment:2"}),
        frozenset({"preview", "approval:peer"}),
    )
    one = alternatives_of("approval:a&approval:b|approval:c")
    assert combinations([one, one], EXAMPLE_HOST) == (
        frozenset({"approval:c"}),
        frozenset({"approval:a", "approval:b"}),
    )


@pytest.mark.parametrize(
    "text", ["", "approval", "approval:", "approval:A B", "containment:x", "preview:1", "a|", "&preview"]
)
def test_an_obligation_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^.*$"):
        alternatives_of(text)
