"""Lines: the helper's stream of requests and stream of answers, as frames, in bounded memory. It knows no verb."""

import os
import selectors
from typing import Any, Callable, Dict, List, Tuple

from interlock.runner.frames import FrameBroken, FrameReader, encode_frame

LINE_READ_BYTES = 256 * 1024
OUTBOX_BYTES_MAX = 1024 * 1024  # above it no events are made and no requests are read


class Line:
    """The two streams of one helper."""

    def __init__(self, source: int, sink: int, selector: selectors.BaseSelector) -> None:
        self._source = source
        self._sink = sink
        self._selector = selector
        self._frames = FrameReader()
        self._outbox = bytearray()
        self._reads = False
        os.set_blocking(sink, False)

    @property
    def is_full(self) -> bool:
        return len(self._outbox) >= OUTBOX_BYTES_MAX

    def listen(self, take: Callable[[], None]) -> None:
        """Have requests read while there is room for their answers."""
        if self._reads == self.is_full:
            self._reads = not self.is_full
            if self._reads:
                self._selector.register(self._source, selectors.EVENT_READ, take)
            else:
                self._selector.unregister(self._source)

    def receive(self) -> List[Tuple[Dict[str, Any], bytes]]:
        """The requests that are whole now. Raises EOFError at the end of the stream, FrameBroken."""
        data = os.read(self._source, LINE_READ_BYTES)
        if not data:
            raise EOFError
        return self._frames.feed(data)

    def receive_raw(self, count: int) -> bytes:
        """At most so many bytes that are no frame, for whoever was told that they come; b"" at the stream's end."""
        if not self._frames.is_between:
            raise FrameBroken("bytes came before they were asked for")
        return os.read(self._source, min(count, LINE_READ_BYTES))

    def send(self, head: Dict[str, Any], body: bytes = b"") -> None:
        waits = bool(self._outbox)
        try:
            self._outbox += encode_frame(head, body)
        except FrameBroken as fault:
            self._outbox += encode_frame({"n": head["n"], "ok": False, "fault": "internal", "reason": str(fault)})
        if not waits:
            self.flush()
            if self._outbox:
                self._selector.register(self._sink, selectors.EVENT_WRITE, self.flush_ready)

    def flush(self) -> None:
        try:
            while self._outbox:
                del self._outbox[: os.write(self._sink, bytes(self._outbox[:LINE_READ_BYTES]))]
        except BlockingIOError:
            pass

    def flush_ready(self) -> None:
        self.flush()
        if not self._outbox:
            self._selector.unregister(self._sink)
