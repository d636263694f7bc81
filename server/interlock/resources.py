"""The resources: what a principal may ask for in words before it is refused something."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from interlock.answers import Answers
from interlock.entry import Entry
from interlock.pipeline import Line
from interlock.ports import Resource
from interlock.settings import HostSettings, facts_of
from interlock_policies.explain import allowed_for
from interlock_tools.call import Json

HOSTS_LISTED_MAX = 100


class Resources:
    """Reads record, inventory and policy; writes nothing."""

    def __init__(self, line: Line, entry: Entry, answers: Answers) -> None:
        self._line = line
        self._entry = entry
        self._answers = answers

    def listed(self, principal: str) -> Sequence[Resource]:
        """The resources of this principal."""
        return listed(self._entry.visible_hosts(principal))

    async def read(self, principal: str, uri: str) -> str | None:
        """The text of a resource, or None where this principal has no such one."""
        kind, _, name = uri.removeprefix("interlock://").partition("/")
        if kind == "policy" and not name:
            return self._policy(principal)
        if kind == "budget" and not name:
            return await self._budget(principal)
        if kind == "hosts":
            return await self._host(principal, name)
        if kind == "calls":
            row = await self._answers.own(principal, name)
            return _text(row.envelope or {"call_id": name, "state": row.state.value}) if row else None
        return None

    def _policy(self, principal: str) -> str:
        known = self._entry.principal(principal)
        parts = [
            allowed_for(self._line.guard.engine, known, facts_of(host))
            for host in self._entry.visible_hosts(principal)[:HOSTS_LISTED_MAX]
        ]
        return "\n\n".join(parts) or "No host is visible to this principal."

    async def _budget(self, principal: str) -> str:
        limits = self._line.limits
        day = datetime.fromtimestamp(self._line.clock(), UTC).date().isoformat()
        left = await self._line.store.budget_left(principal, day, limits.budget_units_per_day)
        return _text(
            {
                "units_left_today": left,
                "units_per_day": limits.budget_units_per_day,
                "day_utc": day,
                "calls_per_minute": limits.rate_calls_per_minute,
                "timeout_seconds_max": limits.timeout_seconds_max,
            }
        )

    async def _host(self, principal: str, name: str) -> str | None:
        host = next((entry for entry in self._entry.visible_hosts(principal) if entry.name == name), None)
        if host is None:
            return None
        return _text(
            {
                "name": host.name,
                "labels": dict(host.labels),
                "groups": sorted(host.groups),
                "user": host.become or host.user,
                "cwd": self._entry.cwd(host.name),
                "workspace": list(host.workspace),
                "containment": list(self._entry.containment(host.name)),
            }
        )


def listed(hosts: Sequence[HostSettings]) -> Sequence[Resource]:
    """The resources of a principal that sees these hosts."""
    fixed = [
        Resource("interlock://policy", "What may I do", "The rules that decide on your calls, in words."),
        Resource("interlock://budget", "Budget", "Risk units left today, and the limits.", "application/json"),
    ]
    return fixed + [
        Resource(f"interlock://hosts/{host.name}", host.name, "Labels, workspace, abilities.", "application/json")
        for host in hosts[:HOSTS_LISTED_MAX]
    ]


def _text(value: Json) -> str:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False)
