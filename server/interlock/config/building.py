"""The meaning of a configuration of the right shape: paths, references, names are checked, settings are built."""

from __future__ import annotations

import ipaddress
import stat
from dataclasses import replace
from pathlib import Path

from interlock.config.app_building import build_apps
from interlock.config.app_files import secrets_of, with_hidden
from interlock.config.faults import Problem, did_you_mean
from interlock.config.guarded import guarded
from interlock.config.hosts import build_hosts
from interlock.config.lines import Lines
from interlock.config.models import ConfigFile
from interlock.config.places import state_dir as default_state_dir
from interlock.config.references import private_file_fault
from interlock.config.selection import selection_fault
from interlock.config.sight import Sight
from interlock.settings import HostSettings, HttpSettings, Limits, SecretRef, Settings
from interlock_policies.facts import Principal, PrincipalKind
from interlock_policies.packs import SHIPPED
from interlock_policies.paths import is_within, normalised


def build(shape: ConfigFile, path: Path, lines: Lines) -> tuple[Settings, list[Problem]]:
    """Settings, and what is wrong with them; they may be used only where nothing is."""
    sight = Sight(path, lines)
    state = sight.local(shape.server.state_dir) if shape.server.state_dir else default_state_dir()
    hosts = build_hosts(shape, sight, state)
    principals = _principals(shape, sight, hosts)
    settings = Settings(
        state_dir=state,
        hosts=hosts,
        principals=principals,
        default_principal=_default_principal(shape, sight, principals),
        policy_files=_policy_files(shape, sight),
        packs=_packs(shape, sight),
        artifacts_dir=_artifacts_dir(shape, sight),
        limits=Limits(**shape.limits.model_dump()),
        http=_http(shape, sight),
        otlp_endpoint=shape.telemetry.otlp_endpoint,
        redact=_redact(shape, sight),
        elicit_roles=frozenset(shape.policy.elicit_roles),
        source=path,
    )
    # Whoever can write an artifact decides what is released: on this machine no tool may touch that folder either.
    artifacts = [settings.artifacts_dir] if settings.artifacts_dir else []
    settings = guarded(settings, [*sight.sources, *artifacts])
    _check_protected(settings, sight)
    apps = build_apps(shape.apps, sight, settings.hosts)
    return replace(settings, apps=apps, hosts=with_hidden(settings.hosts, apps)), sight.problems


def _check_protected(settings: Settings, sight: Sight) -> None:
    """No place of work may lie where no tool may look: there every call would be refused."""
    for name, host in settings.hosts.items():
        works = [(("cwd",), host.cwd), *((("workspace", number), tree) for number, tree in enumerate(host.workspace))]
        for key, place in works:
            if any(is_within(normalised(place), normalised(tree)) for tree in host.protected):
                message = "it lies in a tree that is protected: no tool may read or change anything there"
                hint = "move one of them; the folder of this file is protected on hosts that are this machine"
                sight.problem(("hosts", name, *key), message, hint)


def _principals(shape: ConfigFile, sight: Sight, hosts: dict[str, HostSettings]) -> dict[str, Principal]:
    if not shape.principals:
        sight.problem((), "there is no principal, so nobody could call", "add [principals.agent]")
    for name, section in shape.principals.items():
        for index, reach in enumerate(section.hosts):
            fault = selection_fault(reach, hosts)
            if fault:
                sight.problem(("principals", name, "hosts", index), *fault)
    return {
        name: Principal(
            name,
            kind=PrincipalKind(section.kind),
            roles=frozenset(section.roles),
            hosts=tuple(section.hosts),
            autonomy=section.autonomy,
        )
        for name, section in shape.principals.items()
    }


def _default_principal(shape: ConfigFile, sight: Sight, principals: dict[str, Principal]) -> str:
    wanted = shape.server.principal
    if wanted is None:
        return next(iter(principals)) if len(principals) == 1 else ""
    if wanted not in principals:
        sight.problem(("server", "principal"), "there is no such principal", did_you_mean(wanted, list(principals)))
    return wanted


def _policy_files(shape: ConfigFile, sight: Sight) -> tuple[Path, ...]:
    files = []
    for index, name in enumerate(shape.policy.files):
        file = sight.local(name)
        where = ("policy", "files", index)
        if not (file.is_file() or file.is_dir()):
            sight.problem(where, "there is no such file or folder", "relative to this file, or absolute")
        elif file.stat().st_mode & 0o022:
            sight.problem(where, "others may change this file", f"chmod go-w {file}")
        files.append(file)
    return tuple(files)


def _artifacts_dir(shape: ConfigFile, sight: Sight) -> Path | None:
    """The folder of artifacts. It has to be one that nobody else can put a release into."""
    if shape.server.artifacts is None:
        return None
    folder = sight.local(shape.server.artifacts)
    where = ("server", "artifacts")
    try:
        mode = folder.stat().st_mode
    except (OSError, ValueError):
        mode = 0
    if not stat.S_ISDIR(mode):
        sight.problem(where, "there is no such folder", "relative to this file, or absolute")
    elif mode & 0o022:
        sight.problem(where, "others may change this folder", f"chmod go-w {folder}")
    return folder


def _packs(shape: ConfigFile, sight: Sight) -> tuple[str, ...]:
    for index, name in enumerate(shape.policy.packs):
        if name not in SHIPPED:
            sight.problem(("policy", "packs", index), "there is no such rule pack", did_you_mean(name, SHIPPED))
    return tuple(shape.policy.packs)


def _http(shape: ConfigFile, sight: Sight) -> HttpSettings:
    """Beyond loopback nothing is served without TLS and tokens; a wildcard address is beyond loopback."""
    section = shape.http
    certificate = sight.local(section.tls_certificate) if section.tls_certificate else None
    key = sight.local(section.tls_key) if section.tls_key else None
    if (certificate is None) != (key is None):
        missing = "tls_key" if key is None else "tls_certificate"
        sight.problem(("http",), f"{missing} is missing", "TLS needs both tls_certificate and tls_key")
    if certificate and not certificate.is_file():
        sight.problem(("http", "tls_certificate"), "there is no such file", "a PEM file with the whole chain")
    if key and (fault := private_file_fault(key)):
        sight.problem(("http", "tls_key"), *fault)
    if not is_loopback(section.listen):
        if certificate is None:
            sight.problem(("http", "listen"), "beyond loopback TLS is demanded", "set tls_certificate and tls_key")
        if not section.tokens:
            sight.problem(("http", "tokens"), "beyond loopback tokens are demanded", "remove tokens = false")
    return HttpSettings(
        listen=section.listen,
        port=section.port,
        tls_certificate=certificate,
        tls_key=key,
        hosts=tuple(section.hosts),
        origins=tuple(section.origins),
        tokens=section.tokens,
    )


def is_loopback(address: str) -> bool:
    """Whether this address can only mean this machine. A name other than localhost could mean anything."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _redact(shape: ConfigFile, sight: Sight) -> tuple[SecretRef, ...]:
    named = [
        sight.secret(reference, ("redact", "values", index)) for index, reference in enumerate(shape.redact.values)
    ]
    return tuple(dict.fromkeys([*named, *secrets_of(shape.apps, sight)]))
