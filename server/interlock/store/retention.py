"""Retention: deletes calls that ended long ago, in bounded steps. Audit records are never deleted.

An audit record holds digests, no content, and stays for ever (some 300 bytes each), so that the chain can always be
verified from its first record on. What was pruned is itself a record: a verifier can tell it from what was removed.
"""

from __future__ import annotations

import datetime as dt

from interlock.records import Life
from interlock.store.connection import Tx
from interlock.store.rows import dump

PRUNE_CALLS_MAX = 200


def prune(tx: Tx, before: float, now: float) -> int:
    """Delete up to 200 calls that ended before `before`; how many.

    Unknown, waiting and held calls are always kept, and so is whoever made, landed or undoes a layer that still waits,
    is in flight, or can still be taken back.
    """
    chosen = tx.rows("prune_choose", {"before": before, "limit": PRUNE_CALLS_MAX})
    approvals = layers = 0
    for call in chosen:
        approvals += tx.run("prune_approval", {"call_id": call["call_id"]})
        layers += tx.run("prune_layer", {"call_id": call["call_id"]})
        if tx.run("prune_deployment", {"call_id": call["call_id"]}):  # the last one of an app keeps its fence
            tx.run("prune_steps", {"call_id": call["call_id"]})
        tx.run("prune_call", {"call_id": call["call_id"]})
    if chosen:
        reconciled = sum(call["life"] == Life.RECONCILED for call in chosen)
        counts = {"calls": len(chosen), "reconciled": reconciled, "approvals": approvals, "layers": layers}
        tx.chain.append("pruned", "", now, "", dump({"before": before, **counts}))
    return len(chosen)


def sweep(tx: Tx, before: float) -> None:
    """Delete what only limits remember, once it is too old to limit anything."""
    day = dt.datetime.fromtimestamp(before, dt.UTC).date().isoformat()
    for query in ("prune_loops", "prune_pauses", "prune_allowances", "prune_invalid_attempts"):
        tx.run(query, {"before": before, "day": day})
