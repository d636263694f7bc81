"""The tables inside `[apps.NAME]` that one strategy alone has: files, other values on some hosts, a container."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from interlock.config.section import Section

HOSTS_MAX = 1_000
WORDS_MAX = 64
VALUES_MAX = 500


def _as_text(value: object) -> object:
    """A value of TOML as it is written into a file: true and false as they are here, numbers in digits."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


Line = Annotated[str, StringConstraints(max_length=4_096, pattern=r"^[^\x00-\x1f\x7f]*$")]
Values = dict[str, Annotated[str, BeforeValidator(_as_text), StringConstraints(max_length=16_384)]]


class FileSection(Section):
    """One table [[apps.NAME.files]], of the strategy "files"."""

    source: Line | None = Field(
        default=None,
        description='A file in the artifact, a template where it ends with ".tmpl"; or a folder, ending with "/". '
        "Required.",
    )
    target: Line | None = Field(
        default=None, description='Its place on the host, absolute; of a folder ending with "/". Required.'
    )
    mode: Line = Field(default="", description='Such as "0640"; empty: that of the file there, or 0644.')
    owner: Line = Field(default="", description="user or user:group; empty: that of the file there, or the login's.")


class HostValuesSection(Section):
    """One table [[apps.NAME.host_values]], of the strategy "files"."""

    hosts: list[Line] = Field(
        default_factory=list, max_length=HOSTS_MAX, description="For these hosts, named as those of the app. Required."
    )
    values: Values = Field(default_factory=dict, max_length=VALUES_MAX, description="Go over those of the app.")


class ContainerSection(Section):
    """The table [apps.NAME.container], of the strategy "container"."""

    image: Line | None = Field(
        default=None, description="Registry and repository, without tag and digest: which one a release says. Required."
    )
    name: Line = Field(default="", description="The container's name there; empty: the app's.")
    engine: Literal["auto", "podman", "docker"] = Field(
        default="auto", description='What runs it; "auto": the first of the two that answers.'
    )
    options: list[Line] = Field(
        default_factory=list, max_length=WORDS_MAX, description='Further options of its run: "--publish=80:8080".'
    )
    command: list[Line] = Field(
        default_factory=list, max_length=WORDS_MAX, description="Program and arguments; empty: the image's own."
    )
    stop_seconds: int = Field(default=10, ge=0, le=300, description="Until a container that is to stop is killed.")
    pull_seconds: int = Field(default=300, ge=1, le=3_600, description="The longest a pull may take.")
