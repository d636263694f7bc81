"""Container words: whatever an operator wrote stays one word of the shell, and an image is named by its digest."""

import shlex
import subprocess

import pytest

from interlock_tools.apps import App, Container, Strategy
from interlock_tools.container_words import pull_command, replace_command, return_command

SHA256 = "a" * 64
NASTY = "--env=X=$(touch /tmp/owned); `id` 'quoted' \"too\""
BOX = Container("registry.example.com/shop", "box", "podman", (NASTY,), ("serve", "; rm -rf /"))
APP = App("box", ("web1",), "/srv/box", Strategy.CONTAINER, container=BOX)


@pytest.mark.parametrize(
    "command",
    [pull_command(BOX, SHA256), replace_command(APP, BOX, "r1", SHA256, "c_1"), return_command(BOX, "c_1")],
)
def test_every_line_is_bash_that_can_be_read(command: str) -> None:
    done = subprocess.run(["/bin/bash", "-n"], input=command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_options_and_command_are_handed_over_as_they_are_written() -> None:
    last = replace_command(APP, BOX, "r1", SHA256, "c_1").rstrip().splitlines()[-1]
    words = shlex.split(last)
    assert words[:5] == ["exec", "$E", "run", "-d", "--name"]
    assert words[-4:] == [NASTY, f"registry.example.com/shop@sha256:{SHA256}", "serve", "; rm -rf /"]
    assert "--label=interlock.deployment=c_1" in words


def test_without_an_engine_the_line_says_so_and_does_nothing() -> None:
    done = subprocess.run(
        ["/bin/bash", "-c", pull_command(BOX, SHA256)], env={"PATH": "/nonexistent"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (69, "no engine answers: podman\n")
