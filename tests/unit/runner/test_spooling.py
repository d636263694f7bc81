"""Spools: the head on disk, the rest counted, the last bytes remembered, and put together again by offset."""

import os
import resource
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from interlock.runner.following import Follow
from interlock.runner.orders import checked_order
from interlock.runner.spooling import SPOOL_TAIL_BYTES_MAX, OutputSpool


def end_of(spool: OutputSpool) -> dict:
    tail = spool.finish()
    return {
        "out_bytes": spool.bytes,
        "out_kept": spool.kept,
        "out_tail": tail,
        "err_bytes": 0,
        "err_kept": 0,
        "err_tail": 0,
    }


@given(st.lists(st.binary(max_size=3000), max_size=12), st.integers(0, 6000), st.integers(1, 5000), st.integers(0, 3))
def test_what_was_kept_comes_back_where_it_was(
    tmp_path_factory, chunks: list[bytes], kept: int, step: int, at: int
) -> None:
    rundir = str(tmp_path_factory.mktemp("r"))
    spool = OutputSpool(rundir, "out", kept)
    for chunk in chunks:
        spool.take(chunk)
    end, whole = end_of(spool), b"".join(chunks)
    assert end["out_bytes"] == len(whole)
    assert end["out_kept"] == min(kept, len(whole))
    follow, seen = Follow(1, rundir, {"out": at * 500}, 0.0), {}
    more = True
    while more:
        pieces, more = follow.take(end, step)
        seen.update({offset: data for _, offset, data in pieces})
    for offset, data in seen.items():
        assert whole[offset : offset + len(data)] == data
    assert sum(map(len, seen.values())) == max(0, len(whole) - at * 500)  # below the tail's length nothing is left out


def test_a_long_stream_keeps_its_head_and_its_last_bytes(tmp_path: Path) -> None:
    spool = OutputSpool(str(tmp_path), "out", 1000)
    for number in range(5000):
        spool.take(b"%09d\n" % number * 10)
    end = end_of(spool)
    assert (tmp_path / "out").stat().st_size == 1000
    assert (tmp_path / "out.tail").stat().st_size == SPOOL_TAIL_BYTES_MAX
    assert (tmp_path / "out.tail").read_bytes().endswith(b"000004999\n")
    assert end["out_tail"] == 500_000 - SPOOL_TAIL_BYTES_MAX


def test_a_disk_that_is_full_ends_the_keeping_and_not_the_counting(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        spool = OutputSpool(str(tmp_path), "out", 1 << 20)
        spool.take(bytes(10_000))
        os._exit(0 if (spool.bytes, spool.kept, bool(spool.fault)) == (10_000, 4096, True) else 1)
    assert os.waitpid(pid, 0)[1] == 0


def test_an_order_is_whole_or_refused() -> None:
    import pytest

    from interlock.runner.rundirs import RunFault

    order = checked_order({"run": "r", "command": "true"})
    assert (order["level"], order["cwd"], order["stdin"]) == ("none", "/", False)
    wrong = (
        {"run": "../r"}, {"run": "r", "cwd": "x"}, {"run": "r", "level": "more"}, {"run": "r", "command": "a\0b"},
        {"run": "r", "writes": ["x"]}, {"run": "r", "environment": {"A=B": "c"}}, {"run": "r", "timeout_seconds": -1},
        {"run": "r", "argv": []}, {"run": "r", "spool_bytes_max": True}, [], {"run": 3},
    )  # fmt: skip
    for given_order in wrong:
        with pytest.raises(RunFault) as fault:
            checked_order(given_order)
        assert fault.value.code == "bad_request"
