"""Frames: whatever the pieces they come in; what is no frame is told, and nothing is held without bound."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.runner.frames import FRAME_BYTES_MAX, FrameBroken, FrameReader, encode_frame

HEADS = st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=3)


@given(st.lists(st.tuples(HEADS, st.binary(max_size=50)), max_size=5), st.data())
def test_frames_come_out_as_they_went_in_however_they_are_cut(frames: list, data: st.DataObject) -> None:
    sent = b"".join(encode_frame(head, body) for head, body in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=8)))
    reader, found = FrameReader(), []
    for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
        found += reader.feed(sent[start:end])
    assert found == frames
    assert reader.is_between


def test_a_name_that_is_no_utf8_survives() -> None:
    name = b"/srv/\xff\xfe".decode("utf-8", "surrogateescape")
    assert FrameReader().feed(encode_frame({"path": name})) == [({"path": name}, b"")]


@pytest.mark.parametrize(
    "sent",
    [
        (FRAME_BYTES_MAX + 1).to_bytes(4, "big") + bytes(4),
        bytes(4) + (FRAME_BYTES_MAX + 1).to_bytes(4, "big"),
        (2).to_bytes(4, "big") + bytes(4) + b"[]",
        (1).to_bytes(4, "big") + bytes(4) + b"{",
        (3).to_bytes(4, "big") + bytes(4) + b"\xff\xff\xff",
    ],
)
def test_what_is_no_frame_is_told(sent: bytes) -> None:
    with pytest.raises(FrameBroken):
        FrameReader().feed(sent)


def test_a_frame_that_is_too_long_is_not_made() -> None:
    with pytest.raises(FrameBroken):
        encode_frame({}, bytes(FRAME_BYTES_MAX + 1))
