"""Found: what an app's hosts say of themselves: kept releases, files and containers that are there. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

ABSENT = "absent"  # what lies at a target where nothing does


@dataclass(frozen=True, slots=True)
class KeptFile:
    """One file of a kept set. `sha256` "absent": nothing is to lie there. `secret`: its text is shown to nobody."""

    sha256: str
    mode: int | None = None
    owner: str = ""
    secret: bool = False


@dataclass(frozen=True, slots=True)
class FoundFile:
    """What lies at a target now: where that really is, the SHA-256 of a file, "absent", or what else is there."""

    real: str
    state: str
    mode: int | None = None
    owner: str = ""

    def is_as(self, file: KeptFile) -> bool:
        """Whether it is what this file is to be."""
        mode_fits = file.mode is None or file.mode == self.mode
        owner_fits = not file.owner or file.owner in (self.owner, self.owner.partition(":")[0])
        return self.state == file.sha256 and (self.state == ABSENT or (mode_fits and owner_fits))


@dataclass(frozen=True, slots=True)
class FileTexts:
    """Texts of files on a host, None where it is none or too long: by resolved path, and of a kept set by target."""

    there: Mapping[str, str | None] = field(repr=False)
    kept: Mapping[str, str | None] = field(repr=False)


@dataclass(frozen=True, slots=True)
class FoundContainer:
    """What an engine says of an app's container: the engine's path ("" = none answers, `why` not).

    `running`: the digest of the image that runs (hex). `foreign`: somebody else's container has the name.
    """

    engine: str
    why: str = ""
    running: str = ""
    foreign: bool = False


@dataclass(frozen=True, slots=True)
class KeptRelease:
    """One release that a host keeps. `placed_at`: seconds since the epoch, by that host's clock."""

    release: str
    sha256: str = ""
    size: int = 0
    placed_at: float = 0.0
    files: Mapping[str, KeptFile] = field(default_factory=dict)  # by target, where it is a set of files


@dataclass(frozen=True, slots=True)
class HostState:
    """What an app's host says of itself; `why` it could not be asked ("" = it was). `current`: link, absent, other."""

    host: str
    why: str = ""
    live: str = ""
    current: str = "absent"
    kept: tuple[KeptRelease, ...] = ()
    holder: str = ""  # another deployment whose claim is still good there
    free_bytes: int = 0
    found: Mapping[str, FoundFile] = field(default_factory=dict)  # by target, of an app that is a set of files
    container: FoundContainer | None = None  # of an app that is one

    def release(self, name: str) -> KeptRelease | None:
        """The kept release of this name."""
        return next((kept for kept in self.kept if kept.release == name), None)
