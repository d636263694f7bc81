"""Unpacking: an artifact's members as files of one new folder, or nothing of it. It never writes outside that folder.

Each member is made relative to an open folder, exclusively, with no link followed. The first thing that is unfit (a
name that climbs, a link that leads out, a device, too much of anything) makes the whole artifact unfit.
"""

import errno
import os
import stat
import time
from typing import Iterator, List, Optional, Tuple

from interlock.runner.artifacts import (
    Contents,
    Member,
    PackedSource,
    PlainSource,
    check_target,
    member_parts,
    packing_of,
    unfit,
)
from interlock.runner.rundirs import RunFault, write_all
from interlock.runner.tarballs import TAR_BLOCK_BYTES, TarReader, is_tar_header
from interlock.runner.tree import CHUNK_READ_BYTES, LISTING_FLAGS, kind_of_mode, stat_at
from interlock.runner.zips import ZIP_MAGICS, ZipReader

RELEASE_ENTRIES_MAX = 200_000
RELEASE_BYTES_MAX = 8 * 1024**3
RATIO_MAX = 200
RATIO_LOOKED_AT_BYTES = 64 * 1024**2  # less than this is no bomb, however well it was packed
SPARE_BYTES_MIN = 16 * 1024**2
UNPACKED_PATH_BYTES_MAX = 4095
MEMBER_SECONDS_MAX = 2**33
FILE_MODES, FILE_MODE_LEAST, FOLDER_MODE_LEAST = 0o755, 0o600, 0o700
NAME_ERRNOS = (errno.ENAMETOOLONG, errno.EILSEQ)
PROGRAM_MAGICS = (b"#!", b"\x7fELF")


def contents_of(handle: int, size: int, name: str, whole: bool = False) -> Tuple[str, Contents]:
    """What an artifact is by its content, and what is in it; what is no archive is one file of this name.

    `whole`: it is one file whatever it is. Raises RunFault("refused", "unavailable"), OSError.
    """
    start = os.pread(handle, TAR_BLOCK_BYTES, 0)
    packing = packing_of(start)
    if not whole and packing and is_tar_header(_first_block(PackedSource(handle, packing))):
        return "tar+" + packing, TarReader(PackedSource(handle, packing)).members()
    if not whole and is_tar_header(start):
        return "tar", TarReader(PlainSource(handle)).members()
    if not whole and start.startswith(ZIP_MAGICS):
        return "zip", ZipReader(handle, size, RELEASE_ENTRIES_MAX).members()
    mode = 0o755 if start.startswith(PROGRAM_MAGICS) else 0o644
    return "file", iter([(Member(name, "file", mode, size, time.time()), _file_pieces(handle))])


def _first_block(source: PackedSource) -> bytes:
    block = b""
    while len(block) < TAR_BLOCK_BYTES:
        data = source.read(TAR_BLOCK_BYTES - len(block))
        if not data:
            break
        block += data
    return block


def _file_pieces(handle: int) -> Iterator[bytes]:
    source = PlainSource(handle)
    data = source.read(CHUNK_READ_BYTES)
    while data:
        yield data
        data = source.read(CHUNK_READ_BYTES)


class Unpacking:
    """One artifact on its way into an open, empty folder whose path is `real`. `packed`: the artifact's own bytes."""

    def __init__(self, root: int, real: str, packed: int) -> None:
        self._root = root
        self._real_bytes = len(os.fsencode(real))
        self._packed = packed
        self._open: List[Tuple[str, int]] = []  # the folders down to that of the last member
        self.entries = 0
        self.bytes = 0

    def unpack(self, contents: Contents) -> None:
        """All of it. Raises RunFault("refused", "no_space"), OSError; whoever calls removes what was made till then."""
        try:
            for member, pieces in contents:
                try:
                    self._take(member, pieces)
                except OSError as fault:
                    if fault.errno not in NAME_ERRNOS:
                        raise
                    raise unfit("name", "a name that the host's file system does not take; rename it", member.name)
        finally:
            self._leave(0)

    def _take(self, member: Member, pieces: Iterator[bytes]) -> None:
        parts = member_parts(member.name)
        if not parts:
            if member.kind != "folder":
                raise unfit("name", "a %s with the name of the release's own folder" % member.kind, member.name)
            return
        if self._real_bytes + len(os.fsencode("/".join(parts))) >= UNPACKED_PATH_BYTES_MAX:
            raise unfit("name", "a path that is too long for the file system", member.name)
        if member.kind == "link":
            check_target(parts, member.target)
        folder = self._into(parts[:-1], member)
        found = stat_at(folder, parts[-1])
        self._must_be_alike(member, found)
        if found is None or member.kind != "folder":
            self._count(member)
        if found is not None and member.kind != "folder":
            os.unlink(parts[-1], dir_fd=folder)
        if member.kind == "link":
            os.symlink(member.target, parts[-1], dir_fd=folder)
        elif member.kind == "folder":
            self._folder(folder, parts[-1], member, found)
        else:
            self._file(folder, parts[-1], member, pieces)

    # ── limits ──

    def _must_be_alike(self, member: Member, found: Optional[os.stat_result]) -> None:
        was = member.kind if found is None else kind_of_mode(found.st_mode).replace("directory", "folder")
        if was != member.kind:
            raise unfit(
                "duplicate", "it is in the artifact twice, as a %s and as a %s" % (was, member.kind), member.name
            )

    def _count(self, member: Member) -> None:
        self.entries += 1
        if self.entries > RELEASE_ENTRIES_MAX:
            raise unfit("entries", "the artifact has more than %d entries" % RELEASE_ENTRIES_MAX)
        total = self.bytes + member.size
        if total > RELEASE_BYTES_MAX:
            raise unfit("bytes", "the artifact's content has more than %d bytes" % RELEASE_BYTES_MAX, member.name)
        if total > max(RATIO_LOOKED_AT_BYTES, RATIO_MAX * self._packed):
            reason = "the artifact's %d bytes grow to more than %d times that" % (self._packed, RATIO_MAX)
            raise unfit("ratio", reason, member.name)
        room = os.fstatvfs(self._root)
        free = room.f_bavail * room.f_frsize
        if member.size + SPARE_BYTES_MIN > free:
            reason = "%r needs %d bytes, and %d are free" % (member.name, member.size + SPARE_BYTES_MIN, free)
            raise RunFault("no_space", reason, needed=member.size + SPARE_BYTES_MIN, free=free)

    # ── making ──

    def _into(self, parts: List[str], member: Member) -> int:
        """The open folder at these components, made where it is missing."""
        common = 0
        while common < min(len(parts), len(self._open)) and self._open[common][0] == parts[common]:
            common += 1
        self._leave(common)
        for part in parts[common:]:
            above = self._open[-1][1] if self._open else self._root
            found = stat_at(above, part)
            if found is None:
                self._count(Member(member.name, "folder", 0o755, 0, 0.0))
                os.mkdir(part, 0o755, dir_fd=above)
            elif not stat.S_ISDIR(found.st_mode):
                raise unfit("below", "it lies below %r, which is no folder" % part, member.name)
            self._open.append((part, os.open(part, LISTING_FLAGS, dir_fd=above)))
        return self._open[-1][1] if self._open else self._root

    def _leave(self, depth: int) -> None:
        while len(self._open) > depth:
            os.close(self._open.pop()[1])

    def _folder(self, folder: int, name: str, member: Member, found: Optional[os.stat_result]) -> None:
        if found is None:
            os.mkdir(name, 0o755, dir_fd=folder)
        handle = os.open(name, LISTING_FLAGS, dir_fd=folder)
        try:
            os.fchmod(handle, member.mode & FILE_MODES | FOLDER_MODE_LEAST)
        finally:
            os.close(handle)

    def _file(self, folder: int, name: str, member: Member, pieces: Iterator[bytes]) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(name, flags, 0o600, dir_fd=folder)
        try:
            size = 0
            for piece in pieces:
                size += len(piece)
                if size > member.size:
                    raise unfit("ratio", "it holds more than the %d bytes that it declares" % member.size, member.name)
                write_all(handle, piece)
            self.bytes += size
            os.fchmod(handle, member.mode & FILE_MODES | FILE_MODE_LEAST)
            if 0 <= member.mtime <= MEMBER_SECONDS_MAX:
                os.utime(handle, (member.mtime, member.mtime))
        finally:
            os.close(handle)
