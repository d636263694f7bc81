"""The operations on deployments behind the command line: list, show, plan, end. None of them changes a host."""

from __future__ import annotations

import asyncio

from interlock.app import App
from interlock.control.faults import ControlFault
from interlock.deploy.records import DeploymentRow
from interlock.deploy.telling import result_of
from interlock.naming import whole_id
from interlock.ports import Request
from interlock_tools.apps import App as Deployable
from interlock_tools.call import Json
from interlock_tools.closest import closest
from interlock_tools.errors import Cancelled
from interlock_tools.rollout import rollout_from_json

SESSION = "command-line"
LISTED_MAX = 50


class DeployAdmin:
    """One method an operation; see `admin.Admin`."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def listed(self) -> Json:
        """Every app as its hosts have it now: what is live where, whether it is healthy, what is rolled out."""
        apps = list(self._app.settings.apps.values())[:LISTED_MAX]
        return list(await asyncio.gather(*(self._status(app) for app in apps)))

    async def _status(self, app: Deployable) -> Json:
        return {**await self._app.line.deploys.views.status(app), "owner": app.owner, "path": app.path}

    async def shown(self, name: str) -> Json:
        """One deployment with its plan and every step of it: by its call, or the newest of an app."""
        row = await self._found(name)
        steps = await self._app.store.steps(row.call_id)
        return {"deployment": row, "steps": list(steps), "now": await self._app.line.deploys.views.progress(row)}

    async def _found(self, name: str) -> DeploymentRow:
        if name in self._app.settings.apps:
            rows = await self._app.store.deployments(name, 1)
            if not rows:
                raise ControlFault("CALL_UNKNOWN", f"nothing was deployed of {name} yet", "interlock deploy list")
            return rows[0]
        near = closest(name, tuple(self._app.settings.apps), is_identity=True)
        hint = (
            f"did you mean {near}?" if near else "interlock deploy list names the apps, interlock trace list the calls"
        )
        row = await self._app.store.deployment(await whole_id(self._app.store, name))
        if row is None:
            raise ControlFault("CALL_UNKNOWN", "there is no app and no deployment of this name", hint)
        return row

    async def end(self, name: str, reason: str, by: str) -> Json:
        """Give up a deployment that cannot be ended by itself: a person has seen to its hosts. The app is free then."""
        row = await self._found(name)
        now = self._app.clock()
        rows = await self._app.store.steps(row.call_id)
        rollout = rollout_from_json(row.plan["rollout"])
        said = f"{by} ended it by hand: {reason}"
        result = result_of(rollout, rows, "given_up", now - row.created)
        kept = self._app.redactor.json({**result, "error": {"code": Cancelled.code, "reason": said}})
        if not await self._app.store.end_deployment(row.call_id, "given_up", kept, now):
            raise ControlFault("NOT_OPEN", f"it has ended: {row.outcome}", "interlock deploy show NAME")
        return {"call_id": row.call_id, "app": row.app, "hosts": result["hosts"]}

    async def plan(self, app: str, artifact: str, release: str = "", principal: str = "") -> Json:
        """What deploy_release would do for this principal, as a preview; the answer's envelope."""
        who = principal or self._app.settings.default_principal
        arguments: dict[str, Json] = {
            "app": app,
            "artifact": artifact,
            "mode": "preview",
            "intent": "A person at the command line looks at the plan",
        }
        arguments |= {"release": release} if release else {}
        return (await self._app.front.call(Request(who, SESSION, "deploy_release", arguments))).to_json()
