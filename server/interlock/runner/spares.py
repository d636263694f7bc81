"""Spares: supervisors forked ahead, each with its room built and its shell waiting for one order. It keeps very few.

A room that waits is used for an order only where the plan for this is the same, so that what came to the host since (a
socket, a secret, a mount) is covered too. A spare that nobody takes ends soon, and so does one whose room the host's
mounts have left behind.
"""

import contextlib
import json
import os
import select
import socket
from typing import Any, Callable, Dict, List, Optional

from interlock.runner.frames import encode_frame
from interlock.runner.launching import TOLD_ORDER_BYTES_MAX, fits_waiting, told_order
from interlock.runner.starting import wait_as_spare

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
    """One waiting supervisor. `until`: when it is dropped, by the helper's clock."""

    def __init__(self, pipe: socket.socket, until: float) -> None:
        self.pipe = pipe
        self.until = until
        self._mounts = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)

    def is_fresh(self) -> bool:
        """Whether the host's mounts are what they were, and the supervisor has not ended."""
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

    def give(self, rundir: str, order: Dict[str, Any], body: bytes) -> bool:
        """Send it the order; False where it did not arrive whole, so that it cannot begin."""
        frame = encode_frame({"rundir": rundir, "order": order}, body)
        os.close(self._mounts)
        self.pipe.setblocking(False)
        try:
            return self.pipe.send(frame) == len(frame)
        except OSError:
            return False

    def drop(self) -> None:
        """End it: its pipe closes, and it has nothing else."""
        os.close(self._mounts)
        self.pipe.close()


def spare_kind(order: Dict[str, Any], body: bytes) -> str:
    """What a spare for this order is called; "" where none can serve it."""
    if order["services"] or len(body) > SPARE_STDIN_BYTES_MAX:
        return ""
    if order["level"] == "staged":
        fits = len(told_order(order)) <= TOLD_ORDER_BYTES_MAX
    else:
        fits = fits_waiting(order) and (order["level"] == "none" or not order["writes"] + order["deletes"])
    fields = SPARE_FIELDS[order["level"]]
    return json.dumps({key: order[key] for key in fields}, sort_keys=True) if fits else ""


class Spares:
    """The waiting supervisors of one helper. Of a kind one is kept for long; more of them only between two orders."""

    def __init__(self, dropped: Callable[[], None]) -> None:
        self._kept: Dict[str, List[Spare]] = {}
        self._dropped = dropped

    def take(self, kind: str) -> Optional[Spare]:
        """A spare of this kind, for one order."""
        kept = self._kept.get(kind, [])
        while kept:
            spare = kept.pop()
            if spare.is_fresh():
                return spare
            self._drop(spare)
        return None

    def has(self, kind: str) -> bool:
        """Whether one of this kind waits."""
        return bool(self._kept.get(kind))

    def keep(self, kind: str, pipe: socket.socket, now: float) -> None:
        """Hold a supervisor that waits for its next order."""
        kept = self._kept.setdefault(kind, [])
        kept.append(Spare(pipe, now + (SPARE_SECONDS_MAX if not kept else SPARE_SECONDS_MORE)))
        everywhere = [spare for spares in self._kept.values() for spare in spares]
        if len(everywhere) > SPARES_MAX:
            self._remove(min(everywhere, key=lambda spare: spare.until))

    def make(self, kind: str, order: Dict[str, Any], abilities: Dict[str, Any], place: str, now: float) -> None:
        """Fork one of this kind."""
        with contextlib.suppress(OSError):  # where there is no room for one, the next run is only slower
            ours, theirs = socket.socketpair()
            if os.fork() == 0:
                wait_as_spare(order, abilities, place, theirs.fileno())
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
