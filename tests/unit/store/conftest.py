"""One fresh store a test, in a directory of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from interlock.store import SqliteStore, open_store
from unit.store.cases import NOON


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
async def store(directory: Path) -> AsyncIterator[SqliteStore]:
    async with open_store(directory, lambda: NOON) as opened:
        yield opened
