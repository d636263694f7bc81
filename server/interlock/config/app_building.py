"""The meaning of `[apps.NAME]`: hosts are chosen, forms are checked, apps are built. It reads no file, asks no host."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from zoneinfo import available_timezones

from interlock.config.app_container import build_container
from interlock.config.app_files import build_files
from interlock.config.app_forms import folder_fault, inside_fault, path_fault, program_fault, read_window
from interlock.config.app_health import build_check, build_service
from interlock.config.app_kinds import HOSTS_MAX
from interlock.config.app_sections import AppSection, FreezeSection, HookSection
from interlock.config.faults import did_you_mean
from interlock.config.selection import selected, selection_fault
from interlock.config.sight import Sight
from interlock.config.spot import Spot
from interlock.settings import HostSettings
from interlock_policies.paths import is_within, normalised
from interlock_tools.apps import App, Batches, Freeze, Hook, Strategy, Window

ZONES_SHOWN_MAX = 3


def build_apps(sections: Mapping[str, AppSection], sight: Sight, hosts: Mapping[str, HostSettings]) -> dict[str, App]:
    """Every app by name. `hosts` as they will be used: with all that is protected on them."""
    apps = {name: _app(name, section, Spot(sight, ("apps", name)), hosts) for name, section in sections.items()}
    _check_timezones(apps, sight)
    _check_protected(apps, sight, hosts)
    _check_apart(apps, sight)
    return apps


def _app(name: str, section: AppSection, spot: Spot, hosts: Mapping[str, HostSettings]) -> App:
    service = build_service(section.service, spot.at("service")) if section.service else None
    checks = enumerate(section.checks)
    path = _path(section.path, spot)
    made = build_files(section, path, spot, hosts)
    return App(
        name=name,
        hosts=_hosts(section.hosts, spot, hosts),
        path=path,
        strategy=Strategy(section.strategy),
        service=service,
        checks=tuple(build_check(check, service, spot.at("checks", number)) for number, check in checks),
        keep=section.keep,
        batches=Batches(**section.batches.model_dump()),
        owner=section.owner,
        shared=_shared(section.shared, spot),
        unpack=section.unpack,
        prepare=_hook(section.hooks.prepare, spot.at("hooks", "prepare")),
        activate=_hook(section.hooks.activate, spot.at("hooks", "activate")),
        after=_hook(section.hooks.after, spot.at("hooks", "after")),
        unreachable=section.unreachable,
        on_restart=section.on_restart,
        container=build_container(section, name, spot),
        files=made.files,
        values=made.values,
        secrets=made.secrets,
        timezone=section.timezone,
        windows=_windows(section.windows, spot),
        freezes=tuple(_freeze(freeze, spot.at("freezes", number)) for number, freeze in enumerate(section.freezes)),
    )


def _hosts(entries: list[str], spot: Spot, hosts: Mapping[str, HostSettings]) -> tuple[str, ...]:
    if not entries:
        spot.say(("it names no host", 'hosts = ["web1", "group:web", "label:env=staging"] or ["*"]'), "hosts")
    for number, entry in enumerate(entries):
        spot.say(selection_fault(entry, hosts), "hosts", number)
    names = selected(entries, hosts)
    if len(names) > HOSTS_MAX:
        spot.say((f"these are more than {HOSTS_MAX} hosts", "make it several apps"), "hosts")
    return names


def _path(path: str | None, spot: Spot) -> str:
    found = spot.demanded("path", path, 'path = "/srv/shop"')
    if path is not None:
        spot.say(folder_fault(path), "path")
    return normalised(found)


def _shared(paths: list[str], spot: Spot) -> tuple[str, ...]:
    """Paths of a release that are kept. One inside another would be kept twice, and be seen once."""
    found: list[str] = []
    for number, path in enumerate(paths):
        inner = normalised(f"/{path}")
        fault = inside_fault(path)
        if not fault and any(is_within(inner, f"/{other}") or is_within(f"/{other}", inner) for other in found):
            fault = ("it is another shared path, or one of the two lies inside the other", "keep the outer one")
        spot.say(fault, "shared", number)
        if not fault:
            found.append(inner.removeprefix("/"))
    return tuple(found)


def _hook(section: HookSection | None, spot: Spot) -> Hook | None:
    if section is None:
        return None
    if section.argv is None:
        spot.say(("argv is missing", 'argv = ["./bin/migrate", "--yes"]'))
    else:
        spot.say(program_fault(section.argv), "argv", 0)
    for number, place in enumerate(section.writes):
        spot.say(path_fault(place), "writes", number)
    return Hook(
        argv=tuple(section.argv or ()),
        timeout_seconds=section.timeout_seconds,
        network=section.network,
        writes=tuple(normalised(place) for place in section.writes),
        containment=section.containment,
    )


def _windows(texts: list[str], spot: Spot) -> tuple[Window, ...]:
    found: list[Window] = []
    for number, text in enumerate(texts):
        window = read_window(text)
        if isinstance(window, Window):
            found.append(window)
        else:
            spot.say(window, "windows", number)
    return tuple(found)


def _freeze(section: FreezeSection, spot: Spot) -> Freeze:
    first = spot.demanded("first", section.first, "first = 2026-12-20")
    last = spot.demanded("last", section.last, "last = 2027-01-03")
    if first and last and last < first:
        spot.say(("it lies before the first day", "both days belong to the freeze"), "last")
    return Freeze(first, last, section.reason)


def _check_timezones(apps: Mapping[str, App], sight: Sight) -> None:
    """Every time zone is one that this machine knows; they are listed once, as that reads hundreds of files."""
    zoned = {name: app.timezone for name, app in apps.items() if app.timezone}
    known = sorted(available_timezones()) if zoned else []
    for name, zone in zoned.items():
        if not known:
            fault = "this machine knows no time zones", "install its package tzdata, or remove this"
        elif zone not in known:
            fault = "there is no such time zone", did_you_mean(zone, known, ZONES_SHOWN_MAX)
        else:
            continue
        sight.problem(("apps", name, "timezone"), *fault)


def _check_protected(apps: Mapping[str, App], sight: Sight, hosts: Mapping[str, HostSettings]) -> None:
    """No app may lie or land where no tool may look: every release of it would be refused."""
    trees = {name: [normalised(tree) for tree in host.protected] for name, host in hosts.items()}
    for app in apps.values():
        for keys, place in _places(app):
            host = next((host for host in app.hosts if any(is_within(place, tree) for tree in trees[host])), "")
            if host:
                message = f"on {host} it lies in a tree that is protected: no tool may read or change anything there"
                hint = "move one of them; the folder of this file is protected on hosts that are this machine"
                sight.problem(("apps", app.name, *keys), message, hint)


def _places(app: App) -> list[tuple[tuple[str | int, ...], str]]:
    """Every place on its hosts that an app has for itself, and the key that says so."""
    targets = [(("files", number, "target"), file.target.rstrip("/")) for number, file in enumerate(app.files)]
    return [(("path",), app.path), *targets]


def _check_apart(apps: Mapping[str, App], sight: Sight) -> None:
    """Two apps never share a place on a host, nor does one lie inside the other's: each would undo the other's."""
    for first, second in combinations(apps.values(), 2):
        if not set(first.hosts) & set(second.hosts):
            continue
        for keys, place in _places(second):
            if any(is_within(place, other) or is_within(other, place) for _, other in _places(first)):
                message = f"it is a place of the app {first.name} on the same host, or one lies inside the other"
                sight.problem(("apps", second.name, *keys), message, "give each app a place of its own")
