"""Views: what is told of an app without changing anything: its status, a plan, a release that is live already."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from interlock.deploy.asking import Deployment
from interlock.deploy.looking import Looking
from interlock.deploy.ports import DeployStore
from interlock.deploy.records import DeploymentRow
from interlock.deploy.steps import Steps
from interlock.deploy.telling import progress_of
from interlock.ports import Executed
from interlock.ticket import Ticket
from interlock_tools.apps import App
from interlock_tools.call import Call, Json
from interlock_tools.errors import VerificationFailed
from interlock_tools.file_planning import drifted
from interlock_tools.found import HostState
from interlock_tools.planning import not_running, words_of
from interlock_tools.rollout import Rollout, rollout_from_json

ENDED_SHOWN_MAX = 5
DRIFTED_SHOWN_MAX = 50
FILES_SHOWN_MAX = 20


@dataclass(frozen=True)
class Views:
    """Looks at apps and at the record of their deployments."""

    looking: Looking
    store: DeployStore
    steps: Steps

    def preview(self, ticket: Ticket, rollout: Rollout) -> Executed:
        """The plan in words and values, and whom it would ask. Nothing is changed."""
        words: list[Json] = list(words_of(rollout, files=not ticket.diff))
        asks = list(ticket.decision.obligations)
        plan = {"outcome": "preview", "plan": _shown_plan(rollout), "words": words, "would_ask": asks}
        plan |= {"diff": list(ticket.diff)} if ticket.diff else {}
        return Executed(plan, None, started=True)

    async def unchanged(self, app: App, rollout: Rollout) -> Executed:
        """It is live everywhere: nothing is done, but whether it is healthy is looked at once."""
        checks = await self.checked(app, rollout.unchanged)
        failed = [entry for entry in checks if not entry["passed"]]
        result: dict[str, Json] = {
            "app": app.name,
            "release": rollout.release,
            "outcome": "unchanged",
            "unchanged": list(rollout.unchanged),
            "checks": list(checks),
            "skipped": [{"host": host, "why": why} for host, why in rollout.skipped],
        }
        if not failed:
            return Executed(result, None, started=True)
        reason = f"it is live, nothing was done, but {failed[0]['host']}: {failed[0]['check']} {failed[0]['detail']}"
        return Executed(result, VerificationFailed(reason=reason), started=True)

    async def service_status(self, call: Call, app: App, rollout: Rollout) -> Executed:
        """What each host's manager says of the service. It takes no lease: nothing is changed."""
        deployment = Deployment(call, app, rollout, 0, _unheard)
        said = await asyncio.gather(*(self.steps.asked_status(deployment, plan) for plan in rollout.hosts))
        skipped = [{"host": host, "why": why} for host, why in rollout.skipped]
        return Executed(
            {"app": app.name, "action": "status", "hosts": list(said), "skipped": skipped}, None, started=True
        )

    async def checked(self, app: App, hosts: Sequence[str]) -> list[dict[str, Json]]:
        """Every check of the app on these hosts, looked at once."""

        async def one(host: str) -> list[dict[str, Json]]:
            found: list[dict[str, Json]] = []
            for check in app.checks:
                passed, detail = await self.steps.looked(app, host, check)
                found.append(
                    {"host": host, "check": check.kind, "target": check.target, "passed": passed, "detail": detail}
                )
            return found

        return [entry for found in await asyncio.gather(*map(one, hosts)) for entry in found]

    async def status(self, app: App) -> dict[str, Json]:
        """What is live on each host, what is kept, whether it is healthy, and a roll-out that is under way."""
        states = await self.looking.proposing.states(app, await self.looking.facts(app))
        reached = [state.host for state in states if not state.why and state.live]
        checks = await self.checked(app, reached)
        rows = await self.store.deployments(app.name, 10)
        open_ = next((row for row in rows if row.phase != "ended"), None)
        return {
            "app": app.name,
            "hosts": [
                _state_json(state, [check for check in checks if check["host"] == state.host]) for state in states
            ],
            "rolling_out": await self.progress(open_) if open_ is not None else None,
            "last": [_row_json(row) for row in rows if row.phase == "ended"][:ENDED_SHOWN_MAX],
        }

    async def progress(self, row: DeploymentRow) -> dict[str, Json]:
        """Where a deployment stands, host by host."""
        return progress_of(row, rollout_from_json(row.plan["rollout"]), await self.store.steps(row.call_id))


def _shown_plan(rollout: Rollout) -> Json:
    """The plan with as many of each host's files as are worth sending; all of them are in its digest."""
    shown = rollout.to_json()
    for host in shown["hosts"]:
        files = host.get("files") or []
        if len(files) > FILES_SHOWN_MAX:
            host |= {"files": files[:FILES_SHOWN_MAX], "more_files": len(files) - FILES_SHOWN_MAX}
    return {**shown, "digest": rollout.digest}


async def _unheard(_: str) -> None:
    """Nobody waits for progress of a look."""


def _state_json(state: HostState, checks: list[dict[str, Json]]) -> dict[str, Json]:
    kept: list[Json] = [{"release": kept.release, "sha256": kept.sha256} for kept in state.kept]
    shown: dict[str, Json] = {"host": state.host, "live": state.live, "kept": kept, "free_bytes": state.free_bytes}
    shown |= {"why": state.why} if state.why else {}
    elsewhere = (*drifted(state), *not_running(state))
    shown |= {"drifted": list(elsewhere[:DRIFTED_SHOWN_MAX])} if elsewhere else {}
    if checks:
        failed = [check for check in checks if not check["passed"]]
        shown |= {"healthy": not failed, "failed": list(failed)}
    return shown


def _row_json(row: DeploymentRow) -> dict[str, Json]:
    error = row.result.get("error") or {}
    shown: dict[str, Json] = {"call_id": row.call_id, "kind": row.kind, "release": row.release, "outcome": row.outcome}
    return shown | ({"error": error} if error else {})
