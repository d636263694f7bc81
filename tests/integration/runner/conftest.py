"""What tests of rooms share: the two kinds of login user, and folders of theirs outside of every scratch place."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rooms_bench import Host, owned_folder

USER = 64123  # nobody of this machine
LEVELS = ("confined", "staged")


def scripts(name: str) -> dict[str, str]:
    """The scripts of one of the texts beside this file, by their headings."""
    parts = (Path(__file__).parent / name).read_text("utf-8").split("\n## ")[1:]
    return {heading: text for heading, _, text in (part.partition("\n") for part in parts)}


def filled(script: str, **places: object) -> str:
    """A script with its @NAMES@ put in."""
    for name, value in places.items():
        script = script.replace(f"@{name.upper()}@", str(value))
    return script


@dataclass(frozen=True)
class Places:
    """Two trees of the user's: one that the call declares, one that it does not."""

    top: Path
    declared: Path
    other: Path

    def picture(self, folder: Path | None = None) -> dict[str, tuple[object, ...]]:
        """Content, kind, mode, owner, links and times of all that lies there, on the host."""
        found: dict[str, tuple[object, ...]] = {}
        for path in sorted((folder or self.other).rglob("*")):
            looks = path.lstat()
            text = path.read_bytes() if stat.S_ISREG(looks.st_mode) else b""
            found[str(path)] = (looks.st_mode, looks.st_uid, looks.st_gid, looks.st_nlink, looks.st_mtime_ns, text)
        return found


@pytest.fixture(scope="session", autouse=True)
def as_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("rooms of both kinds of user can be tried by root only")


@pytest.fixture(scope="session")
def ground() -> Iterator[Path]:
    """A folder that no room has as scratch."""
    folder = Path(tempfile.mkdtemp(prefix="interlock-rooms-", dir="/srv"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session", params=[0, USER], ids=["root", "user"])
def login(request: pytest.FixtureRequest, ground: Path) -> Host:
    uid = int(request.param)
    home = ground / f"home-{uid}"
    host = Host(uid, uid, str(home), str(home / "state" / "runs"))
    owned_folder(home, host)
    owned_folder(home / "state", host)
    owned_folder(home / "state" / "runs", host).chmod(0o700)
    return host


@pytest.fixture
def host(login: Host) -> Iterator[Host]:
    yield login
    login.clean()


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest, host: Host) -> str:
    name = str(request.param)
    if name not in host.probe()["levels"]:
        pytest.skip(f"no {name} rooms here: {host.probe()['missing']}")
    return name


@pytest.fixture
def places(host: Host, ground: Path) -> Iterator[Places]:
    top = Path(tempfile.mkdtemp(dir=ground))
    top.chmod(0o755)
    found = Places(top, owned_folder(top / "declared", host), owned_folder(top / "other", host))
    for name in ("victim", "second", "third"):
        path = found.other / name
        path.write_text("as it was\n")
        os.chown(path, host.uid, host.gid)
    os.chown(top, host.uid, host.gid)
    yield found
    shutil.rmtree(top, ignore_errors=True)


@pytest.fixture
def bystander(host: Host) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the same user on the host, which stands in a folder of its own and holds a secret."""
    process = subprocess.Popen(
        ["/bin/sleep", "600"], cwd="/", env={"SECRET": "of another process"}, start_new_session=True,
        user=host.uid, group=host.gid, extra_groups=[],
    )  # fmt: skip
    yield process
    process.send_signal(signal.SIGKILL)
    process.wait(10)
