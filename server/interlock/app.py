"""The composition root: it builds every part of one Interlock from its settings, and takes them down again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from interlock.answers import Answers
from interlock.approvals import Approvals
from interlock.authorize import Authority
from interlock.config.references import held_secrets, secret_values
from interlock.deploy.artifacts import Artifacts
from interlock.deploy.looking import Looking
from interlock.deploy.proposing import Proposing
from interlock.deploy.rendering import Rendering
from interlock.deploy.room import Deploys
from interlock.deploy.steps import OnStep as OnDeployStep
from interlock.deploy.steps import Steps
from interlock.deploy.steps import unwatched as no_deploy_step
from interlock.deploy.views import Views
from interlock.entry import Entry
from interlock.front import InterlockFront
from interlock.guard import Guard
from interlock.hosts import SshHosts
from interlock.hosts.breaker import BreakerState
from interlock.hosts.sandbox import open_sandbox
from interlock.live import LiveCalls
from interlock.logs import redact_logs
from interlock.pipeline import Line
from interlock.policy_files import PolicyFiles
from interlock.ports import Authorization, Run
from interlock.records import ApprovalRow
from interlock.recovering import Recovering
from interlock.resources import Resources
from interlock.settings import HostSettings, Settings
from interlock.shfmt import Shfmt, find_shfmt
from interlock.spool import Spool
from interlock.store import SqliteStore, open_store
from interlock.telemetry.export import export_forever
from interlock.trail import OnStep, unwatched
from interlock_policies.engine import PolicyEngine
from interlock_policies.redact import Redactor
from interlock_policies.shell.analyse import Analyser
from interlock_tools.errors import Refusal

log = logging.getLogger("interlock")

ANALYSES_KEPT_MAX = 4_096


@dataclass
class App:
    """The parts that the command line and the transports use."""

    settings: Settings
    store: SqliteStore
    hosts: SshHosts
    spool: Spool
    policy: PolicyFiles
    guard: Guard
    entry: Entry
    line: Line
    live: LiveCalls
    approvals: Approvals
    answers: Answers
    front: InterlockFront
    redactor: Redactor
    clock: Callable[[], float]

    def engine(self) -> PolicyEngine:
        """The policy in force."""
        return self.guard.engine

    async def approve(self, approval_id: str, approve: bool, by: str, reason: str) -> ApprovalRow | str:
        """Decide an approval; an approved call then runs by itself."""
        return await self.approvals.decide(approval_id, approve=approve, by=by, reason=reason)

    def reload_policy(self) -> str:
        """Load the policy files anew; "" where they are in force now, else why the old policy stays."""
        return self.policy.reload(self.guard)


class KeptBreakers:
    """The hosts' breakers, kept in the store."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    async def load_breakers(self) -> list[BreakerState]:
        rows = await self._store.load_breakers()
        return [BreakerState(row.host, row.kind, row.failures, row.opened_at) for row in rows]

    async def save_breaker(self, state: BreakerState) -> None:
        await self._store.save_breaker(state.host, state.kind, state.failures, state.opened_at)


@asynccontextmanager
async def open_app(
    settings: Settings,
    *,
    clock: Callable[[], float] = time.time,
    on_step: OnStep = unwatched,
    on_deploy_step: OnDeployStep = no_deploy_step,
) -> AsyncIterator[App]:
    """Open the store as its one owner, build the house, run its upkeep until the context ends.

    Raises StoreOwned where another process owns the store, PolicyFault where the policy does not load.
    """
    async with AsyncExitStack() as stack:
        redactor = Redactor(secret_values(settings))
        stack.enter_context(redact_logs(redactor))
        policy = PolicyFiles(settings)
        engine = policy.load()
        store = await stack.enter_async_context(open_store(settings.state_dir, clock))
        settings = await _with_embedded(settings, stack)
        app = await _build(settings, store, policy, engine, redactor, clock, on_step, on_deploy_step)
        stack.push_async_callback(app.hosts.close)
        stack.push_async_callback(app.live.close)
        for row in await store.lose_dispatched(clock()):
            log.warning("call %s was under way when the server stopped; its outcome is unknown", row.call_id)
        await app.approvals.mend()
        if settings.otlp_endpoint:
            await stack.enter_async_context(background(export_forever(store, settings.otlp_endpoint)))
        recovering = Recovering(app.line, app.entry, app.live)
        for upkeep in (app.approvals.sweep(), policy.watch(app.guard), _keep_house(app), recovering.forever()):
            await stack.enter_async_context(background(upkeep))
        yield app


async def _with_embedded(settings: Settings, stack: AsyncExitStack) -> Settings:
    """The settings with the address of every embedded host, each a real SSH server on loopback in this process."""
    hosts: dict[str, HostSettings] = {}
    for name, host in settings.hosts.items():
        if host.embedded:
            hosts[name] = await stack.enter_async_context(open_sandbox(host, settings.state_dir))
        else:
            hosts[name] = host
    return replace(settings, hosts=hosts)


async def _build(
    settings: Settings,
    store: SqliteStore,
    policy: PolicyFiles,
    engine: PolicyEngine,
    redactor: Redactor,
    clock: Callable[[], float],
    on_step: OnStep,
    on_deploy_step: OnDeployStep,
) -> App:
    authority = Authority(clock)
    spool = Spool(settings.state_dir / "output", settings.limits.output_bytes_max, redactor)

    async def consume(leave: Authorization, run: Run) -> Refusal | None:
        return authority.consume(leave, run, guard.engine.version)

    artifacts = Artifacts(settings.artifacts_dir, settings.state_dir / "artifacts", spool)
    hosts = SshHosts(
        settings,
        consume=consume,
        spool=spool,
        redactor=redactor,
        breakers=KeptBreakers(store),
        clock=clock,
        artifact_of=artifacts.path_of,
    )
    analyser = Analyser(shfmt=Shfmt(find_shfmt()), cache_entries_max=ANALYSES_KEPT_MAX)
    guard = Guard(engine, analyser, hosts, settings.limits.command_chars_max)
    entry = Entry(settings, store, hosts, redactor, clock, policy.alarm)
    rendering = Rendering(artifacts, held_secrets(settings))
    looking = Looking(entry, guard, hosts, Proposing(store, store, hosts, artifacts, rendering), clock)
    steps = Steps(store, hosts, authority, lambda: guard.engine.version, clock, redactor, on_deploy_step)
    deploys = Deploys(looking, store, steps, Views(looking, store, steps), redactor, clock)
    line = Line(entry, guard, store, hosts, authority, redactor, settings.limits, clock, deploys, on_step)
    live = LiveCalls()
    approvals = Approvals(line, entry, live)
    answers = Answers(line, entry, live, approvals, spool)
    resources = Resources(line, entry, answers)

    async def token_principal(token: str) -> str | None:
        return await store.token_principal(token, clock())

    front = InterlockFront(line, entry, live, approvals, answers, resources, token_principal)
    return App(
        settings, store, hosts, spool, policy, guard, entry, line, live, approvals, answers, front, redactor, clock
    )


async def _keep_house(app: App) -> None:
    """Once an hour drop the calls and the output that are older than the record's limit, or over its size."""
    while True:
        before = app.clock() - app.settings.limits.record_days_max * 86_400
        await app.store.prune(before)
        await asyncio.to_thread(app.spool.prune, app.clock(), app.settings.limits.record_days_max)
        await asyncio.sleep(3_600)


@asynccontextmanager
async def background(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Do this beside what the context does, until it ends."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
