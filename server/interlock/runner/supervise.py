"""The supervisor: one run from its durable claim to its durable end, whoever listens. It starts its command once.

It has left the helper's session and closed its streams: neither the helper's end nor the connection's reaches it.
What it tells the helper (one byte for new output, the end of the stream for the end) is only a hint: the run
directory says everything.
"""

import contextlib
import os
import selectors
import signal
import time
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from interlock.runner.ending import LOOK_SECONDS, RunTree, TreeEnding, leader_of, process_namespace
from interlock.runner.launching import Launched
from interlock.runner.processes import own_identity
from interlock.runner.recording import add_to_run, begin_run, end_run
from interlock.runner.rundirs import read_run_file
from interlock.runner.services import ServiceDesk
from interlock.runner.spooling import OutputSpool
from interlock.runner.steps import run_step
from interlock.runner.tree import NO_SPACE_ERRNOS

DRAIN_SECONDS = 0.5  # a silent background process that holds the pipes does not hold the result
DRAIN_SECONDS_MAX = 30.0
PUMP_BYTES = 64 * 1024
GRACE_SECONDS = 2.0
FULL_DISK_SECONDS_MAX = 600.0
OUTPUT_HINT = b"o"


class Supervisor:
    """One run. `launched` holds its command, waiting; `hint` is the helper's end of a socket, or -1.

    `record`: of a run that passed the gate already, whose first room could not be built.
    """

    def __init__(
        self, rundir: str, order: Dict[str, Any], body: bytes, launched: Launched, hint: int, record: int = -1
    ) -> None:
        self._rundir = rundir
        self._order = order
        self.launched = launched
        self._hint = hint
        self._spools = [OutputSpool(rundir, name, order["spool_bytes_max"]) for name in ("out", "err")]
        self._input = memoryview(body)
        self._selector = selectors.DefaultSelector()
        self._open = 0
        self._report = b""
        self._status: Optional[int] = None
        self._gone = False
        self._exited_at = 0.0
        self._heard_at = 0.0
        self._deadline = 0.0
        self._ending: Optional[TreeEnding] = None
        self._ended = False
        self.end: Dict[str, Any] = {"why": "", "reason": "", "began": False, "notes": []}
        self._leader = leader_of(launched.pid)
        self.desk = ServiceDesk(order, self._selector, launched.desk) if launched.desk is not None else None
        self.record = record

    def carry_out(self) -> Dict[str, Any]:
        """Begin where nobody decided otherwise, follow to the end; the end, not yet written."""
        wakes = wake_on_signals()
        try:
            return self._carried_out(wakes[0])
        finally:
            signal.set_wakeup_fd(-1)
            if self.desk is not None:
                self.desk.close()
            self._selector.close()
            for pipe in wakes:
                os.close(pipe)

    def _carried_out(self, wake: int) -> Dict[str, Any]:
        self.launched.tell(self._order)
        run_step("supervisor-launched")
        store = {"store": self.launched.plan["store"]} if self.launched.has_room else {}
        facts = {**own_identity(os.getpid()), **self._leader, **store}
        if self.record < 0:
            self.record = begin_run(self._rundir, facts)
        else:
            add_to_run(self.record, facts)
        run_step("supervisor-gate")
        started = time.monotonic()
        self._deadline = started + self._order["timeout_seconds"]
        if self.record >= 0:
            self.end["began"] = True
            self._go()
            run_step("supervisor-began")
            self._watch(wake)
        else:
            self.end.update(why="cancelled", reason="it was decided that it shall not begin")
            self.launched.end()
        run_step("supervisor-exited")
        return self._finish(time.monotonic() - started)

    # ── the command's pipes ──────────────────────────────────────────────────────────────────────────────────────────

    def _tell(self, data: bytes) -> None:
        if data:
            with contextlib.suppress(OSError):
                os.write(self.launched.stdin, data)  # shorter than a pipe holds

    def _go(self) -> None:
        launched = self.launched
        self._tell(b"\0" if launched.waits else b"")
        with contextlib.suppress(OSError):
            os.write(launched.go, b"g")
        launched.shut(launched.go)
        for index, pipe in enumerate((launched.out, launched.err)):
            self._listen(pipe, self._pump_of(index))
            self._open += 1
        self._listen(launched.status, self._read_status)
        if launched.stdin >= 0:
            os.set_blocking(launched.stdin, False)
            self._selector.register(launched.stdin, selectors.EVENT_WRITE, self._feed)

    def _listen(self, pipe: int, take: Callable[[int], None]) -> None:
        os.set_blocking(pipe, False)
        self._selector.register(pipe, selectors.EVENT_READ, take)

    def _close(self, pipe: int) -> None:
        self._selector.unregister(pipe)
        self.launched.shut(pipe)

    def _pump_of(self, index: int) -> Callable[[int], None]:
        def pump(pipe: int) -> None:
            data = read_ready(pipe, PUMP_BYTES)
            if data is None:
                return
            if not data:
                self._open -= 1
                self._close(pipe)
                return
            self._spools[index].take(data)
            self._heard_at = time.monotonic()
            run_step("supervisor-output")
            self._give_hint()

        return pump

    def _give_hint(self) -> None:
        with contextlib.suppress(OSError):
            os.write(self._hint, OUTPUT_HINT)

    def _feed(self, pipe: int) -> None:
        try:
            self._input = self._input[os.write(pipe, self._input[:PUMP_BYTES]) if self._input else 0 :]
        except BlockingIOError:
            return
        except OSError:
            self._input = self._input[:0]
        if not self._input:
            self._close(pipe)

    def _read_status(self, pipe: int) -> None:
        data = read_ready(pipe, 4096)
        if data:
            self._report += data
        elif data is not None:
            self._close(pipe)

    # ── its end ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _watch(self, wake: int) -> None:
        self._selector.register(wake, selectors.EVENT_READ, self._signalled)
        while not self._is_over(time.monotonic()):
            for key, _ in self._selector.select(self._patience(time.monotonic())):
                key.data(key.fd)
            self._reap()
            if self._ending is not None:
                self._ended = self._ending.step(time.monotonic())
            elif time.monotonic() >= self._deadline and not self._gone:
                self._begin_ending("timeout", "after %g s" % self._order["timeout_seconds"], GRACE_SECONDS)

    def _signalled(self, pipe: int) -> None:
        if bytes([signal.SIGTERM]) in (read_ready(pipe, 4096) or b"") and self._ending is None and not self._gone:
            asked = read_run_file(self._rundir, "cancel.json")
            if asked is not None:  # else it was meant for the run before this one
                self._begin_ending("cancelled", asked["reason"], float(asked["grace_seconds"]))

    def _begin_ending(self, why: str, reason: str, grace_seconds: float) -> None:
        self.end.update(why=why, reason=reason)
        pid, ticks = self._leader["leader"], self._leader["leader_ticks"]
        spared, namespace = (pid, process_namespace(pid)) if self.launched.has_room else (0, "")
        tree = RunTree(self._order["run"], pid, ticks, namespace)
        self._ending = TreeEnding(tree, spared, grace_seconds, time.monotonic())

    def _reap(self) -> None:
        """See whether the command has ended. A room that says so is empty by then, and nobody waits for its removal."""
        if self._gone:
            return
        if self._report.startswith((b"exit ", b"signal ")) and self._report.endswith(b"\n"):
            self._gone, self._exited_at = True, time.monotonic()
            return
        pid, status = os.waitpid(self.launched.pid, os.WNOHANG)
        if pid:
            self._gone, self._status, self._exited_at = True, status, time.monotonic()
            self.launched.is_reaped = True

    def _is_over(self, now: float) -> bool:
        if self._ending is not None:
            return self._ended and (self._gone or self._ending.left > 0) and self._is_drained(now)
        return self._gone and self._is_drained(now)

    def _is_drained(self, now: float) -> bool:
        return self._open == 0 or not self._gone or now >= self._drained_at()

    def _drained_at(self) -> float:
        """Until when output of what the command left behind is waited for: as long as it keeps coming, to a limit."""
        heard_at = max(self._exited_at, self._heard_at)
        return min(heard_at + DRAIN_SECONDS, self._exited_at + DRAIN_SECONDS_MAX)

    def _patience(self, now: float) -> float:
        if self._ending is not None and not self._ended:
            return LOOK_SECONDS
        until = self._drained_at() if self._gone else self._deadline
        return max(0.0, min(until - now, 60.0))

    def _finish(self, seconds: float) -> Dict[str, Any]:
        tails = [spool.finish() for spool in self._spools]
        code, number = self._how_it_ended()
        out, err = self._spools
        self.end["notes"] += [spool.fault for spool in self._spools if spool.fault]
        self.end["notes"] += self.launched.plan.get("notes", [])
        self.end.update(
            exit_code=code, signal=number, seconds=round(seconds, 6), level=self._order["level"],
            network=self._order["network"], out_bytes=out.bytes, err_bytes=err.bytes, out_kept=out.kept,
            err_kept=err.kept, out_tail=tails[0], err_tail=tails[1], observed="none",
            found=self._ending.found if self._ending else 0, left=self._ending.left if self._ending else 0,
        )  # fmt: skip
        return self.end

    def _how_it_ended(self) -> List[Any]:
        """[exit code, signal]; a report of what could not be begun takes both away."""
        rest_of_it = read_ready(self.launched.status, 4096) if self.launched.holds(self.launched.status) else b""
        self._report += rest_of_it or b""
        for line in self._report.decode("utf-8", "replace").splitlines():
            word, _, rest = line.partition(" ")
            if word in ("room", "moved", "no_cwd", "no_shell"):
                self.end.update(why=self.end["why"] or word, reason=self.end["reason"] or rest, began=False)
                return [None, 0]
            if word == "exit":
                return [int(rest), 0]
            if word == "signal":
                return [None, int(rest)]
        status = self._status
        if status is None or not self.end["began"]:
            return [None, 0]
        return [None, os.WTERMSIG(status)] if os.WIFSIGNALED(status) else [os.WEXITSTATUS(status), 0]


def write_end(rundir: str, record: int, end: Dict[str, Any], unsynced: Sequence[int] = ()) -> None:
    """Make the end durable. A full disk is waited for: a result is not lost while there is hope."""
    until = time.monotonic() + FULL_DISK_SECONDS_MAX
    while True:
        try:
            run_step("supervisor-end")
            end_run(rundir, record, end, unsynced)
        except OSError as fault:
            if fault.errno not in NO_SPACE_ERRNOS or time.monotonic() > until:
                raise
            time.sleep(1.0)
        else:
            for handle in (*unsynced, record):
                os.close(handle)
            return


def read_ready(pipe: int, bytes_max: int) -> Optional[bytes]:
    """What is there now; b"" at the stream's end; None where nothing is there yet."""
    try:
        return os.read(pipe, bytes_max)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def wake_on_signals() -> Tuple[int, int]:
    """A pipe's ends, to which SIGCHLD and SIGTERM of this process are written; the connection's signals are ignored."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    return read, write


def leave_helper(kept: int) -> None:
    """Leave the helper's session, streams and files; only `kept` stays open."""
    os.setsid()
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) != kept:
            with contextlib.suppress(OSError):
                os.close(int(name))
