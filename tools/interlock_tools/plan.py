"""Plans: what a tool asks of a host. Frozen values that an executor carries out; building one touches nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

from interlock_tools.app_plans import AppPlan


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
