"""Who sees what: principals, the hosts each may see, and the tools as each sees them. Settings in, catalogs out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from interlock.settings import HostSettings, Settings
from interlock_policies.facts import Principal
from interlock_tools.apps import App
from interlock_tools.catalog import Catalog, FieldLimits, build_catalog


@dataclass(frozen=True, slots=True)
class Place:
    """Where a host's commands start, its user lives, and how it contains, as far as it was asked; empty = not yet."""

    cwd: str = ""
    home: str = ""
    containment: tuple[str, ...] = ()


def sees(principal: Principal, host: HostSettings) -> bool:
    """Whether a principal's host selectors (name, group:NAME, label:key=value, *) reach this host."""
    for selector in principal.hosts:
        kind, _, rest = selector.partition(":")
        key, _, value = rest.partition("=")
        if (
            selector in ("*", host.name)
            or (kind == "group" and rest in host.groups)
            or (kind == "label" and host.labels.get(key) == value)
        ):
            return True
    return False


class Catalogs:
    """Catalogs are built once per principal. `place_of` says what is known of a host."""

    def __init__(self, settings: Settings, place_of: Callable[[str], Place] = lambda _host: Place()) -> None:
        self._settings = settings
        self._place_of = place_of
        limits = settings.limits
        self._limits = FieldLimits(
            timeout_seconds_max=limits.timeout_seconds_max,
            wait_seconds_max=limits.wait_seconds_max,
            command_chars_max=limits.command_chars_max,
            file_bytes_max=limits.file_bytes_max,
        )
        self._built: dict[str, Catalog] = {}

    def principal(self, name: str) -> Principal:
        """The configured principal; an unknown name is one without any right."""
        return self._settings.principals.get(name, Principal(name))

    def hosts(self, name: str) -> tuple[HostSettings, ...]:
        """The hosts a principal may see, in the inventory's order."""
        principal = self.principal(name)
        return tuple(host for host in self._settings.hosts.values() if sees(principal, host))

    def apps(self, name: str) -> tuple[App, ...]:
        """The apps a principal may name: those of which it sees every host."""
        seen = {host.name for host in self.hosts(name)}
        return tuple(app for app in self._settings.apps.values() if seen.issuperset(app.hosts))

    def catalog(self, name: str) -> Catalog:
        """The tools as this principal sees them."""
        if name not in self._built:
            hosts = self.hosts(name)
            groups = sorted({group for host in hosts for group in host.groups})
            self._built[name] = build_catalog(
                hosts=[host.name for host in hosts],
                groups=groups,
                cwd_of=lambda host: self._place_of(host).cwd,
                home_of=lambda host: self._place_of(host).home,
                apps=self.apps(name),
                limits=self._limits,
            )
        return self._built[name]
