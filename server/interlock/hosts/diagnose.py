"""Diagnosis: what stands between us and a host, found step by step, each with how to mend it. It changes nothing."""

from __future__ import annotations

import asyncio
import shlex
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh

from interlock.hosts.faults import Faulted, describe
from interlock.hosts.link import Link, Live
from interlock.hosts.quick import ask
from interlock.hosts.roads import Roads
from interlock.hosts.trust import known_hosts_path, trusted_keys
from interlock.settings import HostSettings, Settings

KEY_MODE_OTHERS = 0o077


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: whether it is good, what was seen, and how to mend it ("" where it is good)."""

    subject: str
    ok: bool
    detail: str
    mend: str = ""


async def diagnose(roads: Roads, settings: Settings, name: str) -> tuple[Finding, ...]:
    """Every finding for one host, in the order in which they depend on each other; later steps need earlier ones."""
    try:
        link = roads.link(name)
    except Faulted as fault:
        return (Finding("inventory", ok=False, detail=fault.refusal.message, mend="Name a host of the inventory."),)
    host = link.host
    found = [*_key_files(host), _trust(settings, host)]
    if not host.jump:
        found.append(await _reach(host, settings.limits.connect_timeout_seconds))
    if not all(finding.ok for finding in found if finding.subject != "key file mode"):
        skipped = "not tried, because of what failed before it"
        return (*found, Finding("login", ok=False, detail=skipped, mend="Mend that first, then look again."))
    try:
        live = await link.live()
    except Faulted as fault:
        return (*found, _login_fault(fault))
    found.append(Finding("login", ok=True, detail=str(live.connection.get_extra_info("server_version", ""))))
    return (*found, *await _inside(link, live))


def _key_files(host: HostSettings) -> list[Finding]:
    found: list[Finding] = []
    if not host.identities:
        mend = "Name a key file, a variable or the agent under the host's identities."
        found.append(Finding("identity", ok=False, detail="no identity is configured", mend=mend))
    for reference in host.identities:
        if reference.kind != "file":
            continue
        path = Path(reference.name).expanduser()
        try:
            mode = path.stat().st_mode
        except OSError as fault:
            detail = f"{reference.name}: {describe(fault)}"
            found.append(Finding("key file", ok=False, detail=detail, mend="Correct the path, or create the key."))
            continue
        if mode & KEY_MODE_OTHERS:
            mend = f"chmod 600 {reference.name}"
            detail = f"{reference.name} may be read by others"
            found.append(Finding("key file mode", ok=False, detail=detail, mend=mend))
    return found


def _trust(settings: Settings, host: HostSettings) -> Finding:
    try:
        keys = trusted_keys(host, known_hosts_path(settings, host))
    except Faulted as fault:
        mend = f"Compare the fingerprint with the host's owner, then run 'interlock hosts trust {host.name}'."
        return Finding("host key", ok=False, detail=fault.refusal.reason, mend=mend)
    return Finding("host key", ok=True, detail=f"{len(keys[0]) + len(keys[1])} trusted")


async def _reach(host: HostSettings, timeout_seconds: float) -> Finding:
    where = f"{host.address} port {host.port}"
    try:
        async with asyncio.timeout(timeout_seconds):
            reader, writer = await asyncio.open_connection(host.address, host.port)
            try:
                banner = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError) as fault:
        mend = "Check address, port, firewall and that the SSH server runs."
        if isinstance(fault, socket.gaierror):
            mend = "Check the address: its name does not resolve."
        return Finding("network", ok=False, detail=f"{where}: {describe(fault)}", mend=mend)
    if not banner.startswith(b"SSH-"):
        return Finding("network", ok=False, detail=f"{where} does not speak SSH", mend="Check the port.")
    return Finding("network", ok=True, detail=where)


def _login_fault(fault: Faulted) -> Finding:
    mends = {
        "AUTH_FAILED": "Add the public key to authorized_keys of that user on the host, or correct user and identity.",
        "HOST_KEY_MISMATCH": "Find out why the key changed; only then run 'interlock hosts trust'.",
    }
    mend = mends.get(fault.refusal.code, "Check that the host, its jump hosts and its SSH server answer.")
    return Finding("login", ok=False, detail=fault.refusal.reason, mend=mend)


async def _inside(link: Link, live: Live) -> list[Finding]:
    """What the host itself offers to our commands."""
    host = link.host
    try:
        said = await ask(link, live, _abilities(host))
    except Faulted as fault:
        mend = f"Install {host.shell}, or set the host's shell to where bash is."
        if host.become:
            mend = f"Allow '{host.user or 'the login'}' to run sudo -n -u {host.become} without a password."
        return [Finding("shell", ok=False, detail=fault.refusal.reason, mend=mend)]
    found = [Finding("shell", ok=True, detail=said.stdout.splitlines()[0] if said.stdout else host.shell)]
    for line in said.stdout.splitlines()[1:]:
        subject, _, rest = line.partition("|")
        detail, _, mend = rest.partition("|")
        found.append(Finding(subject, ok=not mend, detail=detail, mend=mend))
    try:
        async with link.files(live) as sftp:
            found.append(Finding("files", ok=True, detail=f"SFTP works and begins in {await sftp.realpath('.')}"))
    except (Faulted, asyncssh.ChannelOpenError) as fault:
        mend = "Enable 'Subsystem sftp' in sshd_config, or install the openssh-sftp-server package."
        found.append(Finding("files", ok=False, detail=str(fault), mend=mend))
    found.append(await _containment(link, live))
    return found


async def _containment(link: Link, live: Live) -> Finding:
    """Whether the host contains commands as strongly as its configuration asks for, as its runner found by doing it."""
    wanted = link.host.containment
    lower = f'set containment = "none" for {link.host.name} where that is meant.'
    if wanted == "none":
        return Finding("containment", ok=True, detail="none, as configured")
    try:
        outpost = await link.outpost(live)
    except (Faulted, asyncssh.ChannelOpenError) as fault:
        return Finding("containment", ok=False, detail=describe(fault), mend=f"Look again, or {lower}")
    if outpost is None:
        detail = f"none: {live.no_runner or 'it offers too few sessions'}"
        return Finding("containment", ok=False, detail=detail, mend=f"Install Python 3.6 or newer there, or {lower}")
    abilities: Mapping[str, Any] = outpost.hello.get("abilities") or {}
    levels = [str(level) for level in abilities.get("levels") or ()]
    seen = f"kernel {abilities.get('kernel', '?')}, Python {abilities.get('python', '?')}"
    if wanted in levels:
        return Finding("containment", ok=True, detail=f"{', '.join(reversed(levels))}; {seen}")
    why = (abilities.get("missing") or {}).get(wanted, "its runner does not say why")
    mend = f"Log in as root, let this login make user namespaces, or {lower}"
    return Finding("containment", ok=False, detail=f"no {wanted}: {why}; {seen}", mend=mend)


def _abilities(host: HostSettings) -> str:
    """Prints bash's version, then subject|detail|mend a line."""
    lines = ['echo "bash $BASH_VERSION"']
    tools = {"setsid": "util-linux", "grep": "grep", "find": "findutils", "sha256sum": "coreutils"}
    for tool, package in tools.items():
        lines.append(f"type -P {tool} >/dev/null && echo '{tool}|there|' || echo '{tool}|missing|Install {package}.'")
    if host.cwd:
        cwd = shlex.quote(host.cwd)
        lines.append(
            f"[ -d {cwd} ] && [ -x {cwd} ] && echo 'cwd|there|' || "
            "echo 'cwd|it cannot be entered|Create the working directory, or correct cwd.'"
        )
    return "\n".join(lines)
