"""What is said rather than done: runbooks for every error, the inspection of contracts, the log's share of a fault."""

from __future__ import annotations

import json
import logging

import pytest

from front_double import SECRET, FrontDouble
from interlock.publish.incidents import Incidents
from interlock.publish.inspect import inspect_contracts
from interlock.publish.runbooks import RUNBOOKS, written_out
from interlock.publish.words import INSTRUCTIONS
from interlock_tools.catalog import Contract, Hints, build_catalog
from interlock_tools.envelope import OUTPUT_SCHEMA
from interlock_tools.errors import refusal_codes

GOOD = build_catalog(hosts=["web-1"], groups=[]).contracts()


def test_every_error_code_has_exactly_one_runbook_that_names_it_in_a_step() -> None:
    codes = [code for book in RUNBOOKS for code in book.codes]
    assert sorted(codes) == sorted(set(refusal_codes()) - {"INTERNAL"})
    for book in RUNBOOKS:
        text = written_out(book).messages[0].content.text
        assert all(f"`{code}`" in text for code in book.codes)
        assert "{" not in book.steps.replace("`interlock://hosts/{name}`", "")


def test_the_instructions_and_steps_name_only_tools_that_exist() -> None:
    names = {contract.name for contract in GOOD}
    text = INSTRUCTIONS + "".join(book.steps for book in RUNBOOKS)
    for named in ("call_status", "call_check", "hosts_list"):
        assert named in names
        assert named in text


def test_the_products_own_contracts_are_accepted_by_every_client() -> None:
    report = inspect_contracts(GOOD)
    assert report.problems == ()
    assert report.broken is False
    told = json.loads(report.as_json())
    assert [tool["name"] for tool in told["tools"]] == [contract.name for contract in GOOD]
    table = report.as_table()
    assert max(map(len, table.splitlines())) <= 120
    assert all(contract.name in table for contract in GOOD)
    assert table.splitlines()[-1].endswith("every client accepts them.")


def test_a_broken_contract_is_shown_with_what_is_wrong() -> None:
    schema = {"type": "object", "properties": {"[red]x": {"type": ["string", "null"]}}}
    report = inspect_contracts(
        [Contract("Bad Name", "Bad", "", schema, OUTPUT_SCHEMA, Hints(True, True, False, False))]
    )
    assert report.broken is True
    assert json.loads(report.as_json())["broken"] is True
    assert "Bad Name name:" in report.as_table()
    assert "[red]x" in report.as_table()


def test_the_log_keeps_a_faults_text_only_where_it_can_be_cleaned(caplog: pytest.LogCaptureFixture) -> None:
    def clean(text: str) -> str:
        return text.replace(SECRET, "[redacted]")

    def broken(text: str) -> str:
        raise RuntimeError(text)

    for redact in (None, clean, broken):
        with caplog.at_level(logging.ERROR):
            identity = Incidents(redact).record(ValueError(f"the password is {SECRET}"))
        assert identity in caplog.text
        assert SECRET not in caplog.text
        assert "ValueError" in caplog.text
    assert "the password is [redacted]" in caplog.text


def test_the_double_keeps_to_the_contract_itself() -> None:
    assert inspect_contracts(FrontDouble().contracts("alice")).problems == ()
