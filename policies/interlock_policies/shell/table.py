"""The table of programs: loading the packaged TOML into frozen specifications; it knows no program by itself.

A table's name lists the programs that share it. Its keys, each a space-separated string unless said otherwise:

    operands   roles in order, one may end in `*`: read write delete move text network system run
    instead    options that take the place of the first operand (grep -e)
    flags, values             options without and with a value that change nothing
    read, write, delete       options whose value is a path; `?` at the end: the value is optional and attached
    into       options whose value is the directory that operands go to (cp -t)
    moves      options whose value is the directory that it works in (git -C)
    recursive  options that make it work on whole trees
    wide       options under which it reads what no operand names: what links out of a tree lead to, what a list names
    through    the same where it works on whole trees
    names      options whose value is a pattern of the names that it looks into
    here       without a path it reads the working directory: `always`, or where it works on whole trees (`recursive`);
               `tree`: always, and it always works on whole trees
    run, system, network      options that execute, change the system, reach out; `=` at the end: it takes a value
    harmless   options under which it only shows something
    always     effects of every use: network system tree opaque
    strict     (boolean) an option that is not listed makes it opaque; by default where it can change something
    single     (boolean) long options begin with one dash
    reason     why it is opaque
    sub        (list) "effects: pattern, pattern": read network system service tree opaque by subcommand, first match
    wraps      (number) it runs the command that follows after so many operands
    assigns    (boolean) NAME=value may stand before that command
    privileged (boolean) it gives other rights
    handler    the name of the function that knows what a table cannot say
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib import resources
from typing import Any

_DATA = "interlock_policies.shell"
_CHANGING = frozenset({"write", "delete", "move", "system", "run"})
_OPTION_KEYS = (
    "flags", "values", "read", "write", "delete", "into", "recursive", "run", "system", "network", "harmless",
    "moves", "wide", "through", "names",
)  # fmt: skip
_ROLES = frozenset({"read", "write", "delete", "move", "text", "network", "system", "run"})
# git's own effects are named in repositories.py.
_EFFECTS = frozenset({
    "read", "network", "system", "service", "tree", "opaque", "privileged", "index", "removes", "operands", "clone",
    "loses", "runs", "settings", "remote", "only", "hooks", "outputs",
})  # fmt: skip
_WITH_VALUE = frozenset({"values", "names", "read", "write", "delete", "into", "moves"})
_KEYS = frozenset({
    *_OPTION_KEYS, "operands", "instead", "always", "strict", "single", "reason", "sub", "handler",
    "wraps", "assigns", "privileged", "here",
})  # fmt: skip


class TableFault(ValueError):
    """The packaged table of programs is wrong; only a broken build raises it."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option: what it does (a key of the table) and whether it takes a value."""

    role: str
    value: str = ""  # "" none · "required" · "optional": only attached


@dataclass(frozen=True, slots=True)
class Subcommand:
    """One line of `sub`: what the subcommands that match do."""

    effects: tuple[str, ...]
    pattern: tuple[str, ...]

    def matches(self, operands: tuple[str | None, ...]) -> bool:
        """True where the first operands match, one pattern each; an unreadable operand only matches `*`."""
        if len(operands) < len(self.pattern):
            return False
        return all(
            pattern == "*" if operand is None else fnmatchcase(operand, pattern)
            for pattern, operand in zip(self.pattern, operands, strict=False)
        )


@dataclass(frozen=True, slots=True)
class Program:
    """What one program does with its operands and options."""

    name: str
    operands: tuple[str, ...] = ("read*",)
    options: Mapping[str, Option] = field(default_factory=dict)
    instead: frozenset[str] = frozenset()
    always: tuple[str, ...] = ()
    subcommands: tuple[Subcommand, ...] = ()
    strict: bool = False
    single: bool = False
    reason: str = ""
    handler: str = ""
    wraps: int = -1
    assigns: bool = False
    privileged: bool = False
    here: str = ""

    @property
    def wary(self) -> bool:
        """True where an option that cannot be read might change something."""
        return self.strict or any(option.role in _CHANGING for option in self.options.values())


Table = Mapping[str, Program]


def load_table() -> Table:
    """Every program of the packaged table by name. Raises TableFault."""
    table: dict[str, Program] = {}
    for entry in sorted(resources.files(_DATA).joinpath("programs").iterdir(), key=lambda each: each.name):
        if entry.name.endswith(".toml"):
            add_programs(table, tomllib.loads(entry.read_text("utf-8")))
    return table


def add_programs(table: dict[str, Program], entries: Mapping[str, Any]) -> None:
    """Add the programs of one parsed TOML file to a table. Raises TableFault."""
    for names, keys in entries.items():
        _add(table, names, keys)


def _add(table: dict[str, Program], names: str, keys: Mapping[str, Any]) -> None:
    unknown = set(keys) - _KEYS
    if unknown:
        raise TableFault(f"[{names}] has the unknown keys {sorted(unknown)}")
    options = _options(keys)
    operands = tuple(keys.get("operands", "read*").split())
    always = tuple(keys.get("always", "").split())
    if not {role.rstrip("*") for role in operands} <= _ROLES or not _EFFECTS.issuperset(always):
        raise TableFault(f"[{names}] names a role or an effect that there is not")
    changing = any(role.rstrip("*") in _CHANGING for role in operands)
    subcommands = tuple(sub for line in keys.get("sub", []) for sub in _subcommands(line))
    for name in names.split():
        if name in table:
            raise TableFault(f"{name} stands in the table twice")
        table[name] = Program(
            name=name,
            operands=operands,
            options=options,
            instead=frozenset(keys.get("instead", "").split()),
            always=always,
            subcommands=subcommands,
            strict=bool(keys.get("strict", changing)),
            single=bool(keys.get("single", False)),
            reason=str(keys.get("reason", "")),
            handler=str(keys.get("handler", "")),
            wraps=int(keys.get("wraps", -1)),
            assigns=bool(keys.get("assigns", False)),
            privileged=bool(keys.get("privileged", False)),
            here=str(keys.get("here", "")),
        )


def _options(keys: Mapping[str, Any]) -> dict[str, Option]:
    options: dict[str, Option] = {}
    for role in _OPTION_KEYS:
        for spelled in keys.get(role, "").split():
            name = spelled.rstrip("=?")
            takes = role in _WITH_VALUE or spelled.endswith("=")
            value = "optional" if spelled.endswith("?") else "required" if takes else ""
            options[name] = Option(role, value)
    return options


def _subcommands(line: str) -> list[Subcommand]:
    effects, colon, patterns = line.partition(":")
    if not colon:
        raise TableFault(f"a subcommand line needs effects and a colon: {line!r}")
    split = [tuple(pattern.split()) for pattern in patterns.split(",")]
    if not effects.split() or () in split or not _EFFECTS.issuperset(effects.split()):
        raise TableFault(f"an empty pattern, or an effect that there is not, in {line!r}")
    return [Subcommand(tuple(effects.split()), pattern) for pattern in split]
