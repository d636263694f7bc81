"""curl, wget, rsync and scp: what they reach, what they send there and what they put on the disk."""

from __future__ import annotations

import posixpath
import re

from interlock_policies.shell.commands import apply_options
from interlock_policies.shell.options import Scan, scan
from interlock_policies.shell.run import Run, place_of
from interlock_policies.shell.syntax import Word, literal

_READING_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "PROPFIND", "TRACE"})
_SENDING = frozenset({
    "-d", "--data", "--data-ascii", "--data-binary", "--data-raw", "--data-urlencode", "--json", "-F", "--form",
    "--form-string", "-T", "--upload-file",
})  # fmt: skip
_READS_FILE = re.compile(r"[^=@<]*=?[@<]")
_TAKES_FILE = _SENDING | {"-w", "--write-out", "-H", "--header", "--proxy-header", "--url-query", "--variable"}
_FILES_MAX = 16
_REMOTE = re.compile(r"^(?:[\w.+-]+@)?(?:[\w.-]+|\[[0-9a-fA-F:]+\])::?|^rsync://")


def curl(run: Run) -> None:
    """curl: its URLs; -o, -O and their like write; a body or another method changes something there."""
    found = scan(run.program, run.words)
    if found.plays("harmless"):
        return
    apply_options(run, found)
    urls = [*found.operands, *(each.value for each in found.options if each.name == "--url" and each.value)]
    _reach(run, urls)
    method = _method(found)
    if method not in _READING_METHODS:
        run.system(f"{method} {' '.join(url.shown for url in urls)}")
    for each in found.options:
        if each.value is not None:
            _sent(run, each.name, each.value)
    _kept(run, found, urls)


def _sent(run: Run, name: str, value: Word) -> None:
    """A file that an option of curl sends or prints: after @ or <; a cookie without `=` is a file's name."""
    match = _READS_FILE.match(value.prefix) if name in _TAKES_FILE else None
    if match:
        run.read(value.without_prefix(match.end()))
        for part in re.split("[;,]", value.prefix[match.end() :])[:_FILES_MAX]:
            run.read(literal(part))
    elif (name in _TAKES_FILE and not value.prefix) or (name in ("-b", "--cookie") and "=" not in value.shown):
        run.read(value)


def _reach(run: Run, urls: list[Word]) -> None:
    for url in urls:
        run.network(url)
    if not urls:
        run.network(None)


def _method(found: Scan) -> str:
    given = found.value("-X", "--request")
    if given is not None:
        return (given.literal or "?").upper()
    if found.has("-T", "--upload-file"):
        return "PUT"
    return "POST" if found.has(*_SENDING) and not found.has("-G", "--get") else "GET"


def _kept(run: Run, found: Scan, urls: list[Word]) -> None:
    """What curl leaves on the disk: -o by the table, -O by the URL's last part."""
    place = found.value("--output-dir") or literal(".")
    output = found.value("-o", "--output")
    if output is not None:
        _downloaded(run, output)
    if found.has("-O", "--remote-name", "--remote-name-all", "-J", "--remote-header-name"):
        run.write(place, within=True)
        for url in urls:
            _downloaded(run, _file_of(place, url))


def _file_of(place: Word, url: Word) -> Word:
    name = posixpath.basename((url.literal or "").split("?", 1)[0])
    return literal(posixpath.join(place.literal or ".", name))


def _downloaded(run: Run, word: Word) -> None:
    path = place_of(word, run.state)
    if path is not None:
        run.findings.downloaded.add(path)


def wget(run: Run) -> None:
    """wget: its URLs, saved into the working directory unless an option says otherwise."""
    found = scan(run.program, run.words)
    if found.plays("harmless"):
        return
    apply_options(run, found)
    _reach(run, found.operands)
    method = (found.value("--method") or literal("GET")).literal or "?"
    if found.has("--post-data", "--post-file", "--body-data", "--body-file") or method.upper() not in _READING_METHODS:
        run.system("sends data")
    if found.has("--spider"):
        return
    output = found.value("-O", "--output-document")
    if output is not None:
        _downloaded(run, output)
        return
    place = found.value("-P", "--directory-prefix") or literal(".")
    run.write(place, recursive=found.has("-r", "--recursive", "-m", "--mirror", "-x"), within=True)
    for url in found.operands:
        _downloaded(run, _file_of(place, url))


def is_remote(word: Word) -> bool:
    """True where a path of rsync or scp names another host."""
    return bool(_REMOTE.match(word.prefix))


def copy_between(run: Run) -> None:
    """rsync and scp: from all operands but the last into the last, over the network where one names a host."""
    found = scan(run.program, run.words)
    if found.plays("harmless"):
        return
    apply_options(run, found)
    sources, destination = found.operands[:-1], found.operands[-1:]
    recursive = found.plays("recursive")
    shown_only = found.has("-n", "--dry-run", "--list-only")
    for word in found.operands:
        if is_remote(word):
            run.network(word)
    for word in sources or destination:
        if not is_remote(word):
            run.read(word, recursive=True)
            if sources and found.has("--remove-source-files", "--remove-sent-files") and not shown_only:
                run.delete(word, recursive=True)
    if not sources or shown_only:
        return
    deletes = any(each.name.startswith("--del") for each in found.options)
    _arrives(run, destination[0], deletes=deletes, recursive=recursive)


def _arrives(run: Run, destination: Word, *, deletes: bool, recursive: bool) -> None:
    if is_remote(destination):
        run.system(f"{'replaces' if deletes else 'writes'} {destination.shown}")
        return
    run.write(destination, recursive=recursive, within=(destination.literal or "").endswith("/"))
    if deletes:
        run.delete(destination, recursive=True, within=True)
