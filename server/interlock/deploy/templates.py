"""Templates: which files of an artifact an app has places for, and how values come into them. It sends nothing.

A source that ends with `.tmpl` is a template: `{{ name }}` becomes a value, and a backslash before `{{` lets it stay;
there is nothing else in it that acts. So whoever writes a template decides on text alone, and never on where it goes.
"""

from __future__ import annotations

import difflib
import os
import re
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from interlock.runner.artifacts import member_parts
from interlock.runner.filesets import FILE_BYTES_MAX, SET_FILES_MAX
from interlock.runner.rundirs import RunFault
from interlock.runner.unpacking import contents_of
from interlock_tools.apps import App, FileSpec
from interlock_tools.errors import ArgumentInvalid, Recovery, Refusal
from interlock_tools.rollout import Artifact

TEMPLATE_END = ".tmpl"
CONTENT_BYTES_MAX = 256 * 1024 * 1024
ENTRIES_MAX = 50_000
NAMES_SHOWN_MAX = 20
PROGRAM_MODE = 0o755
_NAMED = re.compile(r"\{\{[ \t]*(\w+)[ \t]*\}\}")


class Template(string.Template):
    """`{{ name }}`, by the standard library's own substitution."""

    delimiter = "{{"
    pattern = r"""
        \\(?P<escaped>\{\{) | \{\{[ \t]*(?P<named>[A-Za-z_][A-Za-z0-9_]*)[ \t]*\}\}
        | (?P<braced>(?!)) | (?P<invalid>\{\{)
    """  # type: ignore[assignment]  # the standard library compiles it when it makes the class


@dataclass(frozen=True)
class Source:
    """One file of the artifact and where it goes. `text` None: it is no template."""

    name: str
    target: str
    data: bytes
    mode: int | None
    owner: str
    text: Template | None = None


class Unfit(Exception):
    """What is wrong with the artifact, as a refusal."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


def files_of(app: App, handle: int, artifact: Artifact) -> dict[str, tuple[bytes, int]]:
    """The content and mode of each file of the artifact that the app may have a place for."""
    found: dict[str, tuple[bytes, int]] = {}
    seen: list[str] = []
    total = 0
    try:
        kind, contents = contents_of(handle, os.fstat(handle).st_size, artifact.name)
        for member, pieces in contents:
            name = "/".join(member_parts(member.name))
            alone = kind == "file" and len(app.files) == 1 and not app.files[0].source.endswith("/")
            name = app.files[0].source if alone else name
            wanted = member.kind == "file" and any(_is_of(spec, name) for spec in app.files)
            seen.append(name)
            if len(seen) > ENTRIES_MAX:
                raise unfit_artifact("it has too many entries")
            data = bytearray()
            for piece in pieces:
                total += len(piece)
                if total > CONTENT_BYTES_MAX or (wanted and len(data) + len(piece) > FILE_BYTES_MAX):
                    raise unfit_artifact(f"{name} is too large for a set of files, or all of it is")
                data += piece if wanted else b""
            if wanted:
                found[name] = bytes(data), member.mode
    except RunFault as fault:
        raise unfit_artifact(fault.reason) from None
    for spec in app.files:
        if not any(_is_of(spec, name) for name in found):
            near = difflib.get_close_matches(spec.source, seen, NAMES_SHOWN_MAX, 0.0)
            raise unfit_artifact(f"it has no {spec.source}", tuple(near))
    if len(found) > SET_FILES_MAX:
        raise unfit_artifact(f"the set has more than {SET_FILES_MAX} files")
    return found


def _is_of(spec: FileSpec, name: str) -> bool:
    return name.startswith(spec.source) if spec.source.endswith("/") else name == spec.source


def sources_of(app: App, files: Mapping[str, tuple[bytes, int]]) -> Iterator[Source]:
    """Each file with its place on the host. Raises Unfit where two would have the same, or a template is no text."""
    taken: dict[str, str] = {}
    for name, (data, mode) in sorted(files.items()):
        spec = next(spec for spec in app.files if _is_of(spec, name))
        target = spec.target
        if target.endswith("/"):
            target += name[len(spec.source) :].removesuffix(TEMPLATE_END)
        if target in taken:
            raise unfit_artifact(f"{taken[target]} and {name} would both become {target}")
        taken[target] = name
        program = PROGRAM_MODE if mode & 0o100 else None
        template = None
        if name.endswith(TEMPLATE_END):
            text = text_of(data)
            if text is None:
                raise unfit_artifact(f"{name} is a template, and not text in UTF-8")
            template = Template(text)
        yield Source(name, target, data, program if spec.mode is None else spec.mode, spec.owner, template)


def text_of(data: bytes) -> str | None:
    """The bytes as text; None where they are none."""
    try:
        return None if b"\0" in data else data.decode()
    except UnicodeDecodeError:
        return None


def filled(source: Source, values: Mapping[str, str]) -> str:
    """The template with its values in it. Raises Unfit where a value is not there, or it would grow too large."""
    template = source.text
    if template is None:
        raise ValueError("no template")
    grown = sum(len(values.get(name, "")) for name in _NAMED.findall(template.template))
    if len(template.template) + grown > FILE_BYTES_MAX:
        raise unfit_artifact(f"{source.name} grows to more than {FILE_BYTES_MAX} bytes")
    try:
        return template.substitute(values)
    except KeyError as absent:
        near = tuple(difflib.get_close_matches(str(absent.args[0]), list(values), NAMES_SHOWN_MAX, 0.0))
        raise unfit_artifact(f"{source.name}: no value is configured for {absent.args[0]!r}", near) from None
    except ValueError as fault:
        raise unfit_artifact(
            f"{source.name}: a {{{{ that begins no value ({fault}); write \\{{{{ for one that stays"
        ) from None


def unfit_artifact(reason: str, allowed: tuple[str, ...] = ()) -> Unfit:
    """What is wrong with an artifact, for a person to mend; `allowed` are the names that are there."""
    step = Recovery.ask("Whoever builds the artifact, or configures the app, mends it; no other argument does.")
    return Unfit(ArgumentInvalid(path="artifact", reason=reason, allowed=allowed, recovery=step))
