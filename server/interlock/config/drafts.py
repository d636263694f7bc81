"""Hosts on their way into the settings: what one source knows of a host, and how sources become one. Values only."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from interlock.config.faults import Problem
from interlock.settings import SecretRef

_Value = TypeVar("_Value")

# Groups that are named after an environment say which one their hosts are in.
_ENVIRONMENTS = {
    "prod": "prod",
    "production": "prod",
    "staging": "staging",
    "stage": "staging",
    "dev": "dev",
    "development": "dev",
    "test": "test",
    "qa": "qa",
}


@dataclass(frozen=True, slots=True)
class HostDraft:
    """What one source says about a host; None where it says nothing. `file` and `line`: where it stands."""

    name: str
    file: str
    line: int
    address: str | None = None
    port: int | None = None
    user: str | None = None
    identities: tuple[SecretRef, ...] | None = None
    known_hosts: str | None = None
    jump: str | None = None
    become: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Imported:
    """What one inventory file gave."""

    hosts: tuple[HostDraft, ...] = ()
    problems: tuple[Problem, ...] = ()


def merged(first: HostDraft, second: HostDraft) -> HostDraft:
    """Both drafts of one host as one; what `first` says wins, labels and groups are joined."""
    return replace(
        first,
        address=_either(first.address, second.address),
        port=_either(first.port, second.port),
        user=_either(first.user, second.user),
        identities=_either(first.identities, second.identities),
        known_hosts=_either(first.known_hosts, second.known_hosts),
        jump=_either(first.jump, second.jump),
        become=_either(first.become, second.become),
        labels={**second.labels, **first.labels},
        groups=first.groups | second.groups,
    )


def _either(first: _Value | None, second: _Value | None) -> _Value | None:
    return second if first is None else first


def selected(name: str, patterns: Sequence[str]) -> bool:
    """Whether these patterns choose this host: one matches, and none that begins with "!" does."""
    negated = any(fnmatch.fnmatchcase(name, pattern[1:]) for pattern in patterns if pattern.startswith("!"))
    return not negated and any(fnmatch.fnmatchcase(name, p) for p in patterns if not p.startswith("!"))


def labelled(draft: HostDraft, rules: Mapping[str, Mapping[str, str]]) -> HostDraft:
    """The draft with the labels of every rule that matches it (a pattern, or "group:NAME") and of its groups.

    A label it has stays; among the rules the first one that gives a key wins. Without any `env`, exactly one group that
    is named after an environment gives it; hosts in two of them have none, which policy treats as production.
    """
    labels = dict(draft.labels)
    for pattern, given in rules.items():
        group = pattern.removeprefix("group:")
        matches = group in draft.groups if group != pattern else fnmatch.fnmatchcase(draft.name, pattern)
        if matches:
            labels = {**given, **labels}
    environments = {_ENVIRONMENTS[group] for group in draft.groups if group in _ENVIRONMENTS}
    if "env" not in labels and len(environments) == 1:
        labels["env"] = environments.pop()
    return replace(draft, labels=labels)
