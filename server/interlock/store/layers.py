"""Layers on record: what a run changed, held on its host or landed, and who may move it now. It lands nothing itself.

          hold              claim: one call             settle               claim: one call         settle
    (run) ────> held ──────────────────────> landing ────────────> landed ──────────────────> undoing ─────> undone
                 │ ^                          │  │ │                │ ^ │                       │  │
                 │ └── stale, or not begun ───┘  │ │                │ │ └ its undo ended: stays │  └──────> lost
                 │                               │ │                │ └──────── stale ──────────┘
                 ├──> discarded <────────────────┘ └──> lost        │
                 └──> lost              (run, landed at once) ──────┘

A claim is a compare-and-set in the one writer, so of two commits, or of a commit, a discard and an expiry, one wins.
While a layer is claimed only its claimer moves it. A server that dies meanwhile leaves the claim: the host is asked.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from interlock.records import LAYER_CHANGES_CHARS_MAX, LayerRow, LayerState
from interlock.store.chain import text_digest
from interlock.store.connection import Tx
from interlock.store.faults import LayerMisplaced
from interlock.store.rows import Values, digest_of_columns, dump, real, storable

# What the audit record of a layer covers, in this order; never reorder, only start a new schema version.
LAYER_COLUMNS = (
    "run_id host principal call_digest digest changes_sha256 truncated bytes state created expires landed landed_by "
    "undo_until undone undone_by approval_id reason"
).split()
_S = LayerState
EDGES: Mapping[LayerState | None, frozenset[LayerState]] = {
    None: frozenset({_S.HELD, _S.LANDING, _S.LANDED}),
    _S.HELD: frozenset({_S.LANDING, _S.DISCARDED, _S.LOST}),
    _S.LANDING: frozenset({_S.LANDED, _S.HELD, _S.DISCARDED, _S.LOST}),
    _S.LANDED: frozenset({_S.UNDOING, _S.LANDED}),
    _S.UNDOING: frozenset({_S.UNDONE, _S.LANDED, _S.LOST}),
    _S.UNDONE: frozenset(),
    _S.DISCARDED: frozenset(),
    _S.LOST: frozenset(),
}
_CLAIMERS = {_S.LANDING: "landed_by", _S.UNDOING: "undone_by"}


def layer_values(layer: LayerRow) -> Values:
    """The columns of a layer: what can be made off the writer's thread. Changes over the limit are left out."""
    changes, whole = _bounded(layer.changes)
    return {
        "run_id": layer.run_id,
        "host": storable(layer.host),
        "principal": storable(layer.principal),
        "call_digest": layer.call_digest,
        "digest": layer.digest,
        "changes_sha256": text_digest(changes),
        "truncated": int(layer.truncated or not whole),
        "bytes": layer.bytes,
        "state": layer.state.value,
        "created": float(layer.created),
        "expires": float(layer.expires),
        "landed": real(layer.landed),
        "landed_by": layer.landed_by,
        "undo_until": real(layer.undo_until),
        "undone": real(layer.undone),
        "undone_by": layer.undone_by,
        "approval_id": layer.approval_id,
        "reason": storable(layer.reason),
        "changes": changes,
    }


def _bounded(changes: tuple[Mapping[str, Any], ...]) -> tuple[str, bool]:
    """The JSON of as many changes as fit, and whether that is all of them."""
    kept, chars = [], 2
    for change in changes:
        text = dump(dict(change))
        chars += len(text) + 1
        if chars > LAYER_CHANGES_CHARS_MAX:
            break
        kept.append(text)
    return f"[{','.join(kept)}]", len(kept) == len(changes)


def layer_row(row: Mapping[str, Any] | sqlite3.Row) -> LayerRow:
    """A layer, read back."""
    plain = {column: row[column] for column in LAYER_COLUMNS if column != "changes_sha256"}
    plain |= {"changes": tuple(json.loads(row["changes"])), "truncated": bool(row["truncated"])}
    return LayerRow(**plain | {"state": LayerState(row["state"])})


def layer_at(tx: Tx, run_id: str) -> sqlite3.Row | None:
    """The layer of a run without its changes, or None."""
    return tx.one("layer_at", {"run_id": run_id})


def insert(tx: Tx, values: Values, call: sqlite3.Row, now: float) -> None:
    """Put a run's layer on record. Whose it is, and what was asked for, is what the call's own row says."""
    if LayerState(values["state"]) not in EDGES[None]:
        raise LayerMisplaced(run_id=values["run_id"], before="nothing", after=values["state"])
    of_call = {"host": call["host"], "principal": call["principal"], "call_digest": call["digest"]}
    values |= of_call | {"run_id": call["call_id"]}
    if values["state"] in (LayerState.LANDING, LayerState.LANDED):
        values["landed_by"] = call["call_id"]
    if values["state"] == LayerState.LANDED and values["landed"] is None:
        values["landed"] = float(now)
    tx.run("layer_insert", values | {"audit_seq": _record(tx, values, now)})


def may_move(row: sqlite3.Row, state: LayerState, by: str) -> bool:
    """True where the drawing has this edge and nobody else holds the layer's claim."""
    before = LayerState(row["state"])
    claimer = _CLAIMERS.get(before)
    return state in EDGES[before] and (claimer is None or row[claimer] == by)


def move(tx: Tx, row: sqlite3.Row, state: LayerState, now: float, **changes: Any) -> None:
    """Write a layer's next state with its audit record; `changes` are columns that the edge itself does not set."""
    before = LayerState(row["state"])
    values: Values = {column: row[column] for column in LAYER_COLUMNS}
    values |= {"state": state.value, **changes}
    if state is LayerState.HELD:
        values |= {"landed_by": "", "undo_until": None}
    elif state is LayerState.LANDED and before is LayerState.LANDING:
        values["landed"] = float(now)
    elif state is LayerState.LANDED and before is LayerState.UNDOING:
        values["undone_by"] = ""
    elif state is LayerState.UNDONE:
        values["undone"] = float(now)
    if state in (LayerState.UNDONE, LayerState.DISCARDED, LayerState.LOST):
        values["undo_until"] = None
    tx.run("layer_move", values | {"audit_seq": _record(tx, values, now)})


def follow(tx: Tx, values: Values, by: str, call: sqlite3.Row, now: float) -> LayerState | None:
    """Bring a layer to where the call that just ended says it is; None where it is not this call's to move.

    The state it left is given back. Saying the same twice changes nothing. LayerMisplaced where the layer has another
    digest than the one on record: what landed would not be what was shown.
    """
    row, state = layer_at(tx, values["run_id"]), LayerState(values["state"])
    if row is None:
        if values["run_id"] != call["call_id"]:
            return None
        insert(tx, values, call, now)
        return state
    if row["digest"] != values["digest"]:
        raise LayerMisplaced(run_id=row["run_id"], before=row["digest"], after=values["digest"])
    before = LayerState(row["state"])
    if before is state or not may_move(row, state, by):
        return None
    kept = {} if before is LayerState.UNDOING else {"undo_until": values["undo_until"], "bytes": values["bytes"]}
    move(tx, row, state, now, reason=values["reason"], **kept)
    return before


def _record(tx: Tx, values: Values, now: float) -> int:
    return tx.chain.append(f"layer_{values['state']}", values["run_id"], now, digest_of_columns(values, LAYER_COLUMNS))
