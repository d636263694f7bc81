"""Runs a command in a room, with supervisor and first process, as the runner does. It asserts nothing."""

from __future__ import annotations

import ctypes
import json
import os
import select
import shutil
import signal
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from interlock.runner.kernel import close_descriptors
from interlock.runner.layout import RoomFault
from interlock.runner.probe import probe_abilities
from interlock.runner.room import build_room, enter_namespaces, fork_room, lock_room, plan_room

OUTPUT_BYTES_MAX = 4 * 2**20
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Outcome:
    """What a command in a room left."""

    code: int
    output: str
    layers: list[dict[str, Any]] = field(default_factory=list)
    fault: str = ""
    fault_code: str = ""
    notes: list[str] = field(default_factory=list)
    milliseconds: float = 0.0

    @property
    def changed(self) -> set[str]:
        """Host paths that the layers hold, scratch and mere ways down left out; a deletion is a path too."""
        found = set()
        for layer in self.layers:
            for folder, names, files in os.walk(layer["upper"]):
                below = layer["point"].rstrip("/") + folder[len(layer["upper"]) :]
                found |= {f"{below.rstrip('/')}/{name}" for name in [*files, *names]}
        scratch = ("/tmp/", "/var/tmp/")
        return {path for path in found if not Path(path).is_dir() and not path.startswith(scratch)}


@dataclass
class Host:
    """One login user of this machine, with a base for run directories."""

    uid: int
    gid: int
    home: str
    base: str
    groups: tuple[int, ...] = ()
    abilities: dict[str, Any] = field(default_factory=dict)
    _runs: list[str] = field(default_factory=list)

    def become(self) -> None:
        """In a child: this user, as a login would leave it."""
        if self.uid:
            os.setgroups(self.groups)
            os.setgid(self.gid)
            os.setuid(self.uid)
            ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # a login executes; without it /proc/self would be root's
        os.environ["HOME"] = self.home

    def probe(self) -> dict[str, Any]:
        """What this user can do here, asked once."""
        if not self.abilities:
            self.abilities = json.loads(self.as_user(lambda: json.dumps(probe_abilities(self.base))))
        return self.abilities

    def as_user(self, work: Callable[[], str], seconds_max: float = 30.0) -> str:
        """Do it in a child that is this user; its answer, or the reason in an AssertionError."""
        ours, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.close(ours)
                self.become()
                _say(theirs, work())
                status = 0
            except BaseException as fault:  # noqa: BLE001 - a forked child must not return
                _last_words(theirs, repr(fault))
            finally:
                os._exit(status)
        os.close(theirs)
        text = _collect(ours, time.monotonic() + seconds_max)
        _, status = os.waitpid(pid, 0)
        assert status == 0, text
        return text

    def order(self, level: str, command: str, **more: Any) -> dict[str, Any]:
        """An order as the server sends it."""
        order = {
            "run": uuid.uuid4().hex, "level": level, "network": "none", "command": command, "shell": "/bin/bash",
            "cwd": "/", "environment": {"HOME": self.home, "PATH": PATH, "LANG": "C.UTF-8"},
            "writes": [], "deletes": [], "shown": [], "masked": [], "protected": [], "workspace": [],
        }  # fmt: skip
        return order | more

    def run(self, level: str, command: str, seconds_max: float = 20.0, prepare: Any = None, **more: Any) -> Outcome:
        """S → P → C: the command in a room of its own; its output is both streams."""
        self.probe()
        order = self.order(level, command, **more)
        rundir = f"{self.base}/{order['run']}"
        self._runs.append(rundir)
        out, theirs = os.pipe()
        told, telling = os.pipe()
        os.fchown(theirs, self.uid, self.gid)  # as if this user had made it: /dev/stdout opens it again
        began = time.perf_counter()
        pid = os.fork()
        if pid == 0:
            self._supervise(order, rundir, theirs, telling, (out, told), prepare)
        os.close(theirs)
        os.close(telling)
        output = _collect(out, time.monotonic() + seconds_max)
        heard = _collect(told, time.monotonic() + seconds_max)
        _end(pid, seconds_max)
        taken = (time.perf_counter() - began) * 1e3
        said = json.loads(heard or "{}")
        return Outcome(
            said.get("code", -1), output, said.get("layers", []), said.get("fault", ""), said.get("fault_code", ""),
            said.get("notes", []), taken,
        )  # fmt: skip

    def _supervise(
        self, order: dict[str, Any], rundir: str, out: int, telling: int, close: tuple[int, ...], prepare: Any
    ) -> NoReturn:
        said: dict[str, Any] = {}
        try:
            for end in close:
                os.close(end)
            os.setsid()
            self.become()
            Path(rundir).mkdir(0o700)
            plan = plan_room(order, self.abilities, rundir)
            said = {"layers": plan["layers"], "notes": plan["notes"]}
            if prepare is not None:
                prepare()
            if order.get("classic"):
                enter_namespaces(plan)
                pid = os.fork()
            else:
                pid = fork_room(plan)
            if pid == 0:
                _first_process(plan, order, out, telling)
            _, status = os.waitpid(pid, 0)
            said["code"] = os.waitstatus_to_exitcode(status)
        except RoomFault as fault:
            said |= {"fault": fault.reason, "fault_code": fault.code}
        except BaseException as fault:  # noqa: BLE001 - a forked child must not return
            said["fault"] = repr(fault)
        finally:
            try:
                _say(telling, json.dumps(said))
            finally:
                os._exit(0)  # whatever happens: this process must never go on as the test

    def clean(self) -> None:
        """Remove what the runs left."""
        while self._runs:
            shutil.rmtree(self._runs.pop(), ignore_errors=True)


def _first_process(plan: dict[str, Any], order: dict[str, Any], out: int, telling: int) -> NoReturn:
    try:
        build_room(plan)
        lock_room(plan)
        pid = os.fork()
        if pid == 0:
            _command(order, out)
        os.close(out)
        while True:
            ended, status = os.wait()
            if ended == pid:
                code = os.waitstatus_to_exitcode(status)
                os._exit(code if code >= 0 else 128 - code)
    except BaseException as fault:  # noqa: BLE001 - a forked child must not return
        _last_words(out, f"ROOM FAULT {fault}")
    finally:
        os._exit(125)


def _last_words(out: int, text: str) -> None:
    try:
        os.write(out, text.encode("utf-8", "replace"))
    except OSError:  # nobody listens any more
        return


def _command(order: dict[str, Any], out: int) -> NoReturn:
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(out, 2)
        close_descriptors(3)
        os.chdir(order["cwd"])
        words = order.get("argv") or [order["shell"], "--noprofile", "--norc", "-c", order["command"]]
        os.execve(words[0], words, order["environment"])
    except BaseException as fault:  # noqa: BLE001 - a forked child must not return
        _last_words(2, f"NO COMMAND {fault}")
    finally:
        os._exit(126)


def _say(descriptor: int, text: str) -> None:
    with open(descriptor, "wb", closefd=True) as stream:
        stream.write(text.encode("utf-8", "surrogateescape"))


def _collect(descriptor: int, until: float) -> str:
    found = b""
    with open(descriptor, "rb", buffering=0) as stream:
        while len(found) < OUTPUT_BYTES_MAX:
            ready, _, _ = select.select([stream], [], [], max(0.0, until - time.monotonic()))
            piece = stream.read(65536) if ready else b""
            if not piece:
                break
            found += piece
    return found.decode("utf-8", "replace")


def _end(pid: int, seconds_max: float) -> None:
    until = time.monotonic() + seconds_max
    while time.monotonic() < until:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return
        time.sleep(0.0005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def owned_folder(path: Path, host: Host) -> Path:
    """Make a folder that is this user's."""
    path.mkdir(parents=True, exist_ok=True)
    os.chown(path, host.uid, host.gid)
    return path
