"""The circuit breaker: one for each host and kind of work, remembered over restarts. It counts; it never connects.

closed → (failures in a row reach the limit) → open → (its time is over) → one probe → closed, or open again.
Transport faults and unknown outcomes count; policy, credentials, host keys and non-zero exits do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from interlock.hosts.faults import busy


class Kind(StrEnum):
    """What kind of work a breaker guards."""

    CONNECT = "connect"
    COMMAND = "command"
    FILES = "files"


@dataclass(frozen=True, slots=True)
class BreakerState:
    """One breaker: failures in a row, and when it opened (seconds since the epoch; None = closed)."""

    host: str
    kind: str
    failures: int = 0
    opened_at: float | None = None


class BreakerStore(Protocol):
    """Where breakers outlive a restart."""

    async def load_breakers(self) -> Sequence[BreakerState]: ...
    async def save_breaker(self, state: BreakerState) -> None: ...


class ForgetfulBreakers:
    """Keeps nothing: for tools that start, look once and end."""

    async def load_breakers(self) -> Sequence[BreakerState]:
        return ()

    async def save_breaker(self, state: BreakerState) -> None:
        del state


class Breakers:
    """All breakers. Loaded from the store at the first use; saved only when they open or close."""

    def __init__(self, store: BreakerStore, clock: Callable[[], float], failures_max: int, open_seconds: float) -> None:
        self._store = store
        self._clock = clock
        self._failures_max = failures_max
        self._open_seconds = open_seconds
        self._states: dict[tuple[str, str], BreakerState] | None = None
        self._probing: set[tuple[str, str]] = set()

    async def enter(self, host: str, kind: Kind) -> None:
        """Pass, or raise Faulted(HostBusy) with the seconds until a probe is let through. One probe at a time."""
        states = await self._loaded()
        key = (host, kind.value)
        state = states.get(key)
        if state is None or state.opened_at is None:
            return
        left = state.opened_at + self._open_seconds - self._clock()
        if left > 0 or key in self._probing:
            reason = (
                f"{state.failures} {kind.value} failures in a row; the next try is let through when its pause is over"
            )
            raise busy(reason, int(max(1.0, left)) + 1)
        self._probing.add(key)

    async def succeeded(self, host: str, kind: Kind) -> None:
        """The host answered: the breaker closes."""
        states = await self._loaded()
        key = (host, kind.value)
        self._probing.discard(key)
        state = states.pop(key, None)
        if state is not None and state.opened_at is not None:
            await self._store.save_breaker(BreakerState(host, kind.value))

    async def failed(self, host: str, kind: Kind) -> None:
        """A transport fault or an unknown outcome: counted; at the limit, or as a probe, it opens."""
        states = await self._loaded()
        key = (host, kind.value)
        was_probe = key in self._probing
        self._probing.discard(key)
        state = states.get(key) or BreakerState(host, kind.value)
        state = replace(state, failures=state.failures + 1)
        if was_probe or (state.opened_at is None and state.failures >= self._failures_max):
            state = replace(state, opened_at=self._clock())
        states[key] = state
        if state.opened_at is not None:
            await self._store.save_breaker(state)

    def left(self, host: str, kind: Kind) -> None:
        """Whoever was let through ended without news of the host (cancelled, refused): the probe is free again."""
        self._probing.discard((host, kind.value))

    def is_open(self, host: str) -> bool:
        """Whether any breaker of this host is open now, as far as they are loaded."""
        states = self._states or {}
        return any(state.opened_at is not None for (name, _), state in states.items() if name == host)

    async def _loaded(self) -> dict[tuple[str, str], BreakerState]:
        if self._states is None:
            loaded = {(state.host, state.kind): state for state in await self._store.load_breakers()}
            if self._states is None:
                self._states = loaded
        return self._states
