"""Artifacts: what may be shipped, found by name, with its SHA-256 and size; and where its bytes lie. It sends nothing.

They come from the operator's folder or from a host, or are what an earlier call printed. A folder is packed into one
archive whose bytes depend on nothing but its content. Of this machine nothing outside of the folder is ever read,
wherever a link there leads.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import stat
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from interlock.ports import Hosts
from interlock.spool import Spool
from interlock_tools.closest import suggestions
from interlock_tools.errors import ArgumentInvalid, Recovery, Refusal, StaleState
from interlock_tools.plan import Deploy
from interlock_tools.rollout import Artifact

ARTIFACT_BYTES_MAX = 8 * 1024**3
ENTRIES_MAX = 200_000
NAMES_SHOWN_MAX = 20
NAMES_LOOKED_AT_MAX = 2_000
PACKED_KEPT_MAX = 20
SETS_KEPT_MAX = 2_000  # more than an app has hosts
REMEMBERED_MAX = 1_000


class Artifacts:
    """Finds artifacts. It remembers by its SHA-256 where each one lies, and hashes none twice that has not changed."""

    def __init__(self, folder: Path | None, packed: Path, spool: Spool) -> None:
        """`folder`: the operator's (None = there is none). `packed`: where folders are packed to."""
        self._folder = folder
        self._packed = packed
        self._spool = spool
        self._places: dict[str, Path] = {}
        self._known: dict[tuple[str, int, int, int, int], Artifact] = {}

    def path_of(self, sha256: str) -> Path | None:
        """Where the bytes of this artifact lie; None where they are not there (any more)."""
        place = self._places.get(sha256)
        return place if place is not None and place.is_file() else None

    async def find(self, plan: Deploy) -> Artifact | Refusal:
        """The artifact that a release names; a refusal where it is not there, or is not the one that is meant."""
        try:  # there may be loops of links, names that are too long, folders that are too deep
            found = await asyncio.to_thread(self._find, plan)
        except (
            OSError,
            RuntimeError,
            ValueError,
        ) as fault:
            reason = f"it cannot be read: {getattr(fault, 'strerror', '') or type(fault).__name__}"
            return ArgumentInvalid(path="artifact", reason=reason)
        if isinstance(found, Artifact) and plan.sha256 and plan.sha256 != found.sha256:
            reason = f"the sha256 of {found.name} is {found.sha256}: it is another one than was meant, nothing was sent"
            because = "Whoever built it says which of the two is right; it is not for an agent to choose."
            return StaleState(path="sha256", reason=reason, allowed=(found.sha256,), recovery=Recovery.ask(because))
        return found

    def keep(self, data: bytes) -> Artifact:
        """An artifact of these bytes, which the server itself made; it lies with the others for as long as it is used.

        It is for this user alone: a set of files may hold secrets. Raises OSError.
        """
        made = Artifact("set.tar", hashlib.sha256(data).hexdigest(), len(data))
        folder = self._packed / "sets"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        place = folder / f"{made.sha256}.tar"
        if not place.is_file():
            handle, temporary = tempfile.mkstemp(dir=folder, prefix=".new-")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                Path(temporary).rename(place)
            finally:
                Path(temporary).unlink(missing_ok=True)
            _forget(folder.glob("*.tar"), SETS_KEPT_MAX)
        place.touch()
        self._places[made.sha256] = place
        return made

    async def fetched(self, plan: Deploy, hosts: Hosts) -> Artifact | Refusal:
        """The artifact that lies on a host, brought here. It is the one whose hash was named, or a refusal."""
        self._packed.mkdir(mode=0o700, parents=True, exist_ok=True)
        place = self._place_of(plan)
        size = await hosts.fetch(plan.artifact_host, plan.artifact, plan.sha256, place, ARTIFACT_BYTES_MAX)
        if isinstance(size, Refusal):
            return size
        self._forget_old()
        return await self.find(plan)

    def _place_of(self, plan: Deploy) -> Path:
        return self._packed / f"{plan.sha256}.fetched"

    def _find(self, plan: Deploy) -> Artifact | Refusal:
        if plan.artifact_host:
            place, name = self._place_of(plan), Path(plan.artifact).name
            return self._of_file(place, name) if place.is_file() else Artifact(name, plan.sha256, 0)
        if plan.artifact_call:
            path = self._spool.path(plan.artifact_call, "stdout")
            if path is None or not path.is_file() or path.stat().st_size >= self._spool.bytes_max:
                return ArgumentInvalid(
                    path="artifact_call", reason="what this call printed is not kept, or not all of it"
                )
            return self._of_file(path, plan.artifact_call)
        if self._folder is None:
            step = Recovery.ask("The operator names a folder of artifacts: [server] artifacts in interlock.toml.")
            return ArgumentInvalid(path="artifact", reason="this server has no folder of artifacts", recovery=step)
        root = self._folder.resolve()
        path = (root / plan.artifact).resolve()
        if not path.is_relative_to(root) or path == root or not path.exists():
            return self._unknown(root, plan.artifact)
        if path.is_dir():
            return self._of_folder(path, plan.artifact)
        return self._against_its_sum(path, self._of_file(path, plan.artifact))

    def _unknown(self, root: Path, name: str) -> Refusal:
        there = sorted(entry.name for _, entry in zip(range(NAMES_LOOKED_AT_MAX), root.iterdir(), strict=False))
        names = [entry for entry in there if not entry.startswith(".") and not entry.endswith(".sha256")]
        near = suggestions(name, names)
        shown = tuple(dict.fromkeys((*near, *reversed(names))))[:NAMES_SHOWN_MAX]
        step = Recovery.ask("Only the caller knows which artifact was meant; the newest names are in 'allowed'.")
        reason = "there is no such artifact in the server's folder"
        return ArgumentInvalid(path="artifact", reason=reason, allowed=shown, recovery=step)

    # ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _of_file(self, path: Path, name: str) -> Artifact | Refusal:
        try:
            with path.open("rb") as file:
                return self._hashed(file, path, Path(name).name)
        except OSError as fault:
            return ArgumentInvalid(path="artifact", reason=f"it cannot be read: {fault.strerror}")

    def _hashed(self, file: io.BufferedReader, path: Path, name: str) -> Artifact | Refusal:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or not 0 < found.st_size <= ARTIFACT_BYTES_MAX:
            reason = f"an artifact is a file of 1 to {ARTIFACT_BYTES_MAX} bytes, or a folder"
            return ArgumentInvalid(path="artifact", reason=reason)
        key = (str(path), found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        known = self._known.get(key)
        if known is None:
            known = Artifact(name, hashlib.file_digest(file, "sha256").hexdigest(), found.st_size)
            self._remember(key, known)
        self._places[known.sha256] = path
        return known

    def _remember(self, key: tuple[str, int, int, int, int], artifact: Artifact) -> None:
        if len(self._known) >= REMEMBERED_MAX:
            self._known.clear()
        self._known[key] = artifact

    def _against_its_sum(self, path: Path, found: Artifact | Refusal) -> Artifact | Refusal:
        """A sum that its builder left beside it (NAME.sha256) has to be its own."""
        beside = path.with_name(path.name + ".sha256")
        if isinstance(found, Refusal) or not beside.is_file():
            return found
        said = beside.read_text("ascii", "replace")[:200].split()
        if said and said[0].lower() == found.sha256:
            return found
        reason = (
            f"{found.name} does not have the sum in {beside.name}: it was changed or is not whole; nothing was sent"
        )
        step = Recovery.ask("Whoever builds artifacts puts it there anew; nothing that an agent sends mends it.")
        return StaleState(path="artifact", reason=reason, recovery=step)

    # ── folders ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _of_folder(self, path: Path, name: str) -> Artifact | Refusal:
        self._packed.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self._packed, prefix=".packing-")
        try:
            with os.fdopen(handle, "wb") as file:
                fault = _pack(path, file)
            if fault:
                return ArgumentInvalid(path="artifact", reason=fault)
            with Path(temporary).open("rb") as packed:
                sha256 = hashlib.file_digest(packed, "sha256").hexdigest()
            place = self._packed / f"{sha256}.tar"
            Path(temporary).rename(place)
        except OSError as broken:
            return ArgumentInvalid(path="artifact", reason=f"it could not be packed: {broken.strerror or broken}")
        finally:
            Path(temporary).unlink(missing_ok=True)
        self._places[sha256] = place
        self._forget_old()
        return Artifact(Path(name).name, sha256, place.stat().st_size)

    def _forget_old(self) -> None:
        _forget((*self._packed.glob("*.tar"), *self._packed.glob("*.fetched")), PACKED_KEPT_MAX)


def _forget(places: Iterable[Path], keep: int) -> None:
    """Remove the oldest of these files beyond what is kept."""
    for old in sorted(places, key=lambda entry: entry.stat().st_mtime, reverse=True)[keep:]:
        old.unlink(missing_ok=True)


def _pack(root: Path, into: io.BufferedWriter) -> str:
    """Write a folder as an archive that is the same for the same content; what is wrong with it, or ""."""
    total = entries = 0
    with tarfile.open(fileobj=into, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path in _walk(root):
            entries += 1
            member = archive.gettarinfo(path, arcname=str(path.relative_to(root)))
            if member is not None and member.islnk():
                return f"{path.name} has another hard link in the folder"
            if member is None or not (member.isfile() or member.isdir() or member.issym()):
                return f"{path.name} is neither a file, a folder nor a symbolic link"
            total += member.size
            if entries > ENTRIES_MAX or total > ARTIFACT_BYTES_MAX:
                return f"it has more than {ENTRIES_MAX} entries or {ARTIFACT_BYTES_MAX} bytes"
            member.mtime, member.uid, member.gid, member.uname, member.gname = 0, 0, 0, "", ""
            if member.isfile():
                with path.open("rb") as file:
                    archive.addfile(member, file)
            else:
                archive.addfile(member)
    return "" if entries else "the folder is empty"


def _walk(root: Path) -> Iterator[Path]:
    """All below a folder, parents first, in an order that is always the same; links are not followed."""
    for entry in sorted(root.iterdir(), key=lambda path: path.name):
        yield entry
        if entry.is_dir() and not entry.is_symlink():
            yield from _walk(entry)
