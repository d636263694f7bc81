"""Measuring: what a deployment changed on each of its hosts, net, from what its steps said of it. Pure; it asks nobody.

The runner's own steps tell the changes that they made; those that claim the app and give it free tell all of them so
far, as the disk has them then: so they make good what a lost answer left open. A hook was looked at before and after.
What was made and went again is nothing, and so is a link that leads again where it led.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from interlock.deploy.records import StepRow
from interlock.hosts.seen import changes_of
from interlock.ports import Executed
from interlock_policies.paths import is_within
from interlock_tools.call import Json
from interlock_tools.changes import Change, ChangeOp
from interlock_tools.errors import ConcurrencyLimited, StaleState
from interlock_tools.rollout import StepName

HOOK_CHANGES_MAX = 200
HOOKS = (StepName.PREPARE, StepName.ACTIVATE, StepName.AFTER, StepName.ACTIVATE_BACK)
_WHOLE = (StepName.CLAIM, StepName.CLAIM_BACK, StepName.FREE, StepName.FREE_BACK)  # these tell all of it so far
_CHECKS = (StepName.CHECK, StepName.SOAK, StepName.CHECK_BACK)
_UNSEEN = (StepName.UPLOAD, StepName.SERVICE, StepName.SERVICE_BACK, *_CHECKS)  # they change no file of the app's
_REFUSED = (StaleState.code, ConcurrencyLimited.code)  # the host did nothing of the step
_WEAKEST_FIRST = ("none", "scanned", "confined")
_OTHERS_RIGHTS = 0o6000


# ── what the record keeps of a hook ──────────────────────────────────────────────────────────────────────────────────


def kept_of(executed: Executed) -> dict[str, Json]:
    """A hook's measured effect as its step keeps it; {"measured": None} where nothing of it ran."""
    if not executed.started:
        return {"measured": None}
    measured = executed.measured
    changes = _gathered(measured.changes)
    kept = [_lean(change) for change in changes[:HOOK_CHANGES_MAX]]
    cut = measured.truncated or len(changes) > len(kept)
    return {"measured": {"observed": measured.observed, "changes": kept, "cut": cut}}


def _gathered(changes: Sequence[Change]) -> list[Change]:
    """A folder that came or went as a whole stands for what lies in it, but for what runs with another's rights."""
    whole = {(change.op, change.path) for change in changes if change.kind == "directory" and change.below}

    def stands_alone(change: Change) -> bool:
        if change.kind == "device" or (change.kind == "file" and change.mode & _OTHERS_RIGHTS):
            return True
        above = change.path.rpartition("/")[0]
        return (change.op, above) not in whole

    return [change for change in changes if stands_alone(change)]


def _lean(change: Change) -> dict[str, Json]:
    kept = {name: value for name, value in change.to_json().items() if value}
    was = change.was
    return kept | {"was": None if was is None else {name: was.get(name, "") for name in ("kind", "target")}}


# ── one host ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Seen:
    """What was seen of a deployment on one host. `gaps`: the steps of which not everything is known."""

    host: str
    looked: str = "confined"
    gaps: list[str] = field(default_factory=list)
    _own: dict[str, Change] = field(default_factory=dict)
    _hooks: dict[str, Change] = field(default_factory=dict)
    _unheard: list[str] = field(default_factory=list)

    @property
    def changes(self) -> tuple[Change, ...]:
        """The net effect, by path."""
        net = dict(self._own)
        made = [change.path for change in net.values() if change.op is ChangeOp.CREATE and change.kind == "directory"]
        for change in self._hooks.values():
            if not any(is_within(change.path, folder) for folder in made):
                fold(net, change)
            elif change.op is not ChangeOp.DELETE:  # it lies in what was made here: nothing was there before
                net.setdefault(change.path, replace(change, op=ChangeOp.CREATE, was=None))
        return tuple(net[path] for path in sorted(net))

    @property
    def observed(self) -> str:
        """How the host was looked at: confined, scanned, or none where not everything was seen."""
        return "none" if self.gaps or self._unheard else self.looked

    @property
    def why(self) -> str:
        """Which steps were not seen whole, in words; "" where all were."""
        return ", ".join(dict.fromkeys((*self.gaps, *self._unheard)))

    def take(self, row: StepRow) -> None:
        """Take in a step's end, in the order in which steps began."""
        step = StepName(row.step)
        if row.detail.get("began") is False or step in _UNSEEN:
            return
        if step in HOOKS:
            self._take_hook(row)
        else:
            self._take_own(step, row)

    def _take_hook(self, row: StepRow) -> None:
        measured = row.detail.get("measured", {})
        if measured is None:
            return
        found = _read(measured)
        observed = str(measured.get("observed", "none"))
        if found is None or measured.get("cut") or row.state in ("begun", "unknown") or observed == "none":
            self.gaps.append(row.step)
        else:
            self.looked = min(self.looked, observed, key=_strength)
        for change in found or ():
            fold(self._hooks, change)

    def _take_own(self, step: StepName, row: StepRow) -> None:
        found = _read(row.detail) if row.state == "done" else None
        if found is None:
            refused = row.state == "failed" and row.detail.get("code") in _REFUSED
            if row.state == "done":
                self.gaps.append(row.step)  # a runner that does not tell of this step: nothing makes that good
            elif not refused and step not in (StepName.FREE, StepName.FREE_BACK):
                self._unheard.append(row.step)
            return
        if row.detail.get("changes_cut"):
            self.gaps.append(row.step)
        if step in _WHOLE:
            before, self._own = self._own, {change.path: change for change in found}
            self._unheard.clear()
            for path in before.keys() - self._own.keys():
                _forget_below(self._hooks, path)
            return
        for change in found:
            fold(self._own, change)
            if change.op is ChangeOp.DELETE:
                _forget_below(self._hooks, change.path)


def seen_on_hosts(rows: Iterable[StepRow]) -> tuple[Seen, ...]:
    """What was seen on every host on which a step began, in the order of their first steps."""
    found: dict[str, Seen] = {}
    for row in rows:
        found.setdefault(row.host, Seen(row.host)).take(row)
    return tuple(found.values())


def _read(kept: Mapping[str, Json]) -> tuple[Change, ...] | None:
    """The changes that a step keeps; None where it keeps none that can be read."""
    try:
        return changes_of(kept["changes"])
    except (KeyError, ValueError, TypeError):
        return None


def _strength(observed: str) -> int:
    return _WEAKEST_FIRST.index(observed) if observed in _WEAKEST_FIRST else 0


# ── net ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def fold(net: dict[str, Change], change: Change) -> None:
    """Take in a change that came after all of these: what it undoes is gone."""
    first = net.pop(change.path, None)
    if change.op is ChangeOp.DELETE:
        _forget_below(net, change.path)
    if first is None:
        net[change.path] = change
    elif first.op is not ChangeOp.CREATE:
        now = replace(change, op=_both(first.op, change.op), was=first.was or {"kind": first.kind})
        if not _is_back(now):
            net[change.path] = now
    elif change.op is not ChangeOp.DELETE:
        net[change.path] = replace(change, op=ChangeOp.CREATE, was=None)


def _both(first: ChangeOp, then: ChangeOp) -> ChangeOp:
    """What two changes of one path are together, where something lay there before."""
    if ChangeOp.DELETE is then or first is then:
        return then
    return ChangeOp.MODIFY


def _is_back(change: Change) -> bool:
    was = change.was or {}
    is_link = change.op is not ChangeOp.DELETE and change.kind == "link" and was.get("kind") == "link"
    return is_link and was.get("target") == change.target


def _forget_below(net: dict[str, Change], folder: str) -> None:
    for path in [path for path in net if is_within(path, folder)]:
        del net[path]
