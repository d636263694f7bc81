"""The shape of `[apps.NAME]` and of the tables inside it: keys, types, bounds and defaults. What they mean is not here.

The defaults are those of `interlock_tools.apps`. Where a key is demanded its default is None, so that its absence is
said in words of our own.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from interlock.config.app_kinds import (
    HOSTS_MAX,
    VALUES_MAX,
    WORDS_MAX,
    ContainerSection,
    FileSection,
    HostValuesSection,
    Line,
    Values,
)
from interlock.config.references import Reference
from interlock.config.section import Section
from interlock_tools.apps import App, Batches, HealthCheck, Hook, Service

APPS_MAX = 200
CHECKS_MAX = 20
WINDOWS_MAX = 20
FREEZES_MAX = 50
SHARED_MAX = 50
FILES_MAX = 100

_COUNT = re.compile(r"[1-9][0-9]{0,2}|1000|(?:[1-9][0-9]?|100)%")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_APP = App("", (), "")
_SERVICE = Service("")
_CHECK = HealthCheck("")
_HOOK = Hook(())
_BATCHES = Batches()


def _counted(value: object) -> str:
    """A number of hosts or a share of them, as text; "0" passes."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if isinstance(text, str) and (text == "0" or _COUNT.fullmatch(text)):
        return text
    raise PydanticCustomError("count", 'a number of hosts up to 1000, or a share of them such as "10%"')


def _at_least_one(value: str) -> str:
    if value == "0":
        raise PydanticCustomError("count", 'at least 1 host, or a share of them such as "25%"')
    return value


def _day(value: object) -> str:
    """An ISO date, from a date of TOML or its text; a time of day has no meaning here."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str) and _DATE.fullmatch(value):
        try:
            return date.fromisoformat(value).isoformat()
        except ValueError:
            pass
    raise PydanticCustomError("day", "a day of the calendar such as 2026-12-20")


def _unit_alone(value: object) -> object:
    """`service = "nginx"` is short for a table with this unit."""
    if isinstance(value, (dict, Section)):
        return value
    if isinstance(value, str):
        return {"unit": value}
    raise PydanticCustomError("service", "the name of a unit, or a table such as [apps.NAME.service]")


Argv = Annotated[list[Line], Field(min_length=1, max_length=WORDS_MAX)]
Count = Annotated[str, BeforeValidator(_counted)]
Day = Annotated[str, BeforeValidator(_day)]


class ServiceSection(Section):
    """The table [apps.NAME.service]."""

    unit: Line | None = Field(
        default=None, description="Its name there; for runit also the path of its folder. Required."
    )
    manager: Literal["systemd", "supervisor", "runit", "openrc", "sysv", "command"] = Field(
        default=_SERVICE.manager.value, description='What controls it; "command": an argv of your own for each action.'
    )
    config: Line = Field(
        default=_SERVICE.config, description="Supervisor's configuration file, where it is not its default."
    )
    on_release: Literal["restart", "reload", "none"] = Field(
        default="restart", description="What it is told after a switch."
    )
    timeout_seconds: int = Field(
        default=_SERVICE.timeout_seconds, ge=1, le=600, description="The longest one action may take."
    )
    argv: dict[str, Argv] = Field(
        default_factory=dict,
        max_length=16,
        description='Program and arguments by action, for the manager "command" alone: start, stop, restart, reload, '
        "status. It needs status and what on_release says.",
    )


class CheckSection(Section):
    """One table [[apps.NAME.checks]]."""

    kind: Literal["http", "tcp", "command", "service"] | None = Field(
        default=None, description="What is measured on the host. Required."
    )
    target: Line = Field(
        default=_CHECK.target,
        description="http: a URL; tcp: port or address:port; command: a line of bash; service: a unit, empty for the "
        "app's own.",
    )
    expected: Line = Field(
        default=_CHECK.expected, description="http: a status, or a text of the page; command: a text that it prints."
    )
    warm_up_seconds: float = Field(
        default=_CHECK.warm_up_seconds, ge=0, le=600, description="Wait before it is asked first."
    )
    interval_seconds: float = Field(
        default=_CHECK.interval_seconds, ge=0.1, le=300, description="Between two tries of it."
    )
    tries: int = Field(default=_CHECK.tries, ge=1, le=100, description="How often it is asked at most.")
    timeout_seconds: float = Field(
        default=_CHECK.timeout_seconds, ge=0.1, le=300, description="The longest one try may take."
    )


class BatchesSection(Section):
    """The table [apps.NAME.batches]."""

    canary: Count = Field(
        default=_BATCHES.canary, description='Hosts that go first: a number, or a share such as "10%"; 0: none.'
    )
    size: Annotated[Count, AfterValidator(_at_least_one)] = Field(
        default=_BATCHES.size,
        description='Hosts of each later step at most: a number from 1, or a share such as "25%".',
    )
    pause_seconds: float = Field(default=_BATCHES.pause_seconds, ge=0, le=3_600, description="Wait after each step.")


class HookSection(Section):
    """The tables [apps.NAME.hooks.prepare], .activate and .after."""

    argv: Argv | None = Field(
        default=None, description="Program and arguments; it starts in the release's folder. Required."
    )
    timeout_seconds: int = Field(default=_HOOK.timeout_seconds, ge=1, le=3_600, description="The longest it may take.")
    network: Literal["none", "outbound"] = Field(default="none", description="Whether it may reach other machines.")
    writes: list[Line] = Field(
        default_factory=list,
        max_length=64,
        description="Absolute paths that it may write, beside the release and the shared folders.",
    )
    containment: Literal["confined", "none"] = Field(
        default="confined", description='"none" lets it write anywhere that its user can.'
    )


class HooksSection(Section):
    """The table [apps.NAME.hooks]."""

    prepare: HookSection | None = Field(default=None, description="Before the switch.")
    activate: HookSection | None = Field(default=None, description="At the switch.")
    after: HookSection | None = Field(default=None, description="After the switch.")


class FreezeSection(Section):
    """One table [[apps.NAME.freezes]]."""

    first: Day | None = Field(default=None, description="First day, 2026-12-20. Required.")
    last: Day | None = Field(default=None, description="Last day, included. Required.")
    reason: Line = Field(default="", description="Why.")


class AppSection(Section):
    """The table [apps.NAME]."""

    hosts: list[Line] = Field(
        default_factory=list,
        max_length=HOSTS_MAX,
        description='Its hosts in the order of switching: names, "group:NAME", "label:key=value" or "*". Required.',
    )
    path: Line | None = Field(
        default=None, description="Its folder on each host, absolute and at least two deep: /srv/shop. Required."
    )
    strategy: Literal["release", "files", "container"] = Field(
        default="release",
        description='How a release gets there. "release": side by side, switched by one symbolic link; "files": files '
        "made from templates, each put in its own place.",
    )
    owner: Annotated[Line, StringConstraints(max_length=200)] = Field(
        default=_APP.owner, description="Who answers for it: a team, a person."
    )
    service: Annotated[ServiceSection, BeforeValidator(_unit_alone)] | None = Field(
        default=None, description='What is told of a switch: a table, or "nginx" for that unit of systemd.'
    )
    checks: list[CheckSection] = Field(
        default_factory=list,
        max_length=CHECKS_MAX,
        description="What has to hold on a host before it counts as healthy.",
    )
    batches: BatchesSection = Field(default=BatchesSection(), description="How many hosts are switched at once.")
    keep: int = Field(default=_APP.keep, ge=1, le=50, description="Releases that stay on a host.")
    unpack: bool = Field(
        default=True,
        description="Whether an archive is unpacked; off for a .jar or .war, which is the release as it is.",
    )
    shared: list[Line] = Field(
        default_factory=list,
        max_length=SHARED_MAX,
        description="Paths in a release that are kept across releases: uploads, log.",
    )
    container: ContainerSection | None = Field(
        default=None, description='Of the strategy "container": its image and how it runs.'
    )
    files: list[FileSection] = Field(
        default_factory=list, max_length=FILES_MAX, description='Of the strategy "files": what goes where.'
    )
    values: Values = Field(
        default_factory=dict,
        max_length=VALUES_MAX,
        description="What {{ name }} in a template becomes: texts, numbers, true and false.",
    )
    host_values: list[HostValuesSection] = Field(
        default_factory=list, max_length=VALUES_MAX, description="Other values on some hosts."
    )
    secrets: dict[str, Reference] = Field(
        default_factory=dict,
        max_length=VALUES_MAX,
        description='Values that no record, log or approval ever shows, by reference: {env = "NAME"} or '
        '{file = "path"}. They are read when the server starts.',
    )
    hooks: HooksSection = Field(default=HooksSection(), description="Programs of your own at moments of a release.")
    unreachable: Literal["fail", "skip"] = Field(
        default="fail", description="What a host means that cannot be reached before the switch."
    )
    on_restart: Literal["take_back", "continue"] = Field(
        default="take_back", description="What becomes of a deployment that the server's own end interrupted."
    )
    timezone: Line = Field(
        default=_APP.timezone, description="Of windows and freezes: Europe/Berlin. Empty: the server's own."
    )
    windows: list[Line] = Field(
        default_factory=list,
        max_length=WINDOWS_MAX,
        description='When changes are expected: "mon-fri 09:00-17:00", "sat,sun 22:00-24:00".',
    )
    freezes: list[FreezeSection] = Field(
        default_factory=list,
        max_length=FREEZES_MAX,
        description="Days on which nothing is released without a person.",
    )
