"""A real OpenSSH server for the module, and hosts that reach it."""

import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from hosts_bench import Bench, bench_of
from interlock.settings import HostSettings
from sshd import Sshd, running_sshd

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """One server for the tests that leave it as it was."""
    with running_sshd(tmp_path_factory.mktemp("sshd"), MaxStartups="100:30:200") as server:
        yield server


@pytest.fixture
def own_sshd(tmp_path: Path) -> Iterator[Sshd]:
    """A server of the test's own, to be broken."""
    with running_sshd(tmp_path / "own") as server:
        yield server


@pytest.fixture
def start_sshd(tmp_path: Path) -> Iterator[Callable[..., Sshd]]:
    """Start servers with options."""
    with contextlib.ExitStack() as stack:
        numbers = itertools.count(1)

        def start(**options: str) -> Sshd:
            return stack.enter_context(running_sshd(tmp_path / f"own{next(numbers)}", **options))

        yield start


@pytest.fixture
async def bench(sshd: Sshd, tmp_path: Path) -> AsyncIterator[Bench]:
    """Hosts with the one host `box`: the module's server."""
    async with bench_of(tmp_path / "state", sshd.settings()) as made:
        yield made


@pytest.fixture
async def benches(tmp_path: Path) -> AsyncIterator[Callable[..., object]]:
    """Make benches for other inventories; all are closed at the end."""
    async with contextlib.AsyncExitStack() as stack:
        numbers = itertools.count(1)

        async def make(*entries: HostSettings, **more: object) -> Bench:
            return await stack.enter_async_context(bench_of(tmp_path / f"state{next(numbers)}", *entries, **more))

        yield make


@pytest.fixture
def work(sshd: Sshd) -> Path:
    """A fresh folder on the host's disk, which is this machine's."""
    folder = sshd.folder / "work" / f"t{next(_numbers)}"
    folder.mkdir()
    return folder
