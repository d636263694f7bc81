"""What operators keep: tokens are hashed, expire and are revoked; breakers, stops and cursors outlive a restart."""

from pathlib import Path

import pytest

from interlock.store import BreakerRow, SqliteStore, StopRow, open_store
from unit.store.cases import NOON

pytestmark = pytest.mark.anyio


async def test_a_token_stands_for_its_principal_until_it_expires(store: SqliteStore) -> None:
    row, secret = await store.create_token("agent", "laptop", 60, NOON)
    assert secret.startswith(f"ilk_{row.token_id}_")
    assert await store.token_principal(secret, NOON + 59) == "agent"
    assert await store.token_principal(secret, NOON + 60) is None
    lasting, other = await store.create_token("other", "ci", None, NOON)
    assert lasting.expires is None
    assert await store.token_principal(other, NOON + 1e9) == "other"


async def test_a_revoked_token_stays_revoked(store: SqliteStore) -> None:
    row, secret = await store.create_token("agent", "laptop", None, NOON)
    revoked = await store.revoke_token(row.token_id, NOON + 1)
    assert revoked is not None
    assert revoked.revoked == NOON + 1
    assert await store.revoke_token(row.token_id, NOON + 2) == revoked
    assert await store.revoke_token("ghost", NOON) is None
    assert await store.token_principal(secret, NOON + 3) is None
    assert [token.revoked for token in await store.tokens()] == [NOON + 1]


@pytest.mark.parametrize(
    "secret", ["", "ilk", "ilk_", "ilk__", "ilk_ghost_x", "Bearer x", "ilk_\ud800_x", "ilk_a_" + "x" * 300]
)
async def test_what_is_no_token_of_ours_stands_for_nobody(store: SqliteStore, secret: str) -> None:
    assert await store.token_principal(secret, NOON) is None


async def test_a_changed_secret_stands_for_nobody(store: SqliteStore) -> None:
    row, secret = await store.create_token("agent", "laptop", None, NOON)
    assert await store.token_principal(secret + "x", NOON) is None
    assert await store.token_principal(f"ilk_{row.token_id}_", NOON) is None


def everything_in(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.iterdir())


async def test_the_secret_itself_is_nowhere_in_the_files(directory: Path) -> None:
    async with open_store(directory, lambda: NOON) as store:
        _, secret = await store.create_token("agent", "laptop", None, NOON)
        assert await store.token_principal(secret, NOON) == "agent"
    random = secret.split("_", 2)[2].encode()
    assert random not in everything_in(directory)


async def test_the_last_use_is_kept_to_the_minute(store: SqliteStore) -> None:
    _, secret = await store.create_token("agent", "laptop", None, NOON)
    for now in (NOON + 1, NOON + 30, NOON + 60.5):
        await store.token_principal(secret, now)
    assert (await store.tokens())[0].last_used == NOON + 1
    await store.token_principal(secret, NOON + 61)
    assert (await store.tokens())[0].last_used == NOON + 61


async def test_breakers_stops_and_cursors_outlive_a_restart(directory: Path) -> None:
    async with open_store(directory, lambda: NOON) as store:
        await store.save_breaker("web1", "connect", 4, None)
        await store.save_breaker("web1", "connect", 5, NOON)
        await store.save_breaker("web1", "run", 0, None)
        await store.stop("principal:agent", "ana", "runs wild", NOON)
        await store.stop("principal:agent", "bob", "me too", NOON + 1)
        await store.set_meta("otlp_cursor", "41")
        await store.set_meta("otlp_cursor", "42")
    async with open_store(directory, lambda: NOON) as store:
        assert await store.load_breakers() == [
            BreakerRow("web1", "connect", 5, NOON),
            BreakerRow("web1", "run", 0, None),
        ]
        assert await store.stops() == [StopRow("principal:agent", "ana", "runs wild", NOON)]
        assert await store.get_meta("otlp_cursor") == "42"
        assert await store.get_meta("none") is None
