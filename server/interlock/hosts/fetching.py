"""Fetching: one file of a host brought to the server, if it has the hash that was named. It changes nothing there."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path

import asyncssh

from interlock.hosts.faults import Faulted, describe, unreachable
from interlock.hosts.link import Link, Live
from interlock.hosts.resolve import LinkLoop, resolve_path
from interlock.hosts.sftp import LOST, missing, not_a_file, refuse, sftp_refusal
from interlock.hosts.site import CHUNK_BYTES, kind_of, read_at
from interlock_tools.errors import OutputLimited, PathInvalid, Recovery, StaleState

FETCH_SECONDS_MAX = 3_600.0
ARGUMENT = "artifact"


async def fetch_file(link: Link, live: Live, path: str, sha256: str, into: Path, bytes_max: int) -> int:
    """The file's size, once all of it lies at `into`. Raises Faulted; then nothing lies there."""
    part = into.with_name(f".{into.name}.part")
    host = link.host.name
    try:
        async with asyncio.timeout(FETCH_SECONDS_MAX), link.files(live) as sftp:
            real = await resolve_path(sftp, path, follow=True, lenient=not live.is_openssh)
            attributes = await sftp.lstat(real)
            if kind_of(attributes) != "file":
                raise refuse(not_a_file(host, ARGUMENT, real, kind_of(attributes)))
            if (attributes.size or 0) > bytes_max:
                raise refuse(OutputLimited(path=ARGUMENT, reason=f"{path} is larger than {bytes_max} bytes"))
            size, found = await _copied(sftp, real, part, bytes_max)
        if found != sha256:
            step = Recovery.ask("Whoever built it says which of the two is right; it is not for an agent to choose.")
            reason = f"the sha256 of {path} on {host} is {found}: it is another one than was named, nothing was sent"
            raise refuse(StaleState(path="sha256", reason=reason, allowed=(found,), recovery=step))
        part.rename(into)
    except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
        raise refuse(missing(host, ARGUMENT, path)) from None
    except LinkLoop:
        raise refuse(PathInvalid(path=ARGUMENT, reason=f"{path} is a loop of symbolic links")) from None
    except asyncssh.SFTPError as fault:
        if isinstance(fault, LOST):
            link.forget_sftp(live)
            raise unreachable(f"the file channel was lost: {describe(fault)}") from None
        raise refuse(sftp_refusal(fault, host, ARGUMENT, path)) from None
    except TimeoutError:
        raise unreachable(f"{path} did not come within {FETCH_SECONDS_MAX:g} s") from None
    finally:
        part.unlink(missing_ok=True)
    return size


async def _copied(sftp: asyncssh.SFTPClient, real: str, part: Path, bytes_max: int) -> tuple[int, str]:
    """Size and hash of what was copied. Raises Faulted where it grows too large meanwhile."""
    digest, size = hashlib.sha256(), 0
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as local:
        async with sftp.open(real, "rb", encoding=None, block_size=0) as file:
            while data := await read_at(file, CHUNK_BYTES, size):
                size += len(data)
                if size > bytes_max:
                    raise Faulted(OutputLimited(path=ARGUMENT, reason=f"it grew over {bytes_max} bytes"), counts=False)
                digest.update(data)
                await asyncio.to_thread(local.write, data)
    return size, digest.hexdigest()
