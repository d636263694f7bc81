"""The pool: every host's link, and the one road on which an authorized run reaches it. It decides nothing of policy."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import asyncssh

from interlock.hosts.apps import ArtifactOf, change_app, look_at_app, read_texts, unheard
from interlock.hosts.attempts import Attempts, Work
from interlock.hosts.breaker import Breakers, BreakerStore, Kind
from interlock.hosts.cancelling import ended, taken
from interlock.hosts.checks import WAIT_SECONDS, measure
from interlock.hosts.diagnose import Finding, diagnose
from interlock.hosts.durable import DurableRun, Place, paths_moved
from interlock.hosts.ending import Ended, end_call, look_for
from interlock.hosts.facts import facts, surroundings
from interlock.hosts.faults import Faulted
from interlock.hosts.fetching import fetch_file
from interlock.hosts.files import carry_out
from interlock.hosts.filework import FileWork, collect_work
from interlock.hosts.layers import ask_runner, land_layer, undo_run
from interlock.hosts.link import Link, Live
from interlock.hosts.plain import PlainRun
from interlock.hosts.resolve import resolve_paths
from interlock.hosts.roads import Roads
from interlock.hosts.sftp import open_files
from interlock.hosts.trust import ShownKey
from interlock.ports import LEFT, Authorization, Executed, PathQuery, Progress, Resolution, Run
from interlock.settings import Settings
from interlock.spool import Redacting, Spool
from interlock_policies.facts import HostFacts, Level
from interlock_tools.app_plans import APP_PLANS, AppPlan, UploadArtifact
from interlock_tools.call import Check, Json
from interlock_tools.envelope import Attempt, Verified
from interlock_tools.errors import Cancelled, ContainmentUnavailable, OutcomeUnknown, Refusal
from interlock_tools.found import FileTexts, HostState
from interlock_tools.plan import READING_PLANS, WORK_PLANS, CommitLayer, RunCommand, UndoRun, WorkPlan

Result = TypeVar("Result")
Consume = Callable[[Authorization, Run], Awaitable[Refusal | None]]


class SshHosts:
    """Fulfils `interlock.ports.Hosts` over SSH.

    `consume` is asked before anything is sent for an execution; an authorization it does not accept reaches no host.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        consume: Consume,
        spool: Spool,
        redactor: Redacting,
        breakers: BreakerStore,
        clock: Callable[[], float],
        environment: Mapping[str, str] | None = None,
        artifact_of: ArtifactOf = lambda _: None,
    ) -> None:
        self._artifact_of = artifact_of
        self._settings = settings
        self._limits = settings.limits
        self._consume = consume
        # At its own default level the SSH library would write every command line into the log.
        asyncssh.set_log_level("WARNING")
        self._spool = spool
        self._redactor = redactor
        self._clock = clock
        self._breakers = Breakers(breakers, clock, self._limits.breaker_failures_max, self._limits.breaker_open_seconds)
        self._roads = Roads(settings, os.environ if environment is None else environment, open_files)
        self._attempts = Attempts(self._roads, self._breakers, self._limits, clock)

    # ── what the line asks ───────────────────────────────────────────────────────────────────────────────────────────

    async def facts(self, host: str) -> HostFacts | Refusal:
        """What is known of a host: its settings, and its home as the host itself names it."""
        seconds = self._limits.connect_timeout_seconds
        return await self._read(host, Kind.FILES, lambda link, live: facts(link, live, seconds))

    def members(self, group: str) -> tuple[str, ...]:
        """The group's hosts: connected ones first, those whose breaker is open last."""
        names = sorted(name for name, host in self._settings.hosts.items() if group in host.groups)
        return tuple(sorted(names, key=lambda name: (self._breakers.is_open(name), not self._roads.is_up(name))))

    async def resolve(self, host: str, queries: Sequence[PathQuery], *, recent: bool = False) -> Resolution | Refusal:
        """Each path as the host's kernel would find it. PathInvalid for a loop of links or too many paths."""

        async def work(link: Link, live: Live) -> Resolution | Refusal:
            known = link.paths.find(queries) if recent and link.can_look_again(live) else None
            if known is not None:
                return Resolution(known, believed=True)
            async with link.files(live) as sftp:
                seconds = self._limits.connect_timeout_seconds
                try:
                    found = await resolve_paths(sftp, queries, seconds, lenient=not live.is_openssh)
                except Faulted:
                    link.forget_sftp(live)  # lost, or silent: the next try opens another
                    raise
            if isinstance(found, Refusal):
                return found
            link.paths.keep(found)
            return Resolution(found)

        return await self._read(host, Kind.FILES, work)

    async def app_state(self, host: str, path: str, more: Mapping[str, Json] | None = None) -> HostState:
        """What an app's host says of itself; where it cannot be asked, `why` says so."""
        found = await self._read(host, Kind.COMMAND, lambda link, live: look_at_app(link, live, path, more))
        return HostState(host, why=f"{found.code}: {found.message}") if isinstance(found, Refusal) else found

    async def file_texts(self, host: str, path: str, reals: Sequence[str], release: str) -> FileTexts | Refusal:
        """The texts at these resolved paths, and those of a kept release."""
        return await self._read(host, Kind.COMMAND, lambda link, live: read_texts(link, live, path, reals, release))

    async def fetch(self, host: str, path: str, sha256: str, into: Path, bytes_max: int) -> int | Refusal:
        """The size of a host's file, once all of it lies at `into`; a refusal where it has another hash, or is not."""
        return await self._read(
            host, Kind.FILES, lambda link, live: fetch_file(link, live, path, sha256, into, bytes_max)
        )

    async def check(
        self, host: str, checks: Sequence[Check], exit_code: int | None, wait_seconds: float | None = None
    ) -> tuple[Verified, ...]:
        """Measure the postconditions on the host, in order; what cannot be measured did not pass.

        `wait_seconds`: how long a service, a port or a page is waited for (None = as for any call).
        """

        async def work(link: Link, live: Live) -> tuple[Verified, ...]:
            around = await surroundings(link, live)
            async with link.gate.enter():
                return await measure(
                    link,
                    live,
                    around,
                    checks,
                    exit_code,
                    self._redactor.text,
                    wait_seconds=WAIT_SECONDS if wait_seconds is None else wait_seconds,
                )

        found = await self._read(host, Kind.COMMAND, work)
        if isinstance(found, Refusal):
            detail = f"it could not be measured: {found.message}"
            return tuple(Verified(check.check, check.target, passed=False, detail=detail) for check in checks)
        return found

    async def execute(self, leave: Authorization, run: Run, progress: Progress | None = None) -> Executed:
        """Use up the authorization, then carry the plan out on its host.

        A cancellation (of the task) ends the remote process tree, is looked after on the host, and comes back as
        `Executed` with `Cancelled`, or with `OutcomeUnknown` where the end could not be seen; it is not raised again.
        """
        refusal = await self._consume(leave, run)
        if refusal is not None:
            return Executed({}, refusal, started=False)
        listed: list[Attempt] = []
        try:
            executed = await self._carry_out(run, progress, listed)
        except Faulted as fault:
            executed = Executed({}, fault.refusal, started=fault.began)
        except asyncio.CancelledError as cancelled:
            # What had begun answers for itself; whoever is cancelled here still waited for its turn.
            if LEFT in cancelled.args:  # it had begun before, and goes on
                raise
            by = taken(cancelled)
            executed = Executed({}, Cancelled(reason=f"by {by}; nothing ran"), started=False)
        self._forget_paths(run)
        return replace(executed, attempts=tuple(listed))

    async def collect(self, run: Run, progress: Progress | None = None) -> Executed | None:
        """What became of a run that another connection or server started; None where the host never began it.

        Where the host cannot be asked, the `Executed` says OutcomeUnknown.
        """

        async def work(link: Link, live: Live) -> Executed | None:
            if isinstance(run.plan, WORK_PLANS):
                return await collect_work(link, live, run, self._limits)
            place = Place(link, await surroundings(link, live))
            plan = run.plan if isinstance(run.plan, RunCommand) else RunCommand("")
            outpost = await link.outpost(live)
            if outpost is None:
                async with link.gate.enter():
                    return await PlainRun(place, run, plan, self._spool, self._limits).collect(live, progress)
            return await DurableRun(place, run, plan, self._spool, self._limits).collect(outpost, progress)

        found = await self._read(run.host, Kind.COMMAND, work)
        if isinstance(found, Refusal):
            reason = f"the host could not be asked: {found.message}"
            return Executed({}, OutcomeUnknown(reason=reason, call_id=run.call_id), started=True)
        return found

    async def discard(self, host: str, run_id: str) -> Refusal | None:
        """Throw a held layer away; it is not an error where there is none."""
        found = await self._read(
            host, Kind.FILES, lambda link, live: ask_runner(link, live, "discard", {"run": run_id})
        )
        return found if isinstance(found, Refusal) else None

    async def diff(self, host: str, run_id: str, chars_max: int) -> str | Refusal:
        """What a held layer would change, as text, redacted."""
        head = {"run": run_id, "bytes_max": chars_max}
        found = await self._read(host, Kind.FILES, lambda link, live: ask_runner(link, live, "diff", head))
        if isinstance(found, Refusal):
            return found
        return self._redactor.text(found.body.decode("utf-8", "replace"))[:chars_max]

    async def close(self) -> None:
        """Close every connection, each within its time."""
        await self._roads.close()

    # ── what the operator asks ───────────────────────────────────────────────────────────────────────────────────────

    async def fingerprints(self, host: str) -> tuple[ShownKey, ...] | Refusal:
        """The keys the host shows now, without logging in; for `interlock hosts trust`."""
        try:
            return await self._roads.shown_keys(host)
        except Faulted as fault:
            return fault.refusal

    async def diagnose(self, host: str) -> tuple[Finding, ...]:
        """What is wrong with a host and how to mend it, step by step; for `interlock doctor`."""
        return await diagnose(self._roads, self._settings, host)

    async def left_behind(self, host: str, call_id: str) -> tuple[int, ...] | Refusal:
        """Process ids on the host that belong to a call, whoever started it and whenever."""
        return await self._read(host, Kind.COMMAND, lambda link, _: look_for(link, call_id))

    async def end(self, host: str, call_id: str) -> Ended | Refusal:
        """End whatever still runs on the host for a call whose outcome is unknown."""
        return await self._read(host, Kind.COMMAND, lambda link, _: end_call(link, call_id))

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _read(self, host: str, kind: Kind, work: Work[Result]) -> Result | Refusal:
        """Work that changes nothing: tried again on any fault of the road."""
        try:
            return await self._attempts.run(host, kind, work, reads=True, listed=[])
        except Faulted as fault:
            return fault.refusal

    async def _carry_out(self, run: Run, progress: Progress | None, listed: list[Attempt]) -> Executed:
        if isinstance(run.plan, RunCommand):
            return await self._command(run, run.plan, progress, listed)
        if isinstance(run.plan, APP_PLANS):
            return await self._app_step(run, run.plan, progress, listed)
        if isinstance(run.plan, WORK_PLANS) and run.bounds.level is Level.STAGED:
            return await self._file_work(run, run.plan, listed)

        async def files(link: Link, live: Live) -> Executed:
            match run.plan:
                case CommitLayer() as plan:
                    return await land_layer(link, live, run, plan, self._limits)
                case UndoRun() as plan:
                    return await undo_run(link, live, run, plan, self._limits)
            return await carry_out(link, live, run, self._limits, self._redactor.text)

        reads = isinstance(run.plan, READING_PLANS)
        return await self._attempts.run(run.host, Kind.FILES, files, reads=reads, listed=listed, outcome=_outcome)

    def _forget_paths(self, run: Run) -> None:
        """What only read can have moved no path."""
        bounds = run.bounds
        if bounds.level is not Level.CONFINED or bounds.writes or bounds.deletes:
            with suppress(Faulted):  # of a host that is not in the inventory nothing is known
                self._roads.link(run.host).paths.forget()

    async def _file_work(self, run: Run, plan: WorkPlan, listed: list[Attempt]) -> Executed:
        """Made ready through the runner: nothing has changed whatever fails, so it may be tried again."""
        work = FileWork(run, plan, self._limits)
        return await self._attempts.run(
            run.host, Kind.FILES, work.carry_out, reads=True, listed=listed, outcome=_outcome
        )

    async def _app_step(self, run: Run, plan: AppPlan, progress: Progress | None, listed: list[Attempt]) -> Executed:
        """A step that may be sent again, as its host knows what is done: tried again whatever fails."""

        async def step(link: Link, live: Live) -> Executed:
            return await change_app(link, live, run, plan, self._artifact_of, progress)

        tries = self._attempts.run(run.host, Kind.COMMAND, step, reads=True, listed=listed, outcome=_outcome)
        try:
            return await (tries if isinstance(plan, UploadArtifact) else _to_its_end(tries))
        except Faulted as fault:
            return Executed({}, unheard(plan, fault.refusal, run.call_id), started=False)

    async def _command(self, run: Run, plan: RunCommand, progress: Progress | None, listed: list[Attempt]) -> Executed:
        async def command(link: Link, live: Live) -> Executed:
            around = await surroundings(link, live)
            outpost = await link.outpost(live)
            if outpost is not None:
                durable = DurableRun(Place(link, around), run, plan, self._spool, self._limits)
                return await durable.carry_out(outpost, progress)
            if run.bounds.level is not Level.NONE:
                reason = f"the host cannot run the runner: {live.no_runner or 'it offers too few sessions'}"
                raise Faulted(ContainmentUnavailable(reason=reason), counts=False)
            if run.bounds.believed:
                link.paths.forget()
                raise Faulted(paths_moved("the host cannot look again where its paths lead"), counts=False)
            async with link.gate.enter():
                plain = PlainRun(Place(link, around), run, plan, self._spool, self._limits)
                return await plain.carry_out(live, progress)

        return await self._attempts.run(run.host, Kind.COMMAND, command, reads=False, listed=listed, outcome=_outcome)


async def _to_its_end(work: Coroutine[Any, Any, Executed]) -> Executed:
    """A short step that was sent is waited for, whoever gives up meanwhile: cut off it might still happen, and late.

    Only a server that stops leaves it: whoever goes on with it sends it again.
    """
    task = asyncio.ensure_future(work)
    await ended(task, LEFT)
    return task.result()


def _outcome(executed: Executed) -> tuple[str, bool]:
    """How an execution reads in the list of attempts, and whether it counts against the host."""
    if executed.refusal is None:
        return "succeeded", False
    return executed.refusal.code, isinstance(executed.refusal, OutcomeUnknown)
