"""The rulebook: policy texts checked, validated and parsed once into handles that Cedar takes. It decides nothing.

All or nothing: one fault anywhere, and no rulebook comes out.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import cedarpy

from interlock_policies.alike import WHOLE, Sight, sight_of
from interlock_policies.facts import Rule
from interlock_policies.obligations import Alternative, alternatives_of
from interlock_policies.packs import PolicySource, schema_text
from interlock_policies.paths import PathClass
from interlock_policies.places import words
from interlock_policies.statements import PolicyFault, Statement, annotations_in, closest, cut

SOURCES_MAX = 100
_ANNOTATIONS = ("id", "title", "hint", "requires")
_RULE_ID = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,79}")
_RESERVED = "interlock:"
_QUOTED = re.compile(r"`([^`]+)`")
_CLASS_TEST = re.compile(r"context\.(?:classes|touches)\.contains(?:Any|All)?\(([^)]*)\)")
_WORD = re.compile(r"[A-Za-z_]\w*")
_KEYWORDS = words(
    "permit forbid principal action resource context when unless if then else in is has like true false"
    " contains containsAny containsAll isEmpty Action"
)


@dataclass(frozen=True, slots=True)
class LoadedRule:
    """One rule with where it stands and what lifts it."""

    rule: Rule
    permits: bool
    file: str
    statement: Statement
    alternatives: tuple[Alternative, ...] = ()


@dataclass(frozen=True)
class Rulebook:
    """Every loaded rule under the id that Cedar reports, with the handles.

    `version` is the digest of all the text, `sight` what the rules can see of a path.
    """

    rules: Mapping[str, LoadedRule]
    policies: cedarpy.PolicySet
    schema: cedarpy.Schema
    version: str
    sight: Sight = WHOLE


def load_rulebook(sources: Sequence[PolicySource]) -> Rulebook:
    """Every source checked and joined. Raises PolicyFault with the file and line of the first fault."""
    if len(sources) > SOURCES_MAX:
        raise PolicyFault(sources[SOURCES_MAX].name, 0, f"there are more than {SOURCES_MAX} policy files")
    schema = cedarpy.Schema.from_str(schema_text())
    loaded: list[LoadedRule] = []
    for source in sources:
        loaded += _load_source(source, schema)
    _require_unique_ids(loaded)
    text = "\n".join(rule.statement.text for rule in loaded)
    policies = cedarpy.PolicySet.from_str(text)
    static = policies.to_pst().static_policies
    ids = {policy.annotations["id"]: policy_id for policy_id, policy in static.items()}
    sight = sight_of(rule.statement.text for rule in loaded)
    return Rulebook({ids[entry.rule.id]: entry for entry in loaded}, policies, schema, _digest(sources), sight)


def alone(entry: LoadedRule, schema: cedarpy.Schema) -> Rulebook:
    """A rulebook of this one rule."""
    policies = cedarpy.PolicySet.from_str(entry.statement.text)
    (policy_id,) = policies.to_pst().static_policies
    return Rulebook({policy_id: entry}, policies, schema, "")


def _digest(sources: Sequence[PolicySource]) -> str:
    digest = hashlib.sha256(schema_text().encode())
    for source in sources:
        for part in (source.name, source.text):
            data = part.encode("utf-8", "replace")
            digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def _load_source(source: PolicySource, schema: cedarpy.Schema) -> list[LoadedRule]:
    return [_load_statement(source.name, statement, schema) for statement in cut(source.name, source.text)]


def _load_statement(file: str, statement: Statement, schema: cedarpy.Schema) -> LoadedRule:
    for name in annotations_in(statement):
        if name not in _ANNOTATIONS:
            hint = closest(name, _ANNOTATIONS) or f"known are {', '.join(_ANNOTATIONS)}"
            raise PolicyFault(file, statement.line_of(f"@{name}"), f"there is no annotation @{name}", hint)
    try:
        static = cedarpy.PolicySet.from_str(statement.text).to_pst().static_policies
    except ValueError as fault:
        raise _fault(file, statement, str(fault)) from None
    if len(static) != 1:
        raise PolicyFault(
            file, statement.line, "templates (?principal, ?resource) are not supported", "name a role or a directory"
        )
    (policy,) = static.values()
    annotations = dict(policy.annotations)
    rule = Rule(**{name: annotations.get(name, "") for name in _ANNOTATIONS})
    _check_annotations(file, statement, rule, permits=policy.effect == "permit")
    _check_classes(file, statement)
    found = cedarpy.validate_policies(statement.text, schema)
    if not found.validation_passed:
        raise _fault(file, statement, "; ".join(dict.fromkeys(_message(error.error) for error in found.errors)))
    alternatives = alternatives_of(rule.requires) if rule.requires else ()
    return LoadedRule(rule, policy.effect == "permit", file, statement, alternatives)


def _check_annotations(file: str, statement: Statement, rule: Rule, *, permits: bool) -> None:
    if not _RULE_ID.fullmatch(rule.id):
        what = f"{rule.id!r} cannot be an id" if rule.id else "the policy has no @id"
        raise PolicyFault(file, statement.line, what, 'write @id("name") above it: letters, digits, ".", "_" and "-"')
    if not rule.requires:
        return
    line = statement.line_of("requires")
    if permits:
        raise PolicyFault(file, line, "@requires stands on a permit", "it belongs on a forbid: it says what lifts it")
    try:
        alternatives_of(rule.requires)
    except ValueError as fault:
        hint = 'write "approval:ROLE", "containment:LEVEL" (0 to 2) or "preview", joined by & or |'
        raise PolicyFault(file, line, f"@requires cannot be read at {str(fault)!r}", hint) from None


def _check_classes(file: str, statement: Statement) -> None:
    """A misspelt path class would never match, and Cedar cannot know."""
    known = [kind.value for kind in PathClass]
    for test in _CLASS_TEST.finditer(statement.text):
        for name in re.findall(r'"([^"]*)"', test[1]):
            if name not in known:
                hint = closest(name, known) or f"known are {', '.join(known)}"
                raise PolicyFault(file, statement.line_of(name), f"there is no path class {name!r}", hint)


def _require_unique_ids(loaded: Iterable[LoadedRule]) -> None:
    first: dict[str, LoadedRule] = {}
    for entry in loaded:
        other = first.setdefault(entry.rule.id, entry)
        if other is not entry:
            where = f"{other.file}:{other.statement.line}"
            raise PolicyFault(
                entry.file, entry.statement.line, f"the id {entry.rule.id!r} is taken", f"it first stands at {where}"
            )


def _fault(file: str, statement: Statement, message: str) -> PolicyFault:
    """A fault at the line of the first word that the engine complains about, with the closest name it could mean."""
    vocabulary = sorted({*_WORD.findall(re.sub(r"//[^\n]*", "", schema_text())), *_KEYWORDS})
    words = [word for quoted in _QUOTED.findall(message) for word in _WORD.findall(quoted)] or message.split()[-1:]
    strange = [word for word in words if word not in vocabulary and word in statement.text]
    suspect = strange[0] if strange else ""
    return PolicyFault(file, statement.line_of(suspect), message, closest(suspect, vocabulary) if suspect else "")


def _message(error: str) -> str:
    """Cedar's message without its own numbering of policies, and once for all actions."""
    text = re.sub(r"^for policy `policy\d+`, ", "", error)
    return re.sub(r' in context for Action::"\w+" not found', " in context not found", text)
