"""dd, tar, zip and the compressors: programs whose operands have a grammar of their own."""

from __future__ import annotations

import posixpath
from dataclasses import replace

from interlock_policies.shell.commands import apply_options, by_table
from interlock_policies.shell.options import Scan, scan
from interlock_policies.shell.run import Run
from interlock_policies.shell.syntax import Word, literal
from interlock_policies.shell.wrappers import where

_SUFFIXES = {"gzip": ".gz", "bzip2": ".bz2", "xz": ".xz", "lzma": ".lzma", "zstd": ".zst", "lz4": ".lz4"}
_UNPACK = {"gunzip": "gzip", "bunzip2": "bzip2", "unxz": "xz", "unlzma": "lzma", "unzstd": "zstd"}
_KEEPS = frozenset({"zstd", "unzstd", "lz4"})
_TAR_LONG = {
    "--create": "c", "--extract": "x", "--get": "x", "--list": "t", "--append": "r", "--update": "u",
    "--catenate": "A", "--concatenate": "A", "--diff": "d", "--compare": "d", "--delete": "D",
}  # fmt: skip


def dd(run: Run) -> None:
    """dd: of= is written, if= is read."""
    for word in run.words:
        if word.literal in ("--help", "--version"):
            return
        for role, mark in ((run.write, "of="), (run.read, "if=")):
            if word.prefix.startswith(mark):
                role(word.without_prefix(len(mark)))
        if word.literal is None and "=" not in word.prefix:
            run.unclear("a word that is not literal may say what it writes")


def tar(run: Run) -> None:
    """tar: lists, extracts into a directory, or writes an archive; options that run programs are opaque."""
    found = scan(run.program, _dashed(run))
    if found.plays("harmless"):
        return
    apply_options(run, found)
    modes = [_TAR_LONG.get(each.name, each.name[1:]) for each in found.options]
    mode = next((mode for mode in modes if mode in "cxtruAdD" and len(mode) == 1), "")
    archive = found.value("-f", "--file")
    places = _places(run, found)
    if archive is not None and ":" in archive.prefix and not found.has("--force-local"):
        run.network(archive)
    elif archive is not None:
        (run.read if mode in ("x", "t", "d") else run.write)(archive)
    if found.has("-T", "--files-from"):
        run.unclear("the names that it works on come from a file, which may hold options too")
    if found.doubtful:
        run.unclear("a word that is not literal may be an option")
    if mode == "x" and not found.has("-O", "--to-stdout"):
        for place in places[1:] or places:
            place.write(literal("."), recursive=True, within=True)
        if found.has("-P", "--absolute-names"):
            run.unclear("what it extracts may lie anywhere")
    elif mode in ("c", "r", "u"):
        for place in places:
            _archived(place, found)
    elif mode not in ("t", "d", "x", "A", "D"):
        run.unclear("it is not known what it does")


def _places(run: Run, found: Scan) -> list[Run]:
    """The same command in each directory that it works in: its own, and each -C, which holds from there on."""
    places = [run]
    for option in found.options:
        if option.option.role == "moves":
            places.append(replace(run, state=where(places[-1], Scan(options=[option]))))
    return places


def _archived(run: Run, found: Scan) -> None:
    if found.has("-h", "--dereference") and found.operands:
        run.read_anything()
    for word in found.operands:
        run.read(word, recursive=True)
        if found.has("--remove-files"):
            run.delete(word, recursive=True)


def _dashed(run: Run) -> tuple[Word, ...]:
    """The words with an old-style bundle (tar xzf FILE) in the modern form."""
    words = run.words
    bundle = words[0].literal if words else None
    if not bundle or bundle.startswith("-"):
        return words
    rest = list(words[1:])
    out: list[Word] = []
    for letter in bundle:
        out.append(literal("-" + letter))
        option = run.program.options.get("-" + letter)
        if option is not None and option.value == "required" and rest:
            out.append(rest.pop(0))
    return (*out, *rest)


def compress(run: Run) -> None:
    """gzip and its like: each file is replaced by another one, unless they only test or print."""
    found = scan(run.program, run.words)
    if found.plays("harmless"):
        return
    apply_options(run, found)
    if found.has("-c", "--stdout", "--to-stdout", "-l", "--list", "-t", "--test"):
        for word in found.operands:
            run.read(word)
        return
    suffix = found.value("-S", "--suffix")
    if suffix is not None and (suffix.literal is None or "/" in suffix.literal):
        run.unclear("its suffix names another directory")
    packer = _UNPACK.get(run.name, run.name)
    unpacks = run.name in _UNPACK or found.has("-d", "--decompress", "--uncompress")
    keeps = found.has("-k", "--keep") or (run.name in _KEEPS and not found.has("--rm"))
    for word in found.operands:
        run.read(word)
        if not keeps:
            run.delete(word, recursive=found.has("-r", "--recursive"))
        if not found.has("-o"):
            ending = suffix.literal if suffix and suffix.literal else _SUFFIXES.get(packer, "")
            run.write(_renamed(word, ending, unpacks=unpacks), recursive=found.has("-r", "--recursive"))


def _renamed(word: Word, suffix: str, *, unpacks: bool) -> Word:
    text = word.literal
    if text is None:
        return word
    return literal(text.removesuffix(suffix)) if unpacks else literal(text + suffix)


def unzip(run: Run) -> None:
    """unzip: into -d or the working directory, unless it only lists or tests."""
    found = scan(run.program, run.words)
    for word in found.operands[:1]:
        run.read(word)
    if found.plays("harmless"):
        return
    apply_options(run, found)
    if not found.plays("into"):
        run.tree()


def zip_archive(run: Run) -> None:
    """zip: the first operand is written, the others are read; -m takes them away."""
    found = scan(run.program, run.words)
    if found.plays("harmless"):
        return
    apply_options(run, found)
    if found.plays("recursive") and not found.has("-y"):
        run.read_anything()  # it follows links
    for index, word in enumerate(found.operands):
        if index == 0:
            run.write(word)
        else:
            run.read(word, recursive=found.plays("recursive"))
            if found.has("-m", "--move"):
                run.delete(word, recursive=True)


def split(run: Run) -> None:
    """split and csplit: pieces beside a prefix, which is an operand of the one and an option of the other."""
    found = scan(run.program, run.words)
    if found.plays("harmless"):
        return
    apply_options(run, found)
    for word in found.operands[:1]:
        run.read(word)
    named = found.operands[1] if len(found.operands) > 1 else None
    prefix = found.value("-f", "--prefix") if run.name == "csplit" else named
    suffixes = (found.value("--additional-suffix"), found.value("-b", "--suffix-format"))
    if prefix is not None and prefix.literal is None:
        run.write(prefix)
    elif any(suffix is not None and "/" in (suffix.literal or "/") for suffix in suffixes):
        run.unclear("its suffix names another directory")
    else:
        place = posixpath.dirname(prefix.literal or "") if prefix is not None else ""
        run.write(literal(place or "."), within=True)


def service(run: Run) -> None:
    """service NAME VERB: the other way round than systemctl."""
    texts = [word.literal for word in run.words if not word.prefix.startswith("-")]
    if "--status-all" in [word.literal for word in run.words] or texts[1:2] == ["status"]:
        return
    run.service((texts[1] if len(texts) > 1 else None) or "?", (texts[0] if texts else None) or "?")


def test(run: Run) -> None:
    """test and [: they only look; what follows -v is a name, checked elsewhere."""
    for word in run.words:
        if word.literal is not None and word.literal.startswith("/"):
            run.read(word)


def mktemp(run: Run) -> None:
    """mktemp: a new file or directory, in a directory of its choice or where the template says."""
    found = scan(run.program, run.words)
    if found.plays("harmless") or found.has("-u", "--dry-run"):
        return
    place = found.value("-p", "--tmpdir")
    if place is not None:
        run.write(place, within=True)
    elif found.operands and not found.has("-t", "--tmpdir"):
        run.write(found.operands[0])
    else:
        run.write(literal("/tmp"), within=True)  # noqa: S108 - it is what mktemp does, not us


def sysctl(run: Run) -> None:
    """sysctl: reads names, sets NAME=VALUE."""
    if any("=" in word.prefix for word in run.words):
        run.system(" ".join(word.shown for word in run.words))
    by_table(run)
