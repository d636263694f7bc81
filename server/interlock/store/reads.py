"""What can be read back: calls, approvals, scores, budgets, exports. It has its own connection and changes nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from interlock.records import ApprovalRow, ApprovalState, CallRow, ScoreRow
from interlock.store.connection import OwnedConnection
from interlock.store.rows import approval_row, call_json, call_row, score_row, storable
from interlock_tools.call import Json

PAGE_CALLS_MAX = 500
EXPORT_PAGE_CALLS = 200


@dataclass(frozen=True, slots=True)
class Ended:
    """A call that ended, and its place in the order in which calls ended. A reconciled call moves to a later place."""

    position: int
    call: CallRow


class Reads:
    """The reading half of the store."""

    _reader: OwnedConnection
    _queries: Mapping[str, str]

    async def _read(self, query: str, **values: object) -> list[sqlite3.Row]:
        text = self._queries[query]
        return await self._reader.run(lambda connection: connection.execute(text, values).fetchall())

    async def call(self, call_id: str) -> CallRow | None:
        """One call by its id."""
        rows = await self._read("call_of", call_id=storable(call_id))
        return call_row(rows[0]) if rows else None

    async def calls(
        self, principal: str = "", host: str = "", state: str = "", before_seq: int = 0, limit: int = 50
    ) -> Sequence[CallRow]:
        """The newest calls first, at most 500; "" = any. The last one's `seq` is the next page's `before_seq`."""
        rows = await self._read(
            "calls_page",
            principal=storable(principal),
            host=storable(host),
            state=storable(state),
            before_seq=max(0, before_seq),
            limit=_page(limit),
        )
        return [call_row(row) for row in rows]

    async def calls_since(self, position: int, limit: int = 100) -> Sequence[Ended]:
        """Calls in the order in which they ended, after a place in it (0 = the start): an exporter's cursor."""
        rows = await self._read("calls_ended_after", position=max(0, position), limit=_page(limit))
        return [Ended(row["outcome_seq"], call_row(row)) for row in rows]

    async def export(self, after_seq: int = 0) -> AsyncIterator[dict[str, Json]]:
        """Every call after `after_seq` in the order of admission, ready for JSON lines, read in pages of 200."""
        while rows := await self._read("calls_after", after_seq=max(0, after_seq), limit=EXPORT_PAGE_CALLS):
            for row in rows:
                yield call_json(row)
            after_seq = rows[-1]["seq"]

    async def budget_left(self, principal: str, day: str, cap_units: int) -> int:
        """Units this principal has left on a day, at least 0."""
        rows = await self._read("budget_used", principal=storable(principal))
        return max(0, cap_units - (rows[0]["used"] if rows and rows[0]["day"] >= day else 0))

    async def first_attempt(self, principal: str, session: str, tool: str) -> bool:
        """True where this principal's last call of this tool in this session did not end invalid."""
        names = {"principal": storable(principal), "session": storable(session), "tool": storable(tool)}
        return not await self._read("ended_invalid", **names)

    async def ids_beginning(self, prefix: str, *, approvals: bool = False, limit: int = 6) -> Sequence[str]:
        """Ids of calls (or of approvals) that begin with `prefix`, at most `limit`."""
        bounds = {"low": storable(prefix), "high": storable(prefix) + "\U0010ffff", "limit": _page(limit)}
        rows = await self._read("approval_ids_between" if approvals else "call_ids_between", **bounds)
        return [row["id"] for row in rows]

    async def approvals(self, state: ApprovalState | None = None, limit: int = 100) -> Sequence[ApprovalRow]:
        """The newest approvals first, at most 500."""
        rows = await self._read("approvals_page", state=state.value if state else "", limit=_page(limit))
        return [approval_row(row) for row in rows]

    async def approval(self, approval_id: str) -> ApprovalRow | None:
        """One approval by its id."""
        rows = await self._read("approval_of", approval_id=storable(approval_id))
        return approval_row(rows[0]) if rows else None

    async def stranded_approvals(self, limit: int = 100) -> Sequence[ApprovalRow]:
        """Approvals that were denied, expired or withdrawn while their call still waits: the server died in between."""
        return [approval_row(row) for row in await self._read("approvals_stranded", limit=_page(limit))]

    async def scores(self, principal: str = "") -> Sequence[ScoreRow]:
        """Scores by principal × tool × environment; they outlive the calls they were made of."""
        return [score_row(row) for row in await self._read("scores_all", principal=storable(principal))]


def _page(limit: int) -> int:
    return min(max(1, limit), PAGE_CALLS_MAX)
