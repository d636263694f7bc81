"""Holds the tables of the documents to the code: settings, error codes, rules, what rules can speak of, exit codes."""

from __future__ import annotations

import re
from typing import Any, get_args

import pytest
from annotated_types import Ge, Le

from interlock.cli import ending
from interlock.config.models import ConfigFile
from interlock.config.reference import Setting, settings_reference
from interlock_policies import cost, engine, situations
from interlock_policies.endpoints import EndpointClass
from interlock_policies.engine import PolicyEngine
from interlock_policies.facts import Rule
from interlock_policies.packs import SHIPPED, schema_text
from interlock_policies.paths import PathClass
from interlock_tools.apps import App, Service
from interlock_tools.catalog import build_catalog
from interlock_tools.envelope import Envelope
from interlock_tools.errors import State, refusal_codes
from interlock_tools.shared import CHECKS
from pages import CONFIGURATION, CONTRACT, OPERATIONS, POLICIES, SECURITY, Page

CODE_COLUMNS = 6


def named(page: Page) -> set[str]:
    """Every word that stands in code marks on a page."""
    return {word for code in re.findall(r"`([^`\n]+)`", page.text) for word in re.findall(r"[\w:.-]+", code)}


# ── configuration ────────────────────────────────────────────────────────────────────────────────────────────────────


def bounds_of(key: str) -> tuple[float, float] | None:
    """The least and the greatest value of a setting, where it is a number with bounds."""
    section, *_, name = key.split(".")
    annotation: Any = ConfigFile.model_fields[section].annotation
    model = get_args(annotation)[1] if get_args(annotation) else annotation
    field = model.model_fields[name]
    found, todo = list(field.metadata), [field.annotation]
    while todo:
        kind = todo.pop()
        if getattr(kind, "__origin__", None) in (list, dict):
            continue
        for entry in getattr(kind, "__metadata__", ()):
            found += [entry, *getattr(entry, "metadata", ())]
        todo += get_args(kind)
    low = [entry.ge for entry in found if isinstance(entry, Ge)]
    high = [entry.le for entry in found if isinstance(entry, Le)]
    return (low[0], high[0]) if low and high else None


def row_of(setting: Setting) -> str:
    """The row that the page has to have."""
    bounds = bounds_of(setting.key)
    kind = setting.type + (f", {bounds[0]} to {bounds[1]}" if bounds else "")
    default = f"`{setting.default}`" if setting.default else "–"
    return f"| `{setting.key}` | {kind} | {default} | {setting.description} |"


@pytest.mark.parametrize("setting", settings_reference(), ids=lambda setting: setting.key)
def test_a_setting_stands_in_the_table_with_its_type_bounds_default_and_meaning(setting: Setting) -> None:
    assert row_of(setting) in CONFIGURATION.text.splitlines()


def test_the_table_holds_no_setting_that_there_is_not() -> None:
    keys = {setting.key for setting in settings_reference()}
    shown = {row[0].strip("`") for row in CONFIGURATION.rows() if "." in row[0] and row[0].startswith("`")}
    assert shown == keys


# ── contract ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def code_rows() -> dict[str, tuple[str, ...]]:
    rows = [row for row in CONTRACT.rows() if len(row) == CODE_COLUMNS]
    return {row[0].strip("`"): row for row in rows if row[0].strip("`").isupper()}


def test_the_contract_has_a_row_for_every_code_and_for_nothing_else() -> None:
    assert set(code_rows()) == set(refusal_codes())


@pytest.mark.parametrize("code", refusal_codes())
def test_a_code_is_documented_with_its_state_whether_it_is_retryable_and_its_recovery(code: str) -> None:
    kind = refusal_codes()[code]
    _, state, retryable, recovery, when, program = code_rows()[code]
    assert state == f"`{kind.state.value}`"
    assert retryable == ("yes" if kind.retryable else "no")
    assert recovery == f"`{kind(reason='so').default_recovery().action.value}`"
    assert when
    assert program


def test_every_tool_field_check_and_part_of_the_envelope_is_in_the_contract() -> None:
    words = named(CONTRACT)
    contracts = build_catalog(hosts=["a"], groups=["g"]).contracts()
    shared = {field for tool in contracts if tool.name == "shell_run" for field in tool.input_schema["properties"]}
    known = {tool.name for tool in contracts} | shared - {"command", "cwd", "stdin"} | set(CHECKS)
    assert not sorted(known - words)
    assert not sorted(set(Envelope("c", State.SUCCEEDED).to_json()) - words)


def test_the_contract_says_how_many_tools_there_are() -> None:
    assert len(build_catalog(hosts=["a"], groups=[]).contracts()) == 14
    shop = App("shop", ("a",), "/srv/shop", service=Service("shop"))
    assert len(build_catalog(hosts=["a"], groups=[], apps=[shop]).contracts()) == 18
    assert "fourteen tools, four more where an app can be deployed" in CONTRACT.text


# ── policies ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def shipped_rules() -> list[tuple[Rule, bool]]:
    loaded = PolicyEngine.load([], schema_packs=SHIPPED).rules()
    return [(entry.rule, entry.permits) for entry in loaded]


@pytest.mark.parametrize(("rule", "permits"), shipped_rules(), ids=lambda value: getattr(value, "id", ""))
def test_a_shipped_rule_stands_in_the_table_with_what_lifts_it(rule: Rule, permits: bool) -> None:
    lifted = " or ".join(f"`{part}`" for part in rule.requires.split("|")) if rule.requires else "nothing"
    assert f"| `{rule.id}` | {rule.title} | {'permits' if permits else lifted} |" in POLICIES.text.splitlines()


def test_everything_that_a_rule_can_speak_of_is_documented() -> None:
    words = named(POLICIES)
    schema = re.sub(r"//[^\n]*", "", schema_text())
    entities = set(re.findall(r"^entity (\w+)", schema, re.MULTILINE))
    attributes = set(re.findall(r"(\w+): (?:Set<String>|String|Bool|Long)", schema))
    actions = {"run", "read", "write", "delete", "service", "network", "system"}
    assert len(attributes) > 20
    assert not sorted((entities | attributes | actions | set(PathClass) | set(EndpointClass)) - words - {"path"})


def test_the_settings_of_an_example_and_the_engines_own_rules_are_documented() -> None:
    words = named(POLICIES)
    own = {value.id for value in vars(engine).values() if isinstance(value, Rule)}
    assert own
    assert not sorted(own - words)
    form = POLICIES.section("Examples in comments")
    assert not [name for name in situations._SETTINGS if not re.search(rf"`{name}\b", form)]


# ── operations ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_exit_codes_are_those_of_the_command_line() -> None:
    told = dict(re.findall(r"^\s*(\d+)\s+(.+)$", ending.__doc__ or "", re.MULTILINE))
    assert told
    shown = {row[0]: row[1] for row in OPERATIONS.rows() if row[0].isdigit()}
    assert shown == told


def test_the_formula_of_the_cost_is_the_one_that_is_computed() -> None:
    (formula,) = [block for block in OPERATIONS.blocks("") if block.startswith("units")]
    numbers = [re.findall(r"\d+", text) for text in (formula, (cost.__doc__ or "").split("\n\n", 1)[1])]
    assert sorted(numbers[0]) == sorted([*numbers[1], str(cost.COST_UNITS_MAX)])


def test_what_is_not_there_yet_is_said_in_the_readme_and_on_the_page_about_security() -> None:
    for page in (SECURITY, Page("README.md")):
        text = " ".join(page.text.split())
        for missing in ("web console", "PostgreSQL"):
            assert missing in text, (page.name, missing)


def test_a_page_that_speaks_of_containment_says_where_one_sees_what_a_host_can() -> None:
    for page in (SECURITY, OPERATIONS, Page("README.md")):
        if re.search(r"staged|confined", page.text):
            assert "interlock doctor" in page.text, page.name
