"""The files of an app of the strategy `files`: what goes where, with which values and secrets. It asks no host."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from interlock.config.app_forms import Fault, inside_fault, path_fault
from interlock.config.app_kinds import FileSection
from interlock.config.app_sections import AppSection
from interlock.config.references import secret_value
from interlock.config.selection import selected, selection_fault
from interlock.config.sight import Sight
from interlock.config.spot import Spot
from interlock.runner.filesets import OWNER
from interlock.settings import HostSettings, SecretRef
from interlock_policies.paths import is_within, normalised
from interlock_policies.redact import VALUE_CHARS_MIN
from interlock_tools.apps import GIVEN_VALUES, App, FileSpec, Strategy, ValueLayer

_MODE = re.compile(r"0?[0-7]{3}")
_VALUE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


@dataclass(frozen=True, slots=True)
class FileSet:
    """What an app of this strategy has beside the rest."""

    files: tuple[FileSpec, ...] = ()
    values: tuple[ValueLayer, ...] = ()
    secrets: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def say_unused(section: AppSection, spot: Spot) -> None:
    """Keys that a release in a folder of its own has, and this strategy has not."""
    for key, used in (("shared", bool(section.shared)), ("unpack", not section.unpack)):
        if used:
            spot.say((f'the strategy "{section.strategy}" has no such thing', "remove it"), key)


def build_files(section: AppSection, path: str, spot: Spot, hosts: Mapping[str, HostSettings]) -> FileSet:
    """The set as a value; what is wrong with it is said at its spot."""
    if Strategy(section.strategy) is not Strategy.FILES:
        for key in ("files", "values", "host_values", "secrets"):
            if getattr(section, key):
                spot.say(('only the strategy "files" has them', 'remove it, or strategy = "files"'), key)
        return FileSet()
    say_unused(section, spot)
    if not section.files:
        example = '[[apps.NAME.files]] with source = "app.conf.tmpl" and target = "/etc/app/app.conf"'
        spot.say(("it has no files", example), "files")
    files = tuple(_file(file, path, spot.at("files", number)) for number, file in enumerate(section.files))
    _check_apart(files, spot)
    layers = [_layer(section.values, (), spot.at("values"))]
    for number, over in enumerate(section.host_values):
        at = spot.at("host_values", number)
        for place, entry in enumerate(over.hosts):
            at.say(selection_fault(entry, hosts), "hosts", place)
        if not over.hosts:
            at.say(("it names no host", 'hosts = ["label:env=staging"]'), "hosts")
        layers.append(_layer(over.values, selected(over.hosts, hosts), at.at("values")))
    values = tuple(layer for layer in layers if layer.values)
    return FileSet(files, values, _secrets(section, values, spot))


def _file(section: FileSection, path: str, spot: Spot) -> FileSpec:
    source = spot.demanded("source", section.source, 'source = "nginx/site.conf.tmpl"')
    target = spot.demanded("target", section.target, 'target = "/etc/nginx/conf.d/site.conf"')
    if section.source is not None:
        spot.say(inside_fault(source.removesuffix("/")), "source")
    if section.target is not None:
        spot.say(_target_fault(target, path), "target")
    if source.endswith("/") != target.endswith("/"):
        spot.say(("one of the two is a folder, the other is not", 'end both with "/", or none'), "target")
    if section.mode and not _MODE.fullmatch(section.mode):
        spot.say(("this is no mode of a file", 'three octal digits, such as "0640"'), "mode")
    if section.owner and not OWNER.fullmatch(section.owner):
        spot.say(("this is no owner", 'a user, or user:group, such as "root:www-data"'), "owner")
    mode = int(section.mode, 8) if section.mode and _MODE.fullmatch(section.mode) else None
    ends = "/" if target.endswith("/") else ""
    inner = normalised(f"/{source}").removeprefix("/")
    return FileSpec(inner + ends, normalised(target) + ends, mode, section.owner)


def _target_fault(target: str, path: str) -> Fault | None:
    if fault := path_fault(target):
        return fault
    if normalised(target).count("/") < 2:
        return "it lies right below the root", "go at least two deep, such as /etc/app/app.conf"
    if is_within(normalised(target), path) or is_within(path, normalised(target)):
        return "it is the app's own folder, or one of the two lies inside the other", "path is for Interlock's own use"
    return None


def _check_apart(files: tuple[FileSpec, ...], spot: Spot) -> None:
    """No two files of a set have the same place: which one lands there would be chance."""
    for number, file in enumerate(files):
        for other in files[:number]:
            first, second = other.target.rstrip("/"), file.target.rstrip("/")
            if is_within(first, second) or is_within(second, first):
                fault = ("another file of the set goes there, or above or below it", "give each a place of its own")
                spot.say(fault, "files", number, "target")
                break


def _layer(values: Mapping[str, str], hosts: tuple[str, ...], spot: Spot) -> ValueLayer:
    for name in values:
        spot.say(_name_fault(name), name)
    return ValueLayer(dict(values), hosts)


def _name_fault(name: str) -> Fault | None:
    if name in GIVEN_VALUES:
        return f"{name} is always there", "choose another name"
    if not _VALUE.fullmatch(name):
        return "this is no name of a value", "a letter, then letters, digits and _"
    return None


def _secrets(section: AppSection, layers: tuple[ValueLayer, ...], spot: Spot) -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for name, reference in section.secrets.items():
        spot.say(_name_fault(name), "secrets", name)
        if any(name in layer.values for layer in layers):
            spot.say(("it is a value too", "choose another name for one of them"), "secrets", name)
        if reference.kind == "agent":
            spot.say(("an agent holds no such secret", 'write {env = "NAME"} or {file = "path"}'), "secrets", name)
            continue
        kept = spot.sight.secret(reference, (*spot.where, "secrets", name))
        found[name] = (kept.kind, kept.name)
        spot.say(_short_fault(kept), "secrets", name)
    return found


def _short_fault(reference: SecretRef) -> Fault | None:
    """What is shorter could not be cut out of texts without hitting half of them."""
    try:
        length = len(secret_value(reference))
    except (OSError, ValueError):
        return None  # said already
    if 0 < length < VALUE_CHARS_MIN:
        return f"it has less than {VALUE_CHARS_MIN} characters", "a secret that short cannot be kept out of a record"
    return None


def secrets_of(sections: Mapping[str, AppSection], sight: Sight) -> list[SecretRef]:
    """What the apps' secrets refer to, so that their values are cut out of every text. It reports nothing."""
    found = [reference for section in sections.values() for reference in section.secrets.values()]
    return [replace(ref, name=str(sight.local(ref.name))) if ref.kind == "file" else ref for ref in found]


def with_hidden(hosts: Mapping[str, HostSettings], apps: Mapping[str, App]) -> dict[str, HostSettings]:
    """The hosts with the kept sets of each app that has secrets hidden inside a containment."""
    hidden: dict[str, list[str]] = {}
    for app in apps.values():
        for host in app.hosts if app.secrets else ():
            hidden.setdefault(host, []).extend(f"{app.path}/{name}" for name in ("releases", ".interlock"))
    return {
        name: replace(host, masked=tuple(dict.fromkeys((*host.masked, *hidden.get(name, ())))))
        for name, host in hosts.items()
    }
