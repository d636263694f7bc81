"""In whatever order calls are admitted, settled, held, landed, undone, lost, found or reconciled, the limits hold.

And after every step the audit chain accounts for every row, and no held call is left without what it holds.
"""

import sqlite3
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from interlock.records import Admitted, ApprovalRow, HoldLimits, LayerState
from interlock.store import LayerMisplaced, approving, claiming, holding, layers, settling, verify
from interlock.store import admission as admitting
from interlock.store.chain import Chain, Head
from interlock.store.connection import Tx
from interlock.store.sql import load_blocks, migrate
from interlock_tools.errors import State
from unit.store.cases import DAY, NOON, admission, ask, layer, settlement

CAP_UNITS, HOST_MAX, PRINCIPAL_MAX, PENDING_MAX, LAYERS_MAX = 60, 3, 4, 2, 3
ROOM = HoldLimits(LAYERS_MAX, 3 * 4_096, PENDING_MAX, HOST_MAX, PRINCIPAL_MAX)
LIMITS = {
    "budget_units_per_day": CAP_UNITS,
    "host_calls_max": HOST_MAX,
    "principal_calls_max": PRINCIPAL_MAX,
    "approvals_pending_max": PENDING_MAX,
}
PRINCIPALS = st.sampled_from(["a", "b"])
HOSTS = st.sampled_from(["web1", "web2"])
STATES = st.sampled_from([State.SUCCEEDED, State.FAILED, State.CANCELLED, State.UNKNOWN])


class LimitsHold(RuleBasedStateMachine):
    """Drives the transactions themselves, on a real SQLite in memory."""

    calls = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.connection.row_factory = sqlite3.Row
        migrate(self.connection, ":memory:")
        self.tx = Tx(self.connection, load_blocks("queries.sql"), Chain(Head()))
        self.now = NOON

    def teardown(self) -> None:
        self.connection.close()

    def ask_for(self, request: Any) -> Any:
        values, digest = admitting.prepare(request)
        return admitting.admit(self.tx, request, values, digest)

    @rule(target=calls, principal=PRINCIPALS, host=HOSTS, cost=st.integers(0, 30), waits=st.booleans())
    def admit(self, principal: str, host: str, cost: int, waits: bool) -> tuple[str, str]:
        before = self.used()
        approval = ask() if waits else None
        request = admission(principal=principal, host=host, cost_units=cost, approval=approval, limits=LIMITS)
        result = self.ask_for(request)
        if not isinstance(result, Admitted):
            assert self.used() == before
            return ("", "")
        assert result.budget_left == CAP_UNITS - self.used()[principal]
        return (result.call_id, result.approval_id)

    @rule(call=calls, state=STATES, refund=st.integers(-5, 40))
    def settle(self, call: tuple[str, str], state: State, refund: int) -> None:
        if call[0]:
            holding.settle(self.tx, settlement(call[0], state, refund_units=refund, result_digest=""), None, None)

    @rule(call=calls, approve=st.booleans())
    def approve_and_dispatch(self, call: tuple[str, str], approve: bool) -> None:
        held = self.tx.one("layer_of", {"call_id": call[0]})
        for approval_id in {call[1], held["approval_id"] if held else ""} - {""}:
            approving.decide(self.tx, approval_id, approve, "ana", "", self.now)
            first = approving.dispatch(self.tx, call[0], approval_id, self.now)
            second = approving.dispatch(self.tx, call[0], approval_id, self.now)
            assert not (isinstance(first, ApprovalRow) and isinstance(second, ApprovalRow))

    @rule(call=calls, asks=st.booleans(), state=st.sampled_from([State.HELD, State.FAILED]))
    def hold(self, call: tuple[str, str], asks: bool, state: State) -> None:
        if call[0]:
            question = ask() if asks and state is State.HELD else None
            values = holding.prepare(layer(call[0]), question)
            holding.hold(self.tx, settlement(call[0], state, result_digest=""), values, question, ROOM)

    @rule(run=calls, by=calls, to=st.sampled_from([LayerState.LANDING, LayerState.UNDOING]))
    def claim(self, run: tuple[str, str], by: tuple[str, str], to: LayerState) -> None:
        start = {LayerState.LANDING: LayerState.HELD, LayerState.UNDOING: LayerState.LANDED}[to]
        if by[0]:
            claiming.move(self.tx, run[0], {start}, to, by[0], self.now, "", None)

    @rule(run=calls, by=calls, state=st.sampled_from(LayerState), resolves=st.booleans())
    def settle_with_its_layer(
        self, run: tuple[str, str], by: tuple[str, str], state: LayerState, resolves: bool
    ) -> None:
        if not run[0] or not by[0]:
            return
        ended, held = settlement(by[0], result_digest=""), settlement(run[0], result_digest="", refund_units=3)
        values = layers.layer_values(layer(run[0], state, undo_until=NOON + 50))
        self.tx.connection.execute("SAVEPOINT job")  # as the writer runs it: what raises leaves nothing
        mark = self.tx.chain.mark()
        try:
            if resolves:
                holding.resolve(self.tx, ended, "its host", values, held)
            else:
                holding.settle(self.tx, ended, values, held)
        except LayerMisplaced:
            self.tx.connection.execute("ROLLBACK TO job")
            self.tx.chain.rewind(mark)
        self.tx.connection.execute("RELEASE job")

    @rule(call=calls, state=st.sampled_from([LayerState.DISCARDED, LayerState.LOST]))
    def finish(self, call: tuple[str, str], state: LayerState) -> None:
        if call[0]:
            ended = settlement(call[0], State.DISCARDED, refund_units=2)
            first = holding.finish(self.tx, ended, layers.layer_values(layer(call[0], state)))
            assert not (first and holding.finish(self.tx, ended, layers.layer_values(layer(call[0], state))))

    @rule(call=calls)
    def leave(self, call: tuple[str, str]) -> None:
        claiming.put_back(self.tx, call[0], self.now)

    @rule(seconds=st.sampled_from([1, 60, 4_000]))
    def expire(self, seconds: int) -> None:
        self.now += seconds
        approving.expire(self.tx, self.now)
        holding.expire(self.tx, self.now)

    @rule(call=calls, refund=st.integers(0, 40))
    def reconcile(self, call: tuple[str, str], refund: int) -> None:
        if call[0]:
            settling.reconcile(self.tx, call[0], State.FAILED, "ana", "", self.now, refund)

    @rule()
    def crash(self) -> None:
        settling.lose(self.tx, self.now)

    def used(self) -> dict[str, int]:
        rows = self.connection.execute("SELECT principal, used FROM allowances WHERE day = ?", (DAY,))
        return {"a": 0, "b": 0} | {row["principal"]: row["used"] for row in rows}

    def counted(self, column: str, where: str) -> dict[str, int]:
        query = f"SELECT {column} AS name, count(*) AS n FROM calls WHERE {where} GROUP BY {column}"
        return {row["name"]: row["n"] for row in self.connection.execute(query)}

    @invariant()
    def what_is_used_is_what_the_calls_were_charged(self) -> None:
        rows = self.connection.execute("SELECT principal, sum(charged_units) AS units FROM calls GROUP BY principal")
        charged = {"a": 0, "b": 0} | {row["principal"]: row["units"] for row in rows}
        assert self.used() == charged
        assert all(0 <= units <= CAP_UNITS for units in charged.values())

    @invariant()
    def no_more_run_or_wait_than_may(self) -> None:
        assert all(n <= HOST_MAX for n in self.counted("host", "life = 'dispatched'").values())
        assert all(n <= PRINCIPAL_MAX for n in self.counted("principal", "life = 'dispatched'").values())
        pending = self.connection.execute("SELECT count(*) FROM approvals WHERE state = 'pending' GROUP BY principal")
        assert all(row[0] <= PENDING_MAX for row in pending)
        held = "SELECT count(*), sum(bytes) FROM layers WHERE state IN ('held', 'landing') GROUP BY host"
        assert all(count <= LAYERS_MAX and size <= 3 * 4_096 for count, size in self.connection.execute(held))

    @invariant()
    def a_held_call_has_what_it_holds_and_only_it_has_a_question_open(self) -> None:
        found = self.connection.execute(
            "SELECT c.call_id FROM calls AS c LEFT JOIN layers AS l ON l.run_id = c.call_id "
            "WHERE c.life = 'held' AND coalesce(l.state, '') NOT IN ('held', 'landing') "
            "UNION SELECT a.call_id FROM approvals AS a JOIN calls AS c USING (call_id) "
            "WHERE a.state IN ('pending', 'approved') AND c.life NOT IN ('awaiting', 'held')"
        )
        assert found.fetchall() == []

    @invariant()
    def every_row_is_what_the_chain_says(self) -> None:
        self.connection.executemany(self.tx.queries["audit_insert"], self.tx.chain.take_unwritten())
        walked = verify._Walked()
        for row in self.connection.execute(self.tx.queries["audit_after"], {"seq": 0}):
            verify._step(row, {}, walked)
        verify._compare_rows(self.connection, self.tx.queries, walked)


LimitsHold.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestLimitsHold = LimitsHold.TestCase
