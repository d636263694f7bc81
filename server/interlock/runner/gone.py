"""Gone: the ids of run directories that were removed, so that none begins again or is told as never begun.

They stand in one file beside the run directories, one a line, and the oldest are forgotten. It removes nothing.
"""

import os
from typing import Sequence

from interlock.runner.rundirs import read_run_bytes, write_all

EXPIRED_NAME = ".expired"
EXPIRED_BYTES_MAX = 1024 * 1024


def has_expired(rundir: str) -> bool:
    """Whether a run of this id was removed here, as far back as is remembered."""
    place, run = os.path.split(rundir)
    text, line = read_run_bytes(place, EXPIRED_NAME) or b"", os.fsencode(run) + b"\n"
    return text.startswith(line) or b"\n" + line in text


def note_expired(place: str, runs: Sequence[str]) -> None:
    """Remember, durably, that these are about to be removed; the oldest half is forgotten when there are too many.

    Raises OSError. One at a time: the caller holds a lock.
    """
    path = os.path.join(place, EXPIRED_NAME)
    text = (read_run_bytes(place, EXPIRED_NAME) or b"") + "".join(run + "\n" for run in runs).encode("ascii")
    if len(text) > EXPIRED_BYTES_MAX:
        text = text[-EXPIRED_BYTES_MAX // 2 :].partition(b"\n")[2]
    handle = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        write_all(handle, text)
        os.fsync(handle)
    finally:
        os.close(handle)
    os.rename(path + ".new", path)
