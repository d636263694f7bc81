"""The protocol library's own server spans, sent where ours go. It sets the one tracer provider of the process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

CLOSE_MILLISECONDS = 2_000


@contextmanager
def protocol_spans(endpoint: str) -> Iterator[None]:
    """Export the spans that the MCP library makes while the context lasts; nothing where there is no endpoint.

    A process does this once. What is still queued at the end has two seconds to leave.
    """
    if not endpoint:
        yield
        return
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from interlock.telemetry.spans import RESOURCE

    provider = TracerProvider(resource=Resource(RESOURCE), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=10)))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        provider.force_flush(CLOSE_MILLISECONDS)
        provider.shutdown()
