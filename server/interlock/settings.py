"""The settings of one Interlock, as values. Where they come from is the business of `interlock.config`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from interlock_policies.facts import HostFacts, Principal
from interlock_tools.apps import App


@dataclass(frozen=True, slots=True)
class SecretRef:
    """Where a secret is kept; never the secret itself. `kind`: env, file or agent; `name`: the variable or path."""

    kind: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class HostSettings:
    """One host of the inventory: how it is reached, and what policy knows of it."""

    name: str
    address: str
    port: int = 22
    user: str = ""
    identities: tuple[SecretRef, ...] = ()
    known_hosts: Path | None = None
    jump: str = ""  # the name of another host of the inventory, or user@address:port
    become: str = ""  # "" or the user to become through sudo -n
    labels: Mapping[str, str] = field(default_factory=dict)
    groups: frozenset[str] = frozenset()
    cwd: str = ""  # "" = the login's home
    workspace: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    shell: str = "/bin/bash"
    path: str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    sessions_max: int = 8
    embedded: bool = False
    containment: str = "staged"  # the strongest level that is used there: staged, confined or none
    masked: tuple[str, ...] = ()  # places hidden inside a containment, beside the default ones; `~` is the login's home


@dataclass(frozen=True, slots=True)
class Limits:
    """Every limit that an operator may set; the unit stands last in the name."""

    budget_units_per_day: int = 1_000
    rate_calls_per_minute: int = 240
    rate_burst_calls: int = 120
    host_calls_max: int = 50
    principal_calls_max: int = 200
    loop_repeats_max: int = 2
    loop_pause_repeats_max: int = 4
    timeout_seconds_max: int = 3_600
    wait_seconds_max: int = 300
    approve_within_seconds: int = 900
    execute_within_seconds: int = 300
    approvals_pending_max: int = 100
    connect_timeout_seconds: float = 10.0
    login_timeout_seconds: float = 10.0
    keepalive_seconds: float = 15.0
    session_queue_max: int = 200
    session_wait_seconds: float = 30.0
    attempts_max: int = 3
    breaker_failures_max: int = 5
    breaker_open_seconds: float = 30.0
    output_bytes_max: int = 10 * 1024 * 1024
    answer_chars_max: int = 20_000
    file_bytes_max: int = 8 * 1024 * 1024
    command_chars_max: int = 16 * 1024
    progress_seconds: float = 10.0
    record_days_max: int = 90
    reattach_seconds_max: float = 60.0
    layers_held_max: int = 50
    layer_hours_max: int = 24
    layer_changes_max: int = 20_000
    undo_hours_max: int = 72
    undo_bytes_max: int = 256 * 1024 * 1024
    runs_bytes_max: int = 4 * 1024 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Where remote clients are served. Beyond loopback both TLS and tokens are demanded."""

    listen: str = "127.0.0.1"
    port: int = 8808
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    hosts: tuple[str, ...] = ()  # values of the Host header that are served, beside the loopback names
    origins: tuple[str, ...] = ()
    tokens: bool = True


@dataclass(frozen=True, slots=True)
class Settings:
    """All of it. `state_dir` holds store, keys, socket, output spools; it is 0700 and never a tool's target."""

    state_dir: Path
    hosts: Mapping[str, HostSettings] = field(default_factory=dict)
    principals: Mapping[str, Principal] = field(default_factory=dict)
    default_principal: str = ""
    policy_files: tuple[Path, ...] = ()
    packs: tuple[str, ...] = ("baseline", "environments", "confidence", "deploy")
    limits: Limits = Limits()
    http: HttpSettings = HttpSettings()
    otlp_endpoint: str = ""
    redact: tuple[SecretRef, ...] = ()
    elicit_roles: frozenset[str] = frozenset()  # approval roles for which the client's own form is enough
    apps: Mapping[str, App] = field(default_factory=dict)
    artifacts_dir: Path | None = None  # where what can be deployed lies; None = nowhere
    source: Path | None = None  # the file it was read from; None = the embedded default


def facts_of(host: HostSettings, home: str = "", containment: tuple[str, ...] = ("none",)) -> HostFacts:
    """What policy knows of a host: its settings, and what was learned from the host itself."""
    return HostFacts(
        name=host.name,
        labels=host.labels,
        groups=host.groups,
        user=host.become or host.user,
        home=home,
        cwd=host.cwd or home or "/",
        workspace=host.workspace,
        protected=host.protected,
        masked=tuple(home + place[1:] if home and place.startswith("~") else place for place in host.masked),
        containment=containment,
    )
