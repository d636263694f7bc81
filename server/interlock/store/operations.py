"""What an operator's side asks of the store: stops, breakers, tokens, cursors. It only carries them to the writer."""

from __future__ import annotations

from collections.abc import Sequence

from interlock.records import TokenRow
from interlock.store import operating
from interlock.store.operating import BreakerRow, StopRow
from interlock.store.reads import Reads
from interlock.store.rows import storable, token_row
from interlock.store.writer import GroupWriter


class Operations(Reads):
    """The operator's half of the store."""

    _writer: GroupWriter

    async def stop(self, scope: str, by: str, reason: str, now: float) -> StopRow:
        """Pull the kill switch for "all", "principal:NAME" or "host:NAME"; ValueError for another scope."""
        return await self._writer.submit(lambda tx: operating.stop(tx, scope, by, reason, now))

    async def lift(self, scope: str, by: str, reason: str, now: float) -> bool:
        """Lift a stop; False where there was none."""
        return await self._writer.submit(lambda tx: operating.lift(tx, scope, by, reason, now))

    async def stops(self) -> Sequence[StopRow]:
        """Every stop that is pulled, oldest first."""
        return [operating.stop_row(row) for row in await self._read("stops_all")]

    async def unpause(self, principal: str, session: str, by: str, now: float) -> bool:
        """End the pause of a session that looped; False where it was not paused."""
        return await self._writer.submit(lambda tx: operating.unpause(tx, principal, session, by, now))

    async def load_breakers(self) -> Sequence[BreakerRow]:
        """Every breaker as it was last saved."""
        return [
            BreakerRow(r["host"], r["kind"], r["failures"], r["opened_at"]) for r in await self._read("breakers_all")
        ]

    async def save_breaker(self, host: str, kind: str, failures: int, opened_at: float | None) -> None:
        """Keep a breaker's state over a restart. `opened_at` None = closed."""
        row = BreakerRow(host, kind, failures, opened_at)
        await self._writer.submit(lambda tx: operating.save_breaker(tx, row))

    async def create_token(
        self, principal: str, label: str, ttl_seconds: float | None, now: float
    ) -> tuple[TokenRow, str]:
        """A new bearer token and its secret, which is shown this once and never stored. `ttl_seconds` None = no end."""
        token_id, secret = operating.new_secret()
        digest, expires = operating.hashed(secret), None if ttl_seconds is None else float(now + ttl_seconds)
        row = await self._writer.submit(
            lambda tx: operating.create_token(tx, token_id, digest, principal, label, now, expires)
        )
        return row, secret

    async def tokens(self) -> Sequence[TokenRow]:
        """Every token, revoked and expired ones too, oldest first."""
        return [token_row(row) for row in await self._read("tokens_all")]

    async def revoke_token(self, token_id: str, now: float) -> TokenRow | None:
        """Revoke a token for good; None where there is none of this id."""
        return await self._writer.submit(lambda tx: operating.revoke_token(tx, storable(token_id), now))

    async def token_principal(self, secret: str, now: float) -> str | None:
        """The principal a secret stands for; None where it is unknown, wrong, expired or revoked.

        When it was last used is kept to the minute, so that not every request costs a commit.
        """
        rows = await self._read("token_of", token_id=operating.token_id_of(secret))
        row = rows[0] if rows else None
        if not operating.accepted(row, secret, now) or row is None:
            return None
        if row["last_used"] is None or now - row["last_used"] >= operating.TOKEN_USED_SECONDS:
            await self._writer.submit(lambda tx: tx.run("token_used", {"token_id": row["token_id"], "now": float(now)}))
        return str(row["principal"])

    async def get_meta(self, key: str) -> str | None:
        """A small value kept under a name: an exporter's cursor, for one."""
        rows = await self._read("meta_of", key=key)
        return rows[0]["value"] if rows else None

    async def set_meta(self, key: str, value: str) -> None:
        """Keep a small value under a name."""
        await self._writer.submit(lambda tx: tx.run("meta_put", {"key": key, "value": value}))
