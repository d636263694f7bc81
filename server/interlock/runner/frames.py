"""Frames: one JSON head and one body of bytes on a stream, each with its length first. It knows no verb.

A frame is four bytes of the head's length, four of the body's (big endian), the head, the body. JSON is ASCII-escaped,
so that names that are no UTF-8 survive as surrogates.
"""

import json
import os
import struct
from typing import Any, Dict, Iterator, List, Tuple

FRAME_BYTES_MAX = 1024 * 1024  # of a head, and of a body
FRAME_SIZES = struct.Struct(">II")


class FrameBroken(Exception):
    """What came is no frame: whoever sent it cannot be understood any more."""


def encode_frame(head: Dict[str, Any], body: bytes = b"") -> bytes:
    """The bytes of one frame. Raises FrameBroken where it would be too long."""
    text = json.dumps(head, separators=(",", ":")).encode("ascii")
    if len(text) > FRAME_BYTES_MAX or len(body) > FRAME_BYTES_MAX:
        raise FrameBroken("a frame of %d and %d bytes is too long" % (len(text), len(body)))
    return FRAME_SIZES.pack(len(text), len(body)) + text + body


class FrameReader:
    """Takes the bytes of a stream as they come and gives whole frames. Its memory is one frame and what came last."""

    def __init__(self) -> None:
        self._held = bytearray()

    @property
    def is_between(self) -> bool:
        """Whether no part of a frame is held."""
        return not self._held

    def feed(self, data: bytes) -> List[Tuple[Dict[str, Any], bytes]]:
        """The frames that are whole now. Raises FrameBroken."""
        self._held += data
        found = []
        while len(self._held) >= FRAME_SIZES.size:
            head_bytes, body_bytes = FRAME_SIZES.unpack_from(self._held)
            if head_bytes > FRAME_BYTES_MAX or body_bytes > FRAME_BYTES_MAX:
                raise FrameBroken("a frame of %d and %d bytes is too long" % (head_bytes, body_bytes))
            middle = FRAME_SIZES.size + head_bytes
            if len(self._held) < middle + body_bytes:
                break
            head = _frame_head(bytes(self._held[FRAME_SIZES.size : middle]))
            found.append((head, bytes(self._held[middle : middle + body_bytes])))
            del self._held[: middle + body_bytes]
        return found


def _frame_head(text: bytes) -> Dict[str, Any]:
    try:
        head = json.loads(text.decode("ascii"))
    except ValueError:
        raise FrameBroken("a frame's head is no JSON")
    if not isinstance(head, dict):
        raise FrameBroken("a frame's head is no object")
    return head


def given_frames(pipe: int) -> Iterator[Tuple[Dict[str, Any], bytes]]:
    """The frames that come through a pipe, one by one as they are asked for, to its end. Raises FrameBroken."""
    frames = FrameReader()
    os.set_blocking(pipe, True)
    while True:
        try:
            data = os.read(pipe, FRAME_BYTES_MAX)
        except OSError:
            return
        if not data:
            return
        for frame in frames.feed(data):
            yield frame
