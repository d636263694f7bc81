"""Spools: what a command prints, kept on disk up to a cap; of the rest the count and the last bytes. Memory is flat."""

import os
from typing import List, Tuple

SPOOL_TAIL_BYTES_MAX = 64 * 1024


class OutputSpool:
    """One stream of one run, as its supervisor writes it."""

    def __init__(self, rundir: str, name: str, bytes_max: int) -> None:
        self._path = os.path.join(rundir, name)
        self._bytes_max = bytes_max
        self._file = -1
        self._tail = bytearray()
        self.bytes = 0
        self.kept = 0
        self.fault = ""

    def take(self, data: bytes) -> None:
        """Keep what fits; a disk that is full ends the keeping, not the command."""
        self.bytes += len(data)
        rest = data
        while rest and self.kept < self._bytes_max:
            try:
                if self._file < 0:
                    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
                    self._file = os.open(self._path, flags, 0o600)
                written = os.write(self._file, rest[: self._bytes_max - self.kept])
            except OSError as fault:
                self.fault = "output was not kept: %s" % fault
                self._bytes_max = self.kept
                break
            self.kept += written
            rest = rest[written:]
        if rest:
            self._tail += rest
            if len(self._tail) > 2 * SPOOL_TAIL_BYTES_MAX:
                del self._tail[:-SPOOL_TAIL_BYTES_MAX]

    def finish(self) -> int:
        """Write the tail; its first byte's offset in the stream, or where the head ends if there is none."""
        if self._file >= 0:
            os.close(self._file)
        tail = bytes(self._tail[-SPOOL_TAIL_BYTES_MAX:])
        if not tail:
            return self.kept
        try:
            handle = os.open(self._path + ".tail", os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                os.write(handle, tail)
            finally:
                os.close(handle)
        except OSError as fault:
            self.fault = "the end of the output was not kept: %s" % fault
            return self.bytes
        return self.bytes - len(tail)


def read_output(rundir: str, name: str, offset: int, bytes_max: int) -> bytes:
    """Bytes of a stream's head from an offset; b"" where there are none (yet)."""
    try:
        handle = os.open(os.path.join(rundir, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.pread(handle, bytes_max, offset)
    finally:
        os.close(handle)


def pieces_left(name: str, offset: int, kept: int, tail: int, total: int) -> List[Tuple[str, int, int]]:
    """What is still to be sent of an ended stream: (file, offset in the stream, bytes) of its head and its tail."""
    pieces = [(name, offset, kept - offset)] if offset < kept else []
    start = max(offset, tail)
    return pieces + ([(name + ".tail", start, total - start)] if start < total and start >= kept else [])
