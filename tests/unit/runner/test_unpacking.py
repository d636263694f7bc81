"""Unpacking: what an archive holds is what lies on disk, and an unfit one leaves its folder's surroundings alone."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import stat
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archives import entry, tar_of, zip_link, zip_of
from interlock.runner import unpacking
from interlock.runner.artifacts import check_target, member_parts
from interlock.runner.rundirs import RunFault
from interlock.runner.unpacking import Unpacking, contents_of
from interlock.runner.zips import ZipReader

LONG = "/".join(["a-rather-long-name-of-a-folder"] * 8) + "/" + "n" * 200


def unpacked(folder: Path, data: bytes, name: str = "app", whole: bool = False) -> tuple[str, Unpacking]:
    """Unpack it into `folder`, as a place does."""
    folder.mkdir(parents=True)
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            kind, contents = contents_of(file.fileno(), len(data), name, whole)
            made = Unpacking(root, str(folder), len(data))
            made.unpack(contents)
        finally:
            os.close(root)
    return kind, made


def tree(folder: Path) -> dict[str, object]:
    """All that lies below: a file's bytes, a link's target, None for a folder."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[str(path.relative_to(folder))] = os.readlink(path)
        else:
            found[str(path.relative_to(folder))] = path.read_bytes() if path.is_file() else None
    return found


def refusal(folder: Path, data: bytes) -> RunFault:
    """The fault of an artifact that is refused, with all around it as it was."""
    beside = folder.parent / "beside"
    beside.mkdir(parents=True, exist_ok=True)
    (beside / "kept").write_bytes(b"kept")
    with pytest.raises(RunFault) as fault:
        unpacked(folder, data)
    assert (fault.value.code, bool(fault.value.reason)) == ("refused", True)
    assert {path.name for path in folder.parent.iterdir()} == {folder.name, "beside"}
    assert tree(beside) == {"kept": b"kept"}
    return fault.value


MEMBERS = [
    entry("./", tarfile.DIRTYPE), entry("bin/run", data=b"#!/bin/sh\n", mode=0o775), entry("etc/", tarfile.DIRTYPE),
    entry("etc/conf", data=b"x=1\n"), entry("empty"), entry("etc/link", tarfile.SYMTYPE, target="../bin/run"),
    entry("deep/er/way", data=b"way"), entry(LONG, data=b"long"), entry("\u00e4\u20ac", data=b"names"),
]  # fmt: skip
EXPECTED = {
    "bin": None, "bin/run": b"#!/bin/sh\n", "etc": None, "etc/conf": b"x=1\n", "empty": b"", "etc/link": "../bin/run",
    "deep": None, "deep/er": None, "deep/er/way": b"way", LONG: b"long", "\u00e4\u20ac": b"names",
    **{"/".join(LONG.split("/")[:depth]): None for depth in range(1, 9)},
}  # fmt: skip
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "tar": bytes, "tar+gzip": gzip.compress, "tar+bz2": bz2.compress, "tar+xz": lzma.compress,
}  # fmt: skip


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_every_packing_of_a_tar_gives_the_tree_that_went_in(tmp_path: Path, kind: str, form: int) -> None:
    said, made = unpacked(tmp_path / "r", PACKERS[kind](tar_of(MEMBERS, form)))
    assert (said, tree(tmp_path / "r")) == (kind, EXPECTED)
    assert (made.entries, made.bytes) == (len(EXPECTED), sum(len(v) for v in EXPECTED.values() if type(v) is bytes))


def test_a_zip_gives_the_tree_that_went_in_with_its_links_and_modes(tmp_path: Path) -> None:
    data = zip_of({"a/": b"", "a/one": b"1" * 100_000, "two": b"", "d/e/f": b"f"}, zip_link("l", "a/one"))
    kind, _ = unpacked(tmp_path / "r", data)
    assert kind == "zip"
    assert tree(tmp_path / "r") == {
        "a": None, "a/one": b"1" * 100_000, "two": b"", "d": None, "d/e": None, "d/e/f": b"f", "l": "a/one",
    }  # fmt: skip


def test_parallel_packers_streams_are_read_to_the_end(tmp_path: Path) -> None:
    data = tar_of([entry("x", data=os.urandom(300_000))])
    for packing, pack in (("gzip", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)):
        parts = b"".join(pack(data[at : at + 50_000]) for at in range(0, len(data), 50_000))
        unpacked(tmp_path / packing, parts + b"\0" * 100)
        assert (tmp_path / packing / "x").stat().st_size == 300_000


def test_modes_lose_every_bit_that_gives_more_than_the_owner_meant(tmp_path: Path) -> None:
    modes = {"suid": 0o4755, "sgid": 0o2777, "open": 0o666, "own": 0o600, "none": 0, "run": 0o711}
    members = [entry(name, mode=mode) for name, mode in modes.items()]
    unpacked(
        tmp_path / "r",
        tar_of([*members, entry("d", tarfile.DIRTYPE, mode=0o1777), entry("e", tarfile.DIRTYPE, mode=0)]),
    )
    told = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "r").iterdir()}
    assert told == {
        "suid": 0o755, "sgid": 0o755, "open": 0o644, "own": 0o600, "none": 0o600, "run": 0o711, "d": 0o755, "e": 0o700,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("data", "mode"),
    [(b"#!/bin/sh\n", 0o755), (b"\x7fELF" + bytes(600), 0o755), (b"plain", 0o644), (bytes(2048), 0o644)],
)
def test_what_is_no_archive_is_one_file_and_runs_if_it_is_a_program(tmp_path: Path, data: bytes, mode: int) -> None:
    for number, (whole, content) in enumerate([(False, data), (False, gzip.compress(data))]):
        assert unpacked(tmp_path / str(number), content, "app.bin", whole)[0] == "file"
        assert tree(tmp_path / str(number)) == {"app.bin": content}
    assert stat.S_IMODE((tmp_path / "0" / "app.bin").stat().st_mode) == mode


def test_an_archive_that_shall_stay_one_stays_one(tmp_path: Path) -> None:
    jar = zip_of({"META-INF/MANIFEST.MF": b"x"})
    assert unpacked(tmp_path / "r", jar, "app.jar", whole=True)[0] == "file"
    assert tree(tmp_path / "r") == {"app.jar": jar}


def test_a_member_that_comes_twice_is_the_later_one(tmp_path: Path) -> None:
    twice = [
        entry("x", data=b"old"),
        entry("d", tarfile.DIRTYPE),
        entry("d/y"),
        entry("x", data=b"new"),
        entry("d", tarfile.DIRTYPE),
    ]
    unpacked(tmp_path / "r", tar_of(twice))
    assert tree(tmp_path / "r") == {"x": b"new", "d": None, "d/y": b""}


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────────────────

LINK, FOLDER = tarfile.SYMTYPE, tarfile.DIRTYPE
UNFIT = {
    "absolute": ("name", [entry("/etc/x", data=b"x")]),
    "climbs": ("name", [entry("ok"), entry("../beside/kept", data=b"x")]),
    "climbs-inside": ("name", [entry("a/../../beside/kept", data=b"x")]),
    "root-file": ("name", [entry(".", data=b"x")]),
    "control": ("name", [entry("a\nb", data=b"x")]),
    "long": ("name", [entry("n" * 256)]),
    "too-long": ("name", [entry("/".join(["n" * 200] * 21))]),
    "deep": ("name", [entry("/".join("a" * 101))]),
    "hard-link": ("kind", [entry("x"), entry("y", tarfile.LNKTYPE, target="x")]),
    "device": ("kind", [entry("x", tarfile.CHRTYPE)]),
    "block": ("kind", [entry("x", tarfile.BLKTYPE)]),
    "fifo": ("kind", [entry("x", tarfile.FIFOTYPE)]),
    "unknown": ("kind", [entry("x", b"V")]),
    "link-absolute": ("link", [entry("x", LINK, target="/etc")]),
    "link-out": ("link", [entry("a/x", LINK, target="../../beside")]),
    "link-detour": ("link", [entry("d/s", LINK, target=".."), entry("q", LINK, target="d/s/../x")]),
    "link-control": ("link", [entry("x", LINK, target="a\x07")]),
    "below-link": ("below", [entry("x", LINK, target="."), entry("x/y", data=b"y")]),
    "through-two-links": ("below", [entry("a", FOLDER), entry("a/b", LINK, target=".."), entry("a/b/c", data=b"y")]),
    "below-file": ("below", [entry("x"), entry("x/y")]),
    "twice": ("duplicate", [entry("x"), entry("x", FOLDER)]),
    "link-over-file": ("duplicate", [entry("x"), entry("x", LINK, target="y")]),
}  # fmt: skip


@pytest.mark.parametrize("case", UNFIT)
def test_an_unfit_member_makes_the_whole_tar_unfit_and_is_named(tmp_path: Path, case: str) -> None:
    why, members = UNFIT[case]
    fault = refusal(tmp_path / "r", tar_of(members))
    assert fault.more["why"] == why
    assert fault.more["member"].rstrip("/") == members[-1].info.name[:200].rstrip("/")


def test_no_link_leads_out_whatever_links_it_goes_through() -> None:
    for parts, target in ((["a"], "b/../../c"), (["a", "b"], "../../c"), (["a"], ".."), (["a", "b"], "c/../d")):
        with pytest.raises(RunFault):
            check_target(parts, target)
    for parts, target in ((["a", "b"], "../c"), (["a"], "./b/./c"), (["a", "b"], ".."), (["a"], "a..b")):
        check_target(parts, target)


@given(st.text(alphabet="./a\\ ..", max_size=12))
def test_a_name_is_within_or_refused(name: str) -> None:
    try:
        parts = member_parts(name)
    except RunFault:
        return
    assert os.path.normpath(os.path.join("/r", *parts)) == os.path.normpath("/r/" + name)
    assert not {"", ".", ".."} & set(parts)


def test_a_tar_that_was_cut_is_unfit_wherever_it_was_cut(tmp_path: Path) -> None:
    data = tar_of([entry("x", data=b"x" * 1000), entry("y", data=b"y")])
    assert data.rstrip(b"\0").endswith(b"y")
    for number, cut in enumerate((512, 700, 512 + 1024, 2048 + 100, 2560)):
        assert refusal(tmp_path / f"c{number}" / "r", data[:cut]).more["why"] == "damaged"
    packed = gzip.compress(data)
    assert refusal(tmp_path / "p" / "r", packed[:-20]).more["why"] == "damaged"


def test_sparse_members_and_lengths_that_lie_are_unfit(tmp_path: Path) -> None:
    sparse = entry("x", data=b"x", pax={"GNU.sparse.map": "0,1", "GNU.sparse.size": "9999999999"})
    assert refusal(tmp_path / "a" / "r", tar_of([sparse])).more["why"] == "kind"
    huge = entry("x", data=b"x", pax={"comment": "c" * 2_000_000})
    assert refusal(tmp_path / "b" / "r", tar_of([huge])).more["why"] == "damaged"
    lying = entry("x", data=b"x", pax={"size": "-5"})
    assert refusal(tmp_path / "c" / "r", tar_of([lying])).more["why"] == "damaged"
    folder = entry("x", FOLDER, data=b"content", size=7)
    assert refusal(tmp_path / "d" / "r", tar_of([folder])).more["why"] == "damaged"


def test_a_bomb_is_refused_by_what_it_declares(tmp_path: Path) -> None:
    bomb = gzip.compress(tar_of([entry("small", data=b"s"), entry("zeros", data=bytes(70 * 2**20))]))
    assert refusal(tmp_path / "a" / "r", bomb).more["why"] == "ratio"
    assert not (tmp_path / "a" / "r" / "zeros").exists()
    many = tar_of([entry("x", size=9 * 2**30)])
    assert refusal(tmp_path / "b" / "r", many).more["why"] == "bytes"


def test_too_many_entries_are_unfit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "RELEASE_ENTRIES_MAX", 5)
    fits = [entry("a/b/c"), entry("d"), entry("e", FOLDER)]
    assert unpacked(tmp_path / "r", tar_of(fits))[1].entries == 5
    for number, data in enumerate([tar_of([*fits, entry("f")]), zip_of(dict.fromkeys("abcdef", b""))]):
        assert refusal(tmp_path / str(number) / "r", data).more["why"] == "entries"


@given(
    st.sampled_from(["tar", "gnu", "zip", "gzip"]),
    st.lists(st.tuples(st.integers(0, 2**20), st.binary(min_size=1, max_size=9))),
)
def test_whatever_is_damaged_is_unpacked_within_its_folder_or_refused(
    form: str, damage: list[tuple[int, bytes]]
) -> None:
    tar = tar_of(MEMBERS, tarfile.GNU_FORMAT if form == "gnu" else tarfile.PAX_FORMAT)
    data = bytearray(zip_of({"a/b": b"b" * 50, "c": b""}, zip_link("l", "c")) if form == "zip" else tar)
    if form == "gzip":
        data = bytearray(gzip.compress(tar, mtime=0))
    for place, piece in damage:
        at = place % len(data)
        data[at : at + len(piece)] = piece[: len(data) - at]
    with tempfile.TemporaryDirectory() as above:
        try:
            unpacked(Path(above, "r"), bytes(data))
        except RunFault as fault:
            assert fault.code == "refused"
        assert os.listdir(above) == ["r"]
        for path in Path(above, "r").rglob("*"):
            assert path.is_symlink() or path.resolve().is_relative_to(Path(above, "r").resolve())
            assert not path.is_symlink() or Path(os.path.normpath(path.parent / os.readlink(path))).is_relative_to(
                above + "/r"
            )


# ── zips ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("why", "names"),
    [
        ("name", ["ok", "../beside/kept"]),
        ("name", ["/x"]),
        ("name", ["a\\b"]),
        ("below", ["x", "x/y"]),
        ("duplicate", ["x", "x/"]),
    ],
)
def test_an_unfit_name_makes_the_whole_zip_unfit(tmp_path: Path, why: str, names: list[str]) -> None:
    fault = refusal(tmp_path / "r", zip_of(dict.fromkeys(names, b"")))
    assert (fault.more["why"], fault.more["member"]) == (why, names[-1])


@pytest.mark.parametrize("target", ["/etc", "../beside", "a/../../beside"])
def test_a_zips_links_are_held_to_the_same_rule(tmp_path: Path, target: str) -> None:
    assert refusal(tmp_path / "r", zip_of({"a/": b""}, zip_link("l", target))).more["why"] == "link"
    grows = edited(zip_of({}, zip_link("l", "x" * 5000)), b"PK\1\2", 24, "<L", 100)
    assert refusal(tmp_path / "g" / "r", grows).more["why"] == "ratio"
    below = zip_of({}, zip_link("l", "."), zip_link("l/m", "x"))
    assert refusal(tmp_path / "s" / "r", below).more["why"] == "below"


def edited(data: bytes, magic: bytes, offset: int, form: str, value: int) -> bytes:
    """A zip with one number of its headers changed."""
    changed = bytearray(data)
    struct.pack_into(form, changed, data.index(magic) + offset, value)
    return bytes(changed)


def test_a_zip_that_lies_about_itself_is_unfit(tmp_path: Path) -> None:
    data = zip_of({"one": b"1" * 5000})
    entry_, local = b"PK\1\2", b"PK\3\4"
    cases = {
        "encrypted": [edited(data, entry_, 8, "<H", 1), edited(data, entry_, 10, "<H", 99)],
        "ratio": [edited(data, entry_, 24, "<L", 4999), edited(data, entry_, 20, "<L", 10**6)],
        "damaged": [
            edited(data, entry_, 16, "<L", 7), edited(data, entry_, 24, "<L", 5001), edited(data, entry_, 10, "<H", 14),
            edited(data, local, 8, "<H", 0), data.replace(b"one", b"two", 1), data[:-1],
            data + b"more", edited(data, b"PK\5\6", 10, "<H", 2), edited(data, entry_, 42, "<L", 10**6),
        ],
        "kind": [edited(data, entry_, 38, "<L", (stat.S_IFIFO | 0o644) << 16)],
    }  # fmt: skip
    for why, broken in cases.items():
        for number, each in enumerate(broken):
            assert refusal(tmp_path / f"{why}-{number}" / "r", each).more["why"] == why, (why, number)


def test_a_zip_whose_numbers_have_64_bits_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = zip_of({f"{number:05}": b"" for number in range(66_000)})
    with tempfile.TemporaryFile() as file:
        file.write(many)
        file.flush()
        assert sum(1 for _ in ZipReader(file.fileno(), len(many), 66_000).members()) == 66_000
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10)
    files = {"small": b"s", "one": b"1" * 100, "two": os.urandom(100)}
    assert unpacked(tmp_path / "r", zip_of(files))[0] == "zip"
    assert tree(tmp_path / "r") == dict(sorted(files.items()))
