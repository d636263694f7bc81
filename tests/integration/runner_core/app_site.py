"""An application's folder on this machine for tests: asked for through helpers of a login, and read from the disk."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from archives import entry, tar_of
from runner_channel import RunnerChannel, runner_channel

PIECE_BYTES = 2**20


class AppSite:
    """One application, and who deploys it: claim "d1" with fence 1 unless a request says otherwise."""

    def __init__(self, ground: Path, stack: ExitStack, login: dict[str, object]) -> None:
        self.ground = ground
        self.path = ground / "app"
        self._stack = stack
        self._login = login
        self._helper: RunnerChannel | None = None

    def helper(self, faults: str = "") -> RunnerChannel:
        """One more helper of the login's."""
        place = str(self.ground / "runs")
        return self._stack.enter_context(runner_channel(place, faults=faults, cwd="/", **self._login))

    def ask(self, op: str, body: bytes = b"", by: RunnerChannel | None = None, **head: object) -> dict:
        """One piece of work, by this helper or by the one that serves for all."""
        self._helper = self._helper or self.helper()
        asked = {"path": str(self.path), "deployment": "d1", "fence": 1, "lease_seconds": 60, **head}
        return (by or self._helper).ask("app", body, op=op, **asked)

    def claimed(self) -> AppSite:
        assert self.ask("claim")["ok"]
        return self

    def upload(self, data: bytes, by: RunnerChannel | None = None, **head: object) -> dict:
        """All of an artifact; what is named for it."""
        named = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        for at in range(0, len(data), PIECE_BYTES):
            told = self.ask("upload", data[at : at + PIECE_BYTES], by, offset=at, **named, **head)
            assert told.get("have") == min(len(data), at + PIECE_BYTES), told
        return named

    def place(self, release: str, data: bytes, **head: object) -> dict:
        """Upload an artifact and place it."""
        return self.ask("place", release=release, name="app.bin", **self.upload(data), **head)

    def placed(self, *releases: str) -> None:
        """Releases whose one file holds their own name."""
        for release in releases:
            assert self.place(release, artifact(release))["placed"]

    def switch(self, release: str, expect: str, **head: object) -> dict:
        return self.ask("switch", release=release, expect=expect, **head)

    def own(self, name: str) -> Path:
        return self.path / ".interlock" / name

    def names(self, folder: str) -> list[str]:
        return sorted(os.listdir(self.path / folder))

    def disk(self, *left_out: str) -> dict[str, tuple[str, int]]:
        """All that lies on the ground but run directories and what is left out: its content and its mode."""
        found = {}
        for path in sorted(self.ground.rglob("*")):
            name = str(path.relative_to(self.ground))
            if not name.startswith(("runs", *left_out)):
                found[name] = (_content(path), stat.S_IMODE(path.lstat().st_mode))
        return found


def _content(path: Path) -> str:
    if path.is_symlink():
        return "-> " + os.readlink(path)
    return path.read_bytes().hex() if path.is_file() else "/"


def artifact(text: str) -> bytes:
    """A small release, whose `file` holds this text."""
    return tar_of([entry("file", data=text.encode())])


@contextmanager
def app_site(uid: int) -> Iterator[AppSite]:
    """The ground of an application, owned by this user, whose login deploys there."""
    above = "/srv" if os.geteuid() == 0 else Path.home()
    with tempfile.TemporaryDirectory(prefix="interlock-app-", dir=above) as folder, ExitStack() as stack:
        ground = Path(folder)
        (ground / "beside").write_text("beside\n")
        os.chown(ground, uid, uid)
        ground.chmod(0o755)
        login = {} if uid == os.geteuid() else {"user": uid, "group": uid, "extra_groups": []}
        yield AppSite(ground, stack, login)
