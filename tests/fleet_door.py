"""The door of a host of a fleet: a loopback port, and a real sshd inside the host for each connection that comes."""

import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence

from sshd import _name as name_of
from sshd import _signal as send
from sshd import descendants

# Below the ports that the kernel gives to outgoing connections, so that nobody takes it while the host is down.
PORTS = range(20_000, 32_000)
TRIES_MAX = 200
END_SECONDS = 10.0


class Door:
    """Keeps its port as long as it exists; while it is shut, connections are refused.

    `inside()` gives the words that start a program inside the host, as it is now.
    """

    def __init__(self, inside: Callable[[], Sequence[str]], sshd: Sequence[str]) -> None:
        self._inside = inside
        self._sshd = sshd
        self._socket = _bound()
        self._thread: threading.Thread | None = None
        self._sessions: list[subprocess.Popen[bytes]] = []

    @property
    def port(self) -> int:
        return self._socket.getsockname()[1]

    def open(self) -> None:
        """Listen."""
        words = [*self._inside(), *self._sshd]
        self._socket.listen(64)
        self._thread = threading.Thread(target=self._serve, args=(words,), name=f"door {self.port}", daemon=True)
        self._thread.start()

    def _serve(self, words: Sequence[str]) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # it was shut
                return
            with connection:
                session = subprocess.Popen(
                    words, stdin=connection, stdout=connection, stderr=subprocess.DEVNULL, start_new_session=True
                )
            self._sessions = [session, *(one for one in self._sessions if one.poll() is None)]

    def shut(self) -> None:
        """Refuse whoever comes; it can be opened again. Connections stay as they are."""
        if self._thread is None:
            return
        # A listening socket that is shut down keeps the port it was bound to, and wakes whoever accepts.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(END_SECONDS)
        self._thread = None

    def cut(self) -> None:
        """End every session there is, as a crash of the network would; the commands that they started go on."""
        until = time.monotonic() + END_SECONDS
        for session in list(self._sessions):
            while session.poll() is None and time.monotonic() < until:
                for pid in (one for one in descendants(session.pid) if name_of(one).startswith("sshd")):
                    send(pid, signal.SIGKILL)
                time.sleep(0.005)  # a process of another says nothing of its children: they are looked at again

    def see_off(self) -> None:
        """Wait for the ends of all sessions; whoever calls this has ended their sshd."""
        for session in list(self._sessions):
            session.wait(END_SECONDS)

    def close(self) -> None:
        self.shut()
        self._socket.close()


def _bound() -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    for port in random.sample(PORTS, TRIES_MAX):
        try:
            made.bind(("127.0.0.1", port))
        except OSError:
            continue
        return made
    made.close()
    raise RuntimeError("no free port was found")
