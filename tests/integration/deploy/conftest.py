"""Fleets of real hosts for what is deployed: one for the tests that leave it as it was, others to be broken."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy_home import tidy
from fleet import Fleet, running_fleet


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Three hosts with runit, the module's own; each test tidies up what it laid there."""
    with running_fleet(tmp_path_factory.mktemp("fleet"), 3) as hosts:
        yield hosts


@pytest.fixture
def tidied(fleet: Fleet) -> Iterator[None]:
    """The module's fleet as it was, after the test."""
    yield
    tidy(fleet)


@pytest.fixture
def start_fleet(tmp_path: Path) -> Iterator[Callable[..., Fleet]]:
    """Start fleets of the test's own."""
    with contextlib.ExitStack() as stack:
        numbers = itertools.count(1)

        def start(size: int, **more: object) -> Fleet:
            return stack.enter_context(running_fleet(tmp_path / f"fleet{next(numbers)}", size, **more))

        yield start
