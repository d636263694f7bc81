"""A tree with a bit of everything, and the mixes of changes that commands make to one. They touch nothing else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

Mix = Callable[[Path], None]
ODD_NAME = "new\nline \udcff"


def grow(tree: Path) -> None:
    """Every kind of entry that a mix changes."""
    for folder in ("deep/er", "gone/a/b", "opaque/kept", "turned", "logs"):
        (tree / folder).mkdir(parents=True)
    for number in range(12):
        (tree / "logs" / f"{number}.log").write_text(f"line {number}\n" * (number + 1))
        (tree / "gone/a/b" / str(number)).write_text(str(number))
    for name in (
        "text",
        "mode",
        "owner",
        "stamp",
        "same",
        "dropped",
        "noted",
        "to-folder",
        "deep/er/leaf",
        "turned/in",
    ):
        (tree / name).write_text(f"{name}, as it was\n")
        os.utime(tree / name, ns=(10**18 + 1, 10**18 + 123456789))
    for name in ("opaque/old", "opaque/both", "opaque/kept/inner"):
        (tree / name).write_text(name)
    (tree / "twin-a").write_text("two names\n")
    os.link(tree / "twin-a", tree / "twin-b")
    (tree / "link").symlink_to("text")
    os.mkfifo(tree / "fifo")
    os.setxattr(tree / "noted", "user.kept", b"1")
    os.setxattr(tree / "noted", "user.lost", b"2")
    (tree / "mode").chmod(0o4755)
    (tree / ODD_NAME).write_text("an odd name\n")


def edits(tree: Path) -> None:
    """Content and new files."""
    (tree / "text").write_text("another text\n")
    (tree / "text.new").write_text("new\n")
    with (tree / "deep/er/leaf").open("a") as file:
        file.write("more\n")
    with (tree / "twin-a").open("a") as file:
        file.write("through one of two names\n")
    with (tree / "same").open("a"):
        pass
    (tree / ODD_NAME).write_text("changed\n")
    (tree / ("also " + ODD_NAME)).write_text("made\n")


def removals(tree: Path) -> None:
    """Files, a whole tree, and a directory that was removed and made again."""
    (tree / "dropped").unlink()
    (tree / "twin-b").unlink()
    shutil.rmtree(tree / "gone")
    shutil.rmtree(tree / "opaque")
    (tree / "opaque").mkdir()
    (tree / "opaque/both").write_text("made again")
    (tree / "opaque/fresh").write_text("fresh")


def turns(tree: Path) -> None:
    """What becomes something else."""
    (tree / "to-folder").unlink()
    (tree / "to-folder/in/side").mkdir(parents=True)
    (tree / "to-folder/in/file").write_text("inside")
    shutil.rmtree(tree / "turned")
    (tree / "turned").symlink_to("deep")
    (tree / "link").unlink()
    (tree / "link").symlink_to("mode")
    (tree / "fifo").unlink()
    (tree / "fifo").write_text("a file now")
    (tree / "text").unlink()
    os.mkfifo(tree / "text")


def metas(tree: Path) -> None:
    """Mode, owner, times, attributes; no content."""
    (tree / "mode").chmod(0o600)
    os.chown(tree / "owner", 33, 33)
    os.utime(tree / "stamp", ns=(10**18, 987654321))
    os.setxattr(tree / "noted", "user.added", b"3")
    os.removexattr(tree / "noted", "user.lost")
    (tree / "deep").chmod(0o700)
    os.setxattr(tree / "deep/er", "user.folder", b"4")
    (tree / "twin-a").chmod(0o640)


def growth(tree: Path) -> None:
    """New trees."""
    for name in ("site/css", "site/js/lib", "deep/er/still/deeper"):
        (tree / name).mkdir(parents=True)
    for number in range(10):
        (tree / "site/js/lib" / f"{number}.js").write_text(f"// {number}\n")
    (tree / "site").chmod(0o2775)
    (tree / "site/css/link").symlink_to("../js")
    os.mkfifo(tree / "site/pipe")
    os.setxattr(tree / "site", "user.site", b"5")
    os.link(tree / "site/js/lib/0.js", tree / "site/js/lib/twin.js")
    (tree / "deep/er/still/deeper/file").write_text("deep")


def everything(tree: Path) -> None:
    """All of it in one run."""
    for mix in (edits, removals, metas, growth, turns):
        mix(tree)


MIXES: dict[str, Mix] = {mix.__name__: mix for mix in (edits, removals, turns, metas, growth, everything)}
