"""Installs the pinned MCP conformance suite once, and says aloud where it had to be left out."""

from __future__ import annotations

import pytest

from node_programs import LEFT_OUT, has_npx, install


@pytest.fixture(scope="session", autouse=True)
def _installed() -> None:
    if not has_npx():
        pytest.skip(LEFT_OUT)
    install("conformance", "conformance")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not has_npx():
        terminalreporter.write_line("MCP conformance suite: " + LEFT_OUT)
