"""Deployments on record: one open one an app, with a fence, and a row for each step before it happens. It asks no host.

    (none) ──begin──> forward ──turn──> back ──────end──> ended
                         └──all live──> closing ──end──> ended

The lease is the row itself: while it has not ended no other deployment of its app begins. Every event is in the audit
chain too, so that a step that was taken out of the record is missed.
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from interlock.deploy.records import DeploymentRow, StepRow
from interlock.records import NotAdmitted
from interlock.store.connection import Tx
from interlock.store.rows import dump, storable
from interlock_tools.call import Json

REASON_CHARS_MAX = 1_000
RETRY_SECONDS = 30
# Fences of servers that know nothing of each other should still grow with time: they begin with the clock.
FENCE_SHIFT = 1_000
FENCES_EACH = 2  # going back has one of its own


def begin(tx: Tx, row: DeploymentRow, plan: str, now: float) -> DeploymentRow | NotAdmitted:
    """Put a deployment on record and give it its app, with the next fence; NotAdmitted where one is under way."""
    open_ = tx.one("deployment_open", {"app": storable(row.app)})
    if open_ is not None:
        reason = f"{row.app} is being deployed by {open_['call_id']} ({open_['kind']} of {open_['release'] or 'it'})"
        return NotAdmitted("CONCURRENCY_LIMITED", reason, RETRY_SECONDS, (str(open_["call_id"]),))
    last = tx.one("deployment_fence", {"app": storable(row.app)})
    fence = max(int(now * FENCE_SHIFT), (last["fence"] if last is not None else 0) + FENCES_EACH)
    values = {
        "call_id": row.call_id,
        "app": storable(row.app),
        "kind": row.kind,
        "release": storable(row.release),
        "principal": storable(row.principal),
        "fence": fence,
        "plan": plan,
        "created": float(now),
    }
    tx.run("deployment_insert", values)
    tx.chain.append("deploying", row.call_id, now, "", dump([row.app, row.kind, row.release, fence, plan]))
    return deployment_row(_found(tx, row.call_id))


def turn(tx: Tx, call_id: str, code: str, reason: str, now: float) -> bool:
    """From here on it is taken back, and why; False where it was already, or has ended."""
    values = {"call_id": call_id, "code": code, "reason": storable(reason[:REASON_CHARS_MAX])}
    turned = tx.run("deployment_turn", values) == 1
    if turned:
        tx.chain.append("deploy turned back", call_id, now, "", dump([code, values["reason"]]))
    return turned


def close(tx: Tx, call_id: str, now: float) -> bool:
    """All of it is live and healthy: from here on nothing takes it back. False where it was not on its way forward."""
    closing = tx.run("deployment_close", {"call_id": call_id}) == 1
    if closing:
        tx.chain.append("deploy closing", call_id, now, "", dump([call_id]))
    return closing


def end(tx: Tx, call_id: str, outcome: str, result: Json, now: float) -> bool:
    """Its end, which gives its app free; False where it had ended."""
    values = {"call_id": call_id, "outcome": outcome, "result": dump(result), "now": float(now)}
    ended = tx.run("deployment_end", values) == 1
    if ended:
        tx.chain.append("deployed", call_id, now, "", dump([outcome, result]))
    return ended


def begin_step(tx: Tx, call_id: str, host: str, step: str, now: float) -> int:
    """A row for a step that is about to happen; which try of it that is, from 1."""
    names = {"call_id": call_id, "host": storable(host), "step": step}
    attempt = _number(tx, "step_next", names, "attempt")
    place = _number(tx, "step_places", {"call_id": call_id}, "place")
    tx.run("step_insert", {**names, "attempt": attempt, "place": place, "began": float(now)})
    tx.chain.append("deploy step", call_id, now, "", dump([host, step, attempt]))
    return attempt


def end_step(tx: Tx, step: StepRow, now: float) -> bool:
    """How a step ended; False where it had ended before."""
    values = {
        "call_id": step.call_id,
        "host": storable(step.host),
        "step": step.step,
        "attempt": step.attempt,
        "state": step.state,
        "detail": dump(dict(step.detail)),
        "now": float(now),
    }
    ended = tx.run("step_end", values) == 1
    if ended:
        said = [step.host, step.step, step.attempt, step.state, values["detail"]]
        tx.chain.append("deploy step ended", step.call_id, now, "", dump(said))
    return ended


def _number(tx: Tx, query: str, values: Mapping[str, Any], column: str) -> int:
    row = tx.one(query, values)
    return int(row[column]) if row is not None else 0


def _found(tx: Tx, call_id: str) -> sqlite3.Row:
    row = tx.one("deployment_of", {"call_id": call_id})
    if row is None:
        raise LookupError(call_id)
    return row


def deployment_row(row: sqlite3.Row) -> DeploymentRow:
    """A deployment, read back."""
    return DeploymentRow(**_plain(row, DeploymentRow, "plan", "result"))


def step_row(row: sqlite3.Row) -> StepRow:
    """A step, read back."""
    return StepRow(**_plain(row, StepRow, "detail"))


def _plain(row: sqlite3.Row, kind: type[DeploymentRow | StepRow], *objects: str) -> dict[str, Any]:
    """The columns that are the fields of this kind; `objects` are JSON ("" = an empty one)."""
    plain = {field.name: row[field.name] for field in dataclasses.fields(kind)}
    return plain | {name: json.loads(plain[name] or "{}") for name in objects}
