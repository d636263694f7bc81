"""The exporter: follows the record with a durable cursor and sends its spans to an OTLP endpoint; calls never wait."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from interlock.records import CallRow
from interlock.telemetry.spans import spans_of

log = logging.getLogger("interlock.telemetry")

CURSOR = "otlp_cursor"
PAGE_CALLS = 200
PERIOD_SECONDS = 2.0
BACKOFF_SECONDS_MAX = 60.0


class Ended(Protocol):
    """A call that ended, and its place in the order of endings."""

    @property
    def position(self) -> int: ...
    @property
    def call(self) -> CallRow: ...


class Record(Protocol):
    """What the exporter reads: ended calls in the order of their endings, and a place for its cursor."""

    async def calls_since(self, position: int, limit: int) -> Sequence[Ended]: ...
    async def get_meta(self, name: str) -> str | None: ...
    async def set_meta(self, name: str, value: str) -> None: ...


async def export_once(record: Record, exporter: SpanExporter) -> int:
    """Send the next page of calls; how many were sent. The cursor moves only after the endpoint took them.

    Raises ConnectionError where it did not.
    """
    cursor = int(await record.get_meta(CURSOR) or 0)
    ended = await record.calls_since(cursor, PAGE_CALLS)
    if not ended:
        return 0
    spans = [span for entry in ended for span in spans_of(entry.call)]
    result = await asyncio.to_thread(exporter.export, spans)
    if result is not SpanExportResult.SUCCESS:
        raise ConnectionError("the OTLP endpoint did not take the spans")
    await record.set_meta(CURSOR, str(ended[-1].position))
    return len(ended)


async def export_forever(record: Record, endpoint: str) -> None:
    """Follow the record until cancelled; an endpoint that is away is tried again, later and later."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    exporter = OTLPSpanExporter(endpoint=endpoint, timeout=10)
    pause = PERIOD_SECONDS
    try:
        while True:
            try:
                sent = await export_once(record, exporter)
                pause = PERIOD_SECONDS
            except (ConnectionError, OSError):
                log.warning("spans could not be sent; the next try is in %.0f s", pause)
                sent, pause = 0, min(pause * 2, BACKOFF_SECONDS_MAX)
            if sent < PAGE_CALLS:
                await asyncio.sleep(pause)
    finally:
        exporter.shutdown()  # type: ignore[no-untyped-call]  # the SDK leaves this one method without types
