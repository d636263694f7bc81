"""Spans are derived from the record and reach an OTLP endpoint: none lost, joined to the client's trace, no secret."""

import asyncio
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from home import open_home, settings_in
from interlock.ports import Request

pytestmark = pytest.mark.anyio

WAIT_SECONDS = 20.0
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


class Collector:
    """A real OTLP/HTTP receiver on loopback; it can refuse for a while."""

    def __init__(self) -> None:
        self.spans: list = []
        self.refusals_left = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if outer.refusals_left:
                    outer.refusals_left -= 1
                    self.send_response(400)
                    self.end_headers()
                    return
                request = ExportTraceServiceRequest.FromString(body)
                for group in request.resource_spans:
                    for scope in group.scope_spans:
                        outer.spans.extend(scope.spans)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Tests are quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/traces"
        self.thread = threading.Thread(target=self.server.serve_forever)

    def named(self, name: str) -> list:
        return [span for span in self.spans if span.name == name]


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    made.thread.start()
    yield made
    made.server.shutdown()
    made.thread.join()
    made.server.server_close()


async def _until(collector: Collector, name: str) -> list:
    for _ in range(int(WAIT_SECONDS / 0.05)):
        if collector.named(name):
            return collector.named(name)
        await asyncio.sleep(0.05)
    raise AssertionError(f"no span {name!r} came; there are {[span.name for span in collector.spans]}")


async def test_a_call_becomes_one_span_with_a_child_for_each_step(tmp_path: Path, collector: Collector) -> None:
    settings = replace(settings_in(tmp_path), otlp_endpoint=collector.url)
    async with open_home(tmp_path, settings=settings) as home:
        done = await home.call("shell_run", command="echo password=hunter2hunter2")
        (span,) = await _until(collector, "interlock.call shell_run")
    attributes = {entry.key: entry.value for entry in span.attributes}
    assert attributes["interlock.call_id"].string_value == done["call_id"]
    assert attributes["interlock.verdict"].string_value == "ALLOW"
    children = [other.name for other in collector.spans if other.parent_span_id == span.span_id]
    assert {"interlock.accept", "interlock.decide", "interlock.admit", "interlock.dispatch"} <= set(children)
    scores = {event.attributes[0].value.string_value for event in span.events}
    assert scores == {"validity", "success"}
    assert "hunter2hunter2" not in str(collector.spans)


async def test_the_clients_trace_is_joined(tmp_path: Path, collector: Collector) -> None:
    settings = replace(settings_in(tmp_path), otlp_endpoint=collector.url)
    async with open_home(tmp_path, settings=settings) as home:
        request = Request("agent", "s", "shell_run", {"host": "sandbox", "command": "true"}, f"00-{TRACE}-{PARENT}-01")
        await home.app.front.call(request)
        (span,) = await _until(collector, "interlock.call shell_run")
    assert span.trace_id.hex() == TRACE
    assert span.parent_span_id.hex() == PARENT


async def test_what_an_endpoint_refused_is_sent_again_and_nothing_is_lost(tmp_path: Path, collector: Collector) -> None:
    collector.refusals_left = 1
    settings = replace(settings_in(tmp_path), otlp_endpoint=collector.url)
    async with open_home(tmp_path, settings=settings) as home:
        for number in range(5):
            await home.call("shell_run", command=f"echo {number}")
        await _until(collector, "interlock.call shell_run")
    async with open_home(tmp_path, settings=settings):
        for _ in range(int(WAIT_SECONDS / 0.05)):
            if len({span.span_id for span in collector.named("interlock.call shell_run")}) == 5:
                return
            await asyncio.sleep(0.05)
    raise AssertionError(f"{len(collector.named('interlock.call shell_run'))} of 5 calls came")


async def test_the_protocol_librarys_span_stands_between_the_clients_and_ours(
    tmp_path: Path, collector: Collector
) -> None:
    config = tmp_path / "config" / "interlock.toml"  # a folder of its own: what lies in it is hidden from every command
    config.parent.mkdir()
    config.write_text(
        f"""
[server]
state_dir = "{tmp_path}/state"
principal = "agent"
[principals.agent]
roles = ["operator"]
hosts = ["*"]
[hosts.sandbox]
embedded = true
labels = {{ env = "sandbox" }}
[telemetry]
otlp_endpoint = "{collector.url}"
"""
    )
    config.chmod(0o600)
    program = str(Path(sys.executable).parent / "interlock")
    server = StdioServerParameters(command=program, args=["serve", "--config", str(config)])
    async with asyncio.timeout(60), Client(server) as client:
        meta = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
        done = await client.call_tool("shell_run", {"host": "sandbox", "command": "true"}, meta=meta)
        assert not done.is_error
        (ours,) = await _until(collector, "interlock.call shell_run")
    (theirs,) = await _until(collector, "tools/call shell_run")
    assert theirs.trace_id.hex() == ours.trace_id.hex() == TRACE
    assert theirs.parent_span_id.hex() == PARENT
    assert ours.parent_span_id == theirs.span_id
