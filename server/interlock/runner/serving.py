"""Serving: the helper's verbs. It answers every request, or says why not; only its stream's end ends it.

It leaves nothing behind but run directories.
"""

import contextlib
import gc
import os
import resource
import signal
import socket
import time
from functools import partial
from typing import Any, Callable, Dict, NoReturn

from interlock.runner.appuploads import upload_stream
from interlock.runner.following import NEVER, Follow
from interlock.runner.frames import FrameBroken
from interlock.runner.jobs import JOBS, do_job, number_of, wait_as_worker
from interlock.runner.looping import JOBS_MAX, Asked, Loop
from interlock.runner.orders import checked_order
from interlock.runner.probe import free_bytes, probe_abilities
from interlock.runner.processes import is_alive, own_identity
from interlock.runner.recording import claim_run, claim_void, raise_fence, run_record, run_state, void_run
from interlock.runner.rundirs import RunFault, make_runs_place, run_dir, runs_place, write_run_file
from interlock.runner.spares import SPARE_STDIN_BYTES_MAX, Spares, spare_kind
from interlock.runner.starting import supervise_run
from interlock.runner.steps import name_faults, run_step
from interlock.runner.supervise import GRACE_SECONDS
from interlock.runner.telling import about_user, believed_abilities, identity
from interlock.runner.working import answer_of

FOLLOWS_MAX = 2048
RUNS_MAX = 1024  # of this connection
FILES_FREE_MIN = 200  # beside one for each run
GRACE_SECONDS_MAX = 600.0
CANCEL_PATIENCE_SECONDS = 6.0
# How long the machine is left alone before the next room is built: the answer goes first, and what was staged is
# likely to land next.
SPARE_REST_SECONDS = {"confined": 0.01, "staged": 0.1}
SPARE_CHANGES_MAX = 1000
WORKER_KIND = "worker"
Verb = Callable[[Asked], Any]


class Serving:
    """One connection's helper: its loop with the verbs of the runner."""

    def __init__(self, source: int, sink: int, digest: str) -> None:
        self._loop = Loop(source, sink, self._handle, self._tidy, self._idle)
        self._spares = Spares(self._loop.expect_end)
        self._wanted: Dict[str, str] = {}  # kind → level
        self._wanted_at = NEVER
        self._digest = digest
        self._place = ""
        self._abilities: Dict[str, Any] = {}
        self._verbs: Dict[str, Verb] = {
            "hello": self._hello,
            "here": _here,
            "start": self._start,
            "attach": self._attach,
            "cancel": self._cancel,
            "stream": self._stream,
            **dict.fromkeys(JOBS, self._job),
        }

    def run(self) -> None:
        """Serve until the stream ends. Raises FrameBroken, OSError of a stream that broke."""
        self._loop.run()

    def _handle(self, asked: Asked) -> None:
        if not isinstance(asked.number, int) or asked.number in self._loop.follows:
            raise FrameBroken("a request without a number of its own")
        given, data = answer_of(lambda: (self._answer(asked) or {"later": True}, b""))
        if not given.pop("later", False):
            self._loop.line.send({"n": asked.number, **given}, data)

    def _answer(self, asked: Asked) -> Any:
        """The answer's fields; None where it comes later. Raises RunFault."""
        verb = self._verbs.get(str(asked.head.get("do")))
        if verb is None:
            raise RunFault("unknown_verb", "no such verb: %s" % asked.head.get("do"))
        if not self._place:
            self._place = make_runs_place(runs_place())
        if len(self._loop.follows) >= FOLLOWS_MAX:
            raise RunFault("busy", "too many requests at once")
        return verb(asked)

    def _job(self, asked: Asked) -> None:
        """Have it done in a process of its own; the answer comes when that is over."""
        place, head, body = self._place, asked.head, asked.body
        fits = len(body) <= SPARE_STDIN_BYTES_MAX and self._loop.jobs < JOBS_MAX
        worker = self._spares.take(WORKER_KIND) if fits else None
        if worker is not None and worker.give(head, body):
            self._loop.hear_worker(asked.number, worker.pipe.detach())
            return
        if worker is not None:
            self._loop.let_go(worker.pipe)
        self._loop.work(asked.number, lambda pipe: do_job(place, head, body, pipe))

    def _hello(self, asked: Asked) -> Dict[str, Any]:
        own = identity(self._digest, self._place)
        known = believed_abilities(asked.head.get("known"), own)
        if known and not self._abilities:
            self._abilities = dict(known, free_bytes=free_bytes(self._place))
        return {**own, **about_user(), "known": bool(known), "abilities": self._known_abilities()}

    def _known_abilities(self) -> Dict[str, Any]:
        """What the host can do: probed once, where the server did not know it from an earlier helper."""
        if not self._abilities:
            self._abilities = probe_abilities(self._place)
        return self._abilities

    def _stream(self, asked: Asked) -> Dict[str, Any]:
        """Take an artifact as plain bytes. This helper has a channel of its own for it: nobody else waits here."""
        line = self._loop.line
        told = {"n": asked.number, "event": "ready"}
        return upload_stream(asked.head, lambda have: line.send({**told, "have": have}), line.receive_raw)

    # ── starting ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _start(self, asked: Asked) -> None:
        order = checked_order(asked.head)
        rundir = run_dir(self._place, order["run"])
        follow = _follow_of(asked, rundir)
        if len(self._loop.own) >= min(RUNS_MAX, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - FILES_FREE_MIN):
            raise RunFault("busy", "too many runs at once")
        claim = {"order": order, "fence": order["fence"], "at": time.time(), "helper": own_identity(os.getpid())}
        if claim_run(rundir, claim):
            run_step("helper-claimed")
            if not self._order_spare(rundir, order, asked.body):
                self._fork(rundir, order, asked.body)
        else:
            if not raise_fence(rundir, order["fence"]):
                raise RunFault("stale", "a start with a newer fence was here before")
            follow.attached = True
        self._loop.follow(follow)

    def _order_spare(self, rundir: str, order: Dict[str, Any], body: bytes) -> bool:
        """Give the order to a supervisor that waits for it."""
        kind = spare_kind(order, body)
        spare = self._spares.take(kind)
        if spare is None:
            return False
        given = spare.give({"rundir": rundir, "order": order}, body)
        if given:
            self._listen(lambda: run_step("helper-ordered"), rundir, order, spare.pipe)
        else:
            self._loop.let_go(spare.pipe)
        return given

    def _fork(self, rundir: str, order: Dict[str, Any], body: bytes) -> None:
        abilities = self._known_abilities() if order["level"] != "none" else {}
        try:
            ours, theirs = socket.socketpair()
            pid = os.fork()
        except OSError as fault:
            void_run(rundir, "no process could be made: %s" % fault)
            raise RunFault("busy", "no process could be made: %s" % fault)
        if pid == 0:
            supervise_run(rundir, order, body, theirs.fileno(), abilities)
        theirs.close()
        self._listen(lambda: run_step("helper-forked"), rundir, order, ours)

    def _listen(self, step: Callable[[], None], rundir: str, order: Dict[str, Any], pipe: socket.socket) -> None:
        """Listen to whoever carries it out. It is carried out either way: who cannot be heard is looked after."""
        try:
            step()
            self._loop.adopt(rundir, spare_kind(order), pipe)
        except OSError:
            self._loop.let_go(pipe)

    def _tidy(self, now: float) -> float:
        """Make ready what may be wanted next, once nothing of this connection runs; drop the spares nobody wants."""
        if self._loop.own or self._loop.jobs or not self._wanted:
            self._wanted_at = NEVER
            return self._spares.tidy(now)
        if self._wanted_at == NEVER:
            self._wanted_at = now + max(SPARE_REST_SECONDS[level] for level in self._wanted.values())
        if now < self._wanted_at:
            return min(self._wanted_at, self._spares.tidy(now))
        if "staged" in self._wanted.values() and not self._spares.has(WORKER_KIND):
            self._spares.make(WORKER_KIND, partial(wait_as_worker, self._place), now)
        for kind in self._wanted:
            self._spares.go_ahead(kind)
        self._wanted.clear()
        return self._spares.tidy(now)

    def _idle(self, kind: str, pipe: socket.socket, end: Dict[str, Any]) -> None:
        """A supervisor has ended its run and waits for the next: its room ended with the run."""
        if end.get("changes", 0) > SPARE_CHANGES_MAX:
            self._loop.let_go(pipe)  # it has grown
            return
        self._spares.keep(kind, pipe, time.monotonic())
        if end["level"] != "none":
            self._wanted[kind] = end["level"]

    # ── what has started ─────────────────────────────────────────────────────────────────────────────────────────────

    def _attach(self, asked: Asked) -> None:
        rundir = run_dir(self._place, asked.head.get("run"))
        follow = _follow_of(asked, rundir)
        follow.attached = not claim_void(rundir)
        self._loop.follow(follow)

    def _cancel(self, asked: Asked) -> None:
        rundir = run_dir(self._place, asked.head.get("run"))
        grace = asked.head.get("grace_seconds", GRACE_SECONDS)
        if not isinstance(grace, (int, float)) or not 0 <= grace <= GRACE_SECONDS_MAX:
            raise RunFault("bad_request", "a grace is 0 to %d seconds" % GRACE_SECONDS_MAX)
        if not claim_void(rundir) and run_state(rundir)[0] in ("starting", "running"):
            wanted = {"grace_seconds": grace, "reason": str(asked.head.get("reason", ""))[:500]}
            with contextlib.suppress(OSError):  # on a full disk its supervisor is killed in the end
                write_run_file(rundir, "cancel.json", wanted, durable=False)
            record = {} if void_run(rundir, "cancelled") else run_record(rundir)[1]
            if is_alive(record):
                os.kill(record["pid"], signal.SIGTERM)
        follow = Follow(asked.number, rundir, {}, time.monotonic())
        follow.cancels, follow.until = True, time.monotonic() + grace + CANCEL_PATIENCE_SECONDS
        self._loop.follow(follow)


def _here(asked: Asked) -> Dict[str, Any]:
    """Whoever hears nothing for long asks whether anybody is here."""
    del asked
    return {"here": True}


def _follow_of(asked: Asked, rundir: str) -> Follow:
    for name in ("out", "err"):
        number_of(asked.head, name, 0)
    return Follow(asked.number, rundir, asked.head, time.monotonic())


def serve(source: int, sink: int, digest: str = "") -> NoReturn:
    """Serve the frames of one connection to its end, then end this process."""
    status = 0
    try:
        name_faults(os.environ.get("INTERLOCK_RUNNER_FAULTS", ""))
        if hasattr(gc, "freeze"):
            gc.freeze()  # so that a collection in a fork does not touch, and copy, all that is here
        Serving(source, sink, digest).run()
    except FrameBroken as fault:
        os.write(2, ("interlock: %s\n" % fault).encode())
        status = 2
    except OSError:
        status = 1  # the stream broke: nobody is there to be told
    finally:
        os._exit(status)
