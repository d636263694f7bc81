"""A real OpenSSH server for tests: on a free loopback port, with keys of its own, ended with all its children."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh
import pytest

from interlock.settings import HostSettings, SecretRef

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin") or "/usr/sbin/sshd"
START_SECONDS = 10.0
# tests/conftest.py leaves out what carries this marker where there is no OpenSSH server, and says so.
needs_openssh = pytest.mark.openssh


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def current_user() -> str:
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name


@dataclass
class Sshd:
    """One running sshd. `folder` holds its keys, configuration and log."""

    folder: Path
    port: int
    options: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen | None = None

    @property
    def log(self) -> str:
        """What the server wrote so far."""
        return (self.folder / "log").read_text(errors="replace")

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    def settings(self, name: str = "box", **changes: object) -> HostSettings:
        """The inventory's entry for this server."""
        values: dict = {
            "name": name,
            "address": "127.0.0.1",
            "port": self.port,
            "user": current_user(),
            "identities": (SecretRef("file", str(self.folder / "client_key")),),
            "known_hosts": self.known_hosts,
            "cwd": str(self.folder / "work"),
            "labels": {"env": "test"},
        }
        return HostSettings(**{**values, **changes})

    def start(self) -> None:
        """Start, and return once it accepts connections."""
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        (self.folder / "sshd_config").write_text(self._configuration())
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
        self._wait()

    def stop(self) -> None:
        """End the server and every session it has."""
        if self.process is None:
            return
        family = [self.process.pid, *self.sessions()]
        for pid in family:
            _signal(pid, signal.SIGCONT)
            _signal(pid, signal.SIGKILL)
        self.process.wait(START_SECONDS)
        self.process = None

    def sessions(self) -> list[int]:
        """The server's own processes for connections (not the commands they started)."""
        if self.process is None:
            return []
        return [pid for pid in descendants(self.process.pid) if _name(pid).startswith("sshd")]

    def kill_sessions(self) -> None:
        """Kill every connection at once, as a crash of the network would."""
        for pid in self.sessions():
            _signal(pid, signal.SIGKILL)

    def freeze(self) -> None:
        """Stop the server and its connections: they are there and silent."""
        for pid in (self.process.pid, *self.sessions()):
            _signal(pid, signal.SIGSTOP)

    def freeze_sessions(self) -> None:
        """Make the present connections silent; new ones work."""
        for pid in self.sessions():
            _signal(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        for pid in (self.process.pid, *self.sessions()):
            _signal(pid, signal.SIGCONT)

    def change_host_key(self, kind: str = "ssh-ed25519") -> None:
        """Restart with another host key; known_hosts keeps the old one."""
        self.stop()
        _new_key(self.folder / "host_key", kind)
        self.start()

    def _wait(self) -> None:
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise RuntimeError(f"sshd did not start: {self.log}")
            with socket.socket() as probe:
                probe.settimeout(1.0)
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise RuntimeError("sshd did not listen in time")

    def _configuration(self) -> str:
        values = {
            "ListenAddress": "127.0.0.1",
            "Port": str(self.port),
            "HostKey": str(self.folder / "host_key"),
            "AuthorizedKeysFile": str(self.folder / "authorized_keys"),
            "PidFile": "none",
            "StrictModes": "no",
            "UsePAM": "no",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "PermitRootLogin": "yes",
            "LogLevel": "VERBOSE",
            "AllowTcpForwarding": "yes",
            "Subsystem": "sftp internal-sftp",
            **self.options,
        }
        return "".join(f"{name} {value}\n" for name, value in values.items())


def _new_key(path: Path, kind: str = "ssh-ed25519") -> asyncssh.SSHKey:
    key = asyncssh.generate_private_key(kind)
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(key.export_private_key())
    return key


@contextmanager
def running_sshd(folder: Path, **options: str) -> Iterator[Sshd]:
    """A started server in an empty folder; options are sshd_config's own (MaxSessions="2")."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "work").mkdir(exist_ok=True)
    host_key, client_key = _new_key(folder / "host_key"), _new_key(folder / "client_key")
    (folder / "authorized_keys").write_bytes(client_key.export_public_key())
    server = Sshd(folder, free_port(), options)
    line = f"[127.0.0.1]:{server.port} {host_key.export_public_key().decode()}"
    server.known_hosts.write_text(line)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def descendants(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, todo = [], [root]
    while todo:
        for child in children.get(todo.pop(), []):
            found.append(child)
            todo.append(child)
    return found


def processes_with(word: str) -> list[int]:
    """Living processes whose command line or environment holds the word: the witness on the host."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            text = (entry / "cmdline").read_bytes() + b"\0" + (entry / "environ").read_bytes()
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if word.encode() in text and state != "Z":
            found.append(int(entry.name))
    return found
