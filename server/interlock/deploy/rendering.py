"""Rendering: from an artifact's templates and an app's values to the set of files of each host. It sends nothing."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from interlock.deploy.artifacts import Artifacts
from interlock.deploy.templates import Source, Unfit, files_of, filled, sources_of, text_of, unfit_artifact
from interlock_tools.apps import App
from interlock_tools.call import Json, digest_of
from interlock_tools.errors import ArgumentInvalid, Recovery, Refusal, StaleState
from interlock_tools.found import KeptFile
from interlock_tools.rollout import Artifact, HostSet

SET_BYTES_MAX = 64 * 1024 * 1024
TEXT_CHARS_MAX = 64 * 1024

Secrets = Mapping[tuple[str, str], str]  # the value by its reference, as it was when the server started


@dataclass(frozen=True)
class RenderedSet(HostSet):
    """The set of one host, with its texts by target as they may be shown (None: it is no text); secrets are named."""

    texts: Mapping[str, str | None] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Rendering:
    """Makes sets of files. What it made lies with the artifacts, by its hash, to be sent."""

    artifacts: Artifacts
    secrets: Secrets = field(repr=False)

    async def render(self, app: App, source: Artifact) -> Mapping[str, RenderedSet] | Refusal:
        """The set of each of the app's hosts; a refusal where a file or a value is not there."""
        try:
            return await asyncio.to_thread(self._render, app, source)
        except Unfit as unfit:
            return unfit.refusal
        except OSError as fault:
            return ArgumentInvalid(path="artifact", reason=f"it cannot be read: {fault.strerror or fault}")

    def _render(self, app: App, artifact: Artifact) -> dict[str, RenderedSet]:
        path = self.artifacts.path_of(artifact.sha256)
        if path is None:
            raise unfit_artifact(
                "its bytes are not here; a set of files is shipped from the server's folder or a call's output"
            )
        with path.open("rb") as file:
            sources = list(sources_of(app, files_of(app, file.fileno(), artifact)))
        secrets = self._secrets(app)
        names = {name for source in sources if source.text is not None for name in source.text.get_identifiers()}
        made: dict[str, RenderedSet] = {}
        found: dict[str, RenderedSet] = {}
        for host in app.hosts:
            values = values_of(app, host)
            key = digest_of({name: values[name] for name in sorted(names & set(values))})
            if key not in made:
                made[key] = self._set(sources, values, secrets)
            found[host] = made[key]
        return found

    def _secrets(self, app: App) -> dict[str, str]:
        found = {}
        for name, (kind, where) in app.secrets.items():
            value = self.secrets.get((kind, where), "")
            if not value:
                step = Recovery.ask("The operator gives the server the secret and starts it again.")
                reason = f"the secret {name} ({kind} {where}) was not there when the server started"
                raise Unfit(StaleState(path="app", reason=reason, recovery=step))
            found[name] = value
        return found

    def _set(self, sources: list[Source], values: Mapping[str, str], secrets: Mapping[str, str]) -> RenderedSet:
        files: dict[str, KeptFile] = {}
        texts: dict[str, str | None] = {}
        contents: dict[str, bytes] = {}
        named = {name: f"[secret {name}]" for name in secrets}
        for source in sources:
            data, shown, secret = source.data, text_of(source.data), False
            if source.text is not None:
                data = filled(source, {**values, **secrets}).encode()
                shown = filled(source, {**values, **named})
                secret = not secrets.keys().isdisjoint(source.text.get_identifiers())
            contents[source.name] = data
            files[source.target] = KeptFile(sha256(data).hexdigest(), source.mode, source.owner, secret)
            texts[source.target] = shown if shown is not None and len(shown) <= TEXT_CHARS_MAX else None
        if sum(map(len, contents.values())) > SET_BYTES_MAX:
            raise unfit_artifact(f"the set has more than {SET_BYTES_MAX} bytes")
        names = {source.target: source.name for source in sources}
        packed = _packed(contents, [_entry(target, names[target], file) for target, file in sorted(files.items())])
        return RenderedSet(self.artifacts.keep(packed), files, texts)


Sets = Mapping[str, RenderedSet]  # by host


def release_of(sets: Mapping[str, HostSet]) -> str:
    """The SHA-256 (hex) over what every host is to have, after which a set is named."""
    return digest_of({host: made.artifact.sha256 for host, made in sets.items()})


def values_of(app: App, host: str) -> dict[str, str]:
    """The values that templates are filled with on this host, secrets not among them."""
    found: dict[str, str] = {}
    for layer in app.values:
        if not layer.hosts or host in layer.hosts:
            found.update(layer.values)
    return {**found, "app": app.name, "host": host}


# ── what is sent ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _entry(target: str, name: str, file: KeptFile) -> Json:
    said = {"target": target, "name": name, "sha256": file.sha256, "mode": file.mode, "owner": file.owner}
    return {**said, "secret": file.secret}


def _packed(contents: Mapping[str, bytes], entries: list[Json]) -> bytes:
    """The set as an archive that is the same for the same content."""
    buffer = io.BytesIO()
    record = json.dumps({"files": entries}, sort_keys=True).encode("ascii")
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in (
            (".set.json", record),
            *((f"files/{name}", data) for name, data in sorted(contents.items())),
        ):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o600
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()
