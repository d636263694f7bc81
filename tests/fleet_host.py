"""One host of a fleet: namespaces, disk and services of its own on this machine. What it shares is the kernel alone."""

import json
import os
import select
import signal
import subprocess
import sys
import uuid
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fleet_disk import HTTP_PORT
from fleet_door import Door
from interlock.settings import HostSettings, SecretRef
from sshd import SSHD
from waiting import START_SECONDS, wait_for

END_SECONDS = 10.0
COMMAND_SECONDS = 60.0
POLL_EVERY_SECONDS = 0.02
POLLER = Path(__file__).with_name("fleet_poller.py")
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C"}


@dataclass(frozen=True)
class Answer:
    """One look at the page: when (time.time), the status (0: no answer), the body's first line or the reason."""

    at: float
    status: int
    line: str


@dataclass(eq=False)
class Host:
    """A host that runs. `folder` holds its disk as seen from outside."""

    name: str
    folder: Path
    service: str
    keys: Path
    disk_bytes: int = 0  # 0 = its /srv is a folder of this machine's disk
    door: Door = field(init=False)
    namespaces: set[str] = field(default_factory=set)  # of processes: all that it ever had, as /proc/PID/ns names them
    _process: subprocess.Popen[bytes] | None = None
    _pid: int = 0

    def __post_init__(self) -> None:
        self.door = Door(self.inside, [SSHD, "-i", "-f", "/etc/ssh/sshd_config", "-E", "/var/log/sshd.log"])

    # ── what a test asks ─────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def root(self) -> Path:
        """Its /srv as seen from outside."""
        return self.folder / "srv"

    @property
    def is_up(self) -> bool:
        return self._process is not None

    def settings(self, **changes: object) -> HostSettings:
        """The inventory's entry for this host."""
        values: dict = {
            "name": self.name,
            "address": "127.0.0.1",
            "port": self.door.port,
            "user": "root",
            "identities": (SecretRef("file", str(self.keys / "client_key")),),
            "known_hosts": self.keys / "known_hosts",
            "cwd": "/srv",
            "labels": {"env": "test"},
        }
        return HostSettings(**{**values, **changes})

    def inside(self) -> list[str]:
        """The words that start a program inside."""
        return ["nsenter", "-t", str(self._pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--"]

    def run(self, argv: Sequence[str], *, timeout_seconds: float = COMMAND_SECONDS) -> subprocess.CompletedProcess:
        """A program inside, as root, with text for its output."""
        return subprocess.run(
            [*self.inside(), *argv], capture_output=True, text=True, timeout=timeout_seconds, env=ENVIRONMENT,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip

    def get(self, path: str = "/", timeout_seconds: float = 5.0) -> tuple[int, str]:
        """Status and body of its page, asked from inside its network; status 0 and the reason without an answer."""
        done = subprocess.run(
            self._asking("once", path, timeout_seconds), capture_output=True, text=True,
            timeout=timeout_seconds + COMMAND_SECONDS, check=True,
        )  # fmt: skip
        status, _, body = done.stdout.partition("\n")
        return int(status), body

    @contextmanager
    def poll(self, path: str = "/", every_seconds: float = POLL_EVERY_SECONDS) -> Iterator[list[Answer]]:
        """Asks for the page again and again in a process of its own; the list is full once the block has ended."""
        found: list[Answer] = []
        into = self.folder / f"poll-{uuid.uuid4().hex}"
        with into.open("wb") as out:
            asking = subprocess.Popen(self._asking("poll", path, every_seconds), stdin=subprocess.PIPE, stdout=out)
        try:
            wait_for(lambda: into.stat().st_size > 0 or asking.poll() is not None, "the first answer")
            yield found
        finally:
            asking.stdin.close()
            try:
                asking.wait(END_SECONDS)
            finally:
                asking.kill()
                found += [Answer(*json.loads(line)) for line in into.read_text().splitlines()]

    def _asking(self, how: str, path: str, seconds: float) -> list[str]:
        first = str(self.folder / FIRST_FILE)
        return [sys.executable, "-I", "-S", str(POLLER), how, first, str(HTTP_PORT), path, str(seconds)]

    def processes(self) -> dict[int, str]:
        """Its process table as seen from outside: number there → command line."""
        return processes_in(self.namespaces)

    # ── what a test does to it ───────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Boot: a new boot id, the same disk, its services, and sshd once the services are started."""
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """The first half of a start, which waits for nothing."""
        (self.folder / "boot_id").write_text(f"{uuid.uuid4()}\n")
        words = ["unshare", "--mount", "--propagation", "private", "--net", "--uts", "--ipc", "--pid", "--fork"]
        self._process = subprocess.Popen(
            [*words, "/bin/bash", str(self.folder / "first.sh")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            start_new_session=True, cwd="/", env=ENVIRONMENT,
        )  # fmt: skip

    def wait_ready(self) -> None:
        """The second half: returns once nginx answers and ssh is let in."""
        process = self._process
        ready, _, _ = select.select([process.stdout], [], [], START_SECONDS)
        if not ready or process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"{self.name} did not start: {(self.folder / 'first.log').read_text()}")
        self._pid = self._first()
        self._know_namespace()
        if self.service == "systemd":  # it answers only who is in its own namespaces
            wait_for(self._systemd, f"systemd of {self.name}")
            self._pid = self._systemd()
            self._know_namespace()
        (self.folder / FIRST_FILE).write_text(str(self._pid))
        wait_for(lambda: self.get()[0] > 0, f"the web server of {self.name}")
        if self.service == "supervisor":  # to whom it is STARTING for a second
            asked = ["supervisorctl", "status", "nginx"]
            wait_for(lambda: " RUNNING " in self.run(asked).stdout, f"supervisord of {self.name}")
        if self.service == "systemd":
            wait_for(lambda: self.run(["systemctl", "is-active", "nginx"]).returncode == 0, f"systemd of {self.name}")
        self.door.open()

    def _know_namespace(self) -> None:
        # As long as it is held open, no namespace of anybody else's gets its number.
        weakref.finalize(self, os.close, os.open(f"/proc/{self._pid}/ns/pid", os.O_RDONLY | os.O_CLOEXEC))
        self.namespaces.add(os.readlink(f"/proc/{self._pid}/ns/pid"))

    def _systemd(self) -> int:
        """The first process of its systemd, as numbered outside; 0 as long as there is none."""
        todo = [self._first()]
        while todo:
            number = todo.pop()
            try:
                if Path(f"/proc/{number}/comm").read_text() == "systemd\n":
                    return number
                todo += map(int, Path(f"/proc/{number}/task/{number}/children").read_text().split())
            except OSError:  # it ended meanwhile
                continue
        return 0

    def _first(self) -> int:
        """Its first process, as numbered outside; 0 where there is none."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return int(children[0]) if children else 0

    def stop(self) -> None:
        """The power fails: everything ends at once, connections are cut, the port refuses. The disk stays."""
        self.door.shut()
        if self._process is None:
            return
        if first := self._first():
            os.kill(first, signal.SIGKILL)  # the kernel ends all of its namespace with it
        self._process.stdin.close()
        self._process.wait(END_SECONDS)
        self._process.stdout.close()
        (self.folder / FIRST_FILE).unlink(missing_ok=True)
        self._process, self._pid = None, 0
        self.door.see_off()
        wait_for(lambda: not self.processes(), f"the end of {self.name}")

    def cut(self) -> None:
        """Drop the connections there are; the host, and what they started there, go on."""
        self.door.cut()

    def fill(self) -> None:
        """Leave no byte free in its /srv, which has to be a disk of its own (disk_bytes)."""
        if not self.disk_bytes:
            raise ValueError(f"{self.name} has no disk of its own: start the fleet with disk_bytes")
        with (self.root / FILLING).open("ab", buffering=0) as file:
            for size in (1024 * 1024, 4096):
                try:
                    while file.write(bytes(size)) == size:
                        pass
                except OSError:  # full for pieces of this size
                    continue

    def unfill(self) -> None:
        (self.root / FILLING).unlink(missing_ok=True)


FILLING = ".filling"
FIRST_FILE = "first.pid"


def processes_in(namespaces: set[str]) -> dict[int, str]:
    """Living processes that are in one of these namespaces: number → command line."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if os.readlink(entry / "ns/pid") in namespaces:
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        except OSError:  # it ended meanwhile
            continue
    return found
