"""What every test shares: asyncio under anyio's plugin, and an honest line about what this machine cannot run.

A test that needs a program carries that program's marker. Where the program is absent its tests are left out and one
line at the end says so; with INTERLOCK_TESTS_ALL=1 (as in .ci/run) absence, and every skip, is a failure.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections import Counter
from collections.abc import Generator
from importlib.util import find_spec

import pytest
from hypothesis import settings

# Under nohup, or as a shell's job in the background, what the tests start would inherit that a hang-up or an interrupt
# is ignored, and some of them hang up and interrupt.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A shared machine is slow now and then, and CI repeats what it found: new examples are sought by developers' runs.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")

SYSTEM_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])
LEFT_OUT = pytest.StashKey[Counter[str]]()


def sshd_program() -> str | None:
    """The OpenSSH server's path; None where this machine has none."""
    return shutil.which("sshd", path=SYSTEM_PATH)


def missing_programs() -> dict[str, str]:
    """Marker → how to get what it needs, for each marker whose program is absent here."""
    missing: dict[str, str] = {}
    if sshd_program() is None or shutil.which("ssh-keygen") is None:
        missing["openssh"] = "no sshd here; the package is called openssh-server"
    if shutil.which("node") is None or shutil.which("npm") is None:
        missing["inspector"] = "no Node or no npm here, which the MCP Inspector runs on"
    if find_spec("playwright") is None:
        missing["browser"] = "no Playwright here"
    return missing


def everything_must_run() -> bool:
    """True where absence is a failure."""
    return os.environ.get("INTERLOCK_TESTS_ALL", "") == "1"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    missing = missing_programs()
    left_out: Counter[str] = Counter()
    kept: list[pytest.Item] = []
    dropped: list[pytest.Item] = []
    for item in items:
        absent = next((marker for marker in missing if item.get_closest_marker(marker)), None)
        if absent is None:
            kept.append(item)
        else:
            left_out[absent] += 1
            dropped.append(item)
    config.stash[LEFT_OUT] = left_out
    if left_out and everything_must_run():
        raise pytest.UsageError("INTERLOCK_TESTS_ALL=1, but " + _sentence(left_out, missing))
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = kept


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and everything_must_run():
        report.outcome = "failed"
        report.longrepr = f"INTERLOCK_TESTS_ALL=1 leaves nothing out, but this test was skipped: {report.longrepr}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    left_out = config.stash.get(LEFT_OUT, Counter())
    if left_out:
        terminalreporter.write_line("Left out: " + _sentence(left_out, missing_programs()), yellow=True)


def _sentence(left_out: Counter[str], missing: dict[str, str]) -> str:
    return "; ".join(f"{count} {marker} tests ({missing[marker]})" for marker, count in left_out.items())


@pytest.fixture
def anyio_backend() -> str:
    """Every async test runs on asyncio, as the server does."""
    return "asyncio"
