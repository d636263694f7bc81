"""Interlock's own known_hosts file: lines that a person confirmed, replaced whole and kept private. It asks no host."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

FILE_BYTES_MAX = 4 * 1024 * 1024


def trust(path: Path, name: str, lines: Sequence[str]) -> None:
    """Make these lines the only ones of `name` (address or [address]:port); the file is 0600. Raises OSError."""
    kept = [line for line in _lines(path) if name not in line.split(" ", 1)[0].split(",")]
    text = "".join(f"{line}\n" for line in (*kept, *lines))
    descriptor, temporary = tempfile.mkstemp(prefix=".known_hosts-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _lines(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        return []
    if len(data) > FILE_BYTES_MAX:
        raise OSError(f"{path} is larger than {FILE_BYTES_MAX} bytes")
    return [line for line in data.decode("utf-8", "surrogateescape").splitlines() if line.strip()]
