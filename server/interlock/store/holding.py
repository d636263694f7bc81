"""How a call and its layer go together: held in one transaction, and ended in one. It asks no host and lands nothing.

    hold      dispatched (or unknown, found on its host) → held, or failed with its layer kept; maybe a human is asked
    settle    what a call landed or took back, the call itself, and the held call whose layer it was: at once
    finish    held → settled, with its layer discarded, lost or landed; exactly once
    expire    held too long → discarded; landed long ago → its undo ends

A held call whose layer somebody else is landing is not ended by anybody but them.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace

from interlock.records import (
    ApprovalAsk,
    ApprovalState,
    HoldLimits,
    LayerRow,
    LayerState,
    Life,
    NotAdmitted,
    Settlement,
)
from interlock.store import layers, settling
from interlock.store.admission import approval_id_of, put_question
from interlock.store.approving import LAPSED_MAX, held_digest, move_approval, withdraw
from interlock.store.connection import Tx
from interlock.store.faults import CallNotRecorded, LayerMisplaced, StoreUnavailable
from interlock.store.rows import Values
from interlock_tools.errors import ApprovalExpired, Cancelled, Refusal, State

_HELD_RETRY_SECONDS = 60
_WAITING = (LayerState.HELD, LayerState.LANDING)


def prepare(layer: LayerRow, ask: ApprovalAsk | None) -> Values:
    """The columns of a layer that is to be held."""
    return layers.layer_values(replace(layer, state=LayerState.HELD, approval_id=approval_id_of(ask)))


def hold(
    tx: Tx, settlement: Settlement, values: Values, ask: ApprovalAsk | None, limits: HoldLimits
) -> str | NotAdmitted:
    """Keep a layer on record with the call that made it; the approval's id, or "" where nobody is asked.

    With the state HELD the call is held too; with another it ends with that, and only its layer waits. NotAdmitted, and
    nothing is changed, where too much is held already or the call has ended meanwhile: the layer is to be discarded.
    """
    call = tx.one("call_of", {"call_id": settlement.call_id})
    if call is None or values["run_id"] != settlement.call_id:
        raise CallNotRecorded(call_id=settlement.call_id)
    if ask is not None and settlement.state is not State.HELD:
        raise ValueError("only a call that is held itself waits for an approval")
    before, row = Life(call["life"]), layers.layer_at(tx, settlement.call_id)
    movable = row is None or (
        row["digest"] == values["digest"] and layers.may_move(row, LayerState.HELD, settlement.call_id)
    )
    if before not in (Life.DISPATCHED, Life.UNKNOWN) or not movable:
        return NotAdmitted("STALE_STATE", f"the call {settlement.call_id} is {before}; it can hold nothing any more")
    if (full := _full(tx, call, values, limits, again=row is not None, asks=ask is not None)) is not None:
        return full
    _end_as_held(tx, call, settlement)
    if row is None:
        layers.insert(tx, values, call, settlement.now)
    else:
        again = {name: values[name] for name in ("approval_id", "expires", "bytes", "reason")}
        layers.move(tx, row, LayerState.HELD, settlement.now, **again)
    if ask is not None:
        bound = {name: call[name] for name in ("call_id", "policy_version", "principal", "tool", "host")}
        bound |= {"digest": held_digest(call["digest"], values["digest"]), "created": float(settlement.now)}
        put_question(tx, ask, bound | {"approval_id": values["approval_id"]}, limits)
    return str(values["approval_id"])


def _end_as_held(tx: Tx, call: sqlite3.Row, settlement: Settlement) -> None:
    found = call["life"] == Life.UNKNOWN.value
    if settlement.state is State.HELD:  # what it was charged stays charged until it is clear what became of it
        settling.end(tx, "found" if found else "held", call, settlement, Life.HELD, 0)
    else:
        life = Life.RECONCILED if found else Life.SETTLED
        settling.end(tx, "reconciled" if found else "settled", call, settlement, life, settlement.refund_units)
    settling.follow_loop(tx, call, settlement)


def _full(
    tx: Tx, call: sqlite3.Row, values: Values, limits: HoldLimits, *, again: bool, asks: bool
) -> NotAdmitted | None:
    """The limit that one more held layer, or one more question to a human, would break."""
    questions = {"host": call["host"], "principal": call["principal"], "layers_max": limits.layers_max}
    facts = tx.one("layer_facts", questions | {"pending_max": limits.approvals_pending_max})
    if facts is None:
        raise StoreUnavailable(reason="what is held could not be counted")
    reason = ""
    if asks and facts["approvals_pending"] >= limits.approvals_pending_max:
        reason = f"{facts['approvals_pending']} of your calls wait for a human already"
    if not again:  # one that is given back was counted all along
        reason = _too_much(call["host"], values["bytes"], facts, limits) or reason
    return NotAdmitted("CONCURRENCY_LIMITED", reason, _HELD_RETRY_SECONDS) if reason else None


def _too_much(host: str, more_bytes: int, facts: sqlite3.Row, limits: HoldLimits) -> str:
    if facts["on_host"] >= limits.layers_max:
        return f"{facts['on_host']} changes are held on {host} already, its limit"
    if facts["of_principal"] >= limits.layers_max:
        return f"{facts['of_principal']} of your changes are held already, your limit"
    if facts["host_bytes"] + more_bytes > limits.host_bytes_max:
        return f"more than {limits.host_bytes_max} bytes would be held on {host} with it, its limit"
    return ""


def settle(tx: Tx, settlement: Settlement, layer: Values | None, held: Settlement | None) -> bool:
    """End a call; with it the layer that it made, landed or took back, and the `held` call whose layer that was.

    False where the call had ended before: it keeps its outcome, but a layer that it still claims is brought to where
    the host has it. A held call that is settled takes its layer with it: discarded, unless `layer` says otherwise.
    """
    call = tx.one("call_of", {"call_id": settlement.call_id})
    if call is None:
        raise CallNotRecorded(call_id=settlement.call_id)
    if call["life"] == Life.HELD.value:
        gone = {"state": LayerState.DISCARDED.value, "reason": "its call was ended"}
        return finish(tx, settlement, gone if layer is None else layer)
    ended = settling.settle(tx, settlement)
    if layer is not None:
        _bring(tx, call, settlement, layer, held, surely=ended)
    return ended


def resolve(
    tx: Tx, settlement: Settlement, by: str, layer: Values | None, held: Settlement | None
) -> sqlite3.Row | str:
    """End an unknown call as its host knew it, with layer and held call as `settle` does; a sentence if it is not."""
    row = settling.resolve(tx, settlement, by)
    if layer is not None and not isinstance(row, str):
        _bring(tx, row, settlement, layer, held, surely=True)
    return row


def _bring(
    tx: Tx, call: sqlite3.Row, settlement: Settlement, layer: Values, held: Settlement | None, *, surely: bool
) -> None:
    """Bring the layer to where this call left it. LayerMisplaced where that cannot be, and it `surely` is so."""
    state, now = LayerState(layer["state"]), settlement.now
    if not surely and state is not LayerState.LANDED and layers.layer_at(tx, layer["run_id"]) is None:
        return  # a call that ended otherwise begins to hold nothing; what it landed is there all the same
    before = layers.follow(tx, layer, settlement.call_id, call, now)
    if before is None:
        row = layers.layer_at(tx, layer["run_id"])
        if surely and (row is None or row["state"] != state):
            raise LayerMisplaced(run_id=layer["run_id"], before=row["state"] if row else "nothing", after=state.value)
        return
    run = tx.one("call_of", {"call_id": layer["run_id"]})
    if run is None or run["life"] != Life.HELD.value or state in _WAITING:
        return
    if held is None or held.call_id != layer["run_id"]:
        raise LayerMisplaced(run_id=layer["run_id"], before=before.value, after=f"{state} while its call is held")
    _end_held(tx, run, held, state)


def finish(tx: Tx, settlement: Settlement, layer: Values, by: str = "") -> bool:
    """End what a run holds: its layer goes where `layer` says, and the call, if it is held itself, ends as settled.

    False, and nothing is changed, where nothing is held any more or somebody else lands it. `by`: the call whose claim
    on the layer is over, where there is one.
    """
    row, state = layers.layer_at(tx, settlement.call_id), LayerState(layer["state"])
    if row is None or row["state"] not in _WAITING or state in _WAITING or not layers.may_move(row, state, by):
        return False
    call = tx.one("call_of", {"call_id": settlement.call_id})
    undo = {"undo_until": layer["undo_until"], "bytes": layer["bytes"]} if state is LayerState.LANDED else {}
    layers.move(tx, row, state, settlement.now, reason=layer["reason"], **undo)
    if call is not None and call["life"] == Life.HELD.value:
        _end_held(tx, call, settlement, state)
    return True


def _end_held(tx: Tx, call: sqlite3.Row, settlement: Settlement, state: LayerState) -> None:
    settling.end(tx, "finished", call, settlement, Life.SETTLED, settlement.refund_units)
    withdraw(tx, call["call_id"], settlement.now)
    if state is LayerState.LANDED:
        tx.run("host_changed", {"host": call["host"]})


def expire(tx: Tx, now: float) -> list[sqlite3.Row]:
    """Discard what was held too long, end the undo of what landed long ago; at most 500 at once, as they are then."""
    lapsed = tx.rows("layers_lapsed", {"now": now, "limit": LAPSED_MAX})
    for name, state in ((row["run_id"], LayerState(row["state"])) for row in lapsed):
        if state is LayerState.HELD:
            _discard_lapsed(tx, name, now)
        elif (row := layers.layer_at(tx, name)) is not None:
            layers.move(tx, row, LayerState.LANDED, now, undo_until=None, reason="the time to undo it is over")
    found = [tx.one("layer_of", {"call_id": row["run_id"]}) for row in lapsed]
    return [row for row in found if row is not None]


def _discard_lapsed(tx: Tx, run_id: str, now: float) -> None:
    call = tx.one("call_of", {"call_id": run_id})
    approval = tx.one("approval_of_call", {"call_id": run_id})
    refusal: Refusal = Cancelled(reason="what it changed was held, and nobody landed it in time; nothing has landed")
    if approval is not None and approval["state"] in (ApprovalState.PENDING, ApprovalState.APPROVED):
        refusal = ApprovalExpired(reason="it was not decided and landed in time; nothing has landed")
        move_approval(tx, approval, ApprovalState.EXPIRED, now)
    stored = {} if call is None or call["envelope"] is None else json.loads(call["envelope"])
    envelope = stored | {"ok": False, "state": State.DISCARDED.value, "error": refusal.to_json()}
    settlement = Settlement(run_id, State.DISCARDED, envelope, refusal.code, now)
    finish(tx, settlement, {"state": LayerState.DISCARDED.value, "reason": "it was held too long"})
