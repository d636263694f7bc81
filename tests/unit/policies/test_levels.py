"""Levels: what is only read is confined, what may change anything is staged, and what neither fits is left alone."""

from dataclasses import replace

import pytest

from interlock_policies.facts import Decision, HostFacts, Level, Verdict
from interlock_policies.levels import choose_level, demanded
from interlock_policies.situations import example_of
from interlock_tools.call import Call, Mode
from interlock_tools.catalog import build_catalog

CATALOG = build_catalog(hosts=["example"], groups=[])
ABLE = tuple(level.word for level in Level)


def level_of(text: str, *, tool: str = "shell_run", most: Level = Level.STAGED, **facts: object) -> Level:
    case = example_of(text)
    host = replace(case.host, **({"containment": ABLE} | facts))
    return choose_level(CATALOG.tool(tool), replace(case.call, tool=tool), case.effects, host, most)


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("operator, program=cat: read /etc/hosts", Level.CONFINED),
        ("operator, program=ls: nothing", Level.CONFINED),
        ("operator, program=curl: network https://example.com", Level.CONFINED),
        ("operator, program=cat: write /dev/null", Level.CONFINED),
        ("operator, program=cp: write /srv/app/x", Level.STAGED),
        ("operator, program=rm: delete /srv/app/x", Level.STAGED),
        ("operator, opaque: nothing", Level.STAGED),
        ("operator, unknown=frobnicate: nothing", Level.STAGED),
        ("operator, program=systemctl: service restart nginx", Level.STAGED),
        ("operator, program=git by=git: system git: reset --hard", Level.STAGED),
        ("operator, program=apt-get: system apt-get: install nginx", Level.NONE),
        ("operator, program=apt-get opaque: system apt-get: install nginx", Level.NONE),
        ("operator, program=sudo privileged: read /etc/hosts", Level.NONE),
        ("operator, program=ps: nothing", Level.NONE),
        ("operator, program=ps program=grep: read /srv/app/x", Level.NONE),
        ("operator, program=ps program=tee: write /srv/app/x", Level.STAGED),
    ],
)
def test_a_command_is_tried_at_the_level_that_fits_what_it_does(text: str, level: Level) -> None:
    assert level_of(text) is level


def test_a_declared_change_is_staged_though_analysis_sees_only_reading() -> None:
    case = example_of("operator, program=cat: read /etc/hosts")
    effects = replace(case.effects, declared=replace(case.effects.declared, writes=("/srv/app",)))
    host = replace(case.host, containment=ABLE)
    assert choose_level(CATALOG.tool("shell_run"), case.call, effects, host, Level.STAGED) is Level.STAGED


def test_root_keeps_its_rights_inside_and_so_becoming_another_user_is_staged() -> None:
    assert level_of("operator, program=sudo privileged: nothing", user="root") is Level.STAGED


@pytest.mark.parametrize(
    ("containment", "most", "level"),
    [
        (("none",), Level.STAGED, Level.NONE),
        (("none", "confined"), Level.STAGED, Level.CONFINED),
        (ABLE, Level.CONFINED, Level.CONFINED),
        (ABLE, Level.NONE, Level.NONE),
        (("none", "frobnicated"), Level.STAGED, Level.NONE),
    ],
)
def test_where_less_can_be_reached_the_most_of_it_is_chosen(
    containment: tuple[str, ...], most: Level, level: Level
) -> None:
    assert level_of("operator, program=cp: write /srv/app/x", containment=containment, most=most) is level


@pytest.mark.parametrize(
    "text", ["operator, program=ps: nothing", "operator, program=apt-get: system apt-get: install nginx"]
)
def test_a_preview_is_never_tried_on_the_host_itself(text: str) -> None:
    case = example_of(text)
    call = replace(case.call, mode=Mode.PREVIEW)
    host = replace(case.host, containment=ABLE)
    assert choose_level(CATALOG.tool("shell_run"), call, case.effects, host, Level.STAGED) is Level.STAGED


@pytest.mark.parametrize(("tool", "level"), [("file_read", Level.NONE), ("file_write", Level.STAGED)])
def test_a_file_tool_needs_no_kernel_to_be_staged(tool: str, level: Level) -> None:
    assert level_of("operator: write /srv/app/x", tool=tool, containment=("none",)) is level
    assert level_of("operator: write /srv/app/x", tool=tool, most=Level.CONFINED) is Level.NONE


@pytest.mark.parametrize(
    ("obligations", "level"),
    [
        ((), Level.NONE),
        (("approval:operator",), Level.NONE),
        (("containment:1",), Level.CONFINED),
        (("approval:operator", "containment:2"), Level.STAGED),
        (("preview",), Level.STAGED),
    ],
)
def test_a_decision_demands_the_weakest_level_that_meets_its_obligations(
    obligations: tuple[str, ...], level: Level
) -> None:
    assert demanded(Decision(Verdict.ASK, obligations=obligations)) is level


def test_a_call_without_facts_is_not_contained() -> None:
    call = Call("c", "p", "shell_run", "h", {})
    effects = example_of("operator: write /srv/app/x").effects
    assert choose_level(CATALOG.tool("shell_run"), call, effects, HostFacts("h"), Level.STAGED) is Level.NONE
