"""Identities: the private keys a host's references name. It reads nothing that is not referenced and keeps no text."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from interlock.hosts.faults import Faulted, describe
from interlock.settings import SecretRef
from interlock_tools.errors import AuthFailed

KEY_BYTES_MAX = 64 * 1024
AGENT_VARIABLE = "SSH_AUTH_SOCK"
AGENT_SECONDS = 5.0


@dataclass(frozen=True)
class Identities:
    """What a login may prove itself with: keys in memory, and the agents that hold others. Close it after the login."""

    keys: tuple[asyncssh.SSHKey | asyncssh.SSHKeyPair, ...] = ()
    agents: tuple[asyncssh.SSHAgentClient, ...] = ()

    def close(self) -> None:
        """Leave the agents."""
        for agent in self.agents:
            agent.close()


async def load_identities(host: str, references: Iterable[SecretRef], environment: Mapping[str, str]) -> Identities:
    """The identities these references name. Raises Faulted(AuthFailed) that names the reference, never its content."""
    keys: list[asyncssh.SSHKey | asyncssh.SSHKeyPair] = []
    agents: list[asyncssh.SSHAgentClient] = []
    for reference in references:
        if reference.kind == "agent":
            agent = await _agent(host, reference, environment)
            agents.append(agent)
            keys.extend(await _agent_keys(host, agent))
        else:
            keys.append(_key(host, reference, environment))
    if not keys:
        raise _refused(f"host {host} names no identity (a key file, a variable or the agent)")
    return Identities(tuple(keys), tuple(agents))


async def _agent(host: str, reference: SecretRef, environment: Mapping[str, str]) -> asyncssh.SSHAgentClient:
    name = reference.name or AGENT_VARIABLE
    path = name if "/" in name else environment.get(name, "")
    if path:
        with suppress(OSError, ValueError):
            return await asyncssh.connect_agent(path)
    raise _refused(f"host {host} is to use the agent of {name}, and none answers there")


async def _agent_keys(host: str, agent: asyncssh.SSHAgentClient) -> list[asyncssh.SSHKeyPair]:
    try:
        async with asyncio.timeout(AGENT_SECONDS):
            return list(await agent.get_keys())
    except (OSError, ValueError, TimeoutError) as fault:
        agent.close()
        raise _refused(f"the agent of host {host} does not list its keys: {describe(fault)}") from None


def _refused(reason: str) -> Faulted:
    return Faulted(AuthFailed(reason=reason), counts=False)


def _key(host: str, reference: SecretRef, environment: Mapping[str, str]) -> asyncssh.SSHKey:
    where = f"{reference.kind} {reference.name}"
    try:
        text = _text(reference, environment)
    except OSError as fault:
        raise _refused(f"the key of host {host} in {where}: {fault.strerror}") from None
    if not text.strip():
        raise _refused(f"the key of host {host} in {where} is empty")
    try:
        return asyncssh.import_private_key(text)
    except asyncssh.KeyEncryptionError:
        reason = f"the key of host {host} in {where} has a passphrase; load it into an agent and name that"
    except asyncssh.KeyImportError:
        reason = f"the key of host {host} in {where} is not a private key"
    raise _refused(reason)


def _text(reference: SecretRef, environment: Mapping[str, str]) -> str:
    if reference.kind == "env":
        return environment.get(reference.name, "")
    path = Path(reference.name).expanduser()
    with path.open("rb") as file:
        return file.read(KEY_BYTES_MAX).decode("utf-8", "replace")
