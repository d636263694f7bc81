"""The operations on hosts behind the command line: list, look at, trust. It trusts only what a person confirmed."""

from __future__ import annotations

import asyncio
import dataclasses

from interlock.app import App
from interlock.control.faults import ControlFault
from interlock.control.known_hosts import trust
from interlock.hosts.trust import known_hosts_name, known_hosts_path
from interlock.naming import unknown_name
from interlock.settings import HostSettings
from interlock_tools.call import Json
from interlock_tools.errors import Refusal

CHECKED_AT_ONCE = 8


class HostsAdmin:
    """One method an operation; see `admin.Admin`."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._room = asyncio.Semaphore(CHECKED_AT_ONCE)

    async def listed(self) -> Json:
        """Every host as it is configured, with its open breakers."""
        breakers = await self._app.store.load_breakers()
        opened = {(row.host, row.kind) for row in breakers if row.opened_at is not None}
        return [
            {
                "name": host.name,
                "address": f"{host.address}:{host.port}",
                "user": host.user,
                "become": host.become,
                "jump": host.jump,
                "labels": dict(host.labels),
                "groups": sorted(host.groups),
                "embedded": host.embedded,
                "broken": sorted(kind for name, kind in opened if name == host.name),
            }
            for host in self._app.settings.hosts.values()
        ]

    async def shown(self, host: str) -> Json:
        """The keys the host shows now; nothing is trusted by looking."""
        self._settings_of(host)
        keys = await self._app.hosts.fingerprints(host)
        if isinstance(keys, Refusal):
            raise ControlFault(keys.code, keys.message, keys.next_step().because)
        return [{"algorithm": key.algorithm, "fingerprint": key.fingerprint, "trusted": key.trusted} for key in keys]

    async def trust(self, host: str, fingerprints: list[str]) -> Json:
        """Trust exactly the keys with these fingerprints; the host is asked again, its other keys are dropped."""
        settings = self._settings_of(host)
        if settings.known_hosts is not None:
            hint = f"add its key to {settings.known_hosts}"
            raise ControlFault("KNOWN_HOSTS_FOREIGN", f"{host} has a known_hosts file of its own", hint)
        keys = await self._app.hosts.fingerprints(host)
        if isinstance(keys, Refusal):
            raise ControlFault(keys.code, keys.message, keys.next_step().because)
        chosen = [key for key in keys if key.fingerprint in fingerprints]
        if not chosen:
            hint = "compare with what 'ssh-keygen -lf' prints on the host itself"
            raise ControlFault("HOST_KEY_MISMATCH", f"{host} shows no key with this fingerprint", hint)
        path = known_hosts_path(self._app.settings, settings)
        await asyncio.to_thread(trust, path, known_hosts_name(settings), [key.line for key in chosen])
        return {"host": host, "file": str(path), "trusted": [key.fingerprint for key in chosen]}

    async def check(self, hosts: list[str]) -> Json:
        """Each of these hosts looked at step by step: what was found, and how to mend what is wrong."""
        for host in hosts:
            self._settings_of(host)
        found = await asyncio.gather(*(self._look(host) for host in hosts))
        return [entry for entries in found for entry in entries]

    async def _look(self, host: str) -> list[Json]:
        async with self._room:
            findings = await self._app.hosts.diagnose(host)
        return [{"host": host, **dataclasses.asdict(finding)} for finding in findings]

    async def left_behind(self, host: str, call_id: str) -> dict[str, Json]:
        """Processes that still run for a call on its host; `looked` says why that is not known, "" where it is."""
        if host not in self._app.settings.hosts:
            return {"processes": [], "looked": "the host is not configured any more"}
        async with self._room:
            found = await self._app.hosts.left_behind(host, call_id)
        if isinstance(found, Refusal):
            return {"processes": [], "looked": found.message}
        return {"processes": list(found), "looked": ""}

    async def end(self, host: str, call_id: str) -> dict[str, Json]:
        """End what still runs for a call; `looked` says why the host could not be asked, "" where it was."""
        if host not in self._app.settings.hosts:
            return {"found": 0, "left": 0, "sentence": "", "looked": "the host is not configured any more"}
        async with self._room:
            ended = await self._app.hosts.end(host, call_id)
        if isinstance(ended, Refusal):
            return {"found": 0, "left": 0, "sentence": "", "looked": ended.message}
        return {"found": ended.found, "left": ended.left, "sentence": ended.sentence, "looked": ""}

    def _settings_of(self, host: str) -> HostSettings:
        settings = self._app.settings.hosts.get(host)
        if settings is None:
            raise unknown_name("host", host, self._app.settings.hosts)
        return settings
