"""Repair: the refusal of arguments that do not fit, with one merge patch that mends all in them that can be mended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from interlock_tools.call import Json
from interlock_tools.closest import suggestions
from interlock_tools.errors import AppUnknown, ArgumentMissing, ArgumentUnknown, HostUnknown, Recovery, Refusal
from interlock_tools.fields import Field
from interlock_tools.mend import Place, field_meant, mend
from interlock_tools.tool import Tool
from interlock_tools.unknown import place_unknown
from interlock_tools.values import NAME_CHARS_MAX, Fault, read
from interlock_tools.visible import visible

_FIXES_MAX = 4
_BECAUSE_SHOWN_MAX = 6
_HOSTS_LIST = Recovery.use("hosts_list", {}, "It lists every host this principal may see.")

ReadAll = Callable[[Tool, dict[str, Json]], dict[str, Json] | Fault]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a repair may derive values from: the hosts the principal may see, their directories ("" = not known)."""

    hosts: tuple[str, ...]
    cwd_of: Callable[[str], str]
    home_of: Callable[[str], str]

    def place(self, host: Json) -> Place:
        """The directories of the host that a call names."""
        return Place(self.cwd_of(host), self.home_of(host)) if host in self.hosts else Place()


@dataclass(frozen=True, slots=True)
class _Finding:
    """One thing that is wrong. `how`: what mended it, where `solved`; else why nothing can, or ""."""

    fault: Fault
    solved: bool
    how: str = ""


@dataclass
class _Repair:
    """The arguments as they become while they are mended, and what was found on the way."""

    tool: Tool
    surroundings: Surroundings
    work: dict[str, Json]
    found: list[_Finding] = field(default_factory=list)

    def place(self) -> Place:
        return self.surroundings.place(self.work.get("host"))


def repaired(tool: Tool, sent: dict[str, Json], surroundings: Surroundings, read_all: ReadAll) -> Refusal:
    """The first thing that is wrong with `sent`, as a refusal. `sent` has to have a fault.

    Order: the host under another name, the host, unknown names by the alphabet, the tool's fields in their order, what
    shows only in the whole. One re-send with the recovery leaves only faults that no program can mend.
    """
    repair = _Repair(tool, surroundings, dict(sent))
    unknown = sorted(set(sent) - {entry.name for entry in tool.fields})
    for_host = [name for name in unknown if (meant := field_meant(tool.fields, name)) and meant.name == "host"]
    for name in for_host:
        _unknown(repair, name)
    for entry in tool.fields:
        if entry.name == "host":
            _field(repair, entry)
    for name in unknown:
        if name not in for_host:
            _unknown(repair, name)
    for entry in tool.fields:
        if entry.name != "host":
            _field(repair, entry)
    if all(finding.solved for finding in repair.found):
        _whole(repair, read_all)
    return _refusal(repair, sent)


def _unknown(repair: _Repair, name: str) -> None:
    names = tuple(entry.name for entry in repair.tool.fields)
    placement = place_unknown(repair.tool, name, repair.work, repair.place())
    near = suggestions(name, names)
    if placement.meant:
        near = (placement.meant, *(entry for entry in near if entry != placement.meant))
    reason = f"the closest is '{near[0]}'" if near else "those that there are stand in 'allowed'"
    fault = Fault(ArgumentUnknown, visible(name, NAME_CHARS_MAX), reason, near or names)
    repair.found.append(_Finding(fault, placement.solved, placement.how))
    if placement.solved:
        del repair.work[name]
        repair.work.update(placement.changes)


def _field(repair: _Repair, entry: Field) -> None:
    """Find what is wrong with one field, and mend it where it can be."""
    name, work = entry.name, repair.work
    if name not in work:
        if entry.required:
            _missing(repair, entry)
        return
    value = work[name]
    fault = read(entry, value, name)
    if not isinstance(fault, Fault):
        return
    if entry.choices:
        fault = _with_closest(fault, entry, value)
    if value is None or (value == "" and not entry.required):
        del work[name]
        if entry.required:
            _missing(repair, entry)
        else:
            repair.found.append(_Finding(fault, solved=True, how=f"leave '{name}' out instead of sending it empty"))
        return
    mended = mend(entry, value, repair.place())
    if mended is None:
        repair.found.append(_Finding(fault, solved=False))
        return
    work[name] = mended.value
    repair.found.append(_Finding(fault, solved=True, how=f"'{name}': {mended.how}"))


def _missing(repair: _Repair, entry: Field) -> None:
    hosts = repair.surroundings.hosts
    if entry.name != "host":
        repair.found.append(_Finding(Fault(ArgumentMissing, entry.name, "it has no default"), solved=False))
        return
    fault = Fault(ArgumentMissing, "host", "it has no default", hosts, step=_HOSTS_LIST)
    if len(hosts) == 1:
        repair.work["host"] = hosts[0]
    repair.found.append(_Finding(fault, solved=len(hosts) == 1, how="name the only host there is"))


def _with_closest(fault: Fault, entry: Field, value: Json) -> Fault:
    """The same fault, with the choices that come closest first."""
    near = suggestions(value, entry.choices) if isinstance(value, str) else ()
    if fault.kind is HostUnknown and near:
        return replace(fault, allowed=near)
    return replace(fault, allowed=near + tuple(choice for choice in entry.choices if choice not in near))


def _whole(repair: _Repair, read_all: ReadAll) -> None:
    """Find what shows only where every field fits; a bounded number of fixes, each tried on the whole."""
    for _ in range(_FIXES_MAX):
        fault = read_all(repair.tool, repair.work)
        if not isinstance(fault, Fault):
            return
        repair.found.append(_Finding(fault, fault.fix is not None, f"'{fault.path}': {fault.reason}"))
        if fault.fix is None:
            return
        repair.work.update(fault.fix)


def _refusal(repair: _Repair, sent: Mapping[str, Json]) -> Refusal:
    first = repair.found[0]
    fault = first.fault
    refusal = fault.kind(path=fault.path, reason=fault.reason, allowed=fault.allowed, recovery=fault.step)
    if first.solved:
        done = dict.fromkeys(finding.how for finding in repair.found if finding.solved)
        because = "; ".join(list(done)[:_BECAUSE_SHOWN_MAX])
        return refusal.with_recovery(Recovery.change(_patch(sent, repair.work), f"This makes it fit: {because}."))
    if fault.kind is ArgumentUnknown:
        return refusal.with_recovery(Recovery.ask(first.how or "Only the caller knows what it was to say."))
    if fault.kind is AppUnknown:
        return refusal.with_recovery(Recovery.ask("Only the caller knows which of the configured services was meant."))
    return refusal


def _patch(sent: Mapping[str, Json], work: Mapping[str, Json]) -> dict[str, Json]:
    """The JSON merge patch (RFC 7396) from what was sent to what fits; null removes."""
    patch: dict[str, Json] = {name: None for name in sent if name not in work}
    patch.update({name: value for name, value in work.items() if name not in sent or not _same(sent[name], value)})
    return patch


def _same(left: Json, right: Json) -> bool:
    # 1 == True and 1 == 1.0 in Python; on the wire they are different values.
    return type(left) is type(right) and bool(left == right)
