"""The file channel: SFTP as the login, or through sudo as the configured user, and its errors as refusals."""

from __future__ import annotations

import asyncio

import asyncssh
from asyncssh.sftp import start_sftp_client

from interlock.hosts.faults import Faulted, describe, not_become, unreachable
from interlock.settings import HostSettings
from interlock_tools.errors import HostFault, OutputLimited, PathInvalid, Recovery, Refusal, StaleState

# Read by any login shell inside single quotes, then by sh: the places where OpenSSH keeps its file server.
_SERVERS = "/usr/lib/openssh /usr/libexec/openssh /usr/lib/ssh /usr/libexec"
_START = f"for d in {_SERVERS}; do if [ -x $d/sftp-server ]; then exec $d/sftp-server; fi; done; exit 97"
PATH_ERRORS = "surrogateescape"
SFTP_VERSION = 3
# A connection that broke (cut, corrupted, silent) is told to its file channel in its own words.
LOST = (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection, asyncssh.DisconnectError)


async def open_files(connection: asyncssh.SSHClientConnection, host: HostSettings) -> asyncssh.SFTPClient:
    """A file channel. Raises Faulted(AuthFailed) where sudo refuses; asyncssh's and the socket's errors as they are."""
    if not host.become:
        return await connection.start_sftp_client(path_encoding="utf-8", path_errors=PATH_ERRORS)
    command = f"exec sudo -n -u {host.become} -- /bin/sh -c '{_START}'"
    writer, reader, errors = await connection.open_session(command, encoding=None)
    try:
        return await start_sftp_client(
            connection, asyncio.get_running_loop(), "strict", reader, writer, "utf-8", PATH_ERRORS, SFTP_VERSION
        )
    except asyncssh.SFTPError:
        writer.channel.abort()
        said = (await errors.read(400)).decode("utf-8", "replace").strip()
        raise not_become(host.become, said or "no sftp-server was found") from None


def sftp_refusal(fault: asyncssh.SFTPError, host: str, argument: str, path: str) -> Refusal:
    """What an SFTP error means for a caller who asked for `path` in `argument`."""
    if isinstance(fault, asyncssh.SFTPNoSuchFile | asyncssh.SFTPNoSuchPath):
        return missing(host, argument, path)
    if isinstance(fault, asyncssh.SFTPPermissionDenied):
        return PathInvalid(path=argument, reason=f"{path}: permission denied for the login's user")
    if isinstance(fault, LOST):
        return unreachable(f"the file channel was lost: {describe(fault)}").refusal
    return StaleState(path=argument, reason=f"{path}: {describe(fault)}", recovery=look_again(host, path))


def missing(host: str, argument: str, path: str) -> Refusal:
    """There is no such file."""
    return PathInvalid(path=argument, reason=f"{path} does not exist", recovery=look_again(host, path))


def not_a_file(host: str, argument: str, path: str, kind: str) -> Refusal:
    """The path names something that is not a regular file."""
    reason = f"{path} is a {kind}, not a regular file"
    if kind == "directory":
        recovery = Recovery.use("file_list", {"host": host, "path": path}, "It is a directory; this lists it.")
        return PathInvalid(path=argument, reason=reason, recovery=recovery)
    return PathInvalid(path=argument, reason=reason, recovery=look_again(host, path))


def too_large(path: str, size_bytes: int, bytes_max: int) -> Refusal:
    """The file is larger than this way of handling it allows."""
    reason = f"{path} has {size_bytes} bytes, and at most {bytes_max} are handled at once"
    return OutputLimited(path="path", reason=reason, allowed=(str(bytes_max),))


def look_again(host: str, path: str) -> Recovery:
    """List the folder: it shows what is there now."""
    arguments = {"host": host, "path": path.rpartition("/")[0] or "/"}
    return Recovery.use("file_list", arguments, "The folder's list shows what is there now.")


def refuse(refusal: Refusal) -> Faulted:
    """A refusal of a file operation before anything was changed, on its way out of this room."""
    return Faulted(refusal, counts=isinstance(refusal, HostFault))
