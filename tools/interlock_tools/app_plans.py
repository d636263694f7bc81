"""App plans: what one step of a deployment asks of an app's place on its host. Frozen values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AppPlace:
    """Where an app lies on a host, and who may change it there: the deployment that holds this fencing token."""

    path: str
    deployment: str
    fence: int
    lease_seconds: int


@dataclass(frozen=True, slots=True)
class ClaimApp:
    """Take the app's place on its host for one deployment; its folders are made where they are not there."""

    place: AppPlace


@dataclass(frozen=True, slots=True)
class UploadArtifact:
    """Bring an artifact of this hash and size (bytes) to the host, from where an earlier try left off."""

    place: AppPlace
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class PlaceRelease:
    """Make a release of what was uploaded, verified; `name` is that of an artifact which is a single file."""

    place: AppPlace
    release: str
    sha256: str
    size: int
    name: str
    shared: tuple[str, ...] = ()
    unpack: bool = True
    private: bool = False  # for the login's user alone


@dataclass(frozen=True, slots=True)
class NoteRelease:
    """Write down a release whose content an engine keeps: the digest of its image (hex)."""

    place: AppPlace
    release: str
    sha256: str


@dataclass(frozen=True, slots=True)
class SwitchRelease:
    """Let `current` lead to another release, where it leads to `expected` now; "" = to none."""

    place: AppPlace
    release: str
    expected: str


@dataclass(frozen=True, slots=True)
class LandFiles:
    """Let a release that is a set of files land where the release `expected` is live now, or with `back` return.

    `files`: for each its target, where that really lies, and the state there before and after (SHA-256 or "absent").
    """

    place: AppPlace
    release: str
    expected: str
    files: tuple[tuple[str, str, str, str], ...]
    back: bool = False


@dataclass(frozen=True, slots=True)
class PruneReleases:
    """Remove the oldest releases beyond `keep`, never the live one nor one of `spare`."""

    place: AppPlace
    keep: int
    spare: tuple[str, ...] = ()
    container: tuple[str, str, str] | None = None  # engine, name and image, where it is a container


@dataclass(frozen=True, slots=True)
class DropRelease:
    """Remove a release that is not live."""

    place: AppPlace
    release: str


@dataclass(frozen=True, slots=True)
class FreeApp:
    """Give the app's place on its host back."""

    place: AppPlace


AppPlan = (
    ClaimApp
    | UploadArtifact
    | PlaceRelease
    | NoteRelease
    | SwitchRelease
    | LandFiles
    | PruneReleases
    | DropRelease
    | FreeApp
)
APP_PLANS = (
    ClaimApp,
    UploadArtifact,
    PlaceRelease,
    NoteRelease,
    SwitchRelease,
    LandFiles,
    PruneReleases,
    DropRelease,
    FreeApp,
)
