"""Which hosts an entry of a list of hosts means: a name, `group:NAME`, `label:key=value` or `*`. It reports nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from interlock.config.faults import did_you_mean
from interlock.settings import HostSettings


def selection_fault(entry: str, hosts: Mapping[str, HostSettings]) -> tuple[str, str] | None:
    """What is wrong with one entry, and what there is instead; None where it means at least one host."""
    if entry == "*" or entry in hosts:
        return None
    kind, colon, rest = entry.partition(":")
    if colon and kind == "group":
        groups = sorted({group for host in hosts.values() for group in host.groups})
        return None if rest in groups else ("no host is in this group", did_you_mean(rest, groups))
    if colon and kind == "label":
        labels = sorted({f"{key}={value}" for host in hosts.values() for key, value in host.labels.items()})
        return None if rest in labels else ("no host has this label", did_you_mean(rest, labels))
    return "there is no such host", did_you_mean(entry, list(hosts))


def selected(entries: Iterable[str], hosts: Mapping[str, HostSettings]) -> tuple[str, ...]:
    """The names that the entries mean, in their order and below that in the inventory's; each of them once."""
    return tuple(dict.fromkeys(name for entry in entries for name in _meant(entry, hosts)))


def _meant(entry: str, hosts: Mapping[str, HostSettings]) -> list[str]:
    if entry in hosts:
        return [entry]
    kind, _, rest = entry.partition(":")
    key, _, value = rest.partition("=")
    return [
        name
        for name, host in hosts.items()
        if entry == "*"
        or (kind == "group" and rest in host.groups)
        or (kind == "label" and host.labels.get(key) == value)
    ]
