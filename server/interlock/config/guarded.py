"""What hosts that are this very machine must keep out of every tool's reach. It opens and changes nothing."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import interlock
import interlock_policies
import interlock_tools
from interlock.settings import HostSettings, Settings

_NAMES = frozenset({"localhost", "localhost.localdomain", "localhost4", "localhost6", "ip6-localhost", "ip6-loopback"})


def guarded(settings: Settings, sources: Iterable[Path] = (), environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings with everything that Interlock lives by protected on the hosts that are this machine.

    `sources`: files the hosts were imported from.
    """
    own = own_places(settings, sources, environ)
    hosts = {
        name: replace(host, protected=tuple(dict.fromkeys((*host.protected, *own)))) if is_here(host) else host
        for name, host in settings.hosts.items()
    }
    return replace(settings, hosts=hosts)


def own_places(settings: Settings, sources: Iterable[Path] = (), environ: Mapping[str, str] = os.environ) -> list[str]:
    """State, configuration, policies, our own code, and every file that a login, a name or a secret comes from."""
    keys = [key for host in settings.hosts.values() for key in host.identities]
    found = [settings.state_dir, *code_folders(), *settings.policy_files, *sources]
    found += [Path(secret.name) for secret in (*keys, *settings.redact) if secret.kind == "file"]
    found += [host.known_hosts for host in settings.hosts.values() if host.known_hosts is not None]
    found += [path for path in (settings.http.tls_certificate, settings.http.tls_key) if path is not None]
    if settings.source is not None:
        found += [settings.source.parent, settings.source]
    agent = environ.get("SSH_AUTH_SOCK", "")
    if agent.startswith("/") and any(key.kind == "agent" for key in keys):
        found.append(Path(agent))
    return list(dict.fromkeys(str(path.expanduser().absolute()) for path in found))


def code_folders() -> tuple[Path, ...]:
    """Where Interlock itself is installed: who can write there can disarm the guard at its next start."""
    return tuple(Path(next(iter(package.__path__))) for package in (interlock, interlock_policies, interlock_tools))


def is_here(host: HostSettings) -> bool:
    """Whether a host is plainly this machine: the sandbox, a loopback address however it is written, or our own name.

    Another address of this machine is not recognised.
    """
    address = host.address.casefold().rstrip(".").strip("[]")
    if host.embedded or address in _NAMES or address.endswith(".localhost"):
        return True
    if address in {socket.gethostname().casefold(), socket.gethostname().partition(".")[0].casefold()}:
        return True
    try:
        number: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(address)
    except ValueError:
        try:
            number = ipaddress.IPv4Address(socket.inet_aton(address))  # 127.1 and its like
        except OSError:
            return False
    mapped = getattr(number, "ipv4_mapped", None)
    return number.is_loopback or number.is_unspecified or (mapped is not None and mapped.is_loopback)
