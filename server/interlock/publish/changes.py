"""Changes: telling connected clients that the list of tools is another one now. Best effort; it waits for nobody."""

from __future__ import annotations

import logging
from collections import OrderedDict

import anyio
from mcp.server.session import ServerSession
from mcp.server.subscriptions import InMemorySubscriptionBus, ToolsListChanged

SESSIONS_MAX = 1_000
TELL_SECONDS = 5.0

_log = logging.getLogger("interlock.publish")


class ToolChanges:
    """One for the whole house, given to whatever serves. `announce` reaches both eras' clients.

    Of the older era the latest `SESSIONS_MAX` sessions are told; a client that is not finds the change when it lists.
    """

    def __init__(self) -> None:
        self.bus = InMemorySubscriptionBus()
        self._sessions: OrderedDict[str, ServerSession] = OrderedDict()

    def join(self, session_id: str, session: ServerSession) -> None:
        """Remember a session that finished its handshake."""
        self._sessions[session_id] = session
        self._sessions.move_to_end(session_id)
        while len(self._sessions) > SESSIONS_MAX:
            self._sessions.popitem(last=False)

    def leave(self, session_id: str) -> None:
        """Forget a session that ended."""
        self._sessions.pop(session_id, None)

    async def announce(self) -> None:
        """Tell every client. A client that does not take it within `TELL_SECONDS` is left out."""
        await self.bus.publish(ToolsListChanged())
        async with anyio.create_task_group() as group:
            for session in tuple(self._sessions.values()):
                group.start_soon(_tell, session)


async def _tell(session: ServerSession) -> None:
    try:
        with anyio.move_on_after(TELL_SECONDS):
            await session.send_tool_list_changed()
    except Exception as fault:  # noqa: BLE001 — one client's broken stream is not the others' business
        _log.debug("a session could not be told of changed tools: %s", type(fault).__name__)
