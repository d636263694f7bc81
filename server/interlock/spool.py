"""The spool: what calls printed, redacted and capped, one file a stream, read page by page. It knows no host."""

from __future__ import annotations

import codecs
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

STREAMS = ("stdout", "stderr")
TAIL_BYTES_MAX = 128 * 1024
PAGE_BYTES_MAX = 1024 * 1024
TOTAL_BYTES_MAX = 1024 * 1024 * 1024
SECONDS_A_DAY = 86_400
_CALL_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


class RedactingStream(Protocol):
    """Text goes in by chunks; what comes out has no secret in it, even where one was split over two chunks."""

    def feed(self, chunk: str) -> str: ...
    def end(self) -> str: ...


class Redacting(Protocol):
    """What the spool asks of the redactor."""

    def text(self, text: str) -> str: ...
    def stream(self) -> RedactingStream: ...


@dataclass(frozen=True, slots=True)
class Page:
    """A piece of one stream. Offsets and `total_bytes` count bytes of the redacted text that is kept (UTF-8).

    `next_offset` is None where nothing is kept after this page (so far, where the call still runs).
    """

    text: str
    offset: int
    next_offset: int | None
    total_bytes: int


class SpoolWriter:
    """Takes one stream of one call as it comes. Memory stays flat whatever comes: a cap on disk and a short tail.

    `seen_bytes` counts what came in, `kept_bytes` what is on disk after redaction.
    """

    def __init__(self, path: Path, bytes_max: int, redactor: Redacting) -> None:
        self._path = path
        self._bytes_max = bytes_max
        self._redactor = redactor
        self._stream = redactor.stream()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._file = -1
        self._is_closed = False
        self._tail = bytearray()
        self.seen_bytes = 0
        self.kept_bytes = 0
        self.is_capped = False

    def write(self, data: bytes) -> None:
        """Take the next bytes; what is over the cap is counted and only its end remembered."""
        self.seen_bytes += len(data)
        if self.is_capped:
            self._remember(data)
            return
        try:
            self._keep(self._stream.feed(self._decoder.decode(data)))
        except OSError:
            # A full disk here must not end a command there: from now on it is only counted, and the answer says so.
            self.is_capped = True

    def skip(self, count: int) -> None:
        """Count bytes that the host printed and did not keep; what comes after them is only remembered."""
        self.seen_bytes += count
        if not self.is_capped:
            with suppress(OSError):
                self._keep(self._stream.feed(self._decoder.decode(b"", final=True)))
            self.is_capped = True

    def close(self) -> None:
        """Write what redaction still held back and close the file; once."""
        if not self.is_capped and not self._is_closed:
            with suppress(OSError):
                self._keep(self._stream.feed(self._decoder.decode(b"", final=True)) + self._stream.end())
        self._is_closed = True
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def head(self, chars_max: int) -> str:
        """The first characters that are kept."""
        return self._read(0, chars_max * 4)[:chars_max]

    def tail(self, chars_max: int) -> str:
        """The last characters of the stream, whether they are kept on disk or only remembered."""
        if chars_max <= 0:
            return ""
        if self.is_capped:
            # Its first half may begin inside a secret: that is context for redaction, and never shown.
            text = self._redactor.text(self._tail.decode("utf-8", "replace"))
            return text[-min(chars_max, max(1, len(text) // 2)) :]
        offset = max(0, self.kept_bytes - chars_max * 4)
        return self._read(offset, chars_max * 4 + 4)[-chars_max:]

    def _keep(self, text: str) -> None:
        data = text.encode("utf-8", "replace")
        room = self._bytes_max - self.kept_bytes
        if len(data) > room:
            data = _whole(data[:room])
            self.is_capped = True
        if not data:
            return
        if self._file < 0:
            self._file = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self.kept_bytes += os.write(self._file, data)

    def _remember(self, data: bytes) -> None:
        self._tail += data[-TAIL_BYTES_MAX:]
        if len(self._tail) > TAIL_BYTES_MAX:
            del self._tail[: len(self._tail) - TAIL_BYTES_MAX]

    def _read(self, offset: int, limit_bytes: int) -> str:
        if not self.kept_bytes:
            return ""
        with self._path.open("rb") as file:
            file.seek(offset)
            return file.read(limit_bytes).decode("utf-8", "ignore")


class Spool:
    """The spooled output of calls, in one directory (0700, files 0600)."""

    def __init__(
        self, directory: Path, bytes_max: int, redactor: Redacting, total_bytes_max: int = TOTAL_BYTES_MAX
    ) -> None:
        self._directory = directory
        self.bytes_max = bytes_max
        self._redactor = redactor
        self._total_bytes_max = total_bytes_max
        self._written_bytes = 0
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def writer(self, call_id: str, stream: str) -> SpoolWriter:
        """A writer for one stream (stdout or stderr) of one call; an earlier one of the same call is replaced."""
        path = self.path(call_id, stream)
        if path is None:
            raise ValueError(f"not a call's stream: {call_id!r} {stream!r}")
        path.unlink(missing_ok=True)
        return SpoolWriter(path, self.bytes_max, self._redactor)

    async def page(self, call_id: str, stream: str, offset: int, limit: int) -> Page | None:
        """At most `limit` bytes of text from `offset`, on character borders; None where nothing of it is kept."""
        path = self.path(call_id, stream)
        if path is None:
            return None
        wanted = max(4, min(limit, PAGE_BYTES_MAX))
        try:
            with path.open("rb") as file:
                total = os.fstat(file.fileno()).st_size
                file.seek(max(0, offset))
                data = file.read(wanted)
        except FileNotFoundError:
            return None
        whole = _whole(data)
        after = max(0, offset) + len(whole)
        text = whole.decode("utf-8", "ignore")
        return Page(text, max(0, offset), after if after < total and whole else None, total)

    def prune(self, now: float, days_max: float) -> int:
        """Remove what is older than `days_max`, then the oldest until the total fits; how many files went."""
        files = sorted(self._files(), key=lambda entry: entry[1])
        total = sum(size for _, _, size in files)
        removed = 0
        for path, modified, size in files:
            if modified >= now - days_max * SECONDS_A_DAY and total <= self._total_bytes_max:
                break
            path.unlink(missing_ok=True)
            total -= size
            removed += 1
        return removed

    def _files(self) -> list[tuple[Path, float, int]]:
        found: list[tuple[Path, float, int]] = []
        with os.scandir(self._directory) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False) and entry.name.endswith(STREAMS):
                    status = entry.stat(follow_symlinks=False)
                    found.append((Path(entry.path), status.st_mtime, status.st_size))
        return found

    def path(self, call_id: str, stream: str) -> Path | None:
        if not _CALL_ID.fullmatch(call_id) or stream not in STREAMS:
            return None
        return self._directory / f"{call_id}.{stream}"


def _whole(data: bytes) -> bytes:
    """The bytes without a character that is cut at their end."""
    for back in range(1, min(4, len(data)) + 1):
        lead = data[-back]
        if lead < 0x80:
            return data
        if lead >= 0xC0:
            length = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
            return data if back >= length else data[:-back]
    return data


def answer_texts(out: SpoolWriter, err: SpoolWriter, chars_max: int) -> tuple[Shown, Shown]:
    """What an answer shows of both streams: together at most `chars_max` characters and two markers.

    A stream that is short leaves its room to the other. What is too long is shown by its head and its tail, half each:
    the head says what ran, the tail how it ended; the middle is there page by page from `next_offset`.
    """
    half = chars_max // 2
    err_room = min(err.kept_bytes, half) if out.kept_bytes > half or out.is_capped else chars_max - out.kept_bytes
    shown_err = _shown(err, max(half if err.is_capped else 0, err_room))
    shown_out = _shown(out, chars_max - len(shown_err.text) if not shown_err.is_cut else half)
    return shown_out, shown_err


@dataclass(frozen=True, slots=True)
class Shown:
    """What an answer shows of a stream. `next_offset`: where the part that is left out begins, in the spool."""

    text: str
    is_cut: bool
    next_offset: int | None


def _shown(writer: SpoolWriter, room_chars: int) -> Shown:
    if not writer.is_capped and writer.kept_bytes <= room_chars * 4:
        text = writer.head(room_chars + 1)
        if len(text) <= room_chars:
            return Shown(text, is_cut=False, next_offset=None)
    head = writer.head(room_chars // 2)
    tail = writer.tail(room_chars - len(head))
    head_bytes = len(head.encode("utf-8", "replace"))
    left_out = max(0, writer.seen_bytes - head_bytes - len(tail.encode("utf-8", "replace")))
    text = f"{head}\n[… about {left_out} bytes left out …]\n{tail}"
    return Shown(text, is_cut=True, next_offset=head_bytes)
