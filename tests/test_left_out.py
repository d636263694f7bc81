"""Proves that tests which cannot run here are named, and that nothing is left out silently where all must run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from house import ROOT

TESTS = """
import pytest

@pytest.mark.inspector
def test_that_needs_a_program_which_is_absent(): assert False

def test_that_needs_nothing(): pass
"""
SKIPPED = "import pytest\n\ndef test_that_gives_up():\n    pytest.skip('not today')\n"
RUN_SECONDS = 60


def run_pytest(folder: Path, tests: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run these tests with our conftest and an empty PATH, on which there is no Node for the Inspector."""
    shutil.copy(ROOT / "tests" / "conftest.py", folder / "conftest.py")
    (folder / "test_it.py").write_text(tests)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    openssh\n    inspector\n    browser\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("INTERLOCK_", "PYTEST_"))}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."]
    return subprocess.run(
        command,
        cwd=folder,
        env=kept | {"PATH": ""} | environment,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )


def test_what_cannot_run_here_is_left_out_and_named_in_one_line(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, TESTS)
    assert done.returncode == 0, done.stdout
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("Left out:")]
    assert "1 inspector test" in line
    assert "no Node" in line
    assert done.stdout.strip().splitlines()[-1].startswith("1 passed, 1 deselected")


def test_where_everything_must_run_an_absent_program_is_a_failure(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, TESTS, INTERLOCK_TESTS_ALL="1")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "1 inspector test" in done.stderr


def test_where_everything_must_run_a_skip_is_a_failure(tmp_path: Path) -> None:
    assert run_pytest(tmp_path, SKIPPED).returncode == 0
    done = run_pytest(tmp_path, SKIPPED, INTERLOCK_TESTS_ALL="1")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "not today" in done.stdout
