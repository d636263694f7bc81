"""Where the owner's socket is, and who is on its other side. It listens and connects; it says nothing over it."""

from __future__ import annotations

import os
import socket
import stat
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from interlock.control.faults import ControlFault

SOCKET_NAME = "control.sock"
# The shortest sun_path there is (104 bytes on BSD and macOS, 108 on Linux), its closing zero left out.
PATH_BYTES_MAX = 103
ANCESTORS_MAX = 64
_PEER = struct.Struct("3i")  # pid, uid, gid


def listen(state_dir: Path, backlog: int) -> socket.socket:
    """A listening socket (0600) in the state folder (0700). Only for the store's owner: an old socket is replaced.

    Raises ControlFault where the folder is not ours alone.
    """
    _demand_private(state_dir)
    path = state_dir / SOCKET_NAME
    path.unlink(missing_ok=True)
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short(path) as name:
            found.bind(name)
        path.chmod(0o600)
        found.listen(backlog)
    except OSError:
        found.close()
        raise
    return found


def connect(state_dir: Path, timeout_seconds: float) -> socket.socket | None:
    """A connected socket, or None where no owner lives. Raises ControlFault where the other side is another user."""
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    found.settimeout(timeout_seconds)
    try:
        with _short(state_dir / SOCKET_NAME) as name:
            found.connect(name)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        found.close()
        return None
    except OSError as fault:
        found.close()
        hint = "end the process that owns it, and start anew"
        raise ControlFault("OWNER_UNREACHABLE", f"the owner's socket in {state_dir}: {fault.strerror}", hint) from None
    if not is_ours(found):
        found.close()
        raise ControlFault("OWNER_FOREIGN", f"the socket in {state_dir} belongs to another user")
    return found


def is_ours(connected: socket.socket) -> bool:
    """Whether the other side runs as our own user. Where the system cannot say, the socket's 0600 has to be enough."""
    peer = _peer(connected)
    return peer is None or peer[1] == os.getuid()


def is_descendant(connected: socket.socket) -> bool:
    """Whether the other side was started by this process, at whatever remove: an agent's command in a sandbox."""
    peer = _peer(connected)
    pid = _parent(peer[0]) if peer else 0
    for _ in range(ANCESTORS_MAX):
        if pid <= 1:
            return False
        if pid == os.getpid():
            return True
        pid = _parent(pid)
    return True  # deeper than anything honest


def login_name() -> str:
    """Our own user's name, or number where it has none (in a bare container)."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _peer(connected: socket.socket) -> tuple[int, int] | None:
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    pid, uid, _ = _PEER.unpack(connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return pid, uid


def _parent(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[1])


def _demand_private(folder: Path) -> None:
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ControlFault("STATE_OPEN", f"{folder} must be a folder of this user alone", f"chmod 700 {folder}")


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name of this path that fits into a socket's address: over an open folder where the path itself is too long."""
    if len(os.fsencode(path)) <= PATH_BYTES_MAX:
        yield str(path)
        return
    if sys.platform != "linux":
        raise ControlFault(
            "PATH_TOO_LONG", f"{path} is too long for a socket", "set server.state_dir to a shorter path"
        )
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
