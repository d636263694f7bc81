"""The helper's line: bounded both ways; an answer that would be too long is a fault and not the end."""

import os
import selectors

from interlock.runner.frames import FRAME_BYTES_MAX, FrameReader
from interlock.runner.lines import OUTBOX_BYTES_MAX, Line


def test_an_answer_that_would_be_too_long_is_a_fault_and_a_full_line_says_so() -> None:
    (source, _), (read, sink) = os.pipe(), os.pipe()
    line = Line(source, sink, selectors.DefaultSelector())
    line.send({"n": 7, "real": "x" * FRAME_BYTES_MAX})
    [(head, _)] = FrameReader().feed(os.read(read, 65536))
    assert (head["n"], head["ok"], head["fault"]) == (7, False, "internal")
    line.send({"n": 8}, bytes(OUTBOX_BYTES_MAX))
    assert not line.is_full  # a pipe took some of it
    line.send({"n": 9}, bytes(OUTBOX_BYTES_MAX // 2))
    assert line.is_full
