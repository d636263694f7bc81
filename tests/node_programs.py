"""Programs of Node's world that the acceptance tests use: pinned beside their tests, installed once from the lock."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

INSTALL_SECONDS = 300
ACCEPTANCE = Path(__file__).parent / "acceptance"
LEFT_OUT = "left out: what needs Node (there is no npx on this machine)"


def has_npx() -> bool:
    """True where Node's package client is there."""
    return shutil.which("npx") is not None


def install(folder: str, program: str) -> Path:
    """The program from that folder's lock; installed first where it is not there yet."""
    place = ACCEPTANCE / folder
    found = place / "node_modules" / ".bin" / program
    if not found.exists():
        command = ["npm", "ci", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=place, check=True, capture_output=True, timeout=INSTALL_SECONDS)
    return found
