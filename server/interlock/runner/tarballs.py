"""Tarballs: the members of a tar archive, read in one go from a stream of bytes. It writes nothing and trusts nothing.

It knows old tar, ustar, GNU's long names and the pax headers. What it does not know for sure (hard links, devices,
sparse files, other extensions) makes the whole archive unfit; so does any length that does not fit.
"""

import os
from typing import Any, Dict, Iterator, Optional, Tuple

from interlock.runner.artifacts import Contents, Member, unfit
from interlock.runner.tree import CHUNK_READ_BYTES

TAR_BLOCK_BYTES = 512
TAR_LONG_NAME_BYTES_MAX = 64 * 1024
TAR_PAX_BYTES_MAX = 1024 * 1024
TAR_NUMBER_DIGITS_MAX = 20
TAR_HEADERS_MAX = 1_000_000  # of members and of what is said about them
TAR_FILES, TAR_FOLDER, TAR_LINK, TAR_LONG, TAR_PAX = b"0\0007", b"5", b"2", b"LK", b"xg"
TAR_KINDS_REFUSED = {
    b"1": "a hard link; pack with --hard-dereference", b"3": "a device", b"4": "a device", b"6": "a fifo",
    b"S": "a sparse file; pack without --sparse", b"M": "a part of an archive of several volumes",
}  # fmt: skip
PAX_SPARSE, PAX_CHANGES = "GNU.sparse.", ("path", "linkpath", "size")
Said = Dict[str, Any]


class TarReader:
    """The members of one archive. `source` has `read(most)`, as those of artifacts have."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._left = 0  # bytes of the member at hand that were not read yet, with and without their padding
        self._padding = 0

    def members(self) -> Contents:
        """Each member with its content, which is to be read before the next one is. Raises RunFault("refused")."""
        said: Said = {}
        for _ in range(TAR_HEADERS_MAX):
            header = self._exactly(TAR_BLOCK_BYTES)
            if not header.strip(b"\0"):
                return
            if not is_tar_header(header):
                raise unfit("damaged", "the archive has a header that is none; pack it again")
            kind, size = header[156:157], tar_number(header[124:136])
            if kind in TAR_LONG or kind in TAR_PAX:
                said.update(self._said(kind, size))
                continue
            member = _tar_member(header, said)
            said = {}
            self._left = member.size
            self._padding = -member.size % TAR_BLOCK_BYTES
            yield member, self._pieces()
            for _ in self._pieces():
                pass
            self._exactly(self._padding)
        raise unfit("entries", "the archive has more than %d headers" % TAR_HEADERS_MAX)

    def _pieces(self) -> Iterator[bytes]:
        while self._left:
            data = self._source.read(min(self._left, CHUNK_READ_BYTES))
            if not data:
                raise unfit("damaged", "the archive ends within a member; pack it again")
            self._left -= len(data)
            yield data

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self._source.read(count - len(data))
            if not more:
                raise unfit("damaged", "the archive ends without its end mark: it was cut; pack it again")
            data += more
        return data

    def _said(self, kind: bytes, size: int) -> Said:
        """What a header says about the member after it."""
        if size > (TAR_PAX_BYTES_MAX if kind in TAR_PAX else TAR_LONG_NAME_BYTES_MAX):
            raise unfit("damaged", "the archive has a header of %d bytes" % size)
        data = self._exactly(size)
        self._exactly(-size % TAR_BLOCK_BYTES)
        if kind in TAR_LONG:
            return {"path" if kind == b"L" else "linkpath": os.fsdecode(data.split(b"\0")[0])}
        records = pax_records(data)
        if any(name.startswith(PAX_SPARSE) for name in records):
            raise unfit("kind", TAR_KINDS_REFUSED[b"S"], records.get("GNU.sparse.name", ""))
        if kind == b"g" and any(name in records for name in PAX_CHANGES):
            raise unfit("kind", "the archive has one path or size for all its members; pack it again")
        return {name: records[name] for name in (*PAX_CHANGES, "mtime") if name in records and kind == b"x"}


def _tar_member(header: bytes, said: Said) -> Member:
    """A member by its header and what was said before it. Raises RunFault("refused")."""
    name = said.get("path") or _tar_name(header)
    kind, target = header[156:157], ""
    if kind in TAR_KINDS_REFUSED:
        raise unfit("kind", TAR_KINDS_REFUSED[kind], name)
    if kind in TAR_FILES:
        of_old = kind == b"\0" and name.endswith("/")
        is_a = "folder" if of_old else "file"
    elif kind == TAR_FOLDER:
        is_a = "folder"
    elif kind == TAR_LINK:
        is_a, target = "link", said.get("linkpath") or os.fsdecode(header[157:257].split(b"\0")[0])
    else:
        raise unfit("kind", "a member of the kind %r, which no release has" % kind.decode("latin-1"), name)
    size = _said_number(said["size"]) if "size" in said else tar_number(header[124:136])
    if size and is_a != "file":
        raise unfit("damaged", "a %s with content" % is_a, name)
    mtime = _said_time(said["mtime"]) if "mtime" in said else float(tar_number(header[136:148], signed=True))
    return Member(name, is_a, tar_number(header[100:108]) & 0o7777, size, mtime, target)


def _tar_name(header: bytes) -> str:
    name = header[:100].split(b"\0")[0]
    prefix = header[345:500].split(b"\0")[0]
    if header[257:263] == b"ustar\0" and prefix:
        name = prefix + b"/" + name
    return os.fsdecode(name)


def is_tar_header(block: bytes) -> bool:
    """Whether 512 bytes are the header of a member, by their checksum."""
    if len(block) != TAR_BLOCK_BYTES or not block.strip(b"\0"):
        return False
    digits = block[148:156].strip(b" \0")
    try:
        stated = int(digits, 8)
    except ValueError:
        return False
    counted = block[:148] + b" " * 8 + block[156:]
    return stated in (sum(counted), sum(byte - 256 if byte > 127 else byte for byte in counted))


def tar_number(field: bytes, signed: bool = False) -> int:
    """A number of a header: octal digits, or GNU's binary form. Raises RunFault("refused")."""
    if field[0] in (0x80, 0xFF):
        value = int.from_bytes(field[1:], "big") - (256 ** (len(field) - 1) if field[0] == 0xFF else 0)
    else:
        digits = field.split(b"\0")[0].strip(b" ")
        if digits.strip(b"01234567"):
            raise unfit("damaged", "the archive has a header whose numbers are none; pack it again")
        value = int(digits or b"0", 8)
    if value < 0 and not signed:
        raise unfit("damaged", "the archive has a header with a negative number")
    return value


# ── pax headers ──────────────────────────────────────────────────────────────────────────────────────────────────────


def pax_records(data: bytes) -> Dict[str, str]:
    """The records of a pax header. Raises RunFault("refused")."""
    records, at = {}, 0
    while at < len(data):
        found = _pax_record(data, at)
        if found is None:
            raise unfit("damaged", "the archive has a header whose records do not fit; pack it again")
        name, value, at = found
        records[name] = value
    return records


def _pax_record(data: bytes, at: int) -> Optional[Tuple[str, str, int]]:
    length, space, _ = data[at : at + 16].partition(b" ")
    if not space or not length or length.strip(b"0123456789"):
        return None
    end = at + int(length)
    name, equals, value = data[at + len(length) + 1 : end].partition(b"=")
    if end > len(data) or not equals or not value.endswith(b"\n"):
        return None
    return os.fsdecode(name), os.fsdecode(value[:-1]), end


def _said_number(text: str) -> int:
    if not text or text.strip("0123456789") or len(text) > TAR_NUMBER_DIGITS_MAX:
        raise unfit("damaged", "the archive says a size that is no number")
    return int(text)


def _said_time(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise unfit("damaged", "the archive says a time that is no number")
