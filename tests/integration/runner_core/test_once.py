"""At most once: whoever starts, retries, dies or comes late, the counter file on the host shows one line or none."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runner_channel import RunnerChannel, order_of

Helpers = Callable[..., RunnerChannel]
LEVELS = ("none", "confined") if os.geteuid() == 0 else ("none",)
BEFORE_THE_GATE = ("helper-claimed", "helper-forked", "supervisor-start", "supervisor-launched")
AFTER_THE_GATE = tuple(
    f"supervisor-{step}" for step in ("gate", "began", "output", "exited", "measured", "end", "done")
)


def counting(work: Path) -> str:
    return f"echo ran >> {work}/count; echo said"


def count(work: Path) -> int:
    counter = work / "count"
    return len(counter.read_text().splitlines()) if counter.exists() else 0


def test_twenty_racing_starts_from_five_helpers_run_it_once(helper: Helpers, work: Path, run: str) -> None:
    helpers = [helper() for _ in range(5)]
    for each in helpers:
        each.ask("here")
    asked = [(each, each.start(run, counting(work) + "; sleep 0.2")) for _ in range(4) for each in helpers]
    answers = [each.wait(number) for each, number in asked]
    assert count(work) == 1
    assert [answer["attached"] for answer in answers].count(False) == 1
    assert {(answer["state"], answer["end"]["exit_code"], answer["stdout"]) for answer in answers} == {
        ("ended", 0, b"said\n")
    }


def test_an_id_that_was_asked_for_before_it_came_never_starts(helper: Helpers, work: Path, run: str) -> None:
    one, other = helper(), helper()
    assert one.ask("attach", run=run)["fault"] == "absent"
    assert other.run(run, counting(work))["fault"] == "absent"
    assert other.ask("cancel", run=run)["state"] == "absent"
    assert count(work) == 0


def test_a_cancel_that_overtakes_its_start_keeps_it_from_starting(helper: Helpers, work: Path, run: str) -> None:
    one = helper()
    assert one.ask("cancel", run=run) | {"body": b"", "n": 0} == one.ask("cancel", run=run) | {"n": 0}
    assert one.run(run, counting(work))["state"] == "absent"
    assert count(work) == 0


def test_a_start_with_an_older_fence_is_refused(helper: Helpers, work: Path, run: str) -> None:
    one = helper()
    assert one.run(run, counting(work), fence=2)["end"]["exit_code"] == 0
    assert one.run(run, counting(work), fence=1)["fault"] == "stale"
    assert one.run(run, counting(work), fence=3)["attached"]
    assert one.run(run, counting(work), fence=2)["fault"] == "stale"
    assert count(work) == 1


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("step", BEFORE_THE_GATE + AFTER_THE_GATE)
def test_a_kill_at_any_step_and_a_blind_retry_never_run_it_twice(
    helper: Helpers, work: Path, run: str, step: str, level: str
) -> None:
    order = {"level": level, "writes": [str(work)], "network": "outbound"}
    broken = helper(faults=f"{step}=kill")
    broken.ask("hello")
    broken.start(run, counting(work), **order)
    try:
        first = broken.wait(2)
    except EOFError:
        first = {"state": "nobody said"}
    second = helper()
    second.ask("hello")
    answer = second.run(run, counting(work), **order)
    assert answer["attached"]
    assert answer["state"] in ("lost", "ended")
    assert first["state"] in ("nobody said", answer["state"])
    if answer["state"] == "ended":
        assert count(work) == 1
        assert answer["stdout"] == b"said\n"
    elif step in BEFORE_THE_GATE:
        assert not answer["known"]["began"]
        time.sleep(0.2)
        assert count(work) == 0
    else:
        assert answer["known"]["began"]
        assert count(work) <= 1
    assert second.ask("cancel", run=run)["left"] == 0


def test_a_supervisor_that_stalls_before_the_gate_cannot_begin_after_it_was_voided(
    helper: Helpers, work: Path, run: str
) -> None:
    slow = helper(faults="supervisor-launched=stall:0.6")
    number = slow.start(run, counting(work))
    time.sleep(0.2)
    assert helper().ask("cancel", run=run)["found"] == 0
    assert slow.wait(number)["state"] in ("lost", "ended")
    time.sleep(0.6)
    assert count(work) == 0


def test_a_helper_killed_in_the_middle_of_its_claim_leaves_an_id_that_ends_void(
    helper: Helpers, place: str, work: Path, run: str
) -> None:
    Path(place, run).mkdir(mode=0o700)  # as after a kill between mkdir and claim
    other = helper()
    number = other.start(run, counting(work))
    answer = other.wait(number, 20)
    assert (answer["state"], answer["known"]["began"]) == ("lost", False)
    assert count(work) == 0


def test_a_spare_that_dies_with_its_order_never_runs_it(helper: Helpers, work: Path, run: str) -> None:
    one = helper(faults="spare-ordered=kill")
    assert one.run(run + "-a", "true")["end"]["exit_code"] == 0
    answer = one.run(run, counting(work))
    assert (answer["state"], answer["known"]["began"]) == ("lost", False)
    assert count(work) == 0
    assert one.run(run + "-b", "true")["end"]["exit_code"] == 0


def test_a_start_after_its_connection_was_cut_attaches_and_collects(helper: Helpers, work: Path, run: str) -> None:
    first = helper()
    first.send("start", **order_of(run, counting(work) + "; sleep 0.3; echo late"))
    first.ask("here")
    first.process.send_signal(signal.SIGKILL)
    answer = helper().run(run, counting(work))
    assert (answer["attached"], answer["stdout"]) == (True, b"said\nlate\n")
    assert count(work) == 1
