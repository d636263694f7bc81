"""The embedded host: a real SSH server in this process, on loopback, for one key. It contains nothing.

Commands run as the current user; the scratch folder is only where they start.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import asyncssh

from interlock.hosts.trust import trust_line
from interlock.settings import HostSettings, SecretRef

LOOPBACK = "127.0.0.1"
LOGIN_SHELL = "/bin/sh"
DRAIN_SECONDS = 0.5
END_SECONDS_MAX = 5.0
COPY_BYTES = 64 * 1024


class _OneKey(asyncssh.SSHServer):
    """Lets in whoever holds the one client key, as the one user. No password, no forwarding."""

    def __init__(self, user: str, key: asyncssh.SSHKey) -> None:
        self._user = user
        self._key = key.public_data

    def begin_auth(self, username: str) -> bool:
        del username
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username == self._user and key.public_data == self._key

    def password_auth_supported(self) -> bool:
        return False

    def kbdint_auth_supported(self) -> bool:
        return False


class _Files(asyncssh.SFTPServer):
    """Files of this machine as the current user sees them; relative paths start in the scratch folder."""

    scratch = b"/"

    def map_path(self, path: bytes) -> bytes:
        return os.path.join(self.scratch, path)  # noqa: PTH118 - bytes of SFTP, which pathlib does not take

    def reverse_map_path(self, path: bytes) -> bytes:
        return path

    def realpath(self, path: bytes) -> bytes:
        """As OpenSSH answers: only the last component may be missing, and a loop of links is an error."""
        whole = os.path.normpath(self.map_path(path)) if path in (b"", b".") else self.map_path(path)
        try:
            return os.path.realpath(whole, strict=True)
        except FileNotFoundError:
            parent, name = os.path.split(whole)
            if not name or os.path.islink(whole):  # noqa: PTH114 - bytes of SFTP, which pathlib does not take
                raise
            return os.path.join(os.path.realpath(parent, strict=True), name)  # noqa: PTH118 - bytes of SFTP again


def home_beside(scratch: str) -> str:
    """The home of the embedded host's commands: a folder beside the scratch folder, which itself holds only work."""
    return f"{scratch.rstrip('/')}-home"


class Sandbox:
    """Runs the commands of the embedded host, each in a session of its own that dies with its channel."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._groups: set[int] = set()
        self._serving: set[asyncio.Task[None]] = set()

    async def handle(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        """Serve one exec request."""
        serving = asyncio.current_task()
        if serving is not None:
            self._serving.add(serving)
            serving.add_done_callback(self._serving.discard)
        if process.command is None:
            process.stderr.write(b"this host runs commands only\n")
            process.exit(1)
            return
        environment = {
            "HOME": home_beside(str(self._scratch)),
            "PATH": os.environ.get("PATH", os.defpath),
            "SHELL": LOGIN_SHELL,
        }
        with ExitStack() as ours:
            ends = [os.pipe(), os.pipe()]
            outs = [ours.enter_context(os.fdopen(reading, "rb", buffering=0)) for reading, _ in ends]
            try:
                child = await self._start(process.command, environment, ends[0][1], ends[1][1])
            finally:
                for _, writing in ends:
                    os.close(writing)
            self._groups.add(child.pid)
            await self._serve(process, child, outs)
        if not _group_lives(child.pid):
            self._groups.discard(child.pid)

    async def _start(self, command: str, environment: dict[str, str], out: int, err: int) -> asyncio.subprocess.Process:
        # The pipes are ours: asyncio would report the end only once nobody holds its pipes, background work included.
        return await asyncio.create_subprocess_exec(
            LOGIN_SHELL,
            "-c",
            command,
            stdin=asyncio.subprocess.PIPE,
            stdout=out,
            stderr=err,
            cwd=self._scratch,
            env=environment,
            start_new_session=True,
        )

    async def _serve(
        self,
        process: asyncssh.SSHServerProcess[bytes],
        child: asyncio.subprocess.Process,
        outs: Sequence[BinaryIO],
    ) -> None:
        copies = [
            asyncio.create_task(_copy(outs[0], process.stdout)),
            asyncio.create_task(_copy(outs[1], process.stderr)),
        ]
        feeding = asyncio.create_task(_feed(process.stdin, child.stdin))
        closing = asyncio.create_task(process.channel.wait_closed())
        waiting = asyncio.create_task(child.wait())
        everything = (*copies, feeding, closing, waiting)
        try:
            await asyncio.wait({closing, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                await asyncio.wait(copies, timeout=DRAIN_SECONDS)
                _report_end(process, waiting.result())
            else:
                _end_group(child.pid)
                await waiting
        finally:
            for task in everything:
                task.cancel()
            await asyncio.gather(*everything, return_exceptions=True)
            if child.stdin is not None:
                child.stdin.close()

    async def end_all(self) -> None:
        """End every process group that still runs, and wait until that is seen."""
        for group in tuple(self._groups):
            _end_group(group)
        if self._serving:
            await asyncio.wait(self._serving, timeout=END_SECONDS_MAX)


def _report_end(process: asyncssh.SSHServerProcess[bytes], code: int) -> None:
    if code < 0:
        process.exit_with_signal(signal.Signals(-code).name.removeprefix("SIG"))
    else:
        process.exit(code)


async def _copy(source: BinaryIO, target: asyncssh.SSHWriter[bytes]) -> None:
    """Copy until the end; the channel's window holds the source back, so nothing piles up here."""
    reader = asyncio.StreamReader(limit=COPY_BYTES)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), source)
    try:
        while data := await reader.read(COPY_BYTES):
            target.write(data)
            await target.drain()
    finally:
        transport.close()


async def _feed(source: asyncssh.SSHReader[bytes], target: asyncio.StreamWriter | None) -> None:
    if target is None:
        return
    try:
        while data := await source.read(COPY_BYTES):
            target.write(data)
            await target.drain()
    finally:
        target.close()


def _group_lives(group: int) -> bool:
    """Whether something went on in the background; as on any host, it outlives its command, but not the server."""
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _end_group(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


@asynccontextmanager
async def open_sandbox(host: HostSettings, state_dir: Path) -> AsyncIterator[HostSettings]:
    """Serve the embedded host until the context ends; yields its settings with address, port, key and known_hosts.

    Keys are made anew each time and lie in `state_dir`/hosts/NAME (0700, files 0600). `host.cwd` is the scratch folder;
    it is made where it is missing.
    """
    scratch = _scratch_folder(host, state_dir)
    client_key = asyncssh.generate_private_key("ssh-ed25519")
    host_key = asyncssh.generate_private_key("ssh-ed25519")
    sandbox = Sandbox(scratch)
    files = type("ScratchFiles", (_Files,), {"scratch": os.fsencode(scratch)})
    server = await asyncssh.listen(
        LOOPBACK,
        0,
        server_factory=lambda: _OneKey(host.user, client_key),
        server_host_keys=[host_key],
        process_factory=sandbox.handle,
        sftp_factory=files,
        encoding=None,
        config=None,
        allow_pty=False,
        agent_forwarding=False,
        x11_forwarding=False,
        compression_algs=["none"],
        gss_host=None,
    )
    try:
        reached = replace(host, address=LOOPBACK, port=server.get_port(), cwd=str(scratch))
        yield _with_keys(reached, state_dir / "hosts" / host.name, client_key, host_key)
    finally:
        await sandbox.end_all()
        server.close()
        await server.wait_closed()


def _scratch_folder(host: HostSettings, state_dir: Path) -> Path:
    folder = Path(host.cwd or state_dir / "scratch").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    Path(home_beside(str(folder))).mkdir(mode=0o700, exist_ok=True)
    return folder


def _with_keys(
    host: HostSettings, directory: Path, client_key: asyncssh.SSHKey, host_key: asyncssh.SSHKey
) -> HostSettings:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    identity, known_hosts = directory / "identity", directory / "known_hosts"
    _write_private(identity, client_key.export_private_key())
    _write_private(known_hosts, trust_line(host, host_key).encode() + b"\n")
    return replace(host, identities=(SecretRef("file", str(identity)),), known_hosts=known_hosts)


def _write_private(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    with os.fdopen(file, "wb") as stream:
        stream.write(data)
