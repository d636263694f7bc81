"""Incidents: what a client is told when something broke inside (an id), and what the log keeps of it (the rest)."""

from __future__ import annotations

import logging
import secrets
import traceback
from collections.abc import Callable

from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR

from interlock_tools.envelope import Envelope
from interlock_tools.errors import Internal, State

LOG_CHARS_MAX = 16_000

Redact = Callable[[str], str]

_log = logging.getLogger("interlock.publish")


class Incidents:
    """Turns an exception into an id. Its text goes only to the log, and only through `redact`.

    Without `redact` the log gets the places of the traceback and the exception's type, but not its text: what is not
    known to be clean is not written down.
    """

    def __init__(self, redact: Redact | None = None) -> None:
        self._redact = redact

    def record(self, fault: BaseException) -> str:
        """Log the fault under a fresh id (`inc-` and 12 hex digits) and return the id."""
        incident = f"inc-{secrets.token_hex(6)}"
        _log.error("incident %s\n%s", incident, self._text(fault))
        return incident

    def envelope(self, fault: BaseException) -> Envelope:
        """The answer to a call that broke: INTERNAL with the incident's id."""
        return Envelope(call_id="", state=State.FAILED, error=Internal(reason=self.record(fault)))

    def protocol_error(self, fault: BaseException) -> MCPError:
        """The answer to any other request that broke."""
        return MCPError(INTERNAL_ERROR, f"Something failed inside Interlock; its record is {self.record(fault)}.")

    def _text(self, fault: BaseException) -> str:
        try:
            if self._redact is None:
                return _without_texts(fault)
            return self._redact("".join(traceback.format_exception(fault)))[:LOG_CHARS_MAX]
        except Exception as broken:  # noqa: BLE001 — a log line becomes neither a second fault nor an unredacted one
            return f"{type(fault).__name__}; its text could not be redacted ({type(broken).__name__})"


def _without_texts(fault: BaseException) -> str:
    frames = traceback.extract_tb(fault.__traceback__)
    places = [f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]
    return "\n".join([*places, type(fault).__qualname__])[:LOG_CHARS_MAX]
