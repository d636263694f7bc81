"""A relay before a real server, in a process of its own: it cuts, stalls and corrupts on command. It reads nothing."""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

CHUNK_BYTES = 65_536
SEND_SECONDS_MAX = 5.0
ANSWER_SECONDS_MAX = 10.0
COMMAND_BYTES_MAX = 100


@dataclass(frozen=True)
class Relay:
    """The near end of a running relay: clients connect to its port."""

    port: int
    control: socket.socket

    def cut(self) -> None:
        """Close every connection that there is; new ones work."""
        self._tell("cut 0")

    def stall(self, seconds: float) -> None:
        """Pass nothing on for a while, and take no new connection; nothing is lost."""
        self._tell(f"stall {seconds}")

    def corrupt(self, seed: int) -> None:
        """Flip one bit of the next bytes that come, whichever way they go."""
        self._tell(f"corrupt {seed}")

    def _tell(self, command: str) -> None:
        self.control.send(command.encode())
        if not self.control.recv(COMMAND_BYTES_MAX):
            raise RuntimeError("the relay has ended")


@contextmanager
def running_relay(target_port: int) -> Iterator[Relay]:
    """A relay on a free loopback port. Its process ends with the block."""
    listener = socket.create_server(("127.0.0.1", 0))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            _Passing(listener, theirs, target_port).forever()
        finally:
            os._exit(0)
    theirs.close()
    ours.settimeout(ANSWER_SECONDS_MAX)
    port = listener.getsockname()[1]
    listener.close()
    try:
        yield Relay(port, ours)
    finally:
        ours.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


class _Passing:
    def __init__(self, listener: socket.socket, control: socket.socket, target_port: int) -> None:
        self._listener = listener
        self._control = control
        self._target = ("127.0.0.1", target_port)
        self._peers: dict[socket.socket, socket.socket] = {}
        self._still_until = 0.0
        self._flip: random.Random | None = None

    def forever(self) -> None:
        """Until the other end of the control closes."""
        while True:
            wait = self._still_until - time.monotonic()
            watched = [self._control] if wait > 0 else [self._control, self._listener, *self._peers]
            for ready in select.select(watched, [], [], wait if wait > 0 else None)[0]:
                if ready is self._control:
                    if not self._obey():
                        return
                    break
                if ready is self._listener:
                    self._join(self._listener.accept()[0])
                elif ready in self._peers:
                    self._pass(ready)

    def _obey(self) -> bool:
        word, _, amount = self._control.recv(COMMAND_BYTES_MAX).decode().partition(" ")
        if word == "cut":
            for one in list(self._peers):
                self._end(one)
        elif word == "stall":
            self._still_until = time.monotonic() + float(amount)
        elif word == "corrupt":
            self._flip = random.Random(int(amount))
        if word:
            self._control.send(b"done")
        return bool(word)

    def _join(self, near: socket.socket) -> None:
        try:
            far = socket.create_connection(self._target, SEND_SECONDS_MAX)
        except OSError:
            near.close()
            return
        for one in (near, far):
            one.settimeout(SEND_SECONDS_MAX)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._peers[near], self._peers[far] = far, near

    def _pass(self, one: socket.socket) -> None:
        try:
            data = bytearray(one.recv(CHUNK_BYTES))
            if data and self._flip is not None:
                data[self._flip.randrange(len(data))] ^= 1 << self._flip.randrange(8)
                self._flip = None
            if data:
                self._peers[one].sendall(data)
                return
        except OSError:
            pass
        self._end(one)

    def _end(self, one: socket.socket) -> None:
        other = self._peers.pop(one, None)
        if other is not None:
            self._peers.pop(other, None)
            other.close()
        one.close()
