"""The owner's socket lets in its own user's processes, answers their requests, and carries other clients' bytes."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from interlock.control.address import SOCKET_NAME, connect, listen
from interlock.control.faults import ControlFault
from interlock.control.forward import find_owner, forward_stdio
from interlock.control.owner import LINE_BYTES_MAX, Owner, Services, open_socket
from interlock.control.reach import connected

pytestmark = pytest.mark.anyio


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    return folder


async def _echo(principal: str, protocol: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(f"{principal}/{protocol}\n".encode())
    while line := await reader.readline():
        writer.write(line.upper())
        await writer.drain()


async def _administer(method: str, params: Mapping[str, Any], by: str) -> Any:
    if method == "add":
        return {"sum": params["a"] + params["b"], "by": by}
    if method == "large":
        return "x" * params["chars"]
    if method == "refuse":
        raise ControlFault("NOT_STOPPED", "it is not stopped", "interlock stop")
    raise RuntimeError("hunter2")


def _check(principal: str) -> str | None:
    return None if principal in ("", "agent") else "there is no such principal"


@asynccontextmanager
async def owner_at(state: Path) -> AsyncIterator[Owner]:
    async with open_socket(state, Services(_echo, _administer, _check)) as owner:
        yield owner


async def test_a_command_gets_its_answers_and_its_faults(state: Path) -> None:
    async with owner_at(state):
        caller = await connected(state)
        assert caller is not None
        answer = await caller.call("add", a=1, b=2)
        assert answer["sum"] == 3
        assert answer["by"].startswith("local:")
        assert len(await caller.call("large", chars=5_000_000)) == 5_000_000
        with pytest.raises(ControlFault, match="not stopped") as refused:
            await caller.call("refuse")
        assert (refused.value.code, refused.value.hint) == ("NOT_STOPPED", "interlock stop")
        with pytest.raises(ControlFault) as inside:
            await caller.call("explode")
        assert inside.value.code == "INTERNAL"
        assert "hunter2" not in inside.value.message
        assert (await caller.call("add", a=2, b=2))["sum"] == 4
        await caller.close()


def _leave_a_stale_socket(state: Path) -> None:
    listen(state, 1).close()  # what a killed owner leaves behind


def _is_there(path: Path) -> bool:
    return path.exists()


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


async def test_the_socket_and_its_folder_are_for_their_user_alone(state: Path) -> None:
    async with owner_at(state):
        assert _mode(state / SOCKET_NAME) == 0o600
    assert not _is_there(state / SOCKET_NAME)
    await asyncio.to_thread(state.chmod, 0o755)
    with pytest.raises(ControlFault, match="this user alone"):
        listen(state, 1)


async def test_where_no_owner_lives_there_is_nobody_to_reach(state: Path) -> None:
    assert await connected(state) is None
    _leave_a_stale_socket(state)
    assert _is_there(state / SOCKET_NAME)
    assert await connected(state) is None
    async with owner_at(state):
        caller = await connected(state)
        assert caller is not None
        await caller.close()


async def test_a_path_too_long_for_a_socket_works_all_the_same(tmp_path: Path) -> None:
    state = tmp_path / ("long" * 40)
    state.mkdir(mode=0o700)
    async with owner_at(state):
        caller = await connected(state)
        assert caller is not None
        assert (await caller.call("add", a=1, b=1))["sum"] == 2
        await caller.close()


async def test_a_second_server_passes_bytes_both_ways_until_its_client_ends(state: Path) -> None:
    async with owner_at(state) as owner:
        found = await asyncio.to_thread(find_owner, state, "agent", "legacy")
        assert found is not None
        (client_in, server_in), (server_out, client_out) = os.pipe(), os.pipe()
        forwarding = asyncio.create_task(asyncio.to_thread(forward_stdio, found, client_in, client_out))
        await asyncio.to_thread(os.write, server_in, b"hello\n")
        received = b""
        while received.count(b"\n") < 2:
            received += await asyncio.wait_for(asyncio.to_thread(os.read, server_out, 4_096), 10)
        assert received == b"agent/legacy\nHELLO\n"
        os.close(server_in)
        assert await asyncio.wait_for(forwarding, 10) is True
        await asyncio.wait_for(owner.drained(), 10)
        for fd in (client_in, server_out, client_out):
            os.close(fd)


async def test_a_second_server_says_when_its_owner_ended(state: Path) -> None:
    async with owner_at(state):
        found = await asyncio.to_thread(find_owner, state, "", "auto")
    assert found is not None
    (client_in, server_in), (server_out, client_out) = os.pipe(), os.pipe()
    assert await asyncio.wait_for(asyncio.to_thread(forward_stdio, found, client_in, client_out), 10) is False
    for fd in (server_in, server_out, client_out):
        os.close(fd)
    os.close(client_in)


async def test_an_unknown_principal_is_refused_before_anything_is_served(state: Path) -> None:
    async with owner_at(state):
        with pytest.raises(ControlFault) as refused:
            await asyncio.to_thread(find_owner, state, "somebody", "auto")
        assert refused.value.code == "PRINCIPAL_UNKNOWN"


@pytest.mark.parametrize(
    "line",
    [b"\n", b"not json\n", b"[1]\n", b'{"want": "more"}\n', b'{"want": "mcp", "protocol": "x"}\n', b"x" * 70_000],
)
async def test_whatever_comes_first_the_owner_lives_on(state: Path, line: bytes) -> None:
    async with owner_at(state):
        stranger = await asyncio.to_thread(connect, state, 5.0)
        assert stranger is not None
        with stranger:
            stranger.sendall(line)
            stranger.shutdown(socket.SHUT_WR)
            answer = await asyncio.to_thread(stranger.recv, 65_536)
        assert not answer or not json.loads(answer)["ok"]
        caller = await connected(state)
        assert caller is not None
        await caller.close()


async def test_an_endless_line_ends_the_connection_and_not_the_owner(state: Path) -> None:
    async with owner_at(state):
        caller = await connected(state)
        assert caller is not None
        with pytest.raises(ControlFault):
            await caller.call("add", a="x" * (LINE_BYTES_MAX + 10), b="")
        await caller.close()
        again = await connected(state)
        assert again is not None
        await again.close()


OWNER_WITH_A_CHILD = """
import asyncio, subprocess, sys
from pathlib import Path
from interlock.control.owner import Services, open_socket
async def never(*_): raise AssertionError
async def main():
    state = Path(sys.argv[1])
    async with open_socket(state, Services(never, never, lambda name: None)):
        line = f"'{sys.executable}' -c '{sys.argv[2]}' '{state}'; true"
        child = await asyncio.create_subprocess_exec("sh", "-c", line)
        await child.wait()
asyncio.run(main())
"""
CHILD = """
import sys
from pathlib import Path
from interlock.control.faults import ControlFault
from interlock.control.forward import find_owner
try:
    find_owner(Path(sys.argv[1]), "", "auto")
    print("reached")
except ControlFault as fault:
    print(fault.code)
"""


async def test_a_command_that_the_owner_started_cannot_reach_the_owner(state: Path) -> None:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", OWNER_WITH_A_CHILD, str(state), CHILD],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout.strip() == "FORBIDDEN", done.stderr
