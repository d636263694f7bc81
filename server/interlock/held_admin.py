"""The operations on held and landed changes behind the command line: list, show, land, discard, undo."""

from __future__ import annotations

from dataclasses import replace

from interlock.app import App
from interlock.control.faults import ControlFault
from interlock.naming import whole_id
from interlock.ports import Request
from interlock.records import CallRow, LayerRow, LayerState
from interlock_policies.honest import honest_commit
from interlock_tools.call import Json
from interlock_tools.changes import change_from_json
from interlock_tools.effects import Declaration
from interlock_tools.envelope import Envelope
from interlock_tools.errors import State

SESSION = "command-line"
DIFF_CHARS_MAX = 100_000
LISTED_MAX = 500


class HeldAdmin:
    """One method an operation; see `admin.Admin`. What it lands or undoes walks the same line as every call."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def listed(self, state: str = "held", limit: int = 100) -> Json:
        """The newest layers; `state` "" = of every state. Without their changes."""
        if state and state not in tuple(LayerState):
            raise ControlFault("BAD_REQUEST", "there is no such state", ", ".join(LayerState))
        rows = await self._app.store.layers(state=state, limit=min(limit, LISTED_MAX))
        return [{"layer": replace(row, changes=()), "paths": len(row.changes)} for row in rows]

    async def shown(self, call_id: str) -> Json:
        """One layer with its changes, its call, and what it would change as text."""
        layer, call = await self._both(call_id)
        diff = ""
        if layer.state is LayerState.HELD and layer.host in self._app.settings.hosts:
            found = await self._app.hosts.diff(layer.host, layer.run_id, DIFF_CHARS_MAX)
            diff = found if isinstance(found, str) else f"(the host did not show it: {found.message})"
        whole = tuple(
            change_from_json(change).to_json() for change in layer.changes
        )  # on record what is empty is left out
        return {"layer": replace(layer, changes=whole), "call": call, "diff": diff}

    async def land(self, call_id: str, reason: str, by: str) -> Json:
        """Land a held change as the person who asks for it: declared as it was measured, approved where policy asks."""
        layer, _ = await self._both(call_id)
        changes = tuple(change_from_json(change) for change in layer.changes)
        arguments = {"call_id": layer.run_id, "intent": _intent(reason), **honest_commit(Declaration(), changes)}
        return await self._walk(layer, "call_commit", arguments, reason, by)

    async def undo(self, call_id: str, keep: str, reason: str, by: str) -> Json:
        """Put back what a call changed; `keep` "ours": also where something changed since."""
        if keep not in ("", "ours"):
            raise ControlFault("BAD_REQUEST", "what wins is either what is there now, or what was there before")
        layer, _ = await self._both(call_id)
        return await self._walk(
            layer, "call_undo", {"call_id": layer.run_id, "intent": _intent(reason)}, reason, by, keep
        )

    async def discard(self, call_id: str, reason: str, by: str) -> Json:
        """Throw a held change away."""
        layer, _ = await self._both(call_id)
        said = f"{by}: {reason}" if reason else by
        if layer.state is not LayerState.HELD or not await self._app.approvals.withdraw(layer.run_id, said):
            raise ControlFault("NOT_HELD", f"this change is {layer.state.value}", "interlock held list")
        return {"call_id": layer.run_id, "discarded": True}

    async def _walk(
        self, layer: LayerRow, tool: str, arguments: dict[str, Json], reason: str, by: str, keep: str = ""
    ) -> Json:
        request = Request(layer.principal, SESSION, tool, arguments, keep=keep)
        envelope = await self._app.front.call(request)
        if envelope.state is State.AWAITING_APPROVAL:
            await self._app.approve(str(envelope.result["approval_id"]), approve=True, by=by, reason=reason)
            seconds = self._app.settings.limits.timeout_seconds_max
            envelope = await self._app.live.wait(envelope.call_id, seconds) or await self._ended(envelope)
        return envelope.to_json()

    async def _ended(self, asked: Envelope) -> Envelope:
        row = await self._app.store.call(asked.call_id)
        return await self._app.answers.of(row) if row is not None else asked

    async def _both(self, call_id: str) -> tuple[LayerRow, CallRow]:
        wanted = await whole_id(self._app.store, call_id)
        layer, call = await self._app.store.layer(wanted), await self._app.store.call(wanted)
        if layer is None or call is None:
            raise ControlFault("CALL_UNKNOWN", "no call of this id has held or undoable changes", "interlock held list")
        return layer, call


def _intent(reason: str) -> str:
    return (reason or "A person at the command line decided so")[:500].ljust(3, ".")
