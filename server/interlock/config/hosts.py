"""The hosts of a configuration: written in it, imported from inventories, or both as one. It connects to nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from interlock.config import places
from interlock.config.ansible import read_ansible
from interlock.config.drafts import HostDraft, Imported, labelled, merged
from interlock.config.embedded import sandbox_host
from interlock.config.faults import Problem, did_you_mean
from interlock.config.models import ADDRESS_PATTERN, LOGIN_PATTERN, NAME_PATTERN, ConfigFile, HostSection
from interlock.config.openssh import read_openssh
from interlock.config.sight import Sight
from interlock.settings import HostSettings, SecretRef

_JUMP = re.compile(
    r"(?:[A-Za-z0-9_][A-Za-z0-9._-]*@)?[A-Za-z0-9][A-Za-z0-9._-]*(?::\d{1,5})?|\[[0-9a-fA-F:]+\](?::\d{1,5})?"
)
_JUMPS_MAX = 8


def build_hosts(shape: ConfigFile, sight: Sight, state: Path) -> dict[str, HostSettings]:
    """Every host by name. What the file itself says wins over Ansible, and that over OpenSSH, as on a command line."""
    drafts = _imported(shape, sight)
    hosts = {}
    for name in (*shape.hosts, *(name for name in drafts if name not in shape.hosts)):
        section = shape.hosts.get(name, HostSection())
        if section.embedded:
            hosts[name] = _sandbox(name, section, sight, state)
        else:
            hosts[name] = _host(name, section, drafts.get(name), sight)
    if not hosts and not sight.problems:
        sight.problem((), "there is no host", "add [hosts.NAME] with an address, or [inventory]")
    _check_jumps(hosts, drafts, sight)
    return hosts


def _imported(shape: ConfigFile, sight: Sight) -> dict[str, HostDraft]:
    """The inventories' hosts by name, Ansible over OpenSSH, with their labels."""
    section = shape.inventory
    found: dict[str, HostDraft] = {}
    for names, kind in ((section.ansible, "ansible"), (section.openssh, "openssh")):
        for name in names:
            path = sight.local(name)
            sight.sources.append(path)
            if kind == "ansible":
                imported = read_ansible(path, section.hosts, section.label_vars)
            else:
                imported = read_openssh(path, section.hosts)
            _take_over(imported, found, sight)
    return {name: labelled(draft, section.labels) for name, draft in found.items()}


def _take_over(imported: Imported, found: dict[str, HostDraft], sight: Sight) -> None:
    sight.problems.extend(imported.problems)
    for draft in imported.hosts:
        sight.sources.extend([Path(draft.file)] if draft.file else [])
        unusable = _unusable(draft)
        if unusable:
            hint = "leave it out with [inventory] hosts, or change it there"
            sight.problems.append(Problem(draft.file, draft.line, "", f"this host's {unusable} cannot be used", hint))
        elif draft.name in found:
            found[draft.name] = merged(found[draft.name], draft)
        else:
            found[draft.name] = draft


def _unusable(draft: HostDraft) -> str:
    """What of an imported host does not have the form that it must have in our own file; "" where all has."""
    forms = (
        ("name", draft.name, NAME_PATTERN),
        ("address", draft.address, ADDRESS_PATTERN),
        ("user", draft.user, LOGIN_PATTERN),
        ("become user", draft.become, LOGIN_PATTERN),
    )
    return next((what for what, value, form in forms if value and not re.fullmatch(form, value)), "")


def _sandbox(name: str, section: HostSection, sight: Sight, state: Path) -> HostSettings:
    """The embedded host takes labels, groups and limits from the file; where it is and what runs there is fixed."""
    free = {"embedded", "labels", "groups", "sessions_max", "containment", "masked"}
    for key in sorted(section.model_fields_set - free):
        sight.problem(("hosts", name, key), "an embedded host has no such setting", "remove it, or embedded = true")
    config = sight.path.parent.absolute()
    host = sandbox_host(name, places.scratch_dir(state), (state, config, places.config_dir()))
    return _replaced(host, section)


def _replaced(host: HostSettings, section: HostSection) -> HostSettings:
    return replace(
        host,
        labels=dict(section.labels) or host.labels,
        groups=frozenset(section.groups),
        sessions_max=section.sessions_max,
        containment=section.containment,
        masked=tuple(section.masked),
    )


def _host(name: str, section: HostSection, draft: HostDraft | None, sight: Sight) -> HostSettings:
    where = ("hosts", name)
    known = draft or HostDraft(name, str(sight.path), sight.line(where))
    address = section.address or known.address or (name if draft else "")
    if not address:
        sight.problem(where, "address is missing", 'address = "host name or IP"')
    identities = known.identities or (SecretRef("agent"),)
    if section.identities is not None:
        identities = tuple(
            sight.secret(reference, (*where, "identities", index)) for index, reference in enumerate(section.identities)
        )
    known_hosts = section.known_hosts or known.known_hosts
    known_hosts_path = sight.local(known_hosts) if known_hosts else None
    if section.known_hosts and known_hosts_path and not known_hosts_path.is_file():
        sight.problem((*where, "known_hosts"), "there is no such file", "remove it, and run 'interlock hosts trust'")
    return HostSettings(
        name=name,
        address=address,
        port=section.port or known.port or 22,
        user=section.user or known.user or "",
        identities=identities,
        known_hosts=known_hosts_path,
        jump=section.jump if section.jump is not None else known.jump or "",
        become=section.become if section.become is not None else known.become or "",
        labels={**known.labels, **section.labels},
        groups=known.groups | frozenset(section.groups),
        cwd=section.cwd or "",
        workspace=tuple(section.workspace),
        protected=tuple(section.protected),
        shell=section.shell,
        path=section.path,
        sessions_max=section.sessions_max,
        containment=section.containment,
        masked=tuple(section.masked),
    )


def _check_jumps(hosts: Mapping[str, HostSettings], drafts: Mapping[str, HostDraft], sight: Sight) -> None:
    """Every jump host is one of ours or an address, and no way runs in a circle or over more than _JUMPS_MAX hosts."""
    for name, host in hosts.items():
        if not host.jump or host.jump in hosts:
            if host.jump and not _way_ends(name, hosts):
                _jump_problem(name, drafts, sight, f"its jump hosts form a circle, or are more than {_JUMPS_MAX}", "")
            continue
        plain = "@" not in host.jump and ":" not in host.jump
        if plain or not _JUMP.fullmatch(host.jump):
            near = did_you_mean(host.jump, [other for other in hosts if other != name])
            _jump_problem(name, drafts, sight, "there is no such host", near or "or write user@address:port")


def _way_ends(name: str, hosts: Mapping[str, HostSettings]) -> bool:
    current = hosts[name]
    for _ in range(_JUMPS_MAX):
        if current.jump not in hosts:
            return True
        current = hosts[current.jump]
    return not current.jump


def _jump_problem(name: str, drafts: Mapping[str, HostDraft], sight: Sight, message: str, hint: str) -> None:
    where = ("hosts", name, "jump")
    draft = drafts.get(name)
    if draft and not sight.line(where):
        sight.problems.append(Problem(draft.file, draft.line, f"{name}: ProxyJump", message, hint))
    else:
        sight.problem(where, message, hint)
