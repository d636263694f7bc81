"""The facts a decision is made from: who asks, which host, what was granted; and the decision itself. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

LOCAL_OPERATOR = "operator"


class Level(IntEnum):
    """How a command is contained. A higher level holds everything that a lower one holds."""

    NONE = 0  # as any command of that user
    CONFINED = 1  # the declared paths can be written, nothing else; what is written lands at once
    STAGED = 2  # everything is written into a layer; nothing lands before its changes were measured and decided on

    @property
    def word(self) -> str:
        """Its name as configuration, hosts and answers have it."""
        return self.name.lower()


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
    `masked`: further places that hold secrets, with the wildcards of a shell. `containment`: levels the host was seen
    to reach, weakest first. `separates_loopback`: it can keep a command with outbound network from its own daemons.
    `undo`: it can keep what was there before a change.
    """

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    groups: frozenset[str] = frozenset()
    user: str = ""
    home: str = ""
    cwd: str = "/"
    workspace: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    masked: tuple[str, ...] = ()
    containment: tuple[str, ...] = (Level.NONE.word,)
    separates_loopback: bool = False
    undo: bool = False

    @property
    def environment(self) -> str:
        """The label `env`, or "" where the host has none; policy treats a host without one as production."""
        return self.labels.get("env", "")


@dataclass(frozen=True, slots=True)
class Fleet:
    """The deployment that a call is part of, as the server derived it from the configured app; nothing for other calls.

    `hosts`: how many it changes, of the `fleet` that the app has. `share`: the largest percent of the app's hosts that
    change at once, before anything is checked; 100 = all of them. `frozen`: why nothing is released now ("a freeze"
    where no reason was given, "" = no freeze is in force). `in_window`: it is a time at which changes are expected.
    """

    app: str = ""
    owner: str = ""
    release: str = ""
    hosts: int = 0
    fleet: int = 0
    share: int = 0
    canary: bool = False
    frozen: str = ""
    in_window: bool = True


@dataclass(frozen=True, slots=True)
class Situation:
    """What was already granted for this very call, and when it is asked (local time of the server).

    `lands`: what it writes and deletes becomes real now. False asks only about the run itself, in a layer that is
    decided on before it lands; without such a layer everything lands. `fleet`: the deployment that it belongs to.
    """

    approvals: frozenset[str] = frozenset()
    containment: int = Level.NONE
    previewed: bool = False
    lands: bool = True
    weekday: int = 0  # 0 = Monday
    hour: int = 0
    fleet: Fleet = Fleet()

    @property
    def defers(self) -> bool:
        """True where changes of files wait in a layer and are decided on later, as they were measured."""
        return not self.lands and self.containment >= Level.STAGED


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
