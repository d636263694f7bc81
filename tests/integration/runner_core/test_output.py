"""Output: capped on disk, counted beyond, followed as it comes; memory stays flat."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from runner_channel import RunnerChannel

from .conftest import eventually

Helpers = Callable[..., RunnerChannel]
MEGABYTE = 1 << 20


def resident(pid: int, key: str = "VmHWM") -> int:
    return int(re.search(rf"{key}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) * 1024


def test_a_small_output_travels_in_the_answer_alone(helper: Helpers, run: str) -> None:
    one = helper()
    number = one.start(run, "echo out; echo err >&2")
    while number not in one.answers:
        one.receive(10)
    assert one.events[number] == []
    answer = one.wait(number)
    assert (answer["stdout"], answer["stderr"]) == (b"out\n", b"err\n")


def test_fifty_megabytes_pass_in_flat_memory_and_what_is_over_the_cap_is_counted(
    helper: Helpers, place: str, run: str
) -> None:
    from interlock.runner.recording import run_record

    one = helper()
    one.ask("here")
    before = resident(one.process.pid)
    command = "head -c 50000000 /dev/zero | tr '\\0' x; sleep 0.3; echo end; head -c 3000000 /dev/zero >&2"
    number = one.start(run, command, spool_bytes_max=8 * MEGABYTE)
    eventually(lambda: run_record(f"{place}/{run}")[1].get("pid"))
    supervisor = run_record(f"{place}/{run}")[1]["pid"]
    answer = one.wait(number, 60)
    end = answer["end"]
    assert (end["out_bytes"], end["out_kept"]) == (50_000_004, 8 * MEGABYTE)
    assert (end["err_bytes"], end["err_kept"]) == (3_000_000, 3_000_000)
    assert end["out_tail"] == 50_000_004 - 65536
    assert len(answer["stdout"]) == 8 * MEGABYTE + 65536
    assert answer["stdout"].endswith(b"xxx" + b"end\n")
    assert len(answer["stderr"]) == 3_000_000
    assert resident(supervisor) < before + 8 * MEGABYTE
    assert resident(one.process.pid) < before + 12 * MEGABYTE
    assert sum(path.stat().st_size for path in Path(place, run).iterdir()) < 12 * MEGABYTE


def test_a_follower_that_does_not_read_stops_nobody(helper: Helpers, place: str, run: str) -> None:
    one, other = helper(), helper()
    number = one.start(run, "head -c 30000000 /dev/zero", spool_bytes_max=32 * MEGABYTE)
    eventually(lambda: Path(place, run).is_dir())  # and from here on nothing is read from the first helper
    assert other.ask("attach", run=run, out=30_000_000)["end"]["out_bytes"] == 30_000_000
    assert resident(one.process.pid) < 60 * MEGABYTE
    assert len(one.wait(number)["stdout"]) == 30_000_000


def test_output_is_seen_while_it_comes_by_whoever_follows(helper: Helpers, run: str) -> None:
    one, other = helper(), helper()
    other.ask("here")
    number = one.start(run, "for n in 1 2 3; do echo $n; sleep 0.6; done")
    eventually(lambda: one.events[number] or one.receive(10))
    followed = other.send("attach", run=run)
    eventually(lambda: other.events[followed] or other.receive(10))
    assert not {number} & set(one.answers)
    assert one.wait(number)["stdout"] == other.wait(followed)["stdout"] == b"1\n2\n3\n"


def test_standard_input_is_the_body_or_nothing(helper: Helpers, run: str) -> None:
    one = helper()
    body = os.urandom(700_000)
    for name in "ab":  # the second finds a shell that waits
        assert one.run(run + name, "cat", body, spool_bytes_max=MEGABYTE)["stdout"] == body
        assert one.run(run + name + "n", "cat; echo $?")["stdout"] == b"0\n"
        assert one.run(run + name + "s", "read -r x; echo $x", b"short\nrest")["stdout"] == b"short\n"
        assert one.run(run + name + "u", "true", body)["end"]["exit_code"] == 0


@pytest.mark.parametrize("kind", ["started", "waiting"])
def test_the_environment_is_the_orders_and_the_runs_mark(helper: Helpers, run: str, kind: str) -> None:
    one = helper(env={**os.environ, "SECRET": "not for commands"})
    given = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "ODD": "a\n'b' \udcff$x"}
    if kind == "waiting":
        one.run(run + "-first", "true", environment=given)
    answer = one.run(run, "env -0; pwd; umask; printf '%s|' $# \"$0\" $-", environment=given, cwd="/usr")
    *pairs, rest = answer["stdout"].split(b"\0")
    found = dict(pair.split(b"=", 1) for pair in pairs)
    own = {name: found.pop(name, None) for name in (b"SHLVL", b"PWD", b"_", b"OLDPWD")}
    assert found == {os.fsencode(key): os.fsencode(value) for key, value in {**given, "INTERLOCK_CALL": run}.items()}
    assert own[b"PWD"] == b"/usr"
    mask = os.umask(0o022)
    os.umask(mask)
    assert rest == b"/usr\n%04o\n0|/bin/bash|hBc|" % mask


def test_an_argv_is_run_without_a_shell(helper: Helpers, run: str) -> None:
    answer = helper().run(run, "", argv=["printf", "%s,", "$HOME", "a b"])
    assert answer["stdout"] == b"$HOME,a b,"


def test_a_long_command_goes_the_ordinary_way(helper: Helpers, run: str) -> None:
    one = helper()
    one.run(run, "true")
    text = "x" * 100_000
    answer = one.run(run + "-long", f"a={text}; echo ${{#a}}")
    assert answer["stdout"] == b"100000\n"
