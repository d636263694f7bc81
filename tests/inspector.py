"""The real MCP Inspector without its window, pinned beside its tests and started as a user would start it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from node_programs import install

RUN_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Inspected:
    """How the Inspector ended, and the `result` it printed.

    `code` 0: well; 4: the server is unreachable; 5: the tool answered an error; 6: a schema is not portable.
    """

    code: int
    answer: Any
    stderr: str


async def inspect(home: Path, *words: str) -> Inspected:
    """Run the Inspector's command line with these words. `home` is where it may keep its own files."""
    environment = {**os.environ, "HOME": str(home), "MCP_CATALOG_PATH": str(home / "catalog.json")}
    command = [str(install("inspector", "mcp-inspector")), "--cli", "-q", "--format", "json", *words]
    with anyio.fail_after(RUN_SECONDS):
        done = await anyio.run_process(command, check=False, env=environment, cwd=home)
    text = done.stdout.decode()
    answer = json.loads(text)["result"] if text.strip() else None
    return Inspected(done.returncode, answer, done.stderr.decode())
