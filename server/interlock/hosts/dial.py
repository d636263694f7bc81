"""Dialling: one SSH connection to one host, with everything that could widen trust switched off. It keeps nothing."""

from __future__ import annotations

import asyncio
import os
import pwd
from collections.abc import Callable

import asyncssh

from interlock.hosts.faults import Faulted, describe, unreachable
from interlock.hosts.identities import Identities
from interlock.hosts.trust import Trusted, offered_algorithms
from interlock.settings import HostSettings, Limits
from interlock_tools.errors import AuthFailed, HostKeyMismatch

KEEPALIVES_MISSED_MAX = 3
# The library's own list with AES-GCM first: it costs a third of what ChaCha20 does there, which every small call feels.
_CIPHERS = "^aes128-gcm@openssh.com,aes256-gcm@openssh.com"


def login_user(host: HostSettings) -> str:
    """Who logs in: the configured user, else the one this process runs as."""
    return host.user or pwd.getpwuid(os.geteuid()).pw_name


class _Client(asyncssh.SSHClient):
    """Hears of a key that is not trusted and of the end of the connection; answers no prompt, ever."""

    def __init__(self, on_lost: Callable[[], None]) -> None:
        self._on_lost = on_lost
        self.refused_key = ""

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        del host, addr, port
        self.refused_key = f"{key.get_algorithm()} {key.get_fingerprint()}"
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._on_lost()


async def dial(
    host: HostSettings,
    trusted: Trusted,
    identities: Identities,
    limits: Limits,
    tunnel: asyncssh.SSHClientConnection | None,
    on_lost: Callable[[], None],
) -> asyncssh.SSHClientConnection:
    """A logged-in connection. Raises Faulted: HostKeyMismatch, AuthFailed or HostUnreachable, each within its time."""
    client = _Client(on_lost)
    where = f"{host.address} port {host.port}"
    try:
        async with asyncio.timeout(limits.connect_timeout_seconds):
            return await asyncssh.connect(
                host.address,
                host.port,
                tunnel=tunnel or (),
                client_factory=lambda: client,
                options=_options(host, trusted, identities, limits),
                config=None,
            )
    except asyncssh.HostKeyNotVerifiable:
        shown = f" (it shows {client.refused_key})" if client.refused_key else ""
        raise Faulted(HostKeyMismatch(reason=f"{where} is not who it was{shown}"), counts=False) from None
    except asyncssh.PermissionDenied as fault:
        reason = f"{login_user(host)} at {where}: {describe(fault)}"
        raise Faulted(AuthFailed(reason=reason), counts=False) from None
    except (OSError, asyncssh.Error, TimeoutError) as fault:
        raise unreachable(f"{where}: {describe(fault)}") from None


def _options(
    host: HostSettings, trusted: Trusted, identities: Identities, limits: Limits
) -> asyncssh.SSHClientConnectionOptions:
    return asyncssh.SSHClientConnectionOptions(
        config=None,
        username=login_user(host),
        known_hosts=trusted,
        server_host_key_algs=offered_algorithms(trusted),
        client_keys=list(identities.keys),
        agent_path=None,
        agent_forwarding=False,
        password=None,
        preferred_auth=("publickey",),
        password_auth=False,
        kbdint_auth=False,
        host_based_auth=False,
        gss_auth=False,
        gss_kex=False,
        pkcs11_provider=None,
        x11_forwarding=False,
        connect_timeout=limits.connect_timeout_seconds,
        login_timeout=limits.login_timeout_seconds,
        keepalive_interval=limits.keepalive_seconds,
        keepalive_count_max=KEEPALIVES_MISSED_MAX,
        encryption_algs=_CIPHERS,
        compression_algs=["none"],
    )
