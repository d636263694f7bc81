"""Declared services from inside a room: through the supervisor and the host's manager, or not at all."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runner_channel import RunnerChannel

Helpers = Callable[..., RunnerChannel]
HAS_INIT_SCRIPTS = not Path("/run/systemd/system").is_dir() and Path("/etc/init.d").is_dir()
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="rooms of root"),
    pytest.mark.skipif(not HAS_INIT_SCRIPTS, reason="makes a script in /etc/init.d"),
]


@pytest.fixture
def unit(work: Path) -> Iterator[str]:
    """A service of this host that writes down what it is asked."""
    name = f"interlock-test-{os.getpid()}"
    script = Path("/etc/init.d", name)
    script.write_text(
        f'#!/bin/sh\necho "$1" >> {work}/asked\necho "{name} was asked: $1"\n[ "$1" != reload ] || exit 4\n'
    )
    script.chmod(0o755)
    yield name
    script.unlink()


def asked(work: Path) -> list[str]:
    log = work / "asked"
    return log.read_text().split() if log.exists() else []


def contained(one: RunnerChannel, run: str, command: str, **order: object) -> dict:
    one.ask("hello")
    return one.run(run, command, **{"level": "confined", "network": "none", **order})


def test_a_declared_service_is_controlled_from_outside_the_room(
    helper: Helpers, work: Path, unit: str, run: str
) -> None:
    program = f"import subprocess; subprocess.call(['service', '{unit}', 'status'])"
    command = f'service {unit} restart; service {unit} reload; echo $?; python3 -c "{program}"'
    answer = contained(helper(), run, command, services=[f"{unit}.service"])
    assert asked(work) == ["restart", "reload", "status"]
    said = [f"{unit} was asked: {verb}" for verb in ("restart", "reload", "status")]
    assert answer["stdout"].decode().splitlines() == [said[0], said[1], "4", said[2]]


def test_what_was_not_declared_or_is_no_fixed_verb_is_refused(helper: Helpers, work: Path, unit: str, run: str) -> None:
    commands = f"service {unit} purge; echo $?; service other restart; echo $?; service; echo $?"
    answer = contained(helper(), run, commands, services=[unit])
    assert asked(work) == []
    assert answer["stdout"].decode().count("interlock: ") == 3
    assert [line for line in answer["stdout"].decode().splitlines() if line.isdigit()] == ["1", "1", "1"]


def test_without_a_declared_service_there_is_no_way_to_any(helper: Helpers, work: Path, unit: str, run: str) -> None:
    answer = contained(helper(), run, "ls /run/interlock")
    assert answer["end"]["exit_code"] != 0
    assert asked(work) == []


def test_many_at_once_are_served_one_after_the_other(helper: Helpers, work: Path, unit: str, run: str) -> None:
    command = f"for n in 1 2 3 4 5 6 7 8; do service {unit} status & done; wait"
    answer = contained(helper(), run, command, services=[unit])
    assert answer["stdout"].decode() == f"{unit} was asked: status\n" * 8


def test_in_a_staged_run_a_change_waits_for_the_landing_and_comes_once(
    helper: Helpers, work: Path, unit: str, run: str
) -> None:
    one = helper()
    command = f"echo new > {work}/new; service {unit} status; service {unit} restart"
    answer = contained(one, run, command, level="staged", writes=[str(work)], services=[unit])
    assert asked(work) == ["status"]
    assert b"waits until the changes have landed" in answer["stdout"]
    assert answer["end"]["services"] == [{"verb": "restart", "unit": unit}]
    (work / "asked").unlink()
    landed = one.ask("land", run=run, digest=answer["layer"])
    assert (asked(work), landed["services"][0]["code"]) == (["restart"], 0)
    assert one.ask("land", run=run, digest=answer["layer"])["services"] == landed["services"]
    assert asked(work) == ["restart"]


def test_in_a_staged_run_that_changes_nothing_it_comes_at_the_end(
    helper: Helpers, work: Path, unit: str, run: str
) -> None:
    answer = contained(helper(), run, f"service {unit} start", level="staged", services=[unit])
    assert asked(work) == ["start"]
    assert answer["end"]["services"][0]["code"] == 0
    failed = contained(helper(), run + "-f", f"service {unit} stop; exit 1", level="staged", services=[unit])
    assert asked(work) == ["start"]
    assert failed["end"]["services"] == [{"verb": "stop", "unit": unit}]
