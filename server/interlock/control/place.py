"""The one place to serve from: of two servers that start at once one gets it. It holds a lock, and opens no store."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK_NAME = "serving.lock"


@contextmanager
def claim(state_dir: Path) -> Iterator[bool]:
    """True while the place is ours; False where another server has it. The kernel frees it when its holder dies."""
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = os.open(state_dir / LOCK_NAME, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(file)
