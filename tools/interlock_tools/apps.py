"""Apps: what can be deployed, as the operator configured it. Values only; an agent names one and never makes one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

SERVICE_ACTIONS = ("start", "stop", "restart", "reload", "status")
KEEP_DEFAULT = 5
GIVEN_VALUES = ("app", "host")  # what every template may name


class Strategy(StrEnum):
    """How a release reaches a host."""

    RELEASE = "release"  # releases side by side, switched by one atomic rename of a symbolic link
    FILES = "files"  # files, each for a place of its own on the host, made from templates
    CONTAINER = "container"  # an image that an engine runs, pulled by its digest


class ManagerKind(StrEnum):
    """What controls a service on its host."""

    SYSTEMD = "systemd"
    SUPERVISOR = "supervisor"
    RUNIT = "runit"
    OPENRC = "openrc"
    SYSV = "sysv"
    COMMAND = "command"  # the operator's own argv for each action


@dataclass(frozen=True, slots=True)
class Service:
    """One configured service. `argv` by action, for the manager `command` alone.

    `on_release`: what it is told after a switch: restart, reload or none.
    """

    unit: str
    manager: ManagerKind = ManagerKind.SYSTEMD
    config: str = ""  # supervisor's configuration file, where it is not its default
    on_release: str = "restart"
    argv: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    timeout_seconds: int = 60


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """What has to hold on a host before it counts as healthy, measured there.

    `kind`: http (target: a URL; expected: "", a status or a text of the page), tcp (target: [address:]port), command
    (target: a line of bash; expected: a text that it prints) or service (target: the unit; "" = the app's own). It is
    asked `tries` times at most.
    """

    kind: str
    target: str = ""
    expected: str = ""
    warm_up_seconds: float = 0.0
    interval_seconds: float = 1.0
    tries: int = 5
    timeout_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Hook:
    """The operator's own program at one moment of a release; it starts in the release's folder.

    It may write the release, the shared folders and `writes`; `containment` none lets it write anywhere.
    """

    argv: tuple[str, ...]
    timeout_seconds: int = 300
    network: str = "none"
    writes: tuple[str, ...] = ()
    containment: str = "confined"


@dataclass(frozen=True, slots=True)
class Batches:
    """In which order hosts are switched: the canary, then steps of at most `size`, with a pause after each.

    `canary` and `size` are numbers of hosts, or shares of the fleet where they end with "%". `canary` "0" = none.
    """

    canary: str = "1"
    size: str = "100%"
    pause_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Freeze:
    """A span of days (ISO dates, both included) in which nothing is released without a person."""

    first: str
    last: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Window:
    """When changes are expected: days of the week (0 = Monday) and minutes of the day, end excluded."""

    days: tuple[int, ...]
    first_minute: int
    last_minute: int


@dataclass(frozen=True, slots=True)
class FileSpec:
    """One file of a set, or where both end with "/" a folder of them: `source` in the artifact, `target` on the host.

    `mode` None and `owner` "" (user or user:group): those of what lies there, or for a new file 0644 and the login.
    """

    source: str
    target: str
    mode: int | None = None
    owner: str = ""


@dataclass(frozen=True, slots=True)
class ValueLayer:
    """Values that templates are filled with, for these hosts (none = for all). A later layer goes over an earlier."""

    values: Mapping[str, str]
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Container:
    """The container of an app. `image` has neither tag nor digest: which one is what a release says.

    `engine`: podman, docker, or auto = the first that answers. `options` and `command` are those of the engine's `run`.
    """

    image: str
    name: str
    engine: str = "auto"
    options: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    stop_seconds: int = 10
    pull_seconds: int = 300


@dataclass(frozen=True, slots=True)
class App:
    """One thing that can be deployed, as the operator configured it.

    `hosts` are names of the inventory, in the order in which they are switched. `path`: the folder on each host that
    holds `releases`, `shared` and the link `current`. `shared`: paths in a release that are kept across releases.
    `unpack` False: an archive is the release as it is. `unreachable`: what a host that cannot be reached before the
    switch means: fail or skip. `on_restart`: what becomes of a deployment that the server's death interrupted: continue
    or take_back. `container` is of that strategy alone; so are `files`, `values` and `secrets` of theirs: a secret is
    there by its reference, its kind (env or file) and its name.
    """

    name: str
    hosts: tuple[str, ...]
    path: str
    strategy: Strategy = Strategy.RELEASE
    service: Service | None = None
    checks: tuple[HealthCheck, ...] = ()
    keep: int = KEEP_DEFAULT
    batches: Batches = Batches()
    owner: str = ""
    shared: tuple[str, ...] = ()
    unpack: bool = True
    prepare: Hook | None = None
    activate: Hook | None = None
    after: Hook | None = None
    unreachable: str = "fail"
    on_restart: str = "take_back"
    container: Container | None = None
    files: tuple[FileSpec, ...] = ()
    values: tuple[ValueLayer, ...] = ()
    secrets: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    timezone: str = ""
    windows: tuple[Window, ...] = ()
    freezes: tuple[Freeze, ...] = ()
