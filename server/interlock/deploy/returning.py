"""Returning: to which earlier release an app goes back: a kept one that was named, or what was live before."""

from __future__ import annotations

from interlock.deploy.ports import DeployStore
from interlock_tools.apps import App
from interlock_tools.errors import Recovery, Refusal, StaleState
from interlock_tools.found import HostState
from interlock_tools.planning import previous_release, rollback_rollout
from interlock_tools.rollout import Rollout

HISTORY_MAX = 50


async def rollback_of(
    app: App, release: str, states: tuple[HostState, ...], deployments: DeployStore
) -> Rollout | Refusal:
    """The way back to this release ("" = to what was live before); a refusal where not every reached host keeps it."""
    reached = [state for state in states if not state.why]
    everywhere = [kept.release for kept in reached[0].kept if all(state.release(kept.release) for state in reached)]
    wanted = release or await _before(app, reached, everywhere, deployments)
    if wanted and wanted in everywhere:
        return rollback_rollout(app, wanted, states)
    look = Recovery.use("deploy_status", {"app": app.name}, "It lists the releases that each host keeps.")
    what = f"{wanted} is not kept on every host" if wanted else "there is no release before the live one"
    allowed = tuple(name for name in everywhere if name != reached[0].live)
    return StaleState(path="release", reason=f"{what}; nothing was changed", allowed=allowed, recovery=look)


async def _before(app: App, reached: list[HostState], everywhere: list[str], deployments: DeployStore) -> str:
    """What was live before, as the record has it; else the release that was placed before the live one."""
    rows = await deployments.deployments(app.name, HISTORY_MAX)
    were_live = [row.release for row in rows if row.outcome == "live" and row.release != reached[0].live]
    placed = [name for state in reached if (name := previous_release(state))]
    return next((name for name in (*were_live, *placed) if name in everywhere), "")
