"""Small commands of our own on a host: a probe, a check, the end of a process group. Their output is bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import asyncssh

from interlock.hosts.channel import CommandChannel
from interlock.hosts.faults import Faulted, busy, no_shell, not_become, unreachable
from interlock.hosts.link import Link, Live
from interlock.hosts.wire import build_exec

OUTPUT_BYTES_MAX = 256 * 1024
OPEN_TRIES_MAX = 5
# Our own scripts look here first: a host's configured path may begin in a folder that agents write to.
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin"
OPEN_RETRY_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Said:
    """What a small command answered. Each stream is cut at OUTPUT_BYTES_MAX."""

    exit_code: int
    stdout: str
    stderr: str


class _Bounded:
    """Collects bytes up to a cap; the rest is dropped."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self.data = bytearray()

    def __call__(self, data: bytes) -> None:
        self.data += data[: self._bytes_max - len(self.data)]

    def text(self) -> str:
        return self.data.decode("utf-8", "replace")


async def ask(
    link: Link,
    live: Live,
    script: str,
    *,
    cwd: str = "/",
    environment: Mapping[str, str] | None = None,
    timeout_seconds: float = 10.0,
    bytes_max: int = OUTPUT_BYTES_MAX,
    call_id: str = "",
) -> Said:
    """Run a script of ours under the pinned bash as whoever the host's calls run as.

    Raises Faulted where it could not be run to its end in time. It takes no place in the gate: an end must get through
    where every session is busy. With `call_id` its processes carry the call's marker, so that they can be ended.
    """
    host = link.host
    environment = {"PATH": f"{SYSTEM_PATH}:{host.path}", "LANG": "C.UTF-8", **(environment or {})}
    exec_ = build_exec(script, shell=host.shell, cwd=cwd, environment=environment, become=host.become, call_id=call_id)
    out, err = _Bounded(bytes_max), _Bounded(bytes_max)
    for attempt in range(OPEN_TRIES_MAX):
        try:
            channel = await link.open(live, exec_, out, err)
            break
        except asyncssh.ChannelOpenError:
            await asyncio.sleep(OPEN_RETRY_SECONDS * (attempt + 1))
    else:
        raise busy("the host has no session free", 1)
    try:
        async with asyncio.timeout(timeout_seconds):
            await channel.ended()
    except TimeoutError:
        channel.close()
        raise unreachable(f"no answer to a probe in {timeout_seconds:g} s") from None
    except asyncio.CancelledError:
        channel.close()
        raise
    return Said(_exit_code(link, channel), out.text(), err.text())


def _exit_code(link: Link, channel: CommandChannel) -> int:
    if channel.exit_code is None:
        raise unreachable("the connection was lost during a probe")
    if channel.begun is None:
        raise not_started(link, channel)
    return channel.exit_code


def not_started(link: Link, channel: CommandChannel) -> Faulted:
    """The fault of a command whose marker never came: its shell did not start, or sudo refused."""
    host = link.host
    return not_become(host.become, channel.said_before) if host.become else no_shell(host.shell, channel.said_before)
