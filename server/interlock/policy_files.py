"""The policy in force: read from its files as a whole or not at all, and read again when they change."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from interlock.guard import Guard
from interlock.settings import Settings
from interlock_policies.engine import PolicyEngine
from interlock_policies.packs import PolicySource
from interlock_policies.statements import PolicyFault

log = logging.getLogger("interlock.policy")

FILE_BYTES_MAX = 1024 * 1024
FILES_MAX = 100
WATCH_SECONDS = 2.0

Stamp = tuple[tuple[str, int, int], ...]


class PolicyFiles:
    """The policy files of the settings, and what is wrong with them now ("" where nothing is)."""

    def __init__(self, settings: Settings) -> None:
        self._packs = settings.packs
        self._files = settings.policy_files
        self._stamp: Stamp = ()
        self.fault = ""

    def alarm(self) -> str:
        """A sentence for every caller while the files on disk are not the policy in force; "" otherwise."""
        return "the policy files on disk do not load; the policy before them stays in force" if self.fault else ""

    def load(self) -> PolicyEngine:
        """Read every file and build the engine. Raises PolicyFault, with file and line."""
        self._stamp = self._seen()
        return PolicyEngine.load([_source(path) for path in self._paths()], schema_packs=self._packs)

    def reload(self, guard: Guard) -> str:
        """Put the files in force; where they do not load the old policy stays, and the fault is said loudly."""
        try:
            engine = self.load()
        except PolicyFault as fault:
            self.fault = str(fault)
            # The fault names file and line; our own stack would say nothing more.
            log.error("policy NOT reloaded, version %s stays in force: %s", guard.engine.version[:12], fault)  # noqa: TRY400 -- our own stack would say nothing more
            return self.fault
        self.fault = ""
        if engine.version != guard.engine.version:
            log.warning("policy reloaded: version %s is in force", engine.version[:12])
            guard.engine = engine
        return ""

    async def watch(self, guard: Guard) -> None:
        """Look for changed files every two seconds, until cancelled."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if self._seen() != self._stamp:
                # The examples of every rule run when it loads; other calls go on meanwhile.
                await asyncio.to_thread(self.reload, guard)

    def _paths(self) -> list[Path]:
        found: list[Path] = []
        for path in self._files:
            found += sorted(path.glob("*.cedar")) if path.is_dir() else [path]
        if len(found) > FILES_MAX:
            raise PolicyFault(str(self._files[0]), 0, f"there are more than {FILES_MAX} policy files")
        return found

    def _seen(self) -> Stamp:
        stamp: list[tuple[str, int, int]] = []
        for path in self._paths():
            try:
                status = path.stat()
            except OSError:
                stamp.append((str(path), 0, -1))
            else:
                stamp.append((str(path), status.st_mtime_ns, status.st_size))
        return tuple(stamp)


def _source(path: Path) -> PolicySource:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        text = data.decode()
    except (OSError, UnicodeDecodeError) as fault:
        raise PolicyFault(str(path), 0, f"the file cannot be read: {type(fault).__name__}") from None
    if len(data) > FILE_BYTES_MAX:
        raise PolicyFault(str(path), 0, f"the file is larger than {FILE_BYTES_MAX} bytes")
    return PolicySource(str(path), text)
