"""Following: one request that waits for a run, and what it is sent. It reads run directories and changes none.

Output of a run that goes on is sent as events; what is left at its end travels in the final answer where it is small.
"""

import os
from typing import Any, Dict, List, Optional, Tuple

from interlock.runner.measured import told_changes
from interlock.runner.processes import boot_id
from interlock.runner.recording import Record
from interlock.runner.spooling import pieces_left, read_output

EVENT_BYTES_MAX = 256 * 1024
FINAL_CHANGES_MAX = 1000
STREAMS = ("out", "err")
Piece = Tuple[int, int, bytes]  # stream (1 or 2), offset, bytes
NEVER = float("inf")


class Follow:
    """One request about one run. `due`: when it is to be looked at next, by the helper's clock."""

    def __init__(self, number: int, rundir: str, request: Dict[str, Any], now: float) -> None:
        self.number = number
        self.rundir = rundir
        self.run = os.path.basename(rundir)
        self.offsets = [int(request.get("out", 0)), int(request.get("err", 0))]
        self.streams = bool(request.get("follow", True))
        self.attached = False
        self.cancels = False
        self.until = NEVER
        self.since = now
        self.due = now
        self._next = 0
        self.told: Optional[Tuple[str, Dict[str, Any]]] = None  # its end, as its supervisor told it

    def next_event(self) -> List[Piece]:
        """At most one piece of output that is there and was not sent."""
        for index in (self._next, 1 - self._next):
            data = read_output(self.rundir, STREAMS[index], self.offsets[index], EVENT_BYTES_MAX)
            if data:
                self._next = 1 - index  # neither stream waits for the other
                return [self._sent(index, self.offsets[index], data)]
        return []

    def _sent(self, index: int, offset: int, data: bytes) -> Piece:
        self.offsets[index] = offset + len(data)
        return index + 1, offset, data

    def take(self, end: Dict[str, Any], bytes_max: int) -> Tuple[List[Piece], bool]:
        """At most one piece of each stream that was not sent yet, up to a cap together, and whether there is more.

        `end` is {} for a run that goes on. What was over the spool's cap is skipped, up to the stream's tail.
        """
        found, left, more = [], bytes_max, False
        for index, name in enumerate(STREAMS):
            pieces = self._pieces(index, name, end, bytes_max)
            for file, offset, size in pieces[:1]:
                shift = end.get(name + "_tail", 0) if file.endswith(".tail") else 0
                data = read_output(self.rundir, file, offset - shift, min(size, left))
                left -= len(data)
                more = more or len(pieces) > 1 or (left <= 0 and len(data) < size)
                if data:
                    found.append(self._sent(index, offset, data))
                elif left > 0:
                    self.offsets[index] = offset + (size if end else 0)  # it is not there any more
        return found, more

    def _pieces(self, index: int, name: str, end: Dict[str, Any], bytes_max: int) -> List[Tuple[str, int, int]]:
        offset = self.offsets[index]
        if not end:
            return [(name, offset, bytes_max)]
        return pieces_left(name, offset, end[name + "_kept"], end[name + "_tail"], end[name + "_bytes"])


def inline(pieces: List[Piece]) -> Tuple[Dict[str, Any], bytes]:
    """The fields that say what an answer's body holds (stdout's bytes, then stderr's), and the body."""
    found = {stream: (offset, data) for stream, offset, data in pieces}
    out, err = found.get(1, (0, b"")), found.get(2, (0, b""))
    return {"out_inline": len(out[1]), "out_offset": out[0], "err_offset": err[0]}, out[1] + err[1]


def known_of_lost(rundir: str, record: Record) -> Record:
    """What a lost run left behind, for one who must decide what became of it."""
    return {
        "began": "void" not in record,
        "why": record.get("void", "the supervisor is gone"),
        "level": record.get("order", {}).get("level", "none"),
        "rebooted": bool(record.get("boot")) and record["boot"] != boot_id(),
        "landing": sorted(name for name in os.listdir(rundir) if name.startswith(("landing.", "undo."))),
    }


def ending_of(rundir: str, state: str, record: Dict[str, Any]) -> Dict[str, Any]:
    """The fields of an answer about a run that is over, whichever way."""
    if state == "ended":
        end = record["end"]
        measured = told_changes(rundir, 0, FINAL_CHANGES_MAX) if end.get("changes") else {"changes": []}
        moved = {"ok": False, "fault": "moved", "reason": end["reason"]} if end["why"] == "moved" else {}
        return {"state": "ended", "end": end, "scratch": end.get("scratch", 0), **measured, **moved}
    if state == "lost":
        return {"state": "lost", "known": known_of_lost(rundir, record)}
    return {"state": "absent", "ok": False, "fault": "absent", "reason": "it never began here, and now never will"}
