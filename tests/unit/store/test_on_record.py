"""On record: what a call is answered from its row and its layer's, at every place the two can be in."""

import dataclasses

import pytest

from interlock.recorded import of_row
from interlock.records import CallRow, LayerState
from interlock.store import SqliteStore
from interlock_tools.envelope import Changed, Envelope
from interlock_tools.errors import State
from unit.store.cases import NOON, ROOM, admit, ask, landed, layer, settlement

pytestmark = pytest.mark.anyio


async def held(store: SqliteStore) -> tuple[str, str]:
    call = await admit(store)
    answer = Envelope(call.call_id, State.HELD, effects=Changed(created=("/srv/app/a",), observed="staged"))
    ended = dataclasses.replace(settlement(call.call_id, State.HELD), envelope=answer.to_json())
    return call.call_id, str(await store.hold(ended, layer(call.call_id), ask(), ROOM))


async def row_of(store: SqliteStore, call_id: str) -> CallRow:
    row = await store.call(call_id)
    assert row is not None
    return row


async def test_a_held_call_is_answered_as_held_and_while_it_lands_as_running(store: SqliteStore) -> None:
    call_id, approval_id = await held(store)
    envelope = of_row(await row_of(store, call_id), await store.layer(call_id), NOON)
    assert (envelope.state, envelope.effects.created, envelope.undo_available) == (State.HELD, ("/srv/app/a",), False)
    await store.decide_approval(approval_id, True, "ana", "", NOON)
    await store.dispatch(call_id, approval_id, NOON)
    envelope = of_row(await row_of(store, call_id), await store.layer(call_id), NOON)
    assert (envelope.state, envelope.notices) == (State.RUNNING, (f"its change is being landed by {call_id}",))
    await store.lose_dispatched(NOON)
    assert of_row(await row_of(store, call_id)).state is State.UNKNOWN


async def test_what_lapsed_is_answered_as_discarded_with_what_it_would_have_changed(store: SqliteStore) -> None:
    call_id, _ = await held(store)
    await store.expire_layers(NOON + 3_600)
    envelope = of_row(await row_of(store, call_id), await store.layer(call_id), NOON)
    assert (envelope.state, envelope.ok, envelope.effects.created) == (State.DISCARDED, False, ("/srv/app/a",))
    assert envelope.error_json is not None
    assert envelope.error_json["code"] == "APPROVAL_EXPIRED"


@pytest.mark.parametrize(
    ("state", "now", "until", "notice"),
    [
        (LayerState.LANDED, NOON, "2026-11-21T14:00:00+00:00", ()),
        (LayerState.LANDED, NOON + 7_200, None, ()),
        (LayerState.UNDOING, NOON, None, ("its change is being taken back by c_undo",)),
        (LayerState.UNDONE, NOON, None, ("its change was taken back by c_undo",)),
        (LayerState.LOST, NOON, None, ("its change is lost: the host does not know it any more",)),
    ],
)
async def test_an_undo_is_promised_only_while_it_can_be_kept(store: SqliteStore, state, now, until, notice) -> None:
    call = await admit(store)
    answer = Envelope(call.call_id, State.SUCCEEDED, undo_available=True, undo_until="then")
    await store.settle(dataclasses.replace(settlement(call.call_id), envelope=answer.to_json()))
    kept = dataclasses.replace(landed(call.call_id), state=state, undone_by="c_undo")
    envelope = of_row(await row_of(store, call.call_id), kept, now)
    assert (envelope.undo_available, envelope.undo_until, envelope.notices) == (until is not None, until, notice)
