"""What an operator keeps in the store: the kill switch, breaker states, bearer tokens. It enforces none of them."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import secrets
import sqlite3
from dataclasses import dataclass

from interlock.records import TokenRow
from interlock.store.connection import Tx
from interlock.store.rows import dump, storable, token_row

TOKEN_USED_SECONDS = 60.0
_TOKEN_CHARS_MAX = 256
_NO_DIGEST = "0" * 64


@dataclass(frozen=True, slots=True)
class StopRow:
    """One pulled stop. `scope`: "all", "principal:NAME" or "host:NAME"."""

    scope: str
    by: str
    reason: str
    stopped: float


@dataclass(frozen=True, slots=True)
class BreakerRow:
    """A circuit breaker as it was last saved. `opened_at` None = closed."""

    host: str
    kind: str
    failures: int
    opened_at: float | None


def is_scope(scope: str) -> bool:
    """True for "all", "principal:NAME" and "host:NAME"."""
    kind, _, name = scope.partition(":")
    return scope == "all" or (kind in ("principal", "host") and bool(name))


def stop_row(row: sqlite3.Row) -> StopRow:
    """A stop, read back."""
    return StopRow(row["scope"], row["stopped_by"], row["reason"], row["stopped"])


def stop(tx: Tx, scope: str, by: str, reason: str, now: float) -> StopRow:
    """Pull a stop; the one that holds. Pulling it twice keeps the first. ValueError for a scope that is none."""
    if not is_scope(scope):
        raise ValueError(f"a stop is for all, principal:NAME or host:NAME, not {scope!r}")
    values = {"scope": storable(scope), "stopped_by": storable(by), "reason": storable(reason)}
    if tx.run("stop_put", values | {"now": float(now)}):
        tx.chain.append("stopped", values["scope"], now, "", dump([by, reason]))
    row = tx.one("stop_of", values)
    return stop_row(row) if row else StopRow(scope, by, reason, now)


def lift(tx: Tx, scope: str, by: str, reason: str, now: float) -> bool:
    """Lift a stop; False where there was none."""
    if not tx.run("stop_lift", {"scope": storable(scope)}):
        return False
    tx.chain.append("lifted", storable(scope), now, "", dump([by, reason]))
    return True


def unpause(tx: Tx, principal: str, session: str, by: str, now: float) -> bool:
    """End a session's pause early; False where it was not paused."""
    if not tx.run("pause_end", {"principal": storable(principal), "session": storable(session)}):
        return False
    tx.chain.append("unpaused", storable(session), now, "", dump([principal, by]))
    return True


def save_breaker(tx: Tx, row: BreakerRow) -> None:
    """Keep a breaker's state. Operational: it is not part of the audit chain."""
    tx.run("breaker_put", dataclasses.asdict(row))


def new_secret() -> tuple[str, str]:
    """A token's id and its secret, `ilk_<id>_<random>` (256 bits)."""
    token_id = secrets.token_hex(4)
    return token_id, f"ilk_{token_id}_{secrets.token_urlsafe(32)}"


def hashed(secret: str) -> str:
    """What is stored of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def create_token(
    tx: Tx, token_id: str, digest: str, principal: str, label: str, created: float, expires: float | None
) -> TokenRow:
    """Put a token on record."""
    values = {"token_id": token_id, "principal": storable(principal), "label": storable(label)}
    tx.run("token_insert", values | {"sha256": digest, "created": float(created), "expires": expires})
    tx.chain.append("token_created", token_id, created, "", dump([principal, label, expires]))
    return TokenRow(token_id, values["principal"], values["label"], float(created), expires, None, None)


def revoke_token(tx: Tx, token_id: str, now: float) -> TokenRow | None:
    """Revoke a token for good; the row, or None where there is none. Revoking it twice keeps the first time."""
    if tx.run("token_revoke", {"token_id": token_id, "now": float(now)}):
        tx.chain.append("token_revoked", token_id, now, "", dump([now]))
    row = tx.one("token_of", {"token_id": token_id})
    return token_row(row) if row else None


def token_id_of(secret: str) -> str:
    """The id inside a secret, or "" where it is no secret of ours."""
    parts = secret.split("_", 2)
    well_formed = len(secret) <= _TOKEN_CHARS_MAX and len(parts) == 3 and parts[0] == "ilk"
    return storable(parts[1]) if well_formed else ""


def accepted(row: sqlite3.Row | None, secret: str, now: float) -> bool:
    """True where this secret is the row's, and the token is neither expired nor revoked. Compares in constant time."""
    matches = hmac.compare_digest(row["sha256"] if row else _NO_DIGEST, hashed(secret))
    if row is None or not matches or row["revoked"] is not None:
        return False
    return row["expires"] is None or now < row["expires"]
