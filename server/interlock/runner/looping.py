"""The helper's loop: it follows runs, listens to supervisors and jobs, and waits for none. It knows no verb.

Supervisors and jobs are processes of their own and outlive it; what it knows it can read again from run directories.
"""

import os
import selectors
import signal
import socket
import time
from functools import partial
from typing import Any, Callable, Dict, List, NoReturn

from interlock.runner.ending import end_leftovers
from interlock.runner.following import EVENT_BYTES_MAX, NEVER, Follow, Piece, ending_of, inline
from interlock.runner.frames import FrameReader
from interlock.runner.lines import LINE_READ_BYTES, Line
from interlock.runner.processes import is_alive
from interlock.runner.recording import run_record, run_state, void_run
from interlock.runner.starting import told_end
from interlock.runner.steps import run_step
from interlock.runner.supervise import GRACE_SECONDS, read_ready
from interlock.runner.working import fork_worker, see_job_through

LOOK_OWN_SECONDS = 0.02
LOOK_FOREIGN_SECONDS = 0.05
STARTING_SECONDS_MAX = 10.0
JOBS_MAX = 64


class Asked:
    """One request: its number, its head, its body."""

    def __init__(self, head: Dict[str, Any], body: bytes) -> None:
        self.number: Any = head.get("n")
        self.head = head
        self.body = body


class Loop:
    """What waits in the helper: follows, runs of its own, jobs.

    `handle` carries out a request, `tidy` says when it wants to be called next, `idle` takes a supervisor that is free.
    """

    def __init__(
        self,
        source: int,
        sink: int,
        handle: Callable[[Asked], None],
        tidy: Callable[[float], float],
        idle: Callable[[str, socket.socket, Dict[str, Any]], None],
    ) -> None:
        self._handle = handle
        self._tidy = tidy
        self._idle = idle
        self.selector = selectors.DefaultSelector()
        self.line = Line(source, sink, self.selector)
        self.follows: Dict[int, Follow] = {}
        self.own: Dict[str, socket.socket] = {}
        self.jobs = 0
        self._unreaped = 0
        self._ends = False

    def run(self) -> None:
        """Serve until the stream ends. Raises FrameBroken, OSError of a stream that broke."""
        while not self._ends:
            self.line.listen(self._receive)
            for key, _ in self.selector.select(self._patience(time.monotonic())):
                key.data()
            self._reap()
            now = time.monotonic()
            for follow in [follow for follow in self.follows.values() if follow.due <= now]:
                self._look(follow, now)

    def _receive(self) -> None:
        try:
            requests = self.line.receive()
        except EOFError:
            self._ends = True
            return
        for head, body in requests:
            run_step("helper-request")
            self._handle(Asked(head, body))

    def _patience(self, now: float) -> Any:
        until = min([follow.due for follow in self.follows.values()] + [self._tidy(now)], default=NEVER)
        if self._unreaped:
            until = min(until, now + LOOK_FOREIGN_SECONDS)
        return None if until == NEVER else max(0.0, until - now)

    def expect_end(self) -> None:
        """A child of ours has ended, or is about to: it is reaped soon."""
        self._unreaped += 1

    def let_go(self, pipe: socket.socket) -> None:
        """Close a child's pipe: with that it ends, where it has not ended already, and is reaped."""
        pipe.close()
        self.expect_end()

    def _reap(self) -> None:
        try:
            while self._unreaped and os.waitpid(-1, os.WNOHANG)[0]:
                self._unreaped -= 1
        except ChildProcessError:
            self._unreaped = 0

    # ── runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def adopt(self, rundir: str, kind: str, pipe: socket.socket) -> None:
        """Listen to a supervisor of our own. `kind`: what it can serve afterwards, "" for nothing. Raises OSError."""
        pipe.setblocking(False)
        told = bytearray()
        self.selector.register(pipe, selectors.EVENT_READ, lambda: self._hinted(rundir, kind, pipe, told))
        self.own[rundir] = pipe

    def _hinted(self, rundir: str, kind: str, pipe: socket.socket, told: bytearray) -> None:
        data = read_ready(pipe.fileno(), LINE_READ_BYTES)
        if data is None:
            return
        told += data
        end = told_end(told)
        if not data or end is not None:
            self.selector.unregister(pipe)
            del self.own[rundir]
            run_step("helper-ended")
        if not data and run_state(rundir)[0] == "starting":
            void_run(rundir, "its supervisor ended before it began")
        now = time.monotonic()
        for follow in [follow for follow in self.follows.values() if follow.rundir == rundir]:
            follow.told = ("ended", {"end": end}) if end is not None else None
            follow.due = min(follow.due, now + LOOK_OWN_SECONDS) if rundir in self.own else now
        if end is not None and kind:
            self._idle(kind, pipe, end)
        elif rundir not in self.own:
            self.let_go(pipe)

    def follow(self, follow: Follow) -> None:
        """Answer about this run when it is over, with its output until then."""
        self.follows[follow.number] = follow
        self._look(follow, time.monotonic())

    def _look(self, follow: Follow, now: float) -> None:
        own = follow.rundir in self.own
        state, record = follow.told or (("running", {}) if own and follow.streams else run_state(follow.rundir))
        if state == "starting" and not own and now > follow.since + STARTING_SECONDS_MAX:
            void_run(follow.rundir, "it never began")
            state, record = run_state(follow.rundir)
        if state not in ("starting", "running"):
            self._over(follow, state, record, now)
        elif follow.cancels:
            self._still_there(follow, now)
        elif not follow.streams:
            self._answer_follow(follow, {"state": "running"}, *follow.take({}, EVENT_BYTES_MAX))
        else:
            sent = [] if self.line.is_full else follow.next_event()
            for stream, offset, data in sent:
                self._event(follow, stream, offset, data)
            again = sent or self.line.is_full
            follow.due = now if sent else NEVER if own and not again else now + LOOK_FOREIGN_SECONDS

    def _event(self, follow: Follow, stream: int, offset: int, data: bytes) -> None:
        self.line.send({"n": follow.number, "event": "output", "stream": stream, "offset": offset}, data)

    def _over(self, follow: Follow, state: str, record: Dict[str, Any], now: float) -> None:
        end = record.get("end", {})
        if follow.cancels:
            self._cancelled(follow, state, end)
            return
        while True:
            pieces, more = follow.take(end, EVENT_BYTES_MAX)
            if not (more and follow.streams):
                break
            for piece in pieces:
                self._event(follow, *piece)
            if self.line.is_full:
                follow.due = now + LOOK_OWN_SECONDS
                return
        self._answer_follow(follow, ending_of(follow.rundir, state, record), pieces, more)

    def _answer_follow(self, follow: Follow, told: Dict[str, Any], pieces: List[Piece], more: bool) -> None:
        fields, body = inline(pieces)
        del self.follows[follow.number]
        fields.update({"run": follow.run, "attached": follow.attached, "more": more, **told})
        self.answer(follow.number, fields, body)

    # ── cancelling ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _still_there(self, follow: Follow, now: float) -> None:
        record = run_record(follow.rundir)[1] if now > follow.until else {}
        if is_alive(record):
            os.kill(record["pid"], signal.SIGKILL)  # it does not do what it is there for; its room ends with it
        follow.due = now + LOOK_OWN_SECONDS

    def _cancelled(self, follow: Follow, state: str, end: Dict[str, Any]) -> None:
        del self.follows[follow.number]
        if state == "lost":
            self.work(follow.number, partial(see_job_through, lambda: (sweep_leftovers(follow.rundir), b"")))
            return
        state = "absent" if state == "void" else state
        self.answer(follow.number, {"state": state, "found": end.get("found", 0), "left": end.get("left", 0)})

    # ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def answer(self, number: int, fields: Dict[str, Any], body: bytes = b"") -> None:
        run_step("helper-answer")
        self.line.send({"n": number, "ok": True, **fields}, body)

    def work(self, number: int, work: Callable[[int], NoReturn]) -> None:
        """Have something done by a worker of its own and answer with what it gives."""
        busy = {"n": number, "ok": False, "fault": "busy"}
        if self.jobs >= JOBS_MAX:
            self.line.send({**busy, "reason": "too many jobs at once"})
            return
        try:
            pipe = fork_worker(work)
        except OSError as fault:
            self.line.send({**busy, "reason": "no process could be made: %s" % fault})
        else:
            self.hear_worker(number, pipe)

    def hear_worker(self, number: int, pipe: int) -> None:
        """Answer with what comes from a worker."""
        self.jobs += 1
        frames = FrameReader()
        os.set_blocking(pipe, False)
        self.selector.register(pipe, selectors.EVENT_READ, lambda: self._worked(number, pipe, frames))

    def _worked(self, number: int, pipe: int, frames: FrameReader) -> None:
        data = read_ready(pipe, LINE_READ_BYTES)
        if data is None:
            return
        found = frames.feed(data)
        if data and not found:
            return
        self.selector.unregister(pipe)
        os.close(pipe)
        self.jobs -= 1
        self.expect_end()
        head, body = found[0] if found else ({"ok": False, "fault": "internal", "reason": "the worker ended"}, b"")
        self.line.send({**head, "n": number}, body)


def sweep_leftovers(rundir: str) -> Dict[str, Any]:
    """End what a lost run left running."""
    found, left = end_leftovers(os.path.basename(rundir), run_record(rundir)[1], GRACE_SECONDS)
    return {"state": "lost", "found": found, "left": left}
