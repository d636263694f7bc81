"""Plans: what a tool asks of a host. Frozen values that an executor carries out; building one touches nothing."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RunCommand:
    """Run `command` under the host's pinned bash in `cwd` ("" = the host's working directory)."""

    command: str
    cwd: str = ""
    stdin: str = ""
    environment: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ReadFile:
    """Read a file: `limit` lines from line `line` (1-based), or where `offset` >= 0 `limit` bytes from there."""

    path: str
    line: int = 1
    offset: int = -1
    limit: int = 2_000
    encoding: str = "text"  # text | base64


@dataclass(frozen=True, slots=True)
class ListFiles:
    """List a directory, or what a glob matches; at most `limit` entries after `after` (a name; paging)."""

    path: str
    glob: str = ""
    recursive: bool = False
    hidden: bool = True
    limit: int = 200
    after: str = ""


@dataclass(frozen=True, slots=True)
class SearchFiles:
    """Find lines that match `pattern` in files below `path` whose names match `glob`."""

    path: str
    pattern: str
    regex: bool = False
    ignore_case: bool = False
    glob: str = ""
    context_lines: int = 0
    limit: int = 100


@dataclass(frozen=True, slots=True)
class WriteFile:
    """Create or replace a file atomically. `expected_sha256` "" = do not compare, "absent" = it must not exist."""

    path: str
    content: bytes = field(repr=False)
    mode: int | None = None
    create_parents: bool = False
    expected_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Replacement:
    """One exact replacement; `count` is how often `old` must occur (0 = any number, at least once)."""

    old: str
    new: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class EditFile:
    """Apply every replacement in order, or none."""

    path: str
    replacements: tuple[Replacement, ...]
    expected_sha256: str = ""


@dataclass(frozen=True, slots=True)
class MoveFile:
    """Move or copy `path` to `destination`; an existing destination is replaced only where `overwrite`."""

    path: str
    destination: str
    copy: bool = False
    overwrite: bool = False
    recursive: bool = False


@dataclass(frozen=True, slots=True)
class DeleteFile:
    """Delete a file or a link; a directory and all below it only where `recursive`."""

    path: str
    recursive: bool = False
    expected_sha256: str = ""


@dataclass(frozen=True, slots=True)
class CommitLayer:
    """Land what the run `run_id` left in its layer, exactly as long as the layer has this digest ("" = unknown yet)."""

    run_id: str
    digest: str = ""


@dataclass(frozen=True, slots=True)
class UndoRun:
    """Put back what the run `run_id` changed. `keep`: whose version stays where something changed since.

    "" = nobody's, then nothing is put back; "ours" = what was there before the run.
    """

    run_id: str
    keep: str = ""


@dataclass(frozen=True, slots=True)
class Deploy:
    """What is asked of an app's hosts as a whole: `action` release, rollback, status, or one of a service's actions.

    `release` "" = named after the artifact, or for a rollback the one before. `host` "" = all of the app's hosts. The
    server makes a rollout of it; nothing of it reaches a host as it is.
    """

    action: str
    app: str = ""
    service: str = ""
    host: str = ""
    release: str = ""
    artifact: str = ""
    artifact_call: str = ""
    artifact_host: str = ""
    sha256: str = ""


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


@dataclass(frozen=True, slots=True)
class DropRelease:
    """Remove a release that is not live."""

    place: AppPlace
    release: str


@dataclass(frozen=True, slots=True)
class FreeApp:
    """Give the app's place on its host back."""

    place: AppPlace


AppPlan = ClaimApp | UploadArtifact | PlaceRelease | SwitchRelease | LandFiles | PruneReleases | DropRelease | FreeApp
Plan = (
    RunCommand
    | ReadFile
    | ListFiles
    | SearchFiles
    | WriteFile
    | EditFile
    | MoveFile
    | DeleteFile
    | CommitLayer
    | UndoRun
    | Deploy
    | AppPlan
)
WorkPlan = WriteFile | EditFile | MoveFile | DeleteFile
WORK_PLANS = (WriteFile, EditFile, MoveFile, DeleteFile)
READING_PLANS = (ReadFile, ListFiles, SearchFiles)
APP_PLANS = (ClaimApp, UploadArtifact, PlaceRelease, SwitchRelease, LandFiles, PruneReleases, DropRelease, FreeApp)
