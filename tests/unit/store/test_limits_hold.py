"""In whatever order calls are admitted, settled, lost, approved and reconciled, the limits hold after every step."""

import sqlite3
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from interlock.records import Admitted, ApprovalRow
from interlock.store import admission as admitting
from interlock.store import approving, settling
from interlock.store.chain import Chain, Head
from interlock.store.connection import Tx
from interlock.store.sql import load_blocks, migrate
from interlock_tools.errors import State
from unit.store.cases import DAY, NOON, admission, ask, settlement

CAP_UNITS, HOST_MAX, PRINCIPAL_MAX, PENDING_MAX = 60, 3, 4, 2
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
            settling.settle(self.tx, settlement(call[0], state, refund_units=refund, result_digest=""))

    @rule(call=calls, approve=st.booleans())
    def approve_and_dispatch(self, call: tuple[str, str], approve: bool) -> None:
        if call[1]:
            approving.decide(self.tx, call[1], approve, "ana", "", self.now)
            first = approving.dispatch(self.tx, call[0], call[1], self.now)
            second = approving.dispatch(self.tx, call[0], call[1], self.now)
            assert not (isinstance(first, ApprovalRow) and isinstance(second, ApprovalRow))

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


LimitsHold.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestLimitsHold = LimitsHold.TestCase
