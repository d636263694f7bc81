"""Starting the shfmt binary for one program text, with a time and an output limit; it never runs the text."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from interlock_policies.shell.shfmt import ShfmtRefused

TIMEOUT_SECONDS = 0.5
OUTPUT_BYTES_MAX = 16 * 1024 * 1024
_MESSAGE_CHARS_MAX = 200


def find_shfmt() -> str:
    """The path of the shfmt installed with this interpreter, else the one on PATH. Raises FileNotFoundError."""
    for directory in (Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))):
        beside = directory / "shfmt"
        if beside.is_file():
            return str(beside)
    found = shutil.which("shfmt")
    if found is None:
        raise FileNotFoundError("shfmt is not installed; it comes with the package shfmt-py")
    return found


class Shfmt:
    """Calls one shfmt binary; an instance is the callable that the analysis takes."""

    def __init__(self, binary: str, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._command = [binary, "-ln", "bash", "--to-json"]
        self._timeout_seconds = timeout_seconds

    def __call__(self, text: str) -> str:
        """The text's syntax tree as JSON. Raises ShfmtRefused for a syntax error and for either limit."""
        try:
            done = subprocess.run(
                self._command,
                input=text.encode(),
                capture_output=True,
                timeout=self._timeout_seconds,
                check=False,
                env={},
            )
        except subprocess.TimeoutExpired:
            raise ShfmtRefused("reading it takes too long") from None
        if done.returncode != 0:
            message = done.stderr.decode("utf-8", "replace").strip().removeprefix("<standard input>:")
            raise ShfmtRefused(f"syntax error at {message[:_MESSAGE_CHARS_MAX]}")
        if len(done.stdout) > OUTPUT_BYTES_MAX:
            raise ShfmtRefused("its syntax tree is too large")
        return done.stdout.decode()


def run_shfmt(text: str) -> str:
    """The text's syntax tree as JSON, from the installed shfmt. Raises ShfmtRefused, FileNotFoundError."""
    return Shfmt(find_shfmt())(text)
