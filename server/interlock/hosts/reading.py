"""Reading a file: by lines or bytes, as text or base64, with its size and hash. It changes nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import asyncssh

from interlock.hosts.sftp import missing, not_a_file, refuse
from interlock.hosts.site import CHUNK_BYTES, Site, kind_of, mode_text, read_all, read_at, when
from interlock_tools.call import Json
from interlock_tools.errors import ArgumentInvalid, Recovery
from interlock_tools.plan import ReadFile

SNIFFED_BYTES = 8_192
BASE64_EXPANDS = 4 / 3


@dataclass(frozen=True, slots=True)
class Piece:
    """What was read: its bytes, where they begin, how many lines, and where to go on (None = at the end)."""

    data: bytes
    line: int | None
    lines: int
    offset: int
    next_line: int | None
    next_offset: int | None


async def read_file(site: Site, plan: ReadFile) -> Mapping[str, Json]:
    """The `file_read` result. Raises Faulted: no such file, not a regular file, binary where text was asked for.

    content (text, or base64), encoding, line and lines (by lines) or offset, bytes, size_bytes, sha256 (of the whole
    file; null above the size limit), mode, modified, truncated, next_line, next_offset.
    """
    real = await site.real(plan.path)
    attributes = await site.existing(real)
    if kind_of(attributes) != "file":
        raise refuse(not_a_file(site.run.host, "path", real, kind_of(attributes)))
    try:
        async with site.open(real, "rb") as file:
            return await _read(site, plan, real, attributes, file)
    except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
        raise refuse(missing(site.run.host, "path", real)) from None
    except asyncssh.SFTPError as fault:
        raise site.fault(fault, "path", real) from None


async def _read(
    site: Site, plan: ReadFile, real: str, attributes: asyncssh.SFTPAttrs, file: asyncssh.SFTPClientFile
) -> Mapping[str, Json]:
    size = attributes.size or 0
    # A file of /proc has no size and still has content, so that "small" is found out by reading.
    small = await read_all(file, site.limits.file_bytes_max) if size <= site.limits.file_bytes_max else None
    if plan.encoding == "text":
        _must_be_text(real, small if small is not None else await _range(file, 0, SNIFFED_BYTES))
    room = site.limits.answer_chars_max
    if plan.offset >= 0:
        wanted = min(plan.limit, int(room / BASE64_EXPANDS) if plan.encoding == "base64" else room)
        piece = await _by_bytes(file, small, plan.offset, wanted, as_text=plan.encoding == "text")
    else:
        piece = await _by_lines(file, small, plan.line, plan.limit, room)
    return {
        "path": real,
        "encoding": plan.encoding,
        "content": _content(site, plan, piece.data),
        "line": piece.line,
        "lines": piece.lines,
        "offset": piece.offset,
        "bytes": len(piece.data),
        "size_bytes": len(small) if small is not None else size,
        "sha256": hashlib.sha256(small).hexdigest() if small is not None else None,
        "mode": mode_text(attributes),
        "modified": when(attributes),
        "truncated": piece.next_offset is not None,
        "next_line": piece.next_line,
        "next_offset": piece.next_offset,
    }


def _content(site: Site, plan: ReadFile, data: bytes) -> str:
    if plan.encoding == "base64":
        return base64.b64encode(data).decode()
    return site.redact(data.decode("utf-8", "replace"))


def _must_be_text(path: str, data: bytes) -> None:
    head = data[:SNIFFED_BYTES]
    if b"\0" not in head and _decodes(head):
        return
    recovery = Recovery.change({"encoding": "base64"}, "The file is not text; base64 shows any bytes.")
    reason = f"{path} is not UTF-8 text"
    raise refuse(ArgumentInvalid(path="encoding", reason=reason, allowed=("base64",), recovery=recovery))


def _decodes(head: bytes) -> bool:
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as fault:
        return fault.start >= len(head) - 3 and len(head) == SNIFFED_BYTES  # a character that the cut went through
    return True


async def _range(file: asyncssh.SFTPClientFile, offset: int, length: int) -> bytes:
    found = bytearray()
    while len(found) < length and (data := await read_at(file, length - len(found), offset + len(found))):
        found += data
    return bytes(found)


async def _by_bytes(
    file: asyncssh.SFTPClientFile, small: bytes | None, offset: int, limit: int, *, as_text: bool
) -> Piece:
    ahead = await _range(file, offset, limit + 1) if small is None else small[offset : offset + limit + 1]
    data = ahead[:limit]
    if as_text and len(ahead) > limit:
        whole = data.decode("utf-8", "ignore").encode() if _cut_inside(data) else data
        data = whole or data
    after = offset + len(data)
    return Piece(data, None, data.count(b"\n"), offset, None, after if len(ahead) > len(data) else None)


def _cut_inside(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as fault:
        return fault.start >= len(data) - 3
    return False


async def _by_lines(
    file: asyncssh.SFTPClientFile, small: bytes | None, first: int, limit: int, room_bytes: int
) -> Piece:
    """`limit` lines from line `first`; fewer where they do not fit, and a line that alone does not fit is cut."""
    lines = _Lines(first, limit, room_bytes)
    offset = 0
    while not lines.is_full:
        data = await read_at(file, CHUNK_BYTES, offset) if small is None else small[offset : offset + CHUNK_BYTES]
        if not data:
            break
        lines.feed(data, offset)
        offset += len(data)
    return lines.piece(offset)


class _Lines:
    """Collects lines from chunks; what comes before the first one wanted is only counted."""

    def __init__(self, first: int, limit: int, room_bytes: int) -> None:
        self._first = first
        self._limit = limit
        self._room = room_bytes
        self._line = 1
        self._kept = bytearray()
        self._start: int | None = None
        self.is_full = False

    def feed(self, data: bytes, offset: int) -> None:
        place = 0
        while place < len(data) and self._line < self._first:
            end = data.find(b"\n", place)
            if end < 0:
                return
            place, self._line = end + 1, self._line + 1
        if self._line < self._first or place >= len(data):
            return
        if self._start is None:
            self._start = offset + place
        self._kept += data[place:]
        self.is_full = len(self._kept) > self._room or self._kept.count(b"\n") > self._limit

    def piece(self, end_offset: int) -> Piece:
        if self._start is None:
            return Piece(b"", self._first, 0, end_offset, None, None)
        taken = bytearray()
        for count, line in enumerate(_split(self._kept)):
            if count >= self._limit or len(taken) + len(line) > self._room:
                break
            taken += line
        if not taken:
            taken = bytearray(bytes(self._kept[: self._room]).decode("utf-8", "ignore").encode())
        data = bytes(taken)
        lines = data.count(b"\n") + (0 if data.endswith(b"\n") or not data else 1)
        more = self.is_full or len(data) < len(self._kept)
        whole_lines = data.endswith(b"\n")
        next_line = self._first + lines if more and whole_lines else None
        return Piece(data, self._first, lines, self._start, next_line, self._start + len(data) if more else None)


def _split(data: bytearray) -> list[bytes]:
    """Lines with their ends; only a line feed ends one."""
    parts = bytes(data).split(b"\n")
    lines = [part + b"\n" for part in parts[:-1]]
    return [*lines, parts[-1]] if parts[-1] else lines
