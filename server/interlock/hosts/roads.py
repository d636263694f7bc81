"""The roads: each host's link, through its jump hosts, with capped simultaneous connects. It carries out no run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace

import asyncssh

from interlock.hosts.dial import dial
from interlock.hosts.faults import Faulted
from interlock.hosts.identities import load_identities
from interlock.hosts.link import Link
from interlock.hosts.quick import ask
from interlock.hosts.trust import ShownKey, known_hosts_path, shown_keys, trusted_keys
from interlock.settings import HostSettings, Settings
from interlock_tools.errors import HostUnknown, HostUnreachable

RUNNERS_STARTED_AT_ONCE_MAX = 4  # on one server: each finds out anew what it can do
CONNECTS_AT_ONCE_MAX = 4  # below what a server's MaxStartups lets through at once
JUMPS_MAX = 8
PROBE_SECONDS = 5.0
OpenFiles = Callable[[asyncssh.SSHClientConnection, HostSettings], Awaitable[asyncssh.SFTPClient]]


class Roads:
    """Holds one link a host. A fault of one host stays with that host."""

    def __init__(self, settings: Settings, environment: Mapping[str, str], open_files: OpenFiles) -> None:
        self._settings = settings
        self._environment = environment
        self._open_files = open_files
        self._links: dict[str, Link] = {}
        self._connects: dict[tuple[str, int], asyncio.Semaphore] = {}
        self._starts: dict[tuple[str, int], asyncio.Semaphore] = {}
        self._probes: set[asyncio.Task[None]] = set()

    def link(self, name: str) -> Link:
        """The link of a host of the inventory. Raises Faulted(HostUnknown)."""
        link = self._links.get(name)
        if link is None:
            host = self._settings.hosts.get(name)
            if host is None:
                reason = f"{name} is not in the inventory"
                raise Faulted(HostUnknown(path="host", reason=reason), counts=False)
            link = self._links[name] = self._new_link(host)
        return link

    def is_up(self, name: str) -> bool:
        """Whether the host is connected right now."""
        link = self._links.get(name)
        return link is not None and link.is_up

    async def shown_keys(self, name: str) -> tuple[ShownKey, ...]:
        """The keys a host shows, through its jump hosts, without a login. Raises Faulted."""
        host = self.link(name).host
        jump = self.jump_of(host)
        tunnel = (await jump.live()).connection if jump else None
        path = known_hosts_path(self._settings, host)
        return await shown_keys(host, path, tunnel, self._settings.limits.connect_timeout_seconds)

    async def close(self) -> None:
        """Close every link; those that are reached through others first."""
        for probe in tuple(self._probes):
            probe.cancel()
        links, self._links = list(self._links.values()), {}
        behind = [link for link in links if link.host.jump]
        await asyncio.gather(*(link.close() for link in behind))
        await asyncio.gather(*(link.close() for link in links if not link.host.jump))

    # ── making a connection ──────────────────────────────────────────────────────────────────────────────────────────

    def _new_link(self, host: HostSettings) -> Link:
        def connect(on_lost: Callable[[], None]) -> Awaitable[asyncssh.SSHClientConnection]:
            return self._connect(host, on_lost)

        def files(connection: asyncssh.SSHClientConnection) -> Awaitable[asyncssh.SFTPClient]:
            return self._open_files(connection, host)

        starts = self._starts.setdefault((host.address, host.port), asyncio.Semaphore(RUNNERS_STARTED_AT_ONCE_MAX))
        return Link(host, connect, files, self._settings.limits, starts)

    async def _connect(self, host: HostSettings, on_lost: Callable[[], None]) -> asyncssh.SSHClientConnection:
        trusted = trusted_keys(host, known_hosts_path(self._settings, host))
        jump = self.jump_of(host)
        tunnel = (await self._jump_live(jump)) if jump else None
        identities = await load_identities(host.name, host.identities, self._environment)
        connects = self._connects.setdefault((host.address, host.port), asyncio.Semaphore(CONNECTS_AT_ONCE_MAX))
        try:
            async with connects:
                return await dial(host, trusted, identities, self._settings.limits, tunnel, on_lost)
        except Faulted:
            if jump:
                self._probe(jump)
            raise
        finally:
            identities.close()

    async def _jump_live(self, jump: Link) -> asyncssh.SSHClientConnection:
        try:
            return (await jump.live()).connection
        except Faulted as fault:
            reason = f"its jump host {jump.host.name}: {fault.refusal.reason}"
            raise Faulted(replace(fault.refusal, reason=reason), counts=fault.counts) from None

    def jump_of(self, host: HostSettings) -> Link | None:
        """The link this host is reached through, if any. Raises Faulted where jumps go in a circle."""
        if not host.jump:
            return None
        self._check_circle(host)
        if host.jump in self._settings.hosts:
            return self.link(host.jump)
        name = f"{host.jump} before {host.name}"
        if name not in self._links:
            self._links[name] = self._new_link(_bare_jump(name, host))
        return self._links[name]

    def _check_circle(self, host: HostSettings) -> None:
        seen = [host.name]
        jump = host.jump
        while jump in self._settings.hosts:
            if jump in seen or len(seen) > JUMPS_MAX:
                reason = f"its jump hosts go in a circle: {' → '.join([*seen, jump])}"
                raise Faulted(HostUnreachable(reason=reason), counts=False)
            seen.append(jump)
            jump = self._settings.hosts[jump].jump

    def _probe(self, jump: Link) -> None:
        """A failure behind a jump host may be the jump's own: ask it, so that a wedged one is dropped and replaced."""

        async def probe() -> None:
            with suppress(Faulted):
                if jump.is_up:
                    await ask(jump, await jump.live(), ":", timeout_seconds=PROBE_SECONDS)

        task = asyncio.create_task(probe(), name=f"probe {jump.host.name}")
        self._probes.add(task)
        task.add_done_callback(self._probes.discard)


def _bare_jump(name: str, host: HostSettings) -> HostSettings:
    """`user@address:port` as a host of its own, with the identities and known hosts of the one behind it."""
    user, _, place = host.jump.rpartition("@")
    address, port = place, 22
    head, colon, tail = place.rpartition(":")
    if colon and tail.isdigit() and (":" not in head or head.endswith("]")):
        address, port = head, int(tail)
    return HostSettings(
        name=name,
        address=address.strip("[]"),
        port=port,
        user=user or host.user,
        identities=host.identities,
        known_hosts=host.known_hosts,
    )
