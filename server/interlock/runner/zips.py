"""Zips: the members of a zip archive in an open file, by its directory. It writes nothing and trusts nothing.

The directory and each member's own header have to say the same; a member holds exactly what it declares. Encryption and
rare compressions make the whole archive unfit.
"""

import os
import stat
import struct
import time
import zlib
from typing import Dict, Iterator, List, NamedTuple, Tuple

from interlock.runner.artifacts import PACKED_READ_BYTES, Contents, Inflater, Member, unfit
from interlock.runner.tree import CHUNK_READ_BYTES

ZIP_MAGICS = (b"PK\3\4", b"PK\5\6")
ZIP_END, ZIP_END_64, ZIP_LOCATOR_64 = struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q"), struct.Struct("<4sLQL")
ZIP_ENTRY, ZIP_LOCAL = struct.Struct("<4s6H3L5H2L"), struct.Struct("<4s5H3L2H")
ZIP_COMMENT_BYTES_MAX = 65535
ZIP_ENCRYPTED = 0x0001 | 0x0040 | 0x2000
ZIP_STORED, ZIP_DEFLATED, ZIP_AES = 0, 8, 99
ZIP_TARGET_BYTES_MAX = 4095
ZIP_64 = 0xFFFFFFFF


class ZipEntry(NamedTuple):
    """One entry of the directory."""

    name: bytes
    flags: int
    method: int
    stamp: Tuple[int, int]
    crc: int
    packed: int
    size: int
    mode: int
    at: int


class ZipReader:
    """The members of one archive in an open file."""

    def __init__(self, handle: int, size: int, entries_max: int) -> None:
        self._handle = handle
        self._size = size
        self._entries_max = entries_max

    def members(self) -> Contents:
        """Each member with its content. Raises RunFault("refused"), OSError."""
        packed = 0
        for entry in self._entries():
            packed += entry.packed
            if packed > self._size:
                raise unfit("ratio", "the archive's members overlap: it is made to grow without end")
            member = self._member(entry)
            yield member, (self._pieces(entry) if member.kind == "file" else iter(()))

    def _read(self, at: int, count: int) -> bytes:
        data = os.pread(self._handle, count, at) if at <= self._size else b""
        if len(data) != count:
            raise unfit("damaged", "the archive ends too early; pack it again")
        return data

    # ── the directory ──

    def _directory(self) -> Tuple[int, int, int]:
        """Where the directory begins, where it ends, and how many entries it has."""
        tail_size = min(self._size, ZIP_END.size + ZIP_COMMENT_BYTES_MAX)
        tail = self._read(self._size - tail_size, tail_size)
        at = tail.rfind(b"PK\5\6")
        if at < 0 or len(tail) - at < ZIP_END.size:
            raise unfit("damaged", "the archive has no directory: it was cut; pack it again")
        _, disk, first_disk, here, count, size, offset, comment = ZIP_END.unpack_from(tail, at)
        end = self._size - tail_size + at
        if len(tail) - at != ZIP_END.size + comment:
            raise unfit("damaged", "something follows the archive's end; pack it again")
        locator = self._read(max(0, end - ZIP_LOCATOR_64.size), ZIP_LOCATOR_64.size)
        if locator.startswith(b"PK\6\7"):
            end, disk, first_disk, here, count, size, offset = self._directory_64(locator)
        if disk or first_disk or here != count or offset + size != end:
            raise unfit("damaged", "the archive's directory is not where it says; pack it again as one file")
        return offset, end, count

    def _directory_64(self, locator: bytes) -> Tuple[int, int, int, int, int, int, int]:
        at = ZIP_LOCATOR_64.unpack(locator)[2]
        found = ZIP_END_64.unpack(self._read(at, ZIP_END_64.size))
        if found[0] != b"PK\6\6":
            raise unfit("damaged", "the archive's directory cannot be found; pack it again")
        return (at, *found[4:])

    def _entries(self) -> Iterator[ZipEntry]:
        at, end, count = self._directory()
        if count > self._entries_max:
            raise unfit("entries", "the archive has %d entries, of at most %d" % (count, self._entries_max))
        for _ in range(count):
            fields = ZIP_ENTRY.unpack(self._read(at, ZIP_ENTRY.size))
            magic, _, _, flags, method, clock, date, crc, packed, size, name_length, extra_length = fields[:12]
            comment_length, _, _, outer, local = fields[12:]
            rest = self._read(at + ZIP_ENTRY.size, name_length + extra_length)
            at += ZIP_ENTRY.size + name_length + extra_length + comment_length
            if magic != b"PK\1\2" or at > end:
                raise unfit("damaged", "the archive's directory is damaged; pack it again")
            size, packed, local = _zip_64(rest[name_length:], [size, packed, local])
            stamp = (date, clock)
            yield ZipEntry(rest[:name_length], flags, method, stamp, crc, packed, size, outer >> 16, local)
        if at != end:
            raise unfit("damaged", "the archive's directory has more than it counts; pack it again")

    # ── one member ──

    def _member(self, entry: ZipEntry) -> Member:
        name = os.fsdecode(entry.name)
        if entry.flags & ZIP_ENCRYPTED or entry.method == ZIP_AES:
            raise unfit("encrypted", "an encrypted member; pack without a password", name)
        if entry.method not in (ZIP_STORED, ZIP_DEFLATED):
            raise unfit("damaged", "a compression that is not read here (%d); pack with deflate" % entry.method, name)
        if "\\" in name:
            raise unfit("name", "a name with a backslash; pack with / between folders", name)
        kind, target = _zip_kind(entry, name), ""
        if kind == "link":
            if entry.size > ZIP_TARGET_BYTES_MAX:
                raise unfit("link", "a link whose target has %d bytes" % entry.size, name)
            target = os.fsdecode(b"".join(self._pieces(entry)))
        elif kind == "folder" and entry.size:
            raise unfit("damaged", "a folder with content", name)
        mode = stat.S_IMODE(entry.mode) or (0o755 if kind == "folder" else 0o644)
        return Member(name, kind, mode, entry.size if kind == "file" else 0, _zip_time(entry), target)

    def _pieces(self, entry: ZipEntry) -> Iterator[bytes]:
        """The content, piece by piece: exactly what was declared. Raises RunFault("refused")."""
        name, size, crc = os.fsdecode(entry.name), 0, 0
        for piece in self._unpacked(entry, name):
            size, crc = size + len(piece), zlib.crc32(piece, crc)
            if size > entry.size:
                raise unfit("ratio", "it holds more than the %d bytes that it declares" % entry.size, name)
            yield piece
        if size != entry.size or crc != entry.crc:
            raise unfit("damaged", "it does not hold what its header declares; pack it again", name)

    def _unpacked(self, entry: ZipEntry, name: str) -> Iterator[bytes]:
        raw = self._raw(self._content_at(entry, name), entry.packed)
        if entry.method == ZIP_STORED:
            for piece in raw:
                yield piece
            return
        flow = Inflater(-zlib.MAX_WBITS)
        try:
            while not flow.eof:
                data = next(raw, b"") if flow.needs_input else b""
                if not data and flow.needs_input:
                    raise unfit("damaged", "its content ends too early; pack it again", name)
                yield flow.decompress(data, CHUNK_READ_BYTES)
        except zlib.error as fault:
            raise unfit("damaged", "its content cannot be unpacked: %s" % fault, name)

    def _raw(self, at: int, count: int) -> Iterator[bytes]:
        end = at + count
        while at < end:
            data = self._read(at, min(PACKED_READ_BYTES, end - at))
            at += len(data)
            yield data

    def _content_at(self, entry: ZipEntry, name: str) -> int:
        """Where the content begins, after a header that says the same as the directory."""
        fields = ZIP_LOCAL.unpack(self._read(entry.at, ZIP_LOCAL.size))
        magic, flags, method, name_length, extra_length = fields[0], fields[2], fields[3], fields[9], fields[10]
        same = (method, flags & ZIP_ENCRYPTED) == (entry.method, 0)
        if magic != b"PK\3\4" or not same or self._read(entry.at + ZIP_LOCAL.size, name_length) != entry.name:
            raise unfit("damaged", "its own header says something else than the archive's directory", name)
        return entry.at + ZIP_LOCAL.size + int(name_length) + int(extra_length)


def _zip_64(extra: bytes, numbers: List[int]) -> List[int]:
    """The numbers of an entry, those that did not fit from its extra field. Raises RunFault("refused")."""
    fields: Dict[int, bytes] = {}
    while len(extra) >= 4:
        number, length = struct.unpack_from("<2H", extra)
        fields[number] = extra[4 : 4 + length]
        extra = extra[4 + length :]
    longer = fields.get(1, b"")
    for index, number in enumerate(numbers):
        if number == ZIP_64:
            if len(longer) < 8:
                raise unfit("damaged", "the archive's directory lacks a length; pack it again")
            numbers[index] = int.from_bytes(longer[:8], "little")
            longer = longer[8:]
    return numbers


def _zip_kind(entry: ZipEntry, name: str) -> str:
    kinds = {stat.S_IFLNK: "link", stat.S_IFDIR: "folder", stat.S_IFREG: "file", 0: ""}
    kind = kinds.get(stat.S_IFMT(entry.mode))
    if kind is None:
        raise unfit("kind", "a device, fifo or socket", name)
    if name.endswith("/") and kind in ("file", "link"):
        raise unfit("damaged", "a %s with the name of a folder" % kind, name)
    return kind or ("folder" if name.endswith("/") else "file")


def _zip_time(entry: ZipEntry) -> float:
    date, clock = entry.stamp
    day = (1980 + (date >> 9), date >> 5 & 15, date & 31)
    try:
        return time.mktime((*day, clock >> 11, clock >> 5 & 63, (clock & 31) * 2, 0, 0, -1))
    except (ValueError, OverflowError):
        return time.time()
