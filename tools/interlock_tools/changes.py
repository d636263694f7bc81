"""Changes: what a call really changed on its host, path by path, as the host measured it. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from interlock_tools.call import Json


class ChangeOp(StrEnum):
    """What happened to a path. META: only its mode, owner, times or extended attributes."""

    CREATE = "create"
    MODIFY = "modify"
    DELETE = "delete"
    META = "meta"


@dataclass(frozen=True, slots=True)
class Change:
    """One changed path.

    `kind`: file, directory, link, fifo, socket or device. `size` in bytes, `mode` the permission bits. `below`: how
    many entries a directory held that came or went as a whole. `was`: the fingerprint of what lay there before, None
    for nothing.
    """

    op: ChangeOp
    path: str
    kind: str
    size: int = 0
    mode: int = 0
    uid: int = 0
    gid: int = 0
    target: str = ""
    below: int = 0
    detail: str = ""
    was: Mapping[str, Json] | None = None

    def to_json(self) -> dict[str, Json]:
        """The change as it is recorded and sent."""
        return {
            "op": self.op.value,
            "path": self.path,
            "kind": self.kind,
            "size": self.size,
            "mode": self.mode,
            "uid": self.uid,
            "gid": self.gid,
            "target": self.target,
            "below": self.below,
            "detail": self.detail,
            "was": dict(self.was) if self.was is not None else None,
        }


@dataclass(frozen=True, slots=True)
class Weighed:
    """A measured effect that was held against what was expected already: what is beyond that, and the score of it."""

    undeclared: tuple[Change, ...] = ()
    side_effects: float | None = None


def change_from_json(value: Mapping[str, Json]) -> Change:
    """A recorded change as a value again. Raises KeyError or ValueError where it is none."""
    return Change(
        op=ChangeOp(value["op"]),
        path=str(value["path"]),
        kind=str(value["kind"]),
        size=int(value.get("size") or 0),
        mode=int(value.get("mode") or 0),
        uid=int(value.get("uid") or 0),
        gid=int(value.get("gid") or 0),
        target=str(value.get("target") or ""),
        below=int(value.get("below") or 0),
        detail=str(value.get("detail") or ""),
        was=value.get("was"),
    )
