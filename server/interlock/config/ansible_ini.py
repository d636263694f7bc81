"""An Ansible inventory in INI form, read into a tree. Nothing of it is ever run."""

from __future__ import annotations

import re
import shlex

from interlock.config.faults import Problem
from interlock.config.tree import Tree, Variable, expanded

_SECTION = re.compile(r"\[([^\[\]:\s]+)(?::(vars|children|hosts))?\]\s*(?:[#;].*)?")
_PORT = re.compile(r"([^\[\]:]*(?:\[[^\]]*\][^\[\]:]*)*):([0-9]{1,5})")


def read_ini(text: str, file: str, problems: list[Problem]) -> Tree:
    """The tree of this text; each line that cannot be read is a problem."""
    reader = _Reader(file, problems)
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if line and line[0] not in "#;":
            reader.line(number, line)
    return reader.tree


class _Reader:
    """Reads line by line; `_group` and `_kind` are the section it is in."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        self.tree = Tree()
        self._file = file
        self._problems = problems
        self._group, self._kind = "ungrouped", "hosts"

    def line(self, number: int, line: str) -> None:
        section = _SECTION.fullmatch(line)
        if section:
            self._group, self._kind = section.group(1), section.group(2) or "hosts"
            self.tree.group(self._group)
        elif line.startswith("["):
            self._problem(number, "this is no section", "[name], [name:vars] or [name:children]")
        elif self._kind == "vars":
            self._variable(number, line)
        elif self._kind == "children":
            self.tree.group(self._group).children.add(line.split(maxsplit=1)[0])
        else:
            self._hosts(number, line)

    def _variable(self, number: int, line: str) -> None:
        name, equals, value = line.partition("=")
        if not equals:
            self._problem(number, "this is no variable", "name=value")
            return
        words = _words(value)
        variable = Variable(words[0] if len(words) == 1 else value.strip(), number)
        self.tree.group(self._group).variables[name.strip()] = variable

    def _hosts(self, number: int, line: str) -> None:
        words = _words(line)
        if not words:
            return
        pattern, variables = words[0], {}
        with_port = _PORT.fullmatch(pattern)
        if with_port:
            pattern = with_port.group(1)
            variables["ansible_port"] = Variable(with_port.group(2), number)
        for word in words[1:]:
            name, equals, value = word.partition("=")
            if not equals:
                self._problem(number, "there is a word that is no name=value", "put values with spaces in quotes")
                return
            variables[name] = Variable(value, number)
        names = expanded(pattern)
        if names is None or self.tree.is_full:
            self._problem(number, "this range of hosts is empty or too large")
            return
        for name in names:
            self.tree.host(name, number).update(variables)
            self.tree.group(self._group).hosts.add(name)

    def _problem(self, number: int, message: str, hint: str = "") -> None:
        self._problems.append(Problem(self._file, number, "", message, hint))


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text, comments=True)
    except ValueError:
        return text.split()
