"""What the line asks of the store about layers: hold, land, take back, find. It only carries them to the writer."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from interlock.records import (
    ApprovalAsk,
    CallRow,
    HoldLimits,
    LayerRow,
    LayerState,
    NotAdmitted,
    OpenRun,
    Settlement,
)
from interlock.store import claiming, holding, layers
from interlock.store.operations import Operations
from interlock.store.reads import PAGE_CALLS_MAX
from interlock.store.rows import call_row, storable


class Keeping(Operations):
    """The half of the store that keeps layers."""

    async def hold(
        self, settlement: Settlement, layer: LayerRow, approval: ApprovalAsk | None, limits: HoldLimits
    ) -> str | NotAdmitted:
        """Hold what a running call changed, in one transaction; the approval's id, or "" where nobody is asked.

        In the state HELD the call is held too; in another it ends with that, and only its layer waits for a commit.
        NotAdmitted where it cannot be held: nothing is changed, the call still has to be settled, the layer discarded.
        """
        values = holding.prepare(layer, approval)
        return await self._writer.submit(lambda tx: holding.hold(tx, settlement, values, approval, limits))

    async def begin_landing(self, layer: LayerRow, now: float) -> bool:
        """Put on record what a running call is about to land, before its host is told; False where that is too late."""
        values = layers.layer_values(layer) | {"state": LayerState.LANDING.value}
        return await self._writer.submit(lambda tx: claiming.begin_landing(tx, values, now))

    async def move_layer(
        self,
        run_id: str,
        from_states: Collection[LayerState],
        to_state: LayerState,
        *,
        by: str,
        now: float,
        reason: str = "",
        undo_until: float | None = None,
    ) -> bool:
        """Compare and set, for the call `by`: True for the one who moved it, False for everybody else.

        A claim: held → landing, landed → undoing. Giving it back: landing → held, undoing → landed. Without its call:
        landing → landed, … where that has ended already. Raises LayerMisplaced where there is no such edge.
        """
        return await self._writer.submit(
            lambda tx: claiming.move(tx, run_id, from_states, to_state, by, now, reason, undo_until)
        )

    async def finish_held(self, run_id: str, settlement: Settlement, layer: LayerRow, by: str = "") -> bool:
        """End what a run holds, exactly once: True for the one who ended it.

        `layer` says where it goes: discarded, lost, or landed. A call that is held itself ends with the settlement; one
        that ended before keeps its outcome. `by`: the call whose claim on the layer is over, where there is one.
        """
        if not run_id == settlement.call_id == layer.run_id:
            raise ValueError("a held call ends with a settlement and a layer of its own")
        values = layers.layer_values(layer)
        return await self._writer.submit(lambda tx: holding.finish(tx, settlement, values, by))

    async def resolve_unknown(
        self, settlement: Settlement, by: str, layer: LayerRow | None = None, held: Settlement | None = None
    ) -> CallRow | str:
        """Write the true outcome of an unknown call as `by` (its host) knew it; a sentence where it is not unknown."""
        values = layers.layer_values(layer) if layer else None
        row = await self._writer.submit(lambda tx: holding.resolve(tx, settlement, by, values, held))
        return row if isinstance(row, str) else call_row(row)

    async def expire_layers(self, now: float) -> Sequence[LayerRow]:
        """Discard what was held too long and end what can be undone no more, at most 500 at once; as they are now."""
        return [layers.layer_row(row) for row in await self._writer.submit(lambda tx: holding.expire(tx, now))]

    async def layer(self, call_id: str) -> LayerRow | None:
        """The layer that this call made, or the one that it landed; None where there is none."""
        rows = await self._read("layer_of", call_id=storable(call_id))
        return layers.layer_row(rows[0]) if rows else None

    async def layers(
        self, state: str = "", host: str = "", principal: str = "", limit: int = 100
    ) -> Sequence[LayerRow]:
        """The newest layers first, at most 500; "" = any."""
        rows = await self._read(
            "layers_page",
            state=storable(state),
            host=storable(host),
            principal=storable(principal),
            limit=min(max(1, limit), PAGE_CALLS_MAX),
        )
        return [layers.layer_row(row) for row in rows]

    async def open_runs(self, limit: int = PAGE_CALLS_MAX, after_seq: int = 0) -> Sequence[OpenRun]:
        """Calls whose end is not on record, or whose claim on a layer was left: dispatched, unknown, or ended too soon.

        In the order of admission, at most 500; the last one's `call.seq` is the next page's `after_seq`. Those that run
        in this process are among them.
        """
        claimed = {_claimer(layer): layer for layer in map(layers.layer_row, await self._read("layers_claimed"))}
        page = {"after_seq": max(0, after_seq), "limit": min(max(1, limit), PAGE_CALLS_MAX)}
        calls = [call_row(row) for row in await self._read("runs_open", **page)]
        return [OpenRun(call, claimed.get(call.call_id)) for call in calls]


def _claimer(layer: LayerRow) -> str:
    return layer.landed_by if layer.state is LayerState.LANDING else layer.undone_by
