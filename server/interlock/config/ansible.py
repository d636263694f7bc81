"""Hosts from an Ansible inventory: variables resolved as Ansible does it, groups and chosen variables as labels.

Passwords are refused: Interlock logs in with keys and becomes another user with `sudo -n`. Templates, vaults, plugins
and scripts are never run; where one would decide how a host is reached, that is a problem.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from interlock.config.ansible_ini import read_ini
from interlock.config.ansible_yaml import read_yaml
from interlock.config.drafts import HostDraft, Imported, selected
from interlock.config.faults import Problem
from interlock.config.sources import HOSTS_MAX, at_home, inventory_text
from interlock.config.tree import Tree, Variable, Variables
from interlock.settings import SecretRef

_YAML_ENDINGS = frozenset({".yml", ".yaml", ".json"})
_GROUP_DEPTH_MAX = 64
_LABEL = re.compile(r"[A-Za-z0-9_.:/@+-]{1,128}")
_GROUP = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_EVERYONE = frozenset({"all", "ungrouped"})
_TRUE = frozenset({"true", "yes", "1", "on"})
_PASSWORDS = re.compile(r"ansible_(ssh_|become_|sudo_|su_)?(pass|password)|ansible_ssh_private_key_passphrase")
_NAMES = {  # ours: Ansible's own and its older name
    "address": ("ansible_host", "ansible_ssh_host"),
    "port": ("ansible_port", "ansible_ssh_port"),
    "user": ("ansible_user", "ansible_ssh_user"),
    "key": ("ansible_ssh_private_key_file", "ansible_private_key_file"),
}
_ARGUMENTS = ("ansible_ssh_common_args", "ansible_ssh_extra_args")
# Options of ssh that change neither where nor as whom we connect.
_HARMLESS = re.compile(
    r"(control\w+|serveralive\w+|stricthostkeychecking|compression|forwardagent|connecttimeout|connectionattempts"
    r"|preferredauthentications|loglevel|identitiesonly)(=.*)?",
    re.IGNORECASE,
)


def read_ansible(path: Path, patterns: Sequence[str], label_vars: Sequence[str]) -> Imported:
    """The inventory's hosts that `patterns` choose; `label_vars` are the variables that become labels."""
    problems: list[Problem] = []
    text = inventory_text(path, problems)
    in_yaml = path.suffix.lower() in _YAML_ENDINGS or text.lstrip().startswith(("---", "all:", "{"))
    tree = read_yaml(text, str(path), problems) if in_yaml else read_ini(text, str(path), problems)
    names = [name for name in tree.hosts if selected(name, patterns)]
    if len(names) > HOSTS_MAX:
        problems.append(Problem(str(path), 0, "", f"more than {HOSTS_MAX} hosts", "narrow [inventory] hosts"))
    reader = _Reader(tree, str(path), tuple(label_vars), problems)
    drafts = tuple(reader.draft(name) for name in names[:HOSTS_MAX])
    return Imported(drafts, tuple(dict.fromkeys(problems)))


class _Reader:
    """Resolves hosts against the tree's groups."""

    def __init__(self, tree: Tree, file: str, label_vars: tuple[str, ...], problems: list[Problem]) -> None:
        self._tree = tree
        self._file = file
        self._label_vars = label_vars
        self._problems = problems
        self._parents: dict[str, set[str]] = {}
        for name, group in tree.groups.items():
            for child in group.children:
                self._parents.setdefault(child, set()).add(name)
        self._depths = {name: self._depth(name) for name in tree.groups}
        self._groups_of: dict[str, set[str]] = {}
        for name, group in tree.groups.items():
            for host in group.hosts:
                self._groups_of.setdefault(host, set()).add(name)

    def draft(self, name: str) -> HostDraft:
        groups = self._all_groups(name)
        variables = self._variables(name, groups)
        self._refuse(variables)
        found = {ours: self._text(variables, theirs) for ours, theirs in _NAMES.items()}
        return HostDraft(
            name=name,
            file=self._file,
            line=self._tree.lines.get(name, 0),
            address=found["address"],
            port=self._port(variables, found["port"]),
            user=found["user"],
            identities=self._identities(variables, found["key"]),
            jump=self._jump(variables),
            become=self._become(variables),
            labels=self._labels(variables),
            groups=frozenset(group for group in groups if group not in _EVERYONE and _GROUP.fullmatch(group)),
        )

    def _depth(self, name: str) -> int:
        """How far below the root a group stands; bounded, so that a circle ends too."""
        depth, level = 0, {name}
        while depth < _GROUP_DEPTH_MAX:
            level = {parent for group in level for parent in self._parents.get(group, ())}
            if not level:
                return depth
            depth += 1
        self._problems.append(Problem(self._file, 0, name[:80], "this group is its own parent, or nested too deep"))
        return depth

    def _all_groups(self, host: str) -> set[str]:
        found: set[str] = set()
        todo = list(self._groups_of.get(host, ()))
        while todo:
            group = todo.pop()
            if group not in found:
                found.add(group)
                todo.extend(self._parents.get(group, ()))
        return found

    def _variables(self, host: str, groups: set[str]) -> Variables:
        """Ansible's order: `all`, then groups from the outermost in, by name on one level, then the host's own."""
        merged: Variables = {}
        inward = sorted(groups - {"all"}, key=lambda name: (self._depths.get(name, 0), name))
        for name in ("all", *inward):
            if name in self._tree.groups:
                merged.update(self._tree.groups[name].variables)
        return {**merged, **self._tree.hosts[host]}

    def _refuse(self, variables: Variables) -> None:
        for name, variable in variables.items():
            if _PASSWORDS.fullmatch(name):
                why = "passwords are refused: they would have to be kept and typed for every call"
                self._problem(variable, name, why, "a key or the ssh-agent to log in, sudo without password to become")
        connection = variables.get("ansible_connection")
        if connection and connection.value not in ("ssh", "smart", "paramiko", "paramiko_ssh"):
            self._problem(connection, "ansible_connection", "not reached over SSH", "leave it out in [inventory] hosts")

    def _text(self, variables: Variables, names: Sequence[str]) -> str | None:
        """The first of these variables that is set; a template or a list is a problem."""
        for name in names:
            variable = variables.get(name)
            if variable is None:
                continue
            if not variable.scalar or "{{" in variable.value or "{%" in variable.value:
                self._problem(variable, name, "templates, vaults and lists are not supported", "write the plain value")
                return None
            return variable.value or None
        return None

    def _port(self, variables: Variables, text: str | None) -> int | None:
        if text is None:
            return None
        if text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) <= 65_535:
            return int(text)
        name = next(name for name in _NAMES["port"] if name in variables)
        self._problem(variables[name], name, "not a port number", "1 to 65535")
        return None

    def _identities(self, variables: Variables, key: str | None) -> tuple[SecretRef, ...] | None:
        if key is None:
            return None
        path = Path(self._file).parent / at_home(key)
        if not path.is_file():
            name = next(name for name in _NAMES["key"] if name in variables)
            self._problem(variables[name], name, "there is no such key file", "correct the path")
        return (SecretRef("file", str(path)),)

    def _become(self, variables: Variables) -> str | None:
        wanted = self._text(variables, ("ansible_become",))
        if wanted is None or wanted.lower() not in _TRUE:
            return None
        method = variables.get("ansible_become_method")
        if method and method.value != "sudo":
            self._problem(method, "ansible_become_method", "only sudo is supported", "sudo without a password")
        return self._text(variables, ("ansible_become_user",)) or "root"

    def _jump(self, variables: Variables) -> str | None:
        jump = None
        for name in _ARGUMENTS:
            text = self._text(variables, (name,))
            if text:
                jump = self._jump_of(text, variables[name], name) or jump
        return jump

    def _jump_of(self, text: str, variable: Variable, name: str) -> str | None:
        try:
            words = shlex.split(text)
        except ValueError:
            words = text.split()
        jump, position = None, 0
        while position < len(words):
            word = words[position]
            option = words[position + 1] if word in ("-o", "-J") and position + 1 < len(words) else word[2:]
            position += 2 if word in ("-o", "-J") else 1
            key, _, value = option.partition("=")
            if word.startswith("-J") or (word.startswith("-o") and key.lower() == "proxyjump"):
                jump = option if word.startswith("-J") else value
            elif not (word.startswith("-o") and _HARMLESS.fullmatch(option)) and word not in ("-C", "-A", "-q"):
                self._problem(variable, name, "an option of ssh is not supported", "only ProxyJump has a meaning here")
        if jump and "," in jump:
            self._problem(variable, name, "more than one jump host", "give each host on the way its own")
            return None
        return jump

    def _labels(self, variables: Variables) -> dict[str, str]:
        wanted = {name: variables[name].value for name in self._label_vars if name in variables}
        return {name: value for name, value in wanted.items() if _LABEL.fullmatch(value)}

    def _problem(self, variable: Variable, name: str, message: str, hint: str) -> None:
        self._problems.append(Problem(self._file, variable.line, name, message, hint))
