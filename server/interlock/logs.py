"""The server's log: to standard error, one line an event, redacted as a whole before it leaves the process."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from interlock_policies.redact import Redactor

LINE_CHARS_MAX = 8_000


class RedactingFormatter(logging.Formatter):
    """Formats a record with its traceback, then redacts the text: an exception's message may quote anything."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        return self._redactor.text(super().format(record))[:LINE_CHARS_MAX]


@contextmanager
def redact_logs(redactor: Redactor) -> Iterator[None]:
    """Send every log record through the redactor to standard error while the context lasts."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter(redactor))
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.handlers = before
        root.setLevel(level)
        handler.close()
