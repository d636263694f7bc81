"""Idleness: a read stream that ends by itself when nothing was said on it for too long. It interprets nothing."""

from __future__ import annotations

import contextvars
from types import TracebackType
from typing import Any, Self

import anyio
from mcp.shared._stream_protocols import ReadStream
from mcp.shared.message import SessionMessage


class IdleEnd:
    """`stream`, whose end comes after `idle_seconds` without a message. Calls are bounded and end before that."""

    def __init__(self, stream: Any, idle_seconds: float) -> None:
        self._stream: ReadStream[SessionMessage | Exception] = stream
        self._idle_seconds = idle_seconds

    @property
    def last_context(self) -> contextvars.Context | None:
        """The sender's context of the last message, where the stream carries it."""
        return getattr(self._stream, "last_context", None)

    async def receive(self) -> SessionMessage | Exception:
        """The next message. Raises `anyio.EndOfStream` at the end or after too long a silence."""
        with anyio.move_on_after(self._idle_seconds):
            return await self._stream.receive()
        raise anyio.EndOfStream

    async def aclose(self) -> None:
        await self._stream.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
