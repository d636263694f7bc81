"""Launching: the command's process, made ready and waiting for one word to begin. It decides nothing and reads no end.

At level `none` the supervisor forks the command C itself. Else it forks P, the first process of new namespaces, which
builds the room and forks C there. C holds still until it is told to go; a closed pipe tells it to end instead.
A waiting shell is a C that is bash already, with a prologue that takes its order from its standard input. A waiting
room is a P that forks its C when it is told the order: what C reads of the host it then reads as it is by then.
"""

import contextlib
import json
import os
import signal
import socket
import struct
from typing import Any, Dict, List, NoReturn, Optional, Sequence, Tuple

from interlock.runner.ending import CALL_MARK
from interlock.runner.layout import RoomFault
from interlock.runner.room import build_room, fork_room, lock_room
from interlock.runner.services import SERVICE_ROOM, bring_services
from interlock.runner.steps import run_step

WAITING_BYTES_MAX = 4096
TOLD_ORDER_BYTES_MAX = 32 * 1024  # less than a pipe holds
TOLD_ORDER_BYTES = struct.Struct(">I")
TOLD_ORDER_FIELDS = ("argv", "command", "shell", "cwd", "environment", "run", "stdin")
STATUS_FD = 9  # where a waiting shell reports that it could not enter its directory
SHELL_OPTIONS = ["--noprofile", "--norc", "-c"]
# Fields end with a NUL each; nothing of the command runs before one more NUL has come.
WAITING_PROLOGUE = (
    'IFS= read -r -d "" d && IFS= read -r -d "" INTERLOCK_CALL && IFS= read -r -d "" i && '
    'IFS= read -r -d "" INTERLOCK_TEXT || exit 0; export INTERLOCK_CALL; '
    'cd -- "$d" 2>/dev/null || { echo no_cwd >&9; exit 97; }; IFS= read -r -d "" a || exit 0; '
    'exec 9>&-; [ "$i" = stdin ] || exec </dev/null; unset a d i; eval "$INTERLOCK_TEXT"'
)
Ends = Tuple[int, int, int, int, int]  # C's: its three streams, its status, the word to go


def can_wait(order: Dict[str, Any]) -> bool:
    """Whether the order's command can be given to a shell that was started before it."""
    return order["argv"] is None and os.path.basename(order["shell"]) == "bash"


def fits_waiting(order: Dict[str, Any]) -> bool:
    """Whether it is short enough too: such a shell reads its order byte by byte."""
    return can_wait(order) and len(os.fsencode(order["command"])) <= WAITING_BYTES_MAX


class Launched:
    """A command that waits for its word, and the supervisor's ends of its pipes. `pid` is C's, or P's with a room.

    `waits`: a shell (at level staged a room without one) that is to be told its order; else the order is this one.
    """

    def __init__(self, order: Dict[str, Any], plan: Dict[str, Any], waits: bool) -> None:
        self.plan = plan
        self.hears = waits and order["level"] == "staged"
        self.waits = waits and not self.hears
        self.has_room = bool(plan)
        self.is_reaped = False
        self.out, out = os.pipe()
        self.err, err = os.pipe()
        self.status, status = os.pipe()
        go, self.go = os.pipe()
        pair: Sequence[Optional[socket.socket]] = (None, None)
        if plan and order["services"]:
            pair = socket.socketpair()
        self.desk, desk = pair
        stdin, self.stdin = os.pipe() if waits or order["stdin"] else (os.open(os.devnull, os.O_RDONLY), -1)
        if waits and not plan and hasattr(os, "posix_spawn"):
            self.pid = _spawn_waiting((stdin, out, err, status, go), order)
        else:
            self.pid = fork_room(plan) if self.has_room else os.fork()
        if self.pid == 0:
            for end in (self.out, self.err, self.status, self.go, self.stdin):
                if end >= 0:
                    os.close(end)
            _become_child((stdin, out, err, status, go), order, plan, self, desk)
        if desk is not None:
            desk.close()
        for end in (stdin, out, err, status, go):
            os.close(end)
        self._open = {end for end in (self.out, self.err, self.status, self.go, self.stdin) if end >= 0}

    def holds(self, end: int) -> bool:
        """Whether one of its pipes is open still."""
        return end in self._open

    def shut(self, end: int) -> None:
        """Close one of its pipes, once."""
        if end in self._open:
            self._open.remove(end)
            os.close(end)

    def close(self) -> None:
        """Let go of its pipes, whoever still holds their other ends."""
        for end in list(self._open):
            self.shut(end)
        if self.has_room and not self.is_reaped:
            os.waitpid(self.pid, 0)
            self.is_reaped = True

    def end(self) -> None:
        """End what waits: it never began. Its room ends with it."""
        if not self.is_reaped:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.is_reaped = True
        self.close()

    def tell(self, order: Dict[str, Any]) -> None:
        """Tell it its order ahead of the word to go, so that it is ready by then. What waited may have ended."""
        with contextlib.suppress(OSError):
            if self.waits:
                fields = (order["cwd"], order["run"], "stdin" if order["stdin"] else "none", order["command"])
                os.write(self.stdin, b"".join(os.fsencode(field) + b"\0" for field in fields))
            elif self.hears:
                os.write(self.go, told_order(order))
                if not order["stdin"]:
                    self.shut(self.stdin)
                    self.stdin = -1


def _spawn_waiting(ends: Ends, order: Dict[str, Any]) -> int:
    """Fork and exec in one, without a copy of this process: half of what a small command costs."""
    targets = ((ends[0], 0), (ends[1], 1), (ends[2], 2), (ends[3], STATUS_FD))
    actions = [(os.POSIX_SPAWN_DUP2, source, target) for source, target in targets]
    ignored = [number for number in range(1, signal.NSIG) if signal.getsignal(number) is signal.SIG_IGN]
    words = [order["shell"], *SHELL_OPTIONS, WAITING_PROLOGUE]
    try:
        return os.posix_spawn(
            order["shell"], words, order["environment"], file_actions=actions, setsid=True, setsigdef=ignored
        )
    except OSError as fault:
        raise RoomFault(str(fault), "no_shell")


def told_order(order: Dict[str, Any]) -> bytes:
    """What a waiting room is told."""
    text = json.dumps({name: order[name] for name in TOLD_ORDER_FIELDS}).encode("ascii")
    return TOLD_ORDER_BYTES.pack(len(text)) + text


def _hear_order(pipe: int) -> Dict[str, Any]:
    """The order as it was told; {} where the pipe ends before. What follows it in the pipe is C's."""
    size = os.read(pipe, TOLD_ORDER_BYTES.size)
    if len(size) < TOLD_ORDER_BYTES.size:
        return {}
    text = b""
    while len(text) < TOLD_ORDER_BYTES.unpack(size)[0]:
        data = os.read(pipe, TOLD_ORDER_BYTES.unpack(size)[0] - len(text))
        if not data:
            return {}
        text += data
    order: Dict[str, Any] = json.loads(text.decode("ascii"))
    return order


def _become_child(
    ends: Ends, order: Dict[str, Any], plan: Dict[str, Any], launched: Launched, desk: Optional[socket.socket]
) -> NoReturn:
    status = 70
    try:
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        if plan:
            _keep_room(ends, order, plan, launched, desk)
        _exec_command(ends, order, launched.waits)
    except RoomFault as fault:
        _report(ends[3], "%s %s" % (fault.code, fault))
    except BaseException as fault:  # noqa: BLE001 - a fork must not go on
        _report(ends[3], "room %s" % fault if plan else "no_shell %s" % fault)
    finally:
        os._exit(status)


def _keep_room(
    ends: Ends, order: Dict[str, Any], plan: Dict[str, Any], launched: Launched, desk: Optional[socket.socket]
) -> NoReturn:
    """Build the room, start C in it, reap, tell how C ended. The end of this process ends all that is in the room."""
    run_step("room-start")
    build_room(plan)
    if desk is not None:
        bring_services(desk)
        desk.close()
        plan["opened"].append({"path": SERVICE_ROOM})  # its pipes may be written to: all others in sight may not
    lock_room(plan)
    run_step("room-built")
    if launched.hears:
        order = _hear_order(ends[4])
        if not order:
            os._exit(0)
    pid = os.fork()
    if pid == 0:
        try:
            stdin = os.open(os.devnull, os.O_RDONLY) if launched.hears and not order["stdin"] else ends[0]
            _exec_command((stdin, *ends[1:]), order, launched.waits)
        except BaseException as fault:  # noqa: BLE001 - a fork must not go on
            _report(ends[3], "no_shell %s" % fault)
        finally:
            os._exit(70)
    for end in (ends[0], ends[1], ends[2], ends[4]):
        os.close(end)
    ended, status = os.wait()
    while ended != pid:
        ended, status = os.wait()
    # What the command left is ended before its end is told: then nothing changes the room's layers any more.
    with contextlib.suppress(OSError):
        os.kill(-1, signal.SIGKILL)
        while True:
            os.wait()
    killed = os.WIFSIGNALED(status)
    _report(ends[3], "signal %d" % os.WTERMSIG(status) if killed else "exit %d" % os.WEXITSTATUS(status))
    os._exit(0)


def _exec_command(ends: Ends, order: Dict[str, Any], waits: bool) -> NoReturn:
    stdin, out, err, status, go = ends
    os.setsid()
    for number in range(1, signal.NSIG):
        try:
            if signal.getsignal(number) is not signal.SIG_DFL:
                signal.signal(number, signal.SIG_DFL)
        except (OSError, ValueError):
            pass
    for source, target in ((stdin, 0), (out, 1), (err, 2)):
        os.dup2(source, target)
    environment = dict(order["environment"])
    if waits:
        os.dup2(status, STATUS_FD)
        os.set_inheritable(STATUS_FD, True)
        os.execve(order["shell"], [order["shell"], *SHELL_OPTIONS, WAITING_PROLOGUE], environment)
    environment[CALL_MARK] = order["run"]
    if not os.read(go, 1):
        os._exit(0)
    run_step("command-exec")
    try:
        os.chdir(order["cwd"])
    except OSError as fault:
        _report(status, "no_cwd %s" % fault)
        os._exit(97)
    words: List[str] = order["argv"] or [order["shell"], *SHELL_OPTIONS, order["command"]]
    os.execvpe(words[0], words, environment)


def _report(status: int, line: str) -> None:
    os.write(status, (" ".join(line.split())[:2000] + "\n").encode("utf-8", "surrogateescape"))
