"""Artifacts: the bytes of a file that was sent, out of its packing, and what an archive's member is. It writes nothing.

Everything is read in bounded pieces and bounded memory, whatever lengths an archive claims. So its formats are read by
us and not by the standard library, whose readers keep whole headers and directories, and refuse other things in each
version of Python.
"""

import os
import zlib
from typing import Any, Iterator, List, NamedTuple, Tuple, Type

from interlock.runner.rundirs import RunFault

PACKED_READ_BYTES = 64 * 1024
XZ_MEMORY_BYTES_MAX = 256 * 1024 * 1024
MEMBER_DEPTH_MAX = 100
MEMBER_NAME_BYTES_MAX = 255
SAID_CHARS_MAX = 200
PACKING_MAGIC_BYTES = 6
PACKINGS = ((b"\x1f\x8b\x08", "gzip"), (b"BZh", "bz2"), (b"\xfd7zXZ\0", "xz"))


class Member(NamedTuple):
    """One member of an archive. `kind` is file, folder or link; `target` is a link's."""

    name: str
    kind: str
    mode: int
    size: int
    mtime: float
    target: str = ""


Contents = Iterator[Tuple[Member, Iterator[bytes]]]


def unfit(why: str, reason: str, member: str = "") -> RunFault:
    """The fault of an artifact that may not be unpacked: nothing of it is placed."""
    said = "%r: " % member[:SAID_CHARS_MAX] if member else ""
    return RunFault("refused", said + reason, why=why, member=member[:SAID_CHARS_MAX])


def member_parts(name: str) -> List[str]:
    """The components of a member's path; none for the root itself. Raises RunFault("refused")."""
    if any(char < " " or char == "\x7f" for char in name):
        raise unfit("name", "a name with a control character; rename it and pack again", name)
    if name.startswith("/"):
        raise unfit("name", "an absolute name; pack with names that are relative to the release", name)
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise unfit("name", "a name that climbs with '..'; pack with names that lie within the release", name)
    if not parts and not name.startswith("."):
        raise unfit("name", "a member without a name; pack the artifact again")
    if len(parts) > MEMBER_DEPTH_MAX:
        raise unfit("name", "more than %d folders deep" % MEMBER_DEPTH_MAX, name)
    if any(len(os.fsencode(part)) > MEMBER_NAME_BYTES_MAX for part in parts):
        raise unfit("name", "a component of more than %d bytes; rename it" % MEMBER_NAME_BYTES_MAX, name)
    return parts


def check_target(parts: List[str], target: str) -> None:
    """Raises RunFault("refused") for a link at `parts` whose target is not surely within the release.

    Every parent of a member is a real folder, and `..` may stand only at a target's beginning: so each link leads to
    within the release whatever other links it goes through, in whichever order they came.
    """
    name = "/".join(parts)
    steps = [step for step in target.split("/") if step not in ("", ".")]
    climbs = steps.count("..")
    if not target or any(char < " " or char == "\x7f" for char in target):
        raise unfit("link", "a link without a readable target", name)
    if target.startswith("/"):
        raise unfit("link", "a link to the absolute path %r; make it relative" % target[:SAID_CHARS_MAX], name)
    if climbs > len(parts) - 1:
        raise unfit("link", "a link that leads out of the release, to %r" % target[:SAID_CHARS_MAX], name)
    if ".." in steps[climbs:]:
        reason = "a link to %r, with '..' after a name; write its target without the detour" % target[:SAID_CHARS_MAX]
        raise unfit("link", reason, name)


# ── bytes ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class PlainSource:
    """The bytes of an open file as they are."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._at = 0

    def read(self, most: int) -> bytes:
        """At most so many bytes more; none at the end. Raises OSError."""
        data = os.pread(self._handle, most, self._at)
        self._at += len(data)
        return data


class Inflater:
    """zlib's decompressor with the face of those of bz2 and lzma. `bits` as zlib has them."""

    def __init__(self, bits: int) -> None:
        self._flow = zlib.decompressobj(bits)
        self._may_have_more = False
        self.needs_input = True

    @property
    def eof(self) -> bool:
        """Whether its stream is complete."""
        return bool(self._flow.eof)

    @property
    def unused_data(self) -> bytes:
        """What was given after the end of the stream."""
        return self._flow.unused_data

    def decompress(self, data: bytes, most: int) -> bytes:
        """At most so many bytes more. Raises zlib.error."""
        made = self._flow.decompress(self._flow.unconsumed_tail + data, most)
        self.needs_input = not self._flow.unconsumed_tail and len(made) < most
        return made


class PackedSource:
    """The bytes of an open file that is packed as gzip, bz2 or xz, one stream or several in a row."""

    def __init__(self, handle: int, packing: str) -> None:
        self._source = PlainSource(handle)
        self._packing = packing
        self._flow, self._faults = _unpacker(packing)
        self._rest = b""

    def read(self, most: int) -> bytes:
        """At most so many bytes more; none at the end. Raises RunFault("refused"), OSError of the disk."""
        while not self._flow.eof or self._goes_on():
            data, self._rest = self._rest, b""
            if not data and self._flow.needs_input:
                data = self._source.read(PACKED_READ_BYTES)
                if not data:
                    raise unfit("damaged", "the artifact's %s stream ends too early; pack it again" % self._packing)
            made = self._made(data, most)
            if made:
                return made
        return b""

    def _made(self, data: bytes, most: int) -> bytes:
        try:
            return bytes(self._flow.decompress(data, most))
        except self._faults as fault:
            raise unfit("damaged", "the artifact's %s stream cannot be unpacked: %s" % (self._packing, fault))

    def _goes_on(self) -> bool:
        """Begin with the next stream where one follows, as parallel packers write them; all else is padding."""
        rest = self._flow.unused_data.lstrip(b"\0")
        while len(rest) < PACKING_MAGIC_BYTES:
            data = self._source.read(PACKED_READ_BYTES)
            if not data:
                return False
            rest = (rest + data).lstrip(b"\0")
        if packing_of(rest) != self._packing:
            return False
        self._flow, self._faults = _unpacker(self._packing)
        self._rest = rest
        return True


def packing_of(start: bytes) -> str:
    """gzip, bz2 or xz by a file's first bytes; "" for anything else."""
    return next((packing for magic, packing in PACKINGS if start.startswith(magic)), "")


def _unpacker(packing: str) -> Tuple[Any, Tuple[Type[BaseException], ...]]:
    """A decompressor, and what it raises. Raises RunFault("unavailable") where this Python has none."""
    try:
        if packing == "gzip":
            return Inflater(31), (zlib.error,)
        if packing == "bz2":
            import bz2

            return bz2.BZ2Decompressor(), (OSError, ValueError)
        import lzma

        return lzma.LZMADecompressor(lzma.FORMAT_XZ, XZ_MEMORY_BYTES_MAX), (lzma.LZMAError,)
    except ImportError:
        raise RunFault("unavailable", "the host's Python cannot unpack %s: pack the artifact as gzip" % packing)
