"""Spares: processes that wait for work: supervisors between two orders, a worker for a job. It keeps very few.

A room that waits is used for an order only where the plan for this is the same, so that what came to the host since (a
socket, a secret, a mount) is covered too. A spare that nobody takes ends soon, and so does one whose room the host's
mounts have left behind.
"""

import contextlib
import json
import os
import select
import socket
from typing import Any, Callable, Dict, List, NoReturn, Optional

from interlock.runner.frames import encode_frame
from interlock.runner.kernel import can_kernel_fork
from interlock.runner.launching import TOLD_ORDER_BYTES_MAX, fits_waiting, told_order

SPARES_MAX = 32
SPARE_SECONDS_MAX = 20.0
SPARE_SECONDS_MORE = 1.0
SPARE_STDIN_BYTES_MAX = 32 * 1024
# What of an order has to be what a spare was made for. Whether its room is the one that the order asks for is seen when
# the order comes, by the plan for it.
SPARE_FIELDS = {
    "none": {"level", "shell", "environment"},
    "confined": {"level", "shell", "environment", "network"},
    "staged": {"level", "network"},
}


class Spare:
    """One waiting process. `until`: when it is dropped, by the helper's clock."""

    def __init__(self, pipe: socket.socket, until: float) -> None:
        self.pipe = pipe
        self.until = until
        self.is_ahead = False
        self._mounts = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)

    def is_fresh(self) -> bool:
        """Whether the host's mounts are what they were, and the process has not ended."""
        poll = select.poll()
        poll.register(self._mounts, select.POLLPRI)
        if poll.poll(0):
            return False
        try:
            return self.pipe.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    def give(self, head: Dict[str, Any], body: bytes) -> bool:
        """Send it what it waits for; False where that did not arrive whole, so that it cannot begin."""
        frame = encode_frame(head, body)
        os.close(self._mounts)
        self.pipe.setblocking(False)
        try:
            return self.pipe.send(frame) == len(frame)
        except OSError:
            return False

    def go_ahead(self) -> None:
        """Have it make ready what the next order needs, if it is like the last one."""
        self.is_ahead = True
        with contextlib.suppress(OSError):
            self.pipe.send(encode_frame({"ahead": True}))

    def drop(self) -> None:
        """End it: its pipe closes, and it has nothing else."""
        os.close(self._mounts)
        self.pipe.close()


def spare_kind(order: Dict[str, Any], body: bytes = b"") -> str:
    """What a spare for this order is called; "" where none can serve it."""
    if order["services"] or len(body) > SPARE_STDIN_BYTES_MAX or (order["level"] != "none" and not can_kernel_fork()):
        return ""
    if order["level"] == "staged":
        fits = len(told_order(order)) <= TOLD_ORDER_BYTES_MAX
    else:
        fits = fits_waiting(order) and (order["level"] == "none" or not order["writes"] + order["deletes"])
    fields = SPARE_FIELDS[order["level"]]
    return json.dumps({key: order[key] for key in fields}, sort_keys=True) if fits else ""


class Spares:
    """The waiting processes of one helper. Of a kind one is kept for long; more of them only between two orders."""

    def __init__(self, dropped: Callable[[], None]) -> None:
        self._kept: Dict[str, List[Spare]] = {}
        self._dropped = dropped

    def take(self, kind: str) -> Optional[Spare]:
        """A spare of this kind, for one order: one that is ahead of it, if there is one."""
        kept = self._kept.get(kind, [])
        kept.sort(key=lambda spare: spare.is_ahead)
        while kept:
            spare = kept.pop()
            if spare.is_fresh():
                return spare
            self._drop(spare)
        return None

    def has(self, kind: str) -> bool:
        """Whether one of this kind waits."""
        return bool(self._kept.get(kind))

    def go_ahead(self, kind: str) -> None:
        """Have one of this kind be ready for the next order."""
        kept = self._kept.get(kind, [])
        if kept and not any(spare.is_ahead for spare in kept):
            max(kept, key=lambda spare: spare.until).go_ahead()

    def keep(self, kind: str, pipe: socket.socket, now: float) -> None:
        """Hold a supervisor that waits for its next order."""
        kept = self._kept.setdefault(kind, [])
        kept.append(Spare(pipe, now + (SPARE_SECONDS_MAX if not kept else SPARE_SECONDS_MORE)))
        everywhere = [spare for spares in self._kept.values() for spare in spares]
        if len(everywhere) > SPARES_MAX:
            self._remove(min(everywhere, key=lambda spare: spare.until))

    def make(self, kind: str, wait: Callable[[int], NoReturn], now: float) -> None:
        """Fork one of this kind; `wait` is what it does, with its end of a socket."""
        with contextlib.suppress(OSError):  # where there is no room for one, the next run is only slower
            ours, theirs = socket.socketpair()
            if os.fork() == 0:
                wait(theirs.fileno())
            theirs.close()
            self.keep(kind, ours, now)

    def tidy(self, now: float) -> float:
        """Drop what waited too long; when to look again."""
        waiting = [spare for spares in self._kept.values() for spare in spares]
        for spare in waiting:
            if spare.until <= now:
                self._remove(spare)
        return min([spare.until for spare in waiting if spare.until > now], default=float("inf"))

    def _remove(self, spare: Spare) -> None:
        for kind, spares in list(self._kept.items()):
            if spare in spares:
                spares.remove(spare)
            if not spares:
                del self._kept[kind]
        self._drop(spare)

    def _drop(self, spare: Spare) -> None:
        spare.drop()
        self._dropped()
