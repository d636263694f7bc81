"""An Ansible inventory as it was written: hosts, groups, variables, each with its line. It resolves nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

RANGE_HOSTS_MAX = 1_000
TREE_HOSTS_MAX = 20_000
_RANGES_MAX = 4
_RANGE = re.compile(r"\[([0-9]{1,6}|[a-z]):([0-9]{1,6}|[a-z])(?::([0-9]{1,4}))?\]")


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable's value as text, and where it stands. `scalar` False: a list or table, whose text is ""."""

    value: str
    line: int
    scalar: bool = True


Variables = dict[str, Variable]


@dataclass(slots=True)
class Group:
    """One group: its own hosts, its child groups, its variables."""

    hosts: set[str] = field(default_factory=set)
    children: set[str] = field(default_factory=set)
    variables: Variables = field(default_factory=dict)


@dataclass(slots=True)
class Tree:
    """A whole inventory. `lines`: where each host was first named."""

    hosts: dict[str, Variables] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)

    def host(self, name: str, line: int) -> Variables:
        """The variables of this host, made known by it."""
        self.lines.setdefault(name, line)
        return self.hosts.setdefault(name, {})

    @property
    def is_full(self) -> bool:
        """True where no further host is taken in."""
        return len(self.hosts) > TREE_HOSTS_MAX

    def group(self, name: str) -> Group:
        """The group of this name, made known by it."""
        return self.groups.setdefault(name, Group())


def expanded(pattern: str, room: int = RANGE_HOSTS_MAX) -> list[str] | None:
    """The host names of a pattern such as web[01:03].example or db-[a:c]; None where it is too large or upside down."""
    found = _RANGE.search(pattern)
    if not found:
        return [pattern]
    if len(_RANGE.findall(pattern)) > _RANGES_MAX:
        return None
    values = _range(found.group(1), found.group(2), int(found.group(3) or 1))
    if not values or len(values) > room:
        return None
    names: list[str] = []
    for value in values:
        rest = expanded(pattern[found.end() :], max(1, room // len(values)))
        if rest is None:
            return None
        names += [f"{pattern[: found.start()]}{value}{tail}" for tail in rest]
    return names


def _range(first: str, last: str, step: int) -> list[str]:
    if step < 1 or first.isdigit() != last.isdigit():
        return []
    if not first.isdigit():
        return [chr(code) for code in range(ord(first), ord(last) + 1, step)]
    width = len(first) if first.startswith("0") else 0
    numbers = range(int(first), int(last) + 1, step)
    return [str(number).zfill(width) for number in numbers[: RANGE_HOSTS_MAX + 1]]
