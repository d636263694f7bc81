"""Every error code, and what a client makes of it that has no model and does only what `recovery` says."""

# ruff: noqa: ASYNC110 - a test polls for what nobody tells it

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from examples.recovering_client import Step, follow

from home import Home, open_home, settings_in
from interlock.ports import Request
from interlock.settings import Settings
from interlock_tools.errors import refusal_codes
from sshd import Sshd, processes_with, running_sshd

pytestmark = pytest.mark.anyio

# These need a fleet, or grants narrower than a principal: the tests of deployments and of undo give them.
NOT_GIVEN_YET = {"APP_UNKNOWN", "ENGINE_UNAVAILABLE", "SCOPE_DENIED", "UNDO_UNAVAILABLE"}
WAIT_SECONDS = 40.0

Arguments = dict[str, Any]
Ready = Callable[[Home], Awaitable[None]]


async def _nothing(_: Home) -> None:
    """Nothing has to be there first."""


@dataclass(frozen=True)
class Case:
    """A call that is refused with `code`, and where following recoveries ends: "ok", or the action that stops it."""

    code: str
    tool: str
    arguments: Callable[[Home], Arguments]
    ends: str
    ready: Ready = _nothing
    limits: Mapping[str, Any] = field(default_factory=dict)
    meanwhile: Ready = _nothing


def shell(command: str, **more: Any) -> Callable[[Home], Arguments]:
    return lambda home: {
        "host": "sandbox",
        "command": command,
        **{name: value(home) if callable(value) else value for name, value in more.items()},
    }


def at(name: str) -> Callable[[Home], str]:
    return lambda home: str(home.scratch / name)


async def _two_runs_already(home: Home) -> None:
    for _ in range(2):
        await home.call("shell_run", command="echo again")


async def _same_key_used(home: Home) -> None:
    await home.call("shell_run", command="echo one", idempotency_key="k")


async def _file_there(home: Home) -> None:
    (home.scratch / "notes.txt").write_text("somebody else wrote this\n")


async def _stopped(home: Home) -> None:
    await home.app.store.stop("all", "mira", "incident", home.app.clock())


async def _host_is_full(home: Home) -> None:
    home.busy = asyncio.create_task(home.call("shell_run", command="sleep 3"))
    while not home.app.live.running():
        await asyncio.sleep(0.01)


async def _decide(home: Home, *, approve: bool) -> None:
    for _ in range(200):
        pending = [row for row in await home.app.store.approvals() if row.state.value == "pending"]
        if pending:
            await home.app.approve(pending[0].approval_id, approve, "mira", "because")
            return
        await asyncio.sleep(0.02)


async def _approve(home: Home) -> None:
    await _decide(home, approve=True)


async def _deny(home: Home) -> None:
    await _decide(home, approve=False)


async def _approve_the_second(home: Home) -> None:
    for _ in range(500):
        rows = await home.app.store.approvals()
        if len(rows) == 2 and rows[0].state.value == "pending":
            await home.app.approve(rows[0].approval_id, True, "mira", "now")
            return
        await asyncio.sleep(0.02)


async def _cancel(home: Home) -> None:
    while not home.app.live.running():
        await asyncio.sleep(0.01)
    for call_id in home.app.live.running():
        await home.call("call_cancel", call_id=call_id)


async def _broken_inside(home: Home) -> None:
    async def execute(*_: object) -> None:
        raise RuntimeError("a bug of ours, with password=hunter2 in its text")

    home.app.hosts.execute = execute


SCRIPT = "python3 -c 'print(42)'"

CASES = [
    Case("ARGUMENT_INVALID", "shell_run", shell("true", timeout_seconds="5"), "ok"),
    Case("ARGUMENT_UNKNOWN", "shell_run", lambda _: {"host": "sandbox", "cmd": "true"}, "ok"),
    Case("ARGUMENT_MISSING", "shell_run", lambda _: {"command": "true"}, "ok"),
    Case("HOST_UNKNOWN", "shell_run", lambda _: {"host": "sanbdox", "command": "true"}, "ok"),
    Case("PATH_INVALID", "file_list", lambda _: {"host": "sandbox", "path": "./"}, "ok"),
    Case("COMMAND_UNREADABLE", "shell_run", shell('echo "'), "ask_human"),
    Case("POLICY_DENIED", "file_delete", lambda _: {
        "host": "sandbox", "path": "/usr", "recursive": True, "intent": "Free some space",
    }, "give_up"),
    Case("EFFECT_UNDECLARED", "shell_run", shell("touch new.txt"), "ok"),
    Case("APPROVAL_REQUIRED", "shell_run", shell(SCRIPT), "ok", meanwhile=_approve),
    Case("APPROVAL_DENIED", "shell_run", shell(SCRIPT), "give_up", meanwhile=_deny),
    Case("APPROVAL_EXPIRED", "shell_run", shell(SCRIPT), "ok", meanwhile=_approve_the_second, limits={
        "approve_within_seconds": 2,
    }),
    Case("STOPPED", "shell_run", shell("true"), "ask_human", ready=_stopped),
    Case("BUDGET_EXHAUSTED", "shell_run", shell("true"), "wait", limits={"budget_units_per_day": 0}),
    Case("RATE_LIMITED", "shell_run", shell("true"), "ok", ready=_two_runs_already, limits={
        "rate_calls_per_minute": 60, "rate_burst_calls": 2,
    }),
    Case("CONCURRENCY_LIMITED", "shell_run", shell("true"), "ok", ready=_host_is_full, limits={"host_calls_max": 1}),
    Case("LOOP_DETECTED", "shell_run", shell("echo again"), "give_up", ready=_two_runs_already),
    Case("OUTPUT_LIMITED", "file_edit", lambda home: {
        "host": "sandbox", "path": str(home.scratch / "notes.txt"), "intent": "Correct a word",
        "edits": [{"old": "wrote", "new": "left"}],
    }, "stop", ready=_file_there, limits={"file_bytes_max": 16}),
    Case("IDEMPOTENCY_CONFLICT", "shell_run", shell("echo two", idempotency_key="k"), "ok", ready=_same_key_used),
    Case("CALL_UNKNOWN", "call_status", lambda _: {"call_id": "c_" + "0" * 32}, "give_up"),
    Case("STALE_STATE", "file_write", lambda home: {
        "host": "sandbox", "path": str(home.scratch / "notes.txt"), "content": "mine\n", "intent": "Write notes",
        "expected_sha256": "0" * 64,
    }, "ok", ready=_file_there),
    Case("CONTAINMENT_UNAVAILABLE", "shell_run", shell("ls", mode="preview"), "give_up"),
    Case("COMMAND_FAILED", "shell_run", shell("false"), "give_up"),
    Case("TIMED_OUT", "shell_run", shell("sleep 30", timeout_seconds=1), "give_up"),
    Case("CANCELLED", "shell_run", shell("sleep 30"), "give_up", meanwhile=_cancel),
    Case("VERIFICATION_FAILED", "shell_run", shell("true", verify=lambda home: [
        {"check": "path_exists", "target": str(home.scratch / "never"), "expected": ""},
    ]), "give_up"),
    Case("INTERNAL", "shell_run", shell("true"), "ask_human", ready=_broken_inside),
]  # fmt: skip


@asynccontextmanager
async def _with(meanwhile: Ready, home: Home):
    task = asyncio.create_task(meanwhile(home))
    try:
        yield
    finally:
        await asyncio.wait_for(task, WAIT_SECONDS)


async def _followed(home: Home, tool: str, arguments: Arguments) -> tuple[Step, ...]:
    async def send(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
        envelope = await home.app.front.call(Request(home.principal, home.session, name, dict(values)))
        return envelope.to_json()

    return await asyncio.wait_for(follow(send, tool, arguments), WAIT_SECONDS)


def _end(steps: tuple[Step, ...]) -> str:
    last = steps[-1].envelope
    return "ok" if last["ok"] else last["error"]["recovery"]["action"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.code)
async def test_a_client_without_a_model_gets_as_far_as_a_program_can(case: Case, tmp_path: Path) -> None:
    async with open_home(tmp_path, **case.limits) as home:
        await case.ready(home)
        async with _with(case.meanwhile, home):
            steps = await _followed(home, case.tool, case.arguments(home))
        assert case.code in [step.code for step in steps]
        assert _end(steps) in ((case.ends,) if case.ends != "stop" else ("ask_human", "give_up", "change_arguments"))
        assert "hunter2" not in str([step.envelope for step in steps])


# ── faults of a host: a real OpenSSH server ──────────────────────────────────────────────────────────────────────────


@pytest.fixture
def box(tmp_path: Path):
    folder = tmp_path / "sshd"
    folder.mkdir()
    with running_sshd(folder) as server:
        yield server


def _settings_with(server: Sshd, folder: Path, **changes: Any) -> Settings:
    base = settings_in(folder, connect_timeout_seconds=2.0, breaker_failures_max=2, breaker_open_seconds=1.0)
    host = server.settings("box", labels={"env": "dev"}, containment="none", **changes)
    return replace(base, hosts={"box": host})


@pytest.mark.openssh
async def test_host_unreachable_is_waited_out(tmp_path: Path, box: Sshd) -> None:
    settings = _settings_with(box, tmp_path)
    patient = replace(settings, limits=replace(settings.limits, breaker_failures_max=100))
    async with open_home(tmp_path, settings=patient) as home:
        box.stop()

        async def come_back(_: Home) -> None:
            await asyncio.sleep(1.5)
            await asyncio.to_thread(box.start)

        async with _with(come_back, home):
            steps = await _followed(home, "shell_run", {"host": "box", "command": "true"})
        codes = [step.code for step in steps]
        assert "HOST_UNREACHABLE" in codes
        assert _end(steps) == "ok"


@pytest.mark.openssh
async def test_host_busy_while_its_breaker_is_open_passes_by_waiting(tmp_path: Path, box: Sshd) -> None:
    async with open_home(tmp_path, settings=_settings_with(box, tmp_path)) as home:
        box.stop()
        for _ in range(3):
            await home.call("shell_run", host="box", command="true")
        await asyncio.to_thread(box.start)
        steps = await _followed(home, "shell_run", {"host": "box", "command": "true"})
        assert "HOST_BUSY" in [step.code for step in steps]
        assert _end(steps) == "ok"


@pytest.mark.openssh
async def test_a_changed_host_key_goes_to_a_human(tmp_path: Path, box: Sshd) -> None:
    async with open_home(tmp_path, settings=_settings_with(box, tmp_path)) as home:
        box.change_host_key()
        steps = await _followed(home, "shell_run", {"host": "box", "command": "true"})
        assert [step.code for step in steps] == ["HOST_KEY_MISMATCH"]
        assert _end(steps) == "ask_human"


@pytest.mark.openssh
async def test_refused_credentials_go_to_a_human(tmp_path: Path, box: Sshd) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with running_sshd(other) as stranger:
        identities = stranger.settings("x").identities
        async with open_home(tmp_path, settings=_settings_with(box, tmp_path, identities=identities)) as home:
            steps = await _followed(home, "shell_run", {"host": "box", "command": "true"})
    assert [step.code for step in steps] == ["AUTH_FAILED"]
    assert _end(steps) == "ask_human"


def _impatient(box: Sshd, folder: Path) -> Settings:
    """Settings with which a host that went away is soon given up."""
    found = _settings_with(box, folder, workspace=(str(folder),))
    return replace(found, limits=replace(found.limits, reattach_seconds_max=1.0))


@pytest.mark.openssh
async def test_an_unknown_outcome_goes_to_a_human_and_is_never_repeated(tmp_path: Path, box: Sshd) -> None:
    async with open_home(tmp_path, settings=_impatient(box, tmp_path)) as home:
        counter = tmp_path / "counter"

        async def cut(_: Home) -> None:
            while not counter.exists():
                await asyncio.sleep(0.02)
            box.stop()

        async with _with(cut, home):
            steps = await _followed(
                home,
                "shell_run",
                {
                    "host": "box",
                    "command": f"echo x >> {counter}; sleep 5",
                    "writes": [str(counter)],
                    "intent": "Count",
                },
            )
        assert [step.code for step in steps] == ["OUTCOME_UNKNOWN"]
        assert _end(steps) == "ask_human"
        assert counter.read_text() == "x\n"


def test_every_code_of_the_contract_is_walked_here() -> None:
    walked = {case.code for case in CASES}
    walked |= {"HOST_UNREACHABLE", "HOST_BUSY", "HOST_KEY_MISMATCH", "AUTH_FAILED", "OUTCOME_UNKNOWN"}
    assert walked | NOT_GIVEN_YET == set(refusal_codes())
    assert not walked & NOT_GIVEN_YET


@pytest.mark.openssh
async def test_what_a_lost_call_still_runs_is_ended_by_its_call_id(tmp_path: Path, box: Sshd, monkeypatch) -> None:
    monkeypatch.setattr("interlock.recovering.AGAIN_SECONDS", 1_000.0)  # else the server finds it again by itself
    async with open_home(tmp_path, settings=_impatient(box, tmp_path)) as home:
        started = tmp_path / "started"
        arguments = {"writes": [str(started)], "intent": "Run for long"}
        task = asyncio.create_task(
            home.call("shell_run", host="box", command=f"touch {started}; sleep 271828", **arguments)
        )
        while not started.exists():
            await asyncio.sleep(0.02)
        box.stop()
        lost = await asyncio.wait_for(task, WAIT_SECONDS)
        box.start()
        assert lost["error"]["code"] == "OUTCOME_UNKNOWN"
        assert processes_with("271828")
        cancelled = await home.call("call_cancel", call_id=lost["call_id"])
        assert cancelled["result"]["state"] == "unknown"
        assert cancelled["notices"]
        assert not processes_with("271828")
