"""The spool on a real disk."""

import os
from pathlib import Path

import pytest

from interlock.spool import Spool, answer_texts
from interlock_policies.redact import Redactor

pytestmark = pytest.mark.anyio


def spool_of(folder: Path, bytes_max: int = 1_000, **more: int) -> Spool:
    return Spool(folder / "output", bytes_max, Redactor(("correct-horse-battery",)), **more)


async def test_pages_join_to_the_whole_and_never_cut_a_character(tmp_path: Path) -> None:
    spool = spool_of(tmp_path, 100_000)
    text = "".join(f"{number} é☃𝄞\n" for number in range(500))
    writer = spool.writer("call-1", "stdout")
    data = text.encode()
    for start in range(0, len(data), 7):
        writer.write(data[start : start + 7])
    writer.close()
    got, offset = "", 0
    while offset is not None:
        page = await spool.page("call-1", "stdout", offset, 101)
        got, offset = got + page.text, page.next_offset
        assert page.total_bytes == len(data)
    assert got == text


async def test_what_is_over_the_cap_is_counted_and_its_end_remembered(tmp_path: Path) -> None:
    spool = spool_of(tmp_path)
    writer = spool.writer("call-1", "stdout")
    for _ in range(1_000):
        writer.write(b"0123456789\n" * 100)
    writer.write(b"correct-horse-battery\n" * 3 + b"the end\n")
    writer.close()
    assert writer.seen_bytes == 1_100_074
    assert writer.kept_bytes <= 1_000
    out, err = answer_texts(writer, spool.writer("call-1", "stderr"), 400)
    assert out.is_cut
    assert out.text.startswith("0123456789\n")
    assert out.text.endswith("the end\n")
    assert "correct-horse-battery" not in out.text
    assert len(out.text) < 500
    assert (err.text, err.is_cut) == ("", False)


async def test_short_streams_are_shown_whole_and_share_the_room(tmp_path: Path) -> None:
    spool = spool_of(tmp_path, 100_000)
    out, err = spool.writer("call-1", "stdout"), spool.writer("call-1", "stderr")
    out.write(b"o" * 300)
    err.write(b"e" * 80)
    out.close()
    err.close()
    shown_out, shown_err = answer_texts(out, err, 400)
    assert (len(shown_out.text), len(shown_err.text)) == (300, 80)
    assert not shown_out.is_cut
    shown_out, shown_err = answer_texts(out, err, 200)
    assert shown_out.is_cut
    assert not shown_err.is_cut
    assert len(shown_err.text) == 80
    assert shown_out.next_offset is not None


async def test_a_running_call_can_be_read_and_unknown_ones_are_nothing(tmp_path: Path) -> None:
    spool = spool_of(tmp_path)
    writer = spool.writer("call-1", "stdout")
    writer.write(b"so far\n")
    assert (await spool.page("call-1", "stdout", 0, 100)).text == "so far\n"
    assert (await spool.page("call-1", "stdout", 999, 100)).text == ""
    writer.close()
    for call_id, stream in (("call-2", "stdout"), ("../../etc/passwd", "stdout"), ("call-1", "../x")):
        assert await spool.page(call_id, stream, 0, 10) is None
    with pytest.raises(ValueError, match="not a call"):
        spool.writer("../x", "stdout")
    assert oct((tmp_path / "output").stat().st_mode)[-3:] == "700"


async def test_old_output_goes_first_and_the_total_is_bounded(tmp_path: Path) -> None:
    spool = spool_of(tmp_path, 1_000, total_bytes_max=2_500)
    for number in range(5):
        writer = spool.writer(f"call-{number}", "stdout")
        writer.write(b"x" * 900 + b"\n")
        writer.close()
        os.utime(tmp_path / "output" / f"call-{number}.stdout", (1_000_000 + number, 1_000_000 + number))
    assert spool.prune(1_000_010, days_max=90) == 3
    assert sorted(path.name for path in (tmp_path / "output").iterdir()) == ["call-3.stdout", "call-4.stdout"]
    assert spool.prune(1_000_000 + 91 * 86_400, days_max=90) == 2
