"""The protocol's own conformance suite finds nothing in the publishing code but what is written down and explained."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import pytest

from conformance_double import ConformanceDouble
from node_programs import install
from published import served

pytestmark = [pytest.mark.anyio, pytest.mark.inspector]
SUITE_SECONDS = 240.0


@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
async def test_a_revisions_requirements_hold_but_for_the_failures_that_are_explained(
    revision: str, tmp_path: Path
) -> None:
    program = install("conformance", "conformance")
    environment = {**os.environ, "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}  # the Node beside it
    baseline = str(Path(__file__).with_name("expected-failures.yaml"))
    words = ["server", "--requirements", revision, "--expected-failures", baseline]
    with anyio.fail_after(SUITE_SECONDS):
        async with served(ConformanceDouble()) as url:
            done = await anyio.run_process(
                [str(program), *words, "--url", f"{url}/mcp"], check=False, env=environment, cwd=tmp_path
            )
    summary = done.stdout.decode().partition("=== SUMMARY ===")[2]
    assert done.returncode == 0, summary + done.stderr.decode()
    assert "server-initialize: 3 passed" in summary or "tools-list: 4 passed" in summary
