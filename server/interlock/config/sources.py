"""Reading the text of an inventory file, bounded; what is wrong with it is a problem, never an exception."""

from __future__ import annotations

from pathlib import Path

from interlock.config.faults import Problem

FILE_BYTES_MAX = 1024 * 1024
HOSTS_MAX = 10_000
_HINT = "correct the path in [inventory]"


def at_home(name: str) -> Path:
    """A path with its `~` expanded; left as it is where nobody knows that home."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def inventory_text(path: Path, problems: list[Problem]) -> str:
    """The file's text, or "" and a problem where it cannot be read, is too large, or is no text."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as fault:
        reason = (fault.strerror if isinstance(fault, OSError) else None) or "not a path"
        problems.append(Problem(str(path), 0, "", f"cannot be read: {reason}", _HINT))
        return ""
    if len(data) > FILE_BYTES_MAX:
        problems.append(Problem(str(path), 0, "", f"is larger than {FILE_BYTES_MAX} bytes", _HINT))
        return ""
    try:
        return data.decode()
    except UnicodeDecodeError:
        problems.append(Problem(str(path), 0, "", "is not UTF-8 text", _HINT))
        return ""
