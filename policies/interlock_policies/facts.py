"""The facts a decision is made from: who asks, which host, what was granted; and the decision itself. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

LOCAL_OPERATOR = "operator"


class PrincipalKind(StrEnum):
    """Who calls."""

    AGENT = "agent"
    HUMAN = "human"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls, as configured on the server; nothing a client says about itself enters here.

    `roles`: "observer" (reads), "operator" (changes), or names of the team's own. `hosts`: names, `group:NAME`,
    `label:key=value` or `*`. `autonomy`: 0 to 4.
    """

    name: str
    kind: PrincipalKind = PrincipalKind.AGENT
    roles: frozenset[str] = frozenset()
    hosts: tuple[str, ...] = ()
    autonomy: int = 0


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What policy knows of a host. Paths are absolute paths of that host.

    `cwd`: where commands start. `workspace`: trees in which agents work. `protected`: Interlock's own files there.
    `containment`: levels the host was seen to reach, weakest first.
    """

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    groups: frozenset[str] = frozenset()
    user: str = ""
    home: str = ""
    cwd: str = "/"
    workspace: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    containment: tuple[str, ...] = ("none",)

    @property
    def environment(self) -> str:
        """The label `env`, or "" where the host has none; policy treats a host without one as production."""
        return self.labels.get("env", "")


@dataclass(frozen=True, slots=True)
class Situation:
    """What was already granted for this very call, and when it is asked (local time of the server)."""

    approvals: frozenset[str] = frozenset()
    containment: int = 0
    previewed: bool = False
    weekday: int = 0  # 0 = Monday
    hour: int = 0


class Verdict(StrEnum):
    """What policy says. Nothing matched is DENY."""

    ALLOW = "ALLOW"
    ASK = "ASK"
    DENY = "DENY"


@dataclass(frozen=True, slots=True)
class Rule:
    """A policy rule that decided: its id, title, and what would help (`hint`) or lift it (`requires`)."""

    id: str
    title: str = ""
    hint: str = ""
    requires: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict with its reasons. `obligations` lifts an ASK ("approval:operator"); empty otherwise.

    `errors` holds the engine's own; any error is DENY. `policy_version` is the digest of the policy text that decided.
    """

    verdict: Verdict
    rules: tuple[Rule, ...] = ()
    obligations: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    policy_version: str = ""

    @property
    def rule_ids(self) -> tuple[str, ...]:
        """The ids of the rules that decided."""
        return tuple(rule.id for rule in self.rules)
