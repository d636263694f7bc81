"""Claims on layers: who may land or take back now, and what becomes of a claim nobody is left for. It ends no call."""

from __future__ import annotations

from collections.abc import Collection

from interlock.records import LayerState, Life
from interlock.store import layers, settling
from interlock.store.approving import withdraw
from interlock.store.connection import Tx
from interlock.store.faults import LayerMisplaced
from interlock.store.rows import OUTCOME_COLUMNS, Values
from interlock_tools.errors import State


def begin_landing(tx: Tx, values: Values, now: float) -> bool:
    """Put on record what a running call is about to land, before its host is told; False where that is too late."""
    call = tx.one("call_of", {"call_id": values["run_id"]})
    if call is None or call["life"] != Life.DISPATCHED.value or layers.layer_at(tx, values["run_id"]) is not None:
        return False
    layers.insert(tx, values, call, now)
    return True


def move(
    tx: Tx,
    run_id: str,
    from_states: Collection[LayerState],
    to_state: LayerState,
    by: str,
    now: float,
    reason: str,
    undo_until: float | None,
) -> bool:
    """Move a layer if it is in one of these states, nobody else claims it, and its time is not over; else False.

    A commit that claims a held layer takes the question to a human back: what is landed is not decided on any more.
    LayerMisplaced where the drawing has no such edge, or where a held call would be left behind: that one is finished.
    """
    row = layers.layer_at(tx, run_id)
    if row is None or row["state"] not in from_states:
        return False
    call = tx.one("call_of", {"call_id": run_id})
    held = call is not None and call["life"] == Life.HELD.value
    waits = to_state in (LayerState.HELD, LayerState.LANDING)
    if to_state not in layers.EDGES[LayerState(row["state"])] or (held and not waits) or not by:
        raise LayerMisplaced(run_id=run_id, before=row["state"], after=to_state.value)
    if not layers.may_move(row, to_state, by):
        return False
    if to_state is LayerState.LANDING:
        if now >= row["expires"]:
            return False
        withdraw(tx, run_id, now)
        layers.move(tx, row, to_state, now, landed_by=by)
    elif to_state is LayerState.UNDOING:
        if row["undo_until"] is None or now >= row["undo_until"]:
            return False
        layers.move(tx, row, to_state, now, undone_by=by)
    elif to_state is LayerState.LANDED and row["state"] != LayerState.UNDOING:
        layers.move(tx, row, to_state, now, reason=reason, undo_until=undo_until)
    else:
        layers.move(tx, row, to_state, now, reason=reason)
    return True


def put_back(tx: Tx, call_id: str, now: float) -> bool:
    """A held call whose caller left before anything was landed is held again, as it was; its approval stays used."""
    call, row = tx.one("call_of", {"call_id": call_id}), layers.layer_at(tx, call_id)
    if call is None or row is None or call["life"] != Life.DISPATCHED.value:
        return False
    if not layers.may_move(row, LayerState.HELD, call_id):
        return False
    values: Values = {column: call[column] for column in OUTCOME_COLUMNS}
    values |= {"life": Life.HELD.value, "state": State.HELD.value, "settled": float(now)}
    settling.write_outcome(tx, "held", now, values)
    layers.move(tx, row, LayerState.HELD, now)
    return True
