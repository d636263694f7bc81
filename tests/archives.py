"""Archives for tests: tars and zips with any member that can be written down, fit or not. It reads none."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class TarEntry:
    """A member of a tar: its header, and the content after it."""

    info: tarfile.TarInfo
    data: bytes


def entry(
    name: str,
    kind: bytes = tarfile.REGTYPE,
    *,
    data: bytes = b"",
    mode: int = 0o644,
    target: str = "",
    size: int = -1,
    pax: Mapping[str, str] | None = None,
) -> TarEntry:
    """One member; `size` where its header shall say another one than its content has."""
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.linkname, info.mtime = kind, mode, target, 1_700_000_000
    info.size = len(data) if size < 0 else size
    info.pax_headers = dict(pax or {})
    return TarEntry(info, data)


def tar_of(entries: Iterable[TarEntry], form: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar of these members, as they are."""
    held = io.BytesIO()
    for each in entries:
        held.write(each.info.tobuf(form, "utf-8", "surrogateescape"))
        held.write(each.data + b"\0" * (-len(each.data) % 512))
    held.write(b"\0" * 1024)
    return held.getvalue()


def zip_link(name: str, target: str) -> tuple[zipfile.ZipInfo, bytes]:
    """A symbolic link as zips have them."""
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info, target.encode()


def zip_of(files: Mapping[str, bytes], *more: tuple[zipfile.ZipInfo, bytes]) -> bytes:
    """A zip of these files (folders end with /), and of more members."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in files.items():
            file.writestr(name, data)
        for info, data in more:
            file.writestr(info, data)
    return held.getvalue()
