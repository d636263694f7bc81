"""One process owns the store: further servers and the command line go through its socket, in real processes."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sshd import processes_with

SECONDS_MAX = 30
INTERLOCK = [sys.executable, "-c", "from interlock.cli import main; main()"]
HELLO = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "a test", "version": "1"},
}


class Client:
    """A client of a server of its own, over the real pipes of a real process."""

    def __init__(self, *words: str, env: dict[str, str] | None = None) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen([*INTERLOCK, "serve", *words], env=env, text=True, **pipes)
        self._last = 0

    def ask(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        self._last += 1
        self.say({"id": self._last, "method": method, "params": params or {}})
        while True:
            message = json.loads(self.line())
            if message.get("id") == self._last and "method" not in message:
                return message

    def say(self, message: dict[str, Any]) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self.process.stdin.flush()

    def line(self) -> str:
        assert self.process.stdout
        watch = threading.Timer(SECONDS_MAX, self.process.kill)
        watch.start()
        try:
            line = self.process.stdout.readline()
        finally:
            watch.cancel()
        assert line, self.process.stderr.read() if self.process.stderr else ""
        return line

    def hello(self) -> "Client":
        assert "result" in self.ask("initialize", HELLO)
        self.say({"method": "notifications/initialized"})
        return self

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        return self.ask("tools/call", {"name": tool, "arguments": arguments})["result"]["structuredContent"]

    def end(self) -> int:
        if self.process.stdin:
            self.process.stdin.close()
        return self.process.wait(SECONDS_MAX)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(SECONDS_MAX)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe:
                pipe.close()


@contextmanager
def client(*words: str, env: dict[str, str] | None = None) -> Iterator[Client]:
    started = Client(*words, env=env)
    try:
        yield started
    finally:
        started.close()


def command(*words: str) -> subprocess.CompletedProcess[str]:
    run = [*INTERLOCK, *words]
    return subprocess.run(run, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)


def read(*words: str) -> Any:
    done = command(*words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_second_server_serves_its_client_through_the_first() -> None:
    with client() as first:
        first.hello()
        with client() as second:
            second.hello()
            tools = {tool["name"] for tool in second.ask("tools/list")["result"]["tools"]}
            assert {"shell_run", "hosts_list", "call_check"} <= tools
            assert second.call("hosts_list")["ok"]
            assert second.end() == 0
        assert first.call("hosts_list")["ok"]
        assert first.end() == 0


def test_an_owner_whose_client_left_serves_the_others_to_their_end() -> None:
    with client() as first:
        first.hello()
        with client() as second:
            second.hello()
            assert first.process.stdin
            first.process.stdin.close()
            assert second.call("shell_run", host="sandbox", command="echo still here")["ok"]
            assert second.end() == 0
        assert first.process.wait(SECONDS_MAX) == 0


def test_the_second_server_keeps_no_store_and_loads_next_to_nothing() -> None:
    script = "import sys; from interlock.cli import main\ntry: main()\nfinally: print(*sys.modules, file=sys.stderr)"
    with client() as first:
        first.hello()
        done = subprocess.run(
            [sys.executable, "-c", script, "serve"],
            input="",
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
        loaded = set(done.stderr.split())
        assert not loaded & {"mcp", "asyncssh", "pydantic", "cedarpy", "interlock.app", "interlock.store"}
        assert first.end() == 0


def test_commands_reach_the_running_owner_and_act_on_it() -> None:
    with client() as server:
        server.hello()
        assert command("stop", "host:sandbox", "--reason", "maintenance").returncode == 0
        refused = server.call("shell_run", host="sandbox", command="true")
        assert refused["error"]["code"] == "STOPPED"
        assert "a human stopped host:sandbox: maintenance" in refused["error"]["message"]
        assert command("lift", "host:sandbox").returncode == 0
        done = server.call("shell_run", host="sandbox", command="echo hello")
        assert done["ok"], done
        shown = command("trace", "show", done["call_id"][:12])
        assert "echo hello" in shown.stdout
        assert "not decided" in command("trace", "show", refused["call_id"]).stdout or "verdict" in shown.stdout
        explained = read("policy", "explain", done["call_id"][:12])
        assert (explained["call_id"], explained["verdict"]) == (done["call_id"], "ALLOW")
        assert explained["now"]["verdict"] == "ALLOW"
        known = command("reconcile", done["call_id"], "--end")
        assert (known.returncode, "OUTCOME_KNOWN" in known.stderr) == (5, True)
        assert next(row["call_id"] for row in read("trace", "list")) == done["call_id"]
        lines = command("trace", "export").stdout.splitlines()
        assert [json.loads(line)["call_id"] for line in lines][-1] == done["call_id"]
        assert server.end() == 0


def test_a_person_approves_on_the_command_line_and_the_call_runs_by_itself() -> None:
    with client() as server:
        server.hello()
        asked = server.call(
            "shell_run",
            host="sandbox",
            command="kill -0 1; printf hello > note",
            writes=[str(Path.home() / ".local/share/interlock/sandbox/note")],
            intent="write a note \x1b[2J\u202e\nto all",
        )
        assert asked["state"] == "awaiting_approval", asked
        (row,) = read("approvals", "list")
        shown = command("approvals", "show", row["approval_id"])
        assert "\x1b" not in shown.stdout
        assert "\u202e" not in shown.stdout
        for found in ("would ", "write /", "sandbox (sandbox)", row["role"]):
            assert found in shown.stdout, shown.stdout
        listed = command("approvals", "list").stdout
        assert "⏎ to all" in listed
        assert "23ce" not in listed
        assert command("approvals", "approve", row["approval_id"], "--reason", "fine").returncode == 0
        done = server.call("call_status", call_id=asked["call_id"], wait_seconds=20)
        assert done["state"] == "succeeded", done
        assert (Path.home() / ".local/share/interlock/sandbox/note").read_text() == "hello"
        late = command("approvals", "deny", row["approval_id"][:10], "--reason", "late")
        assert late.returncode == 5
        assert "was approved by local:" in late.stderr
        assert "and its call has run" in late.stderr
        assert server.end() == 0


def test_an_approval_given_while_no_server_runs_is_carried_out_before_the_command_ends() -> None:
    note = Path.home() / ".local/share/interlock/sandbox/note"
    with client() as server:
        server.hello()
        command_line = "kill -0 1; printf x > note"
        asked = server.call("shell_run", host="sandbox", command=command_line, writes=[str(note)], intent="a note")
        assert asked["state"] == "awaiting_approval"
        assert server.end() == 0
    (row,) = read("approvals", "list")
    done = command("approvals", "approve", row["approval_id"])
    assert done.returncode == 0, done.stderr
    assert "succeeded" in done.stdout
    assert note.read_text() == "x"


def test_after_a_killed_owner_the_next_command_finds_the_record_whole() -> None:
    with client() as server:
        server.hello()
        assert server.call("shell_run", host="sandbox", command="true")["ok"]
        server.process.send_signal(signal.SIGKILL)
        server.process.wait(SECONDS_MAX)
    assert len(read("trace", "list")) == 1
    assert command("trace", "verify").returncode == 0


def test_a_server_ends_in_good_order_when_it_is_asked_to() -> None:
    with client() as server:
        server.hello()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(SECONDS_MAX) == 0
    assert not (Path.home() / ".local/state/interlock/control.sock").exists()


def test_a_forwarding_server_says_when_the_owner_is_gone() -> None:
    with client() as owner:
        owner.hello()
        with client() as second:
            second.hello()
            owner.process.send_signal(signal.SIGKILL)
            assert second.process.wait(SECONDS_MAX) == 6
            assert second.process.stderr
            assert "OWNER_GONE" in second.process.stderr.read()


def test_four_servers_started_at_once_all_serve() -> None:
    started = [Client() for _ in range(4)]
    try:
        for one in started:
            one.hello()
        assert all(one.call("hosts_list")["ok"] for one in started)
    finally:
        for one in started:
            one.close()


def test_http_says_where_it_listens_and_does_not_start_beside_an_owner() -> None:
    with client("--transport", "http", "--port", "0") as server:
        assert server.process.stderr
        line = server.process.stderr.readline()
        assert "/mcp" in line
        port = int(line.split("127.0.0.1:")[1].split("/")[0])
        with socket.create_connection(("127.0.0.1", port), timeout=SECONDS_MAX):
            pass
        second = command("serve", "--transport", "http", "--port", "0")
        assert second.returncode == 6
        assert "STORE_OWNED" in second.stderr
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(SECONDS_MAX) == 0


def test_an_agents_command_cannot_approve_its_own_call() -> None:
    with client() as server:
        server.hello()
        environment = " ".join(f"{name}='{os.environ[name]}'" for name in ("HOME",))
        words = f"{environment} '{sys.executable}' -c 'from interlock.cli import main; main()' approvals list"
        answer = server.call("shell_run", host="sandbox", command=words, intent="look at approvals")
        assert not answer["ok"]
        assert server.end() == 0


def test_what_a_killed_server_left_running_is_shown_and_ended_by_a_person() -> None:
    with client() as server:
        server.hello()
        started = server.call("shell_run", host="sandbox", command="sleep 250", wait_seconds=1)
        assert started["state"] == "running", started
        server.process.send_signal(signal.SIGKILL)
        server.process.wait(SECONDS_MAX)
    call_id = started["call_id"]
    shown = read("reconcile", call_id)
    assert shown["call"]["state"] == "unknown"
    ended = read("reconcile", call_id, "--end")
    assert (ended["found"], ended["left"]) == (len(shown["processes"]), 0)
    assert "could be found" in ended["sentence"]
    assert not processes_with(f"INTERLOCK_CALL={call_id}")
    # Whoever opens the record next asks the host, and hears that it was ended: the person is asked for nothing more,
    # or is still in time to say it.
    assert command("reconcile", call_id, "--as", "cancelled", "--reason", "ended by hand").returncode in (0, 5)
    assert command("reconcile", call_id).returncode == 5
    (row,) = [row for row in read("trace", "list") if row["call_id"] == call_id]
    assert row["state"] in ("failed", "cancelled")
