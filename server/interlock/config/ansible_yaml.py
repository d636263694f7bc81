"""An Ansible inventory in YAML form, read into a tree from its nodes: no object is ever constructed, no tag obeyed."""

from __future__ import annotations

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

from interlock.config.faults import Problem
from interlock.config.tree import Tree, Variable, Variables, expanded

_NODES_MAX = 200_000
_DEPTH_MAX = 64


def read_yaml(text: str, file: str, problems: list[Problem]) -> Tree:
    """The tree of this text; what cannot be read is a problem."""
    reader = _Reader(file, problems)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as fault:
        line = fault.problem_mark.line + 1 if fault.problem_mark else 0
        problems.append(Problem(file, line, "", "this is not YAML", "indentation, quotes and colons are what matters"))
        return reader.tree
    except (yaml.YAMLError, RecursionError, ValueError):
        problems.append(Problem(file, 0, "", "this is not YAML"))
        return reader.tree
    for name, node in reader.items(root):
        reader.group(name, node, depth=1)
    return reader.tree


class _Reader:
    """Walks the nodes. Aliases may make a small text a huge tree, so every visited node counts."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        self.tree = Tree()
        self._file = file
        self._problems = problems
        self._visited = 0

    def items(self, node: Node | None) -> list[tuple[str, Node]]:
        """A table's entries by name; an empty value is an empty table, anything else is a problem."""
        if node is None or (isinstance(node, ScalarNode) and node.value in ("", "null", "~")):
            return []
        if not isinstance(node, MappingNode):
            self._problem(node, "a table is expected here")
            return []
        self._visited += len(node.value)
        if self._visited > _NODES_MAX:
            self._problem(node, "the inventory is too large")
            return []
        return [(key.value, value) for key, value in node.value if isinstance(key, ScalarNode)]

    def group(self, name: str, node: Node, depth: int) -> None:
        group = self.tree.group(name)
        if depth > _DEPTH_MAX:
            self._problem(node, "groups are nested too deep")
            return
        for key, value in self.items(node):
            if key == "hosts":
                self._hosts(name, value)
            elif key == "children":
                for child, inner in self.items(value):
                    group.children.add(child)
                    self.group(child, inner, depth + 1)
            elif key == "vars":
                group.variables.update(self._variables(value))
            else:
                self._problem(value, "a group has hosts, children and vars only", key)

    def _hosts(self, group: str, node: Node) -> None:
        for pattern, value in self.items(node):
            line = value.start_mark.line + 1
            names = expanded(pattern)
            if names is None or self.tree.is_full:
                self._problem(value, "this range of hosts is empty or too large")
                continue
            variables = self._variables(value)
            for name in names:
                self.tree.host(name, line).update(variables)
                self.tree.group(group).hosts.add(name)

    def _variables(self, node: Node) -> Variables:
        found: Variables = {}
        for name, value in self.items(node):
            plain = isinstance(value, ScalarNode) and value.tag.startswith("tag:yaml.org,2002:")
            found[name] = Variable(value.value if plain else "", value.start_mark.line + 1, scalar=plain)
        return found

    def _problem(self, node: Node, message: str, key: str = "") -> None:
        self._problems.append(Problem(self._file, node.start_mark.line + 1, key[:80], message))
