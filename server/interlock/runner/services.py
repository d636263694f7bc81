"""Services: a room's declared services controlled from outside of it: fixed verbs, declared units, the host's manager.

No room sees a manager's socket. In place of systemctl, service, supervisorctl and sv it finds a few lines of sh, which
ask the supervisor through three pipes in /run/interlock: `turn` (a line for whoever may ask), `ask`, `said`. Staged, a
status is asked at once; what changes a service waits until the changes have landed.
"""

import contextlib
import os
import re
import selectors
import shutil
import socket
import stat
import struct
import subprocess
from typing import Any, Dict, List, Optional, Tuple

from interlock.runner.kernel import MOUNT_READ_ONLY, MS_BIND, change_mounts, kernel_mount, writable_mount

SERVICE_VERBS = ("start", "stop", "restart", "reload", "status")
SERVICE_UNIT = re.compile(r"[A-Za-z0-9_@:][A-Za-z0-9_@:.-]{0,200}")
SERVICE_SECONDS_MAX = 90
SERVICE_SAID_BYTES_MAX = 32 * 1024  # less than a pipe holds: an answer never waits for its reader
SERVICE_ASKED_MAX = 100
SERVICE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SERVICE_ROOM = "/run/interlock"
SERVICE_PIPES = ("turn", "ask", "said")
SERVICE_SHIM = b"""#!/bin/sh
# Asks the supervisor outside of this room, which controls declared services and nothing else.
name=${0##*/} verb= units=
for word; do
  case $word in -*) ;; *) if [ -z "$verb" ]; then verb=$word; else units="$units $word"; fi ;; esac
done
[ "$name" != service ] || { set -- $units; units=$verb verb=${1-}; }
result=0
trap 'exit 130' HUP INT TERM
for unit in ${units:--}; do
  read -r turn </run/interlock/turn
  trap 'echo turn >/run/interlock/turn' EXIT
  echo "${verb:--} $unit" >/run/interlock/ask
  { read -r code count; head -c "$count"; } </run/interlock/said
  trap - EXIT
  echo turn >/run/interlock/turn
  [ "$code" = 0 ] || result=$code
done
exit "$result"
"""


def bring_services(pipe: socket.socket) -> None:
    """In the room's first process, before it is locked: put the pipes and the shim there, give the pipes away."""
    writable_mount("/run")
    os.mkdir(SERVICE_ROOM, 0o755)
    for name in SERVICE_PIPES:
        os.mkfifo(SERVICE_ROOM + "/" + name, 0o600)
    shim = SERVICE_ROOM + "/shim"
    with open(shim, "wb") as file:
        file.write(SERVICE_SHIM)
    os.chmod(shim, 0o755)
    change_mounts("/run", MOUNT_READ_ONLY, 0)
    targets = {os.path.realpath(place) for place in _control_programs()}
    for target in targets:
        kernel_mount(shim, target, "", MS_BIND)
    ends = [os.open(SERVICE_ROOM + "/" + name, os.O_RDWR | os.O_CLOEXEC) for name in SERVICE_PIPES]
    pipe.sendmsg([b"p"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("3i", *ends))])
    for end in ends:
        os.close(end)


def _control_programs() -> List[str]:
    names = ("systemctl", "service", "supervisorctl", "sv", "rc-service")
    places = [os.path.join(folder, name) for folder in SERVICE_PATH.split(":") for name in names]
    return [place for place in places if os.path.isfile(place)]


class ServiceDesk:
    """The supervisor's end: one question at a time. `queued`: what waits for the landing."""

    def __init__(self, order: Dict[str, Any], selector: selectors.BaseSelector, pipe: socket.socket) -> None:
        self._declared = {plain_unit(name) for name in order["services"]}
        self._queues = order["level"] == "staged"
        self._selector = selector
        self._pipe = pipe
        self._turn = self._ask = self._said = -1
        self._running: "Optional[subprocess.Popen[bytes]]" = None
        self._output = b""
        self._asked = 0
        self.queued: List[List[str]] = []
        selector.register(pipe, selectors.EVENT_READ, self._open)

    def _open(self, pipe: int) -> None:
        """The room's first process gives its pipes away."""
        del pipe
        parts = self._pipe.recvmsg(1, socket.CMSG_SPACE(3 * 4))[1]
        self._selector.unregister(self._pipe)
        if not parts:
            return
        self._turn, self._ask, self._said = struct.unpack("3i", parts[0][2][: 3 * 4])
        os.set_blocking(self._ask, False)
        os.set_blocking(self._said, False)
        self._selector.register(self._ask, selectors.EVENT_READ, self._heard)
        os.write(self._turn, b"turn\n")

    def _heard(self, pipe: int) -> None:
        line = os.read(pipe, 4096).decode("utf-8", "replace").split("\n")[0]
        with contextlib.suppress(BlockingIOError):
            os.read(self._said, SERVICE_SAID_BYTES_MAX * 2)  # what one who was killed did not read
        verb, _, unit = line.partition(" ")
        self._asked += 1
        refusal = self._refusal(verb, plain_unit(unit))
        if refusal:
            self._answer(1, "interlock: %s\n" % refusal)
        elif self._queues and verb != "status":
            self.queued.append([verb, plain_unit(unit)])
            self._answer(0, "interlock: %s of %s waits until the changes have landed\n" % (verb, unit))
        else:
            self._start(verb, plain_unit(unit))

    def _refusal(self, verb: str, unit: str) -> str:
        if self._running is not None or self._asked > SERVICE_ASKED_MAX:
            return "too much is asked"
        if verb not in SERVICE_VERBS:
            return "only %s can be asked here" % ", ".join(SERVICE_VERBS)
        if unit not in self._declared or not SERVICE_UNIT.fullmatch(unit):
            return "the service %s was not declared" % unit
        return ""

    def _start(self, verb: str, unit: str) -> None:
        self._output = b""
        try:
            self._running = popen_service(service_argv(verb, unit))
        except OSError as fault:
            self._answer(1, "interlock: %s\n" % fault)
            return
        if self._running.stdout is not None:
            self._selector.register(self._running.stdout, selectors.EVENT_READ, self._pump)

    def _pump(self, pipe: int) -> None:
        data = os.read(pipe, 4096)
        self._output = (self._output + data)[:SERVICE_SAID_BYTES_MAX]
        if not data and self._running is not None and self._running.stdout is not None:
            self._selector.unregister(self._running.stdout)
            self._running.stdout.close()
            code, self._running = self._running.wait(), None
            self._answer(code, self._output.decode("utf-8", "replace"))

    def _answer(self, code: int, text: str) -> None:
        data = text.encode("utf-8", "replace")[:SERVICE_SAID_BYTES_MAX]
        os.write(self._said, b"%d %d\n" % (code, len(data)) + data)

    def close(self) -> None:
        """Nobody can ask any more; what runs at the manager's goes on."""
        for end in (self._turn, self._ask, self._said):
            if end >= 0:
                os.close(end)
        with contextlib.suppress(OSError):
            self._pipe.close()


# ── the host's manager ───────────────────────────────────────────────────────────────────────────────────────────────


def plain_unit(name: str) -> str:
    """A unit's name as every manager has it."""
    return name[: -len(".service")] if name.endswith(".service") else name


def service_argv(verb: str, unit: str) -> List[str]:
    """What controls this unit on this host. Raises FileNotFoundError where nothing does."""
    if os.path.isdir("/run/systemd/system"):
        return ["systemctl", "--no-pager", "--no-ask-password", verb, "--", unit]
    for folder in ("/etc/service", "/var/service", "/etc/sv"):
        if shutil.which("sv", path=SERVICE_PATH) and os.path.isdir(os.path.join(folder, unit)):
            return ["sv", verb, os.path.join(folder, unit)]
    if shutil.which("rc-service", path=SERVICE_PATH) and os.path.exists("/etc/init.d/" + unit):
        return ["rc-service", unit, verb]
    script = "/etc/init.d/" + unit
    if _is_program(script):
        return [script, verb]
    if shutil.which("supervisorctl", path=SERVICE_PATH):
        return ["supervisorctl", "update" if verb == "reload" else verb, unit]
    raise FileNotFoundError("no manager of this host knows the service %s" % unit)


def _is_program(path: str) -> bool:
    with contextlib.suppress(OSError):
        found = os.stat(path)
        return stat.S_ISREG(found.st_mode) and bool(found.st_mode & 0o111)
    return False


def popen_service(argv: List[str]) -> "subprocess.Popen[bytes]":
    """The manager's program, started in a clean environment and a session of its own, within a time."""
    timeout = shutil.which("timeout", path=SERVICE_PATH)
    words = [timeout, str(SERVICE_SECONDS_MAX), *argv] if timeout else argv
    environment = {"PATH": SERVICE_PATH, "LC_ALL": "C", "SYSTEMD_PAGER": ""}
    return subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, cwd="/",
        start_new_session=True,
    )  # fmt: skip


def control_service(verb: str, unit: str) -> Dict[str, Any]:
    """Ask the manager and wait: {"verb", "unit", "code", "said"}."""
    told: Dict[str, Any] = {"verb": verb, "unit": unit}
    if verb not in SERVICE_VERBS or not SERVICE_UNIT.fullmatch(unit):
        return {**told, "code": 1, "said": "no such verb or service"}
    try:
        running = popen_service(service_argv(verb, unit))
        said: Tuple[bytes, Any] = running.communicate(timeout=SERVICE_SECONDS_MAX + 10)
    except (OSError, subprocess.TimeoutExpired) as fault:
        return {**told, "code": 1, "said": str(fault)}
    return {**told, "code": running.returncode, "said": said[0][:SERVICE_SAID_BYTES_MAX].decode("utf-8", "replace")}
