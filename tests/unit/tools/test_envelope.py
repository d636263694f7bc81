"""The envelope's schema: every envelope that can be answered is valid under it and under the published outline."""

from __future__ import annotations

import json

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock_tools.envelope import (
    ENVELOPE_SCHEMA,
    OUTPUT_SCHEMA,
    Attempt,
    Changed,
    Envelope,
    Scores,
    Verified,
    envelope_from_json,
)
from interlock_tools.errors import EffectUndeclared, Recovery, State, refusal_codes

FULL = jsonschema.Draft202012Validator(dict(ENVELOPE_SCHEMA))
OUTLINE = jsonschema.Draft202012Validator(dict(OUTPUT_SCHEMA))

RICH = Envelope(
    "c_1",
    State.SUCCEEDED,
    {"exit_code": 0, "stdout": "x", "deep": {"a": [1, None]}},
    Changed(("/a",), ("/b",), ("/c",), ("/d",), "scanned", 7),
    (Verified("path_exists", "/a", passed=True),),
    Scores(1.0, 0.5, None),
    (Attempt("sandbox", "2026-11-21T08:00:00.000+00:00", 0.25, "succeeded"),),
    replayed=True,
    undo_available=True,
    undo_until="2026-11-22T08:00:00.000+00:00",
    notices=("budget low",),
)


def check(envelope: Envelope) -> None:
    value = json.loads(json.dumps(envelope.to_json()))
    FULL.validate(value)
    OUTLINE.validate(value)


def test_the_schemas_are_schemas() -> None:
    jsonschema.Draft202012Validator.check_schema(dict(ENVELOPE_SCHEMA))
    jsonschema.Draft202012Validator.check_schema(dict(OUTPUT_SCHEMA))
    assert "anyOf" not in ENVELOPE_SCHEMA
    assert OUTPUT_SCHEMA["type"] == ENVELOPE_SCHEMA["type"] == "object"


@pytest.mark.parametrize("state", list(State))
def test_an_envelope_of_every_state_is_valid(state) -> None:
    check(Envelope("c_1", state))


@pytest.mark.parametrize("code", list(refusal_codes()))
def test_an_envelope_with_every_error_is_valid(code) -> None:
    refusal = refusal_codes()[code](reason="so", allowed=tuple("abc"), rules=("r1",), retry_after_seconds=3)
    check(Envelope("c_1", refusal.state, error=refusal))
    check(Envelope("", refusal.state, error=refusal.with_recovery(Recovery.use("hosts_list", {"limit": 1}, "so"))))


def test_a_rich_envelope_is_valid_also_when_it_is_read_back() -> None:
    check(RICH)
    assert envelope_from_json(json.loads(json.dumps(RICH.to_json()))).to_json() == RICH.to_json()


def test_a_change_that_is_held_as_it_was_asked_for_is_ok_and_one_that_is_held_by_a_refusal_is_not() -> None:
    assert Envelope("c_1", State.HELD).ok
    assert not Envelope("c_1", State.HELD, error=EffectUndeclared(reason="it would delete /logs")).ok
    assert not Envelope("c_1", State.DISCARDED).ok


@pytest.mark.parametrize("name", list(RICH.to_json()))
def test_an_envelope_without_one_of_its_parts_is_not_valid(name) -> None:
    value = RICH.to_json()
    del value[name]
    assert not FULL.is_valid(value)
    assert not FULL.is_valid(RICH.to_json() | {"more": 1})


scores = st.one_of(st.none(), st.floats(0, 1))


@given(
    st.text(),
    st.sampled_from(State),
    st.dictionaries(st.text(), st.one_of(st.none(), st.text(), st.integers(), st.lists(st.text()))),
    st.lists(st.text()),
    scores,
    st.booleans(),
    st.one_of(st.none(), st.text()),
)
def test_any_envelope_is_valid(call_id, state, result, paths, score, flag, until) -> None:
    changed = Changed(tuple(paths), observed="none")
    check(Envelope(call_id, state, result, changed, scores=Scores(score), replayed=flag, undo_until=until))
