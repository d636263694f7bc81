"""Postconditions, measured on a real host."""

import hashlib
import http.server
import threading
from pathlib import Path

import pytest

from hosts_bench import Bench, own
from interlock_tools.call import Check
from sshd import free_port, needs_openssh, processes_with

pytestmark = [pytest.mark.anyio, needs_openssh]


@pytest.fixture
def web():
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status = 200 if self.path == "/ok" else 503
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"all is well")

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


async def measured(bench: Bench, check: str, target: str = "", expected: str = "", exit_code: int | None = 0):
    (found,) = await bench.hosts.check("box", [Check(check, target, expected)], exit_code)
    assert (found.check, found.target) == (check, target)
    return found


async def test_exit_codes_are_compared(bench: Bench) -> None:
    assert (await measured(bench, "exit_code")).passed
    assert (await measured(bench, "exit_code", expected="3", exit_code=3)).passed
    assert not (await measured(bench, "exit_code", expected="0", exit_code=1)).passed
    assert not (await measured(bench, "exit_code", exit_code=None)).passed


async def test_paths_are_looked_at(bench: Bench, work: Path) -> None:
    path = work / "it's $HOME"
    path.write_text("first line\nsecond 'line'\n")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (await measured(bench, "path_exists", str(path))).passed
    assert not (await measured(bench, "path_exists", str(work / "no"))).passed
    assert (await measured(bench, "path_absent", str(work / "no"))).passed
    assert not (await measured(bench, "path_absent", str(path))).passed
    assert (await measured(bench, "path_contains", str(path), "second 'line'")).passed
    assert (await measured(bench, "path_contains", str(path), "line\nsecond")).passed
    assert not (await measured(bench, "path_contains", str(path), "third")).passed
    assert not (await measured(bench, "path_contains", str(work / "no"), "x")).passed
    assert (await measured(bench, "path_sha256", str(path), digest)).passed
    wrong = await measured(bench, "path_sha256", str(path), "0" * 64)
    assert not wrong.passed
    assert digest in wrong.detail


async def test_ports_and_pages_are_asked_from_the_host(bench: Bench, web: int) -> None:
    assert (await measured(bench, "port_open", str(web))).passed
    assert (await measured(bench, "port_open", f"127.0.0.1:{web}")).passed
    assert not (await measured(bench, "port_open", str(free_port()))).passed
    assert not (await measured(bench, "port_open", "99999")).passed
    assert (await measured(bench, "http_ok", f"http://127.0.0.1:{web}/ok")).passed
    assert (await measured(bench, "http_ok", f"http://127.0.0.1:{web}/ok", "well")).passed
    assert (await measured(bench, "http_ok", f"http://127.0.0.1:{web}/bad", "503")).passed
    bad = await measured(bench, "http_ok", f"http://127.0.0.1:{web}/bad")
    assert not bad.passed
    assert "503" in bad.detail
    assert not (await measured(bench, "http_ok", f"http://127.0.0.1:{web}/ok", "ill")).passed
    assert not (await measured(bench, "http_ok", "file:///etc/passwd")).passed


async def test_a_port_that_opens_a_moment_later_is_waited_for(bench: Bench, work: Path) -> None:
    port = free_port()
    command = f"(sleep 1; exec python3 -m http.server --bind 127.0.0.1 {port}) >/dev/null 2>&1 &"
    await bench.sh(command, call_id=own("later-1"), cwd=str(work))
    try:
        assert (await measured(bench, "port_open", str(port))).passed
    finally:
        assert (await bench.hosts.end("box", own("later-1"))).left == 0


async def test_commands_are_run_for_their_exit_code_and_text(bench: Bench) -> None:
    assert (await measured(bench, "command_ok", "test 1 = 1")).passed
    assert not (await measured(bench, "command_ok", "echo broken >&2; exit 4")).passed
    assert "broken" in (await measured(bench, "command_ok", "echo broken >&2; exit 4")).detail
    assert (await measured(bench, "command_ok", "echo version 12", "version 12")).passed
    assert not (await measured(bench, "command_ok", "echo version 12", "version 13")).passed


async def test_a_service_that_cannot_be_asked_for_did_not_pass(bench: Bench) -> None:
    found = await measured(bench, "service_active", "no-such-service-here")
    assert not found.passed
    assert found.detail
    assert not (await measured(bench, "service_active", "--help")).passed
    assert not (await measured(bench, "no_such_check", "x")).passed


async def test_checks_on_a_host_that_is_gone_did_not_pass(own_sshd, benches) -> None:
    bench = await benches(own_sshd.settings())
    own_sshd.stop()
    found = await bench.hosts.check("box", [Check("path_absent", "/x"), Check("exit_code")], 0)
    assert [entry.passed for entry in found] == [False, False]
    assert "could not be measured" in found[0].detail


async def test_a_check_that_hangs_did_not_pass_and_is_ended(bench: Bench, monkeypatch) -> None:
    monkeypatch.setattr("interlock.hosts.checks.COMMAND_SECONDS", 1.0)
    found = await measured(bench, "command_ok", "setsid sleep 97")
    assert not found.passed
    assert not processes_with("sleep\0" + "97")
