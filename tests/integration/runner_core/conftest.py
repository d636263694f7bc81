"""Places for run directories on this machine, helpers in them, and the process table as a witness."""

import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from runner_channel import RunnerChannel, runner_channel
from sshd import processes_with

_numbers = itertools.count(1)
_own = f"t{os.getpid()}-{int(time.time() * 1000) % 10**8}"


@pytest.fixture
def place() -> Iterator[str]:
    """A place for run directories that no room treats as scratch."""
    above = "/var/lib" if os.geteuid() == 0 else Path.home()
    folder = tempfile.mkdtemp(prefix="interlock-test-", dir=above)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def work(place: str) -> Iterator[Path]:
    """A directory on the host's disk for commands to change."""
    folder = tempfile.mkdtemp(prefix="interlock-work-", dir=Path(place).parent)
    yield Path(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def helper(place: str) -> Iterator[Callable[..., RunnerChannel]]:
    """Start helpers, all with the same run directories."""
    with ExitStack() as stack:
        yield lambda **given: stack.enter_context(runner_channel(place, **given))


@pytest.fixture
def run() -> Iterator[str]:
    """An id that no other test has; what it started must be gone at the end."""
    name = f"{_own}-{next(_numbers)}"
    yield name
    for pid in processes_with(f"INTERLOCK_CALL={name}"):
        os.kill(pid, 9)


def gone(word: str, seconds: float = 5.0) -> bool:
    """Whether no process with this word is left, within a time."""
    until = time.monotonic() + seconds
    while processes_with(word):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def eventually(holds: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait until it holds. Raises AssertionError after a time."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


def names_in(*path: str) -> list[str]:
    """What lies in a directory."""
    return sorted(entry.name for entry in Path(*path).iterdir())
