"""Trust: which host keys are known, and what a host shows when it is asked. It never adds a key by itself."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from interlock.hosts.faults import Faulted, describe, unreachable
from interlock.settings import HostSettings, Settings
from interlock_tools.errors import HostKeyMismatch

KNOWN_HOSTS_BYTES_MAX = 4 * 1024 * 1024
DEFAULT_PORT = 22
_RSA = "ssh-rsa"
_RSA_SIGNATURES = ("rsa-sha2-512", "rsa-sha2-256")
_KINDS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", *_RSA_SIGNATURES)
_CERTIFICATE = "-cert-v01@openssh.com"

# asyncssh's own form: host keys, authority keys, revoked keys, and four lists for X.509, which is not used here.
Trusted = tuple[
    list[asyncssh.SSHKey], list[asyncssh.SSHKey], list[asyncssh.SSHKey], list[str], list[str], list[str], list[str]
]


@dataclass(frozen=True, slots=True)
class ShownKey:
    """A key that a host showed: its algorithm, its SHA-256 fingerprint, and the line that would trust it."""

    algorithm: str
    fingerprint: str
    line: str
    trusted: bool


def known_hosts_path(settings: Settings, host: HostSettings) -> Path:
    """The file that says which keys this host may show: its own, else the one beside the store."""
    return host.known_hosts or settings.state_dir / "known_hosts"


def known_hosts_name(host: HostSettings) -> str:
    """How a known_hosts line names this host: the address, with the port where it is not 22."""
    return host.address if host.port == DEFAULT_PORT else f"[{host.address}]:{host.port}"


def trust_line(host: HostSettings, key: asyncssh.SSHKey) -> str:
    """The known_hosts line for this host and key, without a line end."""
    return f"{known_hosts_name(host)} {key.export_public_key().decode().strip()}"


def trusted_keys(host: HostSettings, path: Path) -> Trusted:
    """The keys that are trusted for this host.

    Raises Faulted(HostKeyMismatch) where there is none or the file cannot be read: an empty list handed on to the SSH
    library would make it fall back to the user's own file.
    """
    try:
        with path.open("rb") as file:
            text = file.read(KNOWN_HOSTS_BYTES_MAX).decode("utf-8", "replace")
        found = asyncssh.import_known_hosts(text).match(host.address, "", _port(host))
    except FileNotFoundError:
        raise _untrusted(f"no key of {known_hosts_name(host)} is trusted yet (there is no known_hosts file)") from None
    except (OSError, ValueError) as fault:
        raise _untrusted(f"the known_hosts file of {host.name} cannot be read: {describe(fault)}") from None
    keys, authorities, revoked = found[0], found[1], found[2]
    if not keys and not authorities:
        raise _untrusted(f"no key of {known_hosts_name(host)} is trusted yet")
    return (list(keys), list(authorities), list(revoked), [], [], [], [])


def _port(host: HostSettings) -> int | None:
    return None if host.port == DEFAULT_PORT else host.port


def _untrusted(reason: str) -> Faulted:
    return Faulted(HostKeyMismatch(reason=reason), counts=False)


def offered_algorithms(trusted: Trusted) -> list[str]:
    """The kinds of host key to accept in the key exchange: the trusted ones first, then every other.

    A host that has only another kind by now must get as far as showing it: then it is refused as what it is.
    """
    known: list[str] = []
    for key in trusted[0]:
        known += _RSA_SIGNATURES if key.get_algorithm() == _RSA else [key.get_algorithm()]
    certificates = [f"{kind}{_CERTIFICATE}" for kind in _KINDS] if trusted[1] else []
    return list(dict.fromkeys([*certificates, *known, *_KINDS]))


async def shown_keys(
    host: HostSettings, path: Path, tunnel: asyncssh.SSHClientConnection | None, timeout_seconds: float
) -> tuple[ShownKey, ...]:
    """Every host key the host shows. Nothing but the key exchange is sent: no login, no name of a user.

    Raises Faulted where it cannot be reached.
    """
    known = _trusted_or_none(host, path)
    keys = [await _shown(host, _KINDS, tunnel, timeout_seconds)]
    for kind in ("ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512"):
        with suppress(Faulted):  # a host without a key of this kind hangs up
            keys.append(await _shown(host, (kind,), tunnel, timeout_seconds))
    different = {key.public_data: key for key in keys}.values()
    return tuple(
        ShownKey(
            key.get_algorithm(),
            key.get_fingerprint(),
            trust_line(host, key),
            any(key.public_data == other.public_data for other in known),
        )
        for key in different
    )


def _trusted_or_none(host: HostSettings, path: Path) -> list[asyncssh.SSHKey]:
    try:
        return trusted_keys(host, path)[0]
    except Faulted:
        return []


async def _shown(
    host: HostSettings,
    kinds: tuple[str, ...],
    tunnel: asyncssh.SSHClientConnection | None,
    timeout_seconds: float,
) -> asyncssh.SSHKey:
    where = f"{host.address} port {host.port}"
    try:
        async with asyncio.timeout(timeout_seconds):
            key = await asyncssh.get_server_host_key(
                host.address, host.port, tunnel=tunnel or (), config=None, server_host_key_algs=list(kinds)
            )
    except (OSError, asyncssh.Error, TimeoutError) as fault:
        raise unreachable(f"{where}: {describe(fault)}") from None
    if key is None:
        raise unreachable(f"{where} shows no key")
    return key
