"""Differences for a reader: what a text was and will be, bounded, and nothing of what is no text."""

from __future__ import annotations

from pathlib import Path

from interlock.runner.contents import content_diff


def _diff(folder: Path, old: bytes | None, new: bytes | None, bytes_max: int = 4096) -> str:
    path, source = folder / "path", folder / "source"
    for place, data in ((path, old), (source, new)):
        if data is not None:
            place.write_bytes(data)
    op = "create" if old is None else "delete" if new is None else "modify"
    change = {"op": op, "path": str(path), "was": None if old is None else {}}
    return content_diff(change, "" if new is None else str(source), bytes_max).replace(str(folder), "")


def test_a_change_in_the_middle_has_its_own_line_numbers(tmp_path: Path) -> None:
    lines = [f"line {number}\n" for number in range(1, 41)]
    changed = [*lines[:19], "another\n", *lines[20:]]
    shown = _diff(tmp_path, "".join(lines).encode(), "".join(changed).encode()).splitlines()
    assert shown[:3] == ["--- /path", "+++ /path", "@@ -17,7 +17,7 @@"]
    assert shown[6:8] == ["-line 20", "+another"]


def test_new_and_deleted_texts_stand_against_nothing(tmp_path: Path) -> None:
    assert _diff(tmp_path, None, b"a\n") == "--- /dev/null\n+++ /path\n@@ -0,0 +1 @@\n+a\n"
    (tmp_path / "two").mkdir()
    assert _diff(tmp_path / "two", b"a\nb", None).endswith("-a\n-b\n\\ No newline at end of file\n")


def test_what_is_no_text_or_too_much_of_it_has_no_difference(tmp_path: Path) -> None:
    for number, (old, new) in enumerate(((b"a\0", b"b"), (b"a", b"\xff\xfe"), (b"a" * 600_000, b"b"), (b"a", b"a"))):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert _diff(folder, old, new) == ""


def test_the_difference_is_cut_at_a_line_before_its_limit(tmp_path: Path) -> None:
    shown = _diff(tmp_path, b"", b"".join(b"line %d\n" % number for number in range(1000)), 2000)
    assert 1000 < len(shown) <= 2000
    assert shown.endswith("\n")


def test_two_long_texts_with_nothing_in_common_are_shown_without_comparing_each_line(tmp_path: Path) -> None:
    old = b"".join(b"o%d\n" % number for number in range(5000))
    new = b"".join(b"n%d\n" % number for number in range(5000))
    shown = _diff(tmp_path, old, new, 10**6).splitlines()
    assert shown[2] == "@@ -1,5000 +1,5000 @@"
    assert len(shown) == 10_003


def test_a_link_is_shown_by_where_it_points_and_never_followed(tmp_path: Path) -> None:
    (tmp_path / "path").symlink_to("one")
    (tmp_path / "source").symlink_to("two")
    change = {"op": "modify", "path": str(tmp_path / "path"), "was": {}}
    assert content_diff(change, str(tmp_path / "source"), 4096).splitlines()[3:] == ["-→ one", "+→ two"]
