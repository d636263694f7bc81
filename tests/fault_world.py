"""The world of runs under faults: a real OpenSSH server, the road to it, what can go wrong. It judges nothing."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from faulted import Spot, find_again, make_call
from faults import SLEEPS, Case
from interlock.settings import HostSettings
from relay import Relay, running_relay
from sshd import Sshd, descendants, running_sshd

LIFE_SECONDS_MAX = 75.0
ORPHAN_SECONDS_MAX = 15.0
PIDS_A_CASE_MAX = 8_000
FULL_SECONDS_MAX = 3.0
POLL_SECONDS = 0.02


@dataclass
class World:
    """What the cases of one process share: the host's SSH server, and the road to it."""

    folder: Path
    sshd: Sshd
    relay: Relay

    def host(self) -> HostSettings:
        """The host as it is reached through the relay."""
        known = self.folder / "known_hosts"
        if not known.exists():
            direct = f"[127.0.0.1]:{self.sshd.port}"
            known.write_text(self.sshd.known_hosts.read_text().replace(direct, f"[127.0.0.1]:{self.relay.port}"))
        return self.sshd.settings("box", port=self.relay.port, known_hosts=known)


@contextmanager
def world() -> Iterator[World]:
    """A fresh host and road, in a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="interlock-faults-", dir="/srv"))
    try:
        with running_sshd(folder / "sshd") as sshd, running_relay(sshd.port) as relay:
            yield World(folder, sshd, relay)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Run:
    """One case as it happens."""

    world: World
    case: Case
    spot: Spot
    happened: bool = False
    full_since: float = 0.0
    seen: int = 0
    oldest: int = 0
    notes: list[str] = field(default_factory=list)

    # ── who is there ─────────────────────────────────────────────────────────────────────────────────────────────────

    def family(self) -> list[int]:
        """The runner's processes of this case, whoever started them: their environment names its place."""
        word = f"INTERLOCK_RUNNER_BASE={self.spot.runs}\0".encode()
        return [
            pid
            for pid in _pids()
            if pid > self.oldest and word in _read(pid, "environ") and _state(pid) not in ("", "Z")
        ]

    def leftovers(self) -> list[str]:
        """What is alive of the runner or of the command, said as a person needs it."""
        inside = str(self.spot.disk)
        found = set(self.family()) | {pid for pid in _pids() if _cwd(pid).startswith(inside)}
        return [f"{pid} {_state(pid)} {_read(pid, 'cmdline')[:60]!r}" for pid in sorted(found)]

    def helpers(self) -> list[int]:
        """Those whom the SSH server started; what they started themselves is not meant."""
        family = self.family()
        below = set(descendants(self.world.sshd.process.pid))
        return [pid for pid in family if pid in below and _parent(pid) not in family]

    def supervisors(self) -> list[int]:
        helpers = set(self.helpers())
        return [pid for pid in self.family() if pid not in helpers and os.getsid(pid) == pid]

    def stopped(self) -> int:
        """The process that has come to the case's step and waits there; 0 where none has."""
        if self.case.place in SLEEPS:
            asleep = [pid for pid in self.family() if _read(pid, "wchan") == b"hrtimer_nanosleep"]
            time.sleep(POLL_SECONDS * 2)
            return next((pid for pid in asleep if _read(pid, "wchan") == b"hrtimer_nanosleep"), 0)
        # The whole process table is too long to be read fifty times a second: what is of this case came after it began.
        halted = [pid for pid in _pids() if pid > self.oldest and _state(pid) == "T"]
        family = set(self.family()) if halted else set()
        return next((pid for pid in halted if pid in family), 0)

    # ── what goes wrong ──────────────────────────────────────────────────────────────────────────────────────────────

    def happen(self, server: int, there: int = 0) -> None:
        """The fault, now."""
        case, world = self.case, self.world
        self.happened = True
        match case.fault:
            case "cut":
                world.relay.cut()
            case "stall":
                world.relay.stall(case.stall_seconds)
            case "corrupt":
                world.relay.corrupt(case.seed)
            case "kill-server":
                os.kill(server, signal.SIGKILL)
            case "kill-there":
                _kill([there])
            case "kill-helper":
                self._kill_some(self.helpers())
            case "kill-supervisor":
                self._kill_some(self.supervisors())
            case "kill-sshd":
                world.sshd.stop()
                world.sshd.start()
            case "fill-disk":
                self._fill()
            case "jump-clock":
                self.spot.jump(case.clock_seconds)

    def _kill_some(self, pids: list[int]) -> None:
        self.happened = bool(pids)
        _kill(pids)

    def _fill(self) -> None:
        self.full_since = time.monotonic()
        with contextlib.suppress(OSError), (self.spot.disk / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(b"\0" * 4096)

    def release(self) -> None:
        """Room on the disk again, and nobody stopped."""
        (self.spot.disk / "filler").unlink(missing_ok=True)
        self.full_since = 0.0
        self.resume()

    def resume(self) -> None:
        for pid in self.family():
            if _state(pid) == "T":
                _kill([pid], signal.SIGCONT)

    # ── its two lives ────────────────────────────────────────────────────────────────────────────────────────────────

    def first_life(self) -> None:
        """The server that makes the call, until it ends by itself, dies, or has had its time."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

        def at_step() -> None:
            theirs.send(b"here")
            theirs.recv(10)

        host = self.world.host()
        self.oldest = _newest_pid()
        server = self._fork(lambda: make_call(self.case, self.spot, host, at_step))
        theirs.close()
        ours.setblocking(False)
        until = time.monotonic() + LIFE_SECONDS_MAX
        while os.waitpid(server, os.WNOHANG)[0] == 0:
            if time.monotonic() > until:
                self.notes.append("the first server did not end in time")
                os.kill(server, signal.SIGKILL)
                until += LIFE_SECONDS_MAX
            self._look(server, ours)
            select.select([ours] if self.case.is_on_line and not self.happened else [], [], [], POLL_SECONDS)
        ours.close()
        self.release()

    def _look(self, server: int, gate: socket.socket) -> None:
        if self.full_since and time.monotonic() - self.full_since > FULL_SECONDS_MAX:
            self.release()
        if self.case.is_on_line:
            with contextlib.suppress(BlockingIOError):
                if gate.recv(10):
                    self.happen(server)
                    with contextlib.suppress(OSError):
                        gate.send(b"go")
        elif self.case.is_within:
            self.happened = True
        else:
            self._look_at_runner(server)

    def _look_at_runner(self, server: int) -> None:
        if self.case.place in SLEEPS and self.happened:
            return
        there = self.stopped()
        if there:
            self.seen += 1
            if self.seen == self.case.nth:
                self.happen(server, there)
            _kill([there], signal.SIGCONT)

    def second_life(self) -> None:
        """A server that nothing happens to."""
        host = self.world.host()
        server = self._fork(lambda: find_again(self.case, self.spot, host))
        until = time.monotonic() + LIFE_SECONDS_MAX
        while os.waitpid(server, os.WNOHANG)[0] == 0:
            if time.monotonic() > until:
                self.notes.append("the second server did not end in time")
                os.kill(server, signal.SIGKILL)
                until += LIFE_SECONDS_MAX
            time.sleep(POLL_SECONDS)

    def _fork(self, work: Callable[[], None]) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                log = os.open(self.spot.folder / "log", os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
                os.dup2(log, 1)
                os.dup2(log, 2)
                work()
            except BaseException:  # noqa: BLE001 - whatever it was is on record, and this process is over
                traceback.print_exc()
                sys.stderr.flush()
            finally:
                os._exit(0)
        return pid

    def alive_at_the_end(self) -> list[str]:
        """What is left of it once both servers are gone, and it had time to end."""
        until = time.monotonic() + ORPHAN_SECONDS_MAX
        while (found := self.leftovers()) and time.monotonic() < until:
            time.sleep(0.1)
        return found


# ── the process table ────────────────────────────────────────────────────────────────────────────────────────────────


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _newest_pid() -> int:
    """The process that was made last; 0 where the numbers are about to begin anew."""
    newest, most = (int(Path(place).read_text().split()[-1]) for place in ("/proc/loadavg", "/proc/sys/kernel/pid_max"))
    return newest if newest + PIDS_A_CASE_MAX < most else 0


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _state(pid: int) -> str:
    return _read(pid, "stat").rpartition(b")")[2].decode()[1:2]


def _parent(pid: int) -> int:
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    return int(fields[1]) if fields else 0


def _cwd(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""


def _kill(pids: list[int], number: int = signal.SIGKILL) -> None:
    for pid in pids:
        if pid > 0:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
