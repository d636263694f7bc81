"""Contents: what entries hold, as a hash, as a comparison, as a difference in text for a reader. It writes nothing."""

import difflib
import hashlib
import os
import stat
from typing import Any, Dict, Iterator, List, Optional

from interlock.runner.tree import (
    ABSENT_ERRNOS,
    CHUNK_READ_BYTES,
    CONTENT_FLAGS,
    open_parent,
    open_readable,
)

DIFF_READ_BYTES_MAX = 512 * 1024  # of each side
DIFF_WORK_MAX = 4_000_000  # lines of one side times lines of the other
DIFF_CONTEXT_LINES = 3


def content_line(rel: str, held: int, name: str, found: os.stat_result, target: str, xattrs: Dict[str, str]) -> bytes:
    """All that makes a new entry what it is, its content and attributes among it, as one line of a digest."""
    regular, link = stat.S_ISREG(found.st_mode), stat.S_ISLNK(found.st_mode)
    parts = [
        rel,
        target,
        "%o %d %d %d" % (found.st_mode, found.st_uid, found.st_gid, found.st_rdev),
        "%d %s" % (found.st_mtime_ns, content_sha256(held, name) if regular else "") if regular or link else "",
        *("%s=%s" % item for item in sorted(xattrs.items())),
    ]
    return "\0".join(parts).encode("utf-8", "surrogateescape") + b"\0\0"


def content_sha256(folder: int, name: str) -> str:
    """The hash of a regular file's content in one of our own folders. Raises OSError."""
    return sha256_of(open_readable(folder, name, CONTENT_FLAGS, True))


def sha256_of(handle: int) -> str:
    """The hash of what this handle reads, to its end; the handle is closed. Raises OSError."""
    digest = hashlib.sha256()
    try:
        data = os.read(handle, CHUNK_READ_BYTES)
        while data:
            digest.update(data)
            data = os.read(handle, CHUNK_READ_BYTES)
    finally:
        os.close(handle)
    return digest.hexdigest()


def is_equal(up: int, low: int, name: str, over: os.stat_result, under: os.stat_result) -> bool:
    """Whether two entries of one kind, here and in a layer, have the same content or target."""
    if stat.S_ISLNK(over.st_mode):
        return os.readlink(name, dir_fd=up) == os.readlink(name, dir_fd=low)
    if not stat.S_ISREG(over.st_mode):
        return over.st_rdev == under.st_rdev
    if over.st_size != under.st_size:
        return False
    try:
        reader = os.open(name, CONTENT_FLAGS, dir_fd=low)
    except PermissionError:
        return False
    try:
        ours = open_readable(up, name, CONTENT_FLAGS, True)
        try:
            return _same_bytes(ours, reader)
        finally:
            os.close(ours)
    finally:
        os.close(reader)


def _same_bytes(first: int, second: int) -> bool:
    while True:
        data = os.read(first, CHUNK_READ_BYTES)
        if data != os.read(second, CHUNK_READ_BYTES):
            return False
        if not data:
            return True


# ── for a reader ─────────────────────────────────────────────────────────────────────────────────────────────────────


def content_diff(change: Dict[str, Any], source: str, bytes_max: int, before: str = "") -> str:
    """The unified diff of one change as text, at most `bytes_max` bytes of it; "" for what is no text on both sides.

    `source`: where the new content lies ("" for none). `before`: where the old does, where that is not the path itself.
    Raises OSError.
    """
    old = _text_of(before or str(change["path"])) if change["was"] is not None else []
    new = _text_of(source) if source and change["op"] != "delete" else []
    if old is None or new is None or old == new:
        return ""
    names = (str(change["path"]) if change["was"] is not None else "/dev/null"), "/dev/null"
    lines: List[str] = []
    room = bytes_max
    for line in _unified(old, new, names[0], names[1] if change["op"] == "delete" else str(change["path"])):
        room -= len(line.encode("utf-8", "surrogateescape"))
        if room < 0:
            break
        lines.append(line)
    return "".join(lines)


def _text_of(path: str) -> Optional[List[str]]:
    """The lines of a text, or of where a link points; None for what is none, or too much of one."""
    try:
        folder, name = open_parent(path)
    except OSError as fault:
        if fault.errno in ABSENT_ERRNOS:
            return None
        raise
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISLNK(found.st_mode):
            return ["→ %s\n" % os.readlink(name, dir_fd=folder)]
        if not stat.S_ISREG(found.st_mode) or found.st_size > DIFF_READ_BYTES_MAX:
            return None
        handle = open_readable(folder, name, CONTENT_FLAGS, False)
    except (FileNotFoundError, PermissionError):
        return None
    finally:
        os.close(folder)
    with os.fdopen(handle, "rb") as file:
        data = file.read(DIFF_READ_BYTES_MAX + 1)
    return None if b"\0" in data else _lines_of(data)


def _lines_of(data: bytes) -> Optional[List[str]]:
    try:
        lines = data.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        return None
    ended = [line + "\n" for line in lines[:-1]]
    return ended + ([lines[-1] + "\n\\ No newline at end of file\n"] if lines[-1] else [])


def _unified(old: List[str], new: List[str], old_name: str, new_name: str) -> Iterator[str]:
    """A unified diff; where comparing line by line would take too long, all of the old against all of the new."""
    first = 0
    while first < min(len(old), len(new)) and old[first] == new[first]:
        first += 1
    last = 0
    while last < min(len(old), len(new)) - first and old[-1 - last] == new[-1 - last]:
        last += 1
    changed = (len(old) - first - last) * (len(new) - first - last)
    if changed <= DIFF_WORK_MAX:
        start = max(0, first - DIFF_CONTEXT_LINES)
        ends = [len(lines) - max(0, last - DIFF_CONTEXT_LINES) for lines in (old, new)]
        parts = old[start : ends[0]], new[start : ends[1]]
        for line in difflib.unified_diff(parts[0], parts[1], old_name, new_name, n=DIFF_CONTEXT_LINES):
            yield _shifted(line, start) if line.startswith("@@ ") else line
        return
    yield "--- %s\n" % old_name
    yield "+++ %s\n" % new_name
    yield "@@ -%d,%d +%d,%d @@\n" % (first + 1, len(old) - first - last, first + 1, len(new) - first - last)
    for sign, lines in (("-", old), ("+", new)):
        for line in lines[first : len(lines) - last]:
            yield sign + line


def _shifted(line: str, by: int) -> str:
    """A hunk's head with its line numbers counted from the beginning of the file."""
    words = line.split(" ")
    for place in (1, 2):
        start, comma, count = words[place][1:].partition(",")
        words[place] = "%s%d%s%s" % (words[place][0], int(start) + by, comma, count)
    return " ".join(words)
