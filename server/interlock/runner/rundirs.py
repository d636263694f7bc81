"""Run directories: where they lie, whose they are, and the small files in them. It starts and ends no process.

`BASE/ID` is made by one mkdir: whoever makes it may start the run, all others attach. In it lie
- the run's record, one file whose name says how far the run got: see the recording part,
- `out`, `err` (the heads of the streams), `out.tail`, `err.tail` (the last bytes of what was over the cap),
- `cancel.json`: with what grace its end was asked for; `fence.json`: the newest fence seen since the claim,
- `upload`: content sent ahead of the file work that needs it,
- `changes.json`: its measured diff; `u`, `w`: its layers; `landing.*`, `undo.*`: what became of them.
Beside them lies `.expired`: the ids of those that were removed.
"""

import contextlib
import errno
import json
import os
import pwd
import re
import stat
from typing import Any, Dict, Optional

RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
RUNS_FOLDER = "interlock-runs"
RUN_FILE_BYTES_MAX = 64 * 1024 * 1024


class RunFault(Exception):
    """A request that cannot be carried out: a code of the closed list, and a reason."""

    def __init__(self, fault: str, reason: str, **more: Any) -> None:
        super().__init__(reason)
        self.code = fault
        self.reason = reason
        self.more = more


def home_of_user() -> str:
    """The login user's home as the system knows it; "/" where it knows none."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return os.environ.get("HOME", "/")


def runs_place() -> str:
    """Where this user's run directories lie; nothing is made."""
    named = os.environ.get("INTERLOCK_RUNNER_BASE", "")
    if named:
        return named
    if os.geteuid() == 0:
        return os.path.join("/var/lib", RUNS_FOLDER)
    state = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(state):
        home = home_of_user()
        if not os.path.isdir(home) or not os.access(home, os.W_OK):  # a service's user has none of its own
            return "/var/tmp/%s-%d" % (RUNS_FOLDER, os.geteuid())
        state = os.path.join(home, ".local/state")
    return os.path.join(state, RUNS_FOLDER)


def make_runs_place(place: str) -> str:
    """Make it where it is missing and look that it is ours alone. Raises RunFault("unavailable")."""
    above = os.path.realpath(os.path.dirname(place))
    place = os.path.join(above, os.path.basename(place))
    try:
        os.makedirs(above, 0o700, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(place, 0o700)
        found, folder = os.lstat(place), os.stat(above)
    except OSError as fault:
        raise RunFault("unavailable", "no run directories: %s" % fault)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise RunFault("unavailable", "%s is no directory of this user's own" % place)
    if found.st_mode & 0o022:
        raise RunFault("unavailable", "%s can be written by others" % place)
    swappable = folder.st_mode & 0o002 and not folder.st_mode & stat.S_ISVTX
    if swappable or folder.st_uid not in (0, os.geteuid()):
        raise RunFault("unavailable", "what lies above %s can be written by others" % place)
    if found.st_mode & 0o077:
        os.chmod(place, 0o700)
    return place


def run_dir(place: str, run: Any) -> str:
    """The directory of a run. Raises RunFault("bad_request") for what is no id."""
    if not isinstance(run, str) or not RUN_ID.fullmatch(run):
        raise RunFault("bad_request", "no run id: %r" % (run,))
    return os.path.join(place, run)


def write_run_file(rundir: str, name: str, value: Any, durable: bool) -> None:
    """Put a JSON file in its place as a whole. Raises OSError."""
    temporary = os.path.join(rundir, ".%s.%d" % (name, os.getpid()))
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        write_all(handle, json.dumps(value, separators=(",", ":")).encode("ascii"))
        if durable:
            os.fdatasync(handle)
    finally:
        os.close(handle)
    os.rename(temporary, os.path.join(rundir, name))


def lay_run_file(rundir: str, name: str, value: Any) -> int:
    """Put a JSON file where none is, its writing begun; the open file, still to be synced. Raises OSError."""
    temporary = os.path.join(rundir, ".%s.%d" % (name, os.getpid()))
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        write_all(handle, json.dumps(value, separators=(",", ":")).encode("ascii"))
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.rename(temporary, os.path.join(rundir, name))
    except OSError:
        os.close(handle)
        raise
    return handle


def write_all(handle: int, data: bytes) -> None:
    """Write all of it. Raises OSError."""
    while data:
        data = data[os.write(handle, data) :]


def read_run_bytes(rundir: str, name: str) -> Optional[bytes]:
    """A small file of the run; None where there is none."""
    try:
        handle = os.open(os.path.join(rundir, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(handle, "rb") as file:
        return file.read(RUN_FILE_BYTES_MAX)


def read_run_file(rundir: str, name: str) -> Optional[Dict[str, Any]]:
    """A JSON file of the run; None where it is missing or torn."""
    text = read_run_bytes(rundir, name)
    try:
        value = None if text is None else json.loads(text.decode("ascii"))
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def disk_fault(fault: OSError) -> RunFault:
    """The fault of a disk that does not take what it is given."""
    code = "no_space" if fault.errno in (errno.ENOSPC, errno.EDQUOT) else "unavailable"
    return RunFault(code, "the run directory cannot be written: %s" % fault)
