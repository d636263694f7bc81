"""A place for layers: a tree on the disk, and a run directory beside it. Skipped where this user may make no layer."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from overlays import in_child, layer_over


def _can_stage() -> bool:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        point = Path(folder) / "point"
        point.mkdir()
        try:
            layer_over(point, Path(folder) / "run", lambda: None)
        except AssertionError:
            return False
    return True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [item for item in items if item.path.is_relative_to(Path(__file__).parent)]
    if here and (os.geteuid() != 0 or in_child(lambda: None) or not _can_stage()):
        for item in here:
            item.add_marker(pytest.mark.skip(reason="this user may make no overlay here"))


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that any user may pass through, on a file system that can hold upper layers."""
    folder = Path(tempfile.mkdtemp(prefix="layers-", dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def tree(place: Path) -> Path:
    """The tree that is changed."""
    folder = place / "tree"
    folder.mkdir()
    return folder


@pytest.fixture
def run(place: Path) -> Path:
    """The run directory, beside it."""
    folder = place / "run"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A run directory on another file system: whatever leaves it has to be copied."""
    folder = Path(tempfile.mkdtemp(prefix="layers-", dir="/dev/shm"))
    if folder.stat().st_dev == Path("/var/tmp").stat().st_dev:
        pytest.skip("there is no second file system")
    yield folder
    shutil.rmtree(folder)
