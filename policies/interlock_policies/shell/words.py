"""Building words from their raw text: escapes, quotes, globs, tildes and brace expansion; it never reads a grammar."""

from __future__ import annotations

import re
from itertools import pairwise

from interlock_policies.shell.syntax import Node, Part, Piece, Word, literal

BRACE_WORDS_MAX = 64

_ESCAPES = {
    "n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "e": "\x1b", "E": "\x1b",
    "f": "\f", "v": "\v", "\\": "\\", "'": "'", '"': '"', "?": "?",
}  # fmt: skip
_ANSI_C = re.compile(
    r"\\(?:(?P<octal>[0-7]{1,3})|x(?P<hex>[0-9a-fA-F]{1,2})|u(?P<short>[0-9a-fA-F]{1,4})"
    r"|U(?P<long>[0-9a-fA-F]{1,8})|c(?P<control>.)|(?P<one>.))",
    re.DOTALL,
)
_DOUBLE_QUOTED = re.compile(r'\\([$`"\\\n])')
_RANGE = re.compile(r"(?:(-?\d{1,6})\.\.(-?\d{1,6})|([A-Za-z])\.\.([A-Za-z]))(?:\.\.(-?\d{1,4}))?$")
_TILDE = re.compile(r"~([A-Za-z_][\w.-]*|[+-]?\d*)(?=/|$)")
_UNQUOTED = re.compile(r"\\(.?)", re.DOTALL)

Atom = tuple[str, bool] | Piece  # a character with "was it quoted", or a dynamic piece


def ansi_c(raw: str) -> str:
    """The value of $'…' (without its quotes). A NUL ends it, as in bash."""

    def one(match: re.Match[str]) -> str:
        if match["octal"]:
            return chr(int(match["octal"], 8) & 0xFF)
        number = match["hex"] or match["short"] or match["long"]
        if number:
            value = int(number, 16)
            return chr(value) if value < 0x110000 and not 0xD800 <= value < 0xE000 else "\ufffd"
        if match["control"]:
            return chr(ord(match["control"]) & 0x1F)
        return _ESCAPES.get(match["one"], "\\" + match["one"])

    return _ANSI_C.sub(one, raw).split("\0", maxsplit=1)[0]


def double_quoted(raw: str) -> str:
    """The value of literal text inside double quotes or an unquoted here-document."""
    return _DOUBLE_QUOTED.sub(lambda match: "" if match[1] == "\n" else match[1], raw)


class WordBuilder:
    """Collects the parts of one word in order, then gives the words that brace expansion makes of it."""

    def __init__(self) -> None:
        self._runs: list[tuple[str, bool] | Piece] = []
        self._braces = False

    def unquoted(self, raw: str) -> None:
        """Text outside quotes: a backslash quotes the next character, a quoted newline vanishes."""
        self._braces = self._braces or "{" in raw
        at = 0
        for match in _UNQUOTED.finditer(raw) if "\\" in raw else ():
            if match.start() > at:
                self._runs.append((raw[at : match.start()], False))
            if match[1] != "\n":
                self._runs.append((match[1] or "\\", True))
            at = match.end()
        if at < len(raw):
            self._runs.append((raw[at:], False))

    def quoted(self, text: str) -> None:
        """Text whose quotes were removed already."""
        self._runs.append((text, True))

    def dynamic(self, part: Part, text: str = "", inner: Node | None = None) -> None:
        """A piece whose value is not known from the text."""
        self._runs.append(Piece(part, text, inner))

    def word(self) -> Word:
        """The one word, without brace expansion (assignments, here-documents, redirections)."""
        return _finish(self._runs)

    def words(self) -> tuple[Word, ...]:
        """The words after brace expansion; more than BRACE_WORDS_MAX become one dynamic word."""
        if not self._braces:
            return (_finish(self._runs),)
        atoms: list[Atom] = []
        for run in self._runs:
            if isinstance(run, Piece):
                atoms.append(run)
            else:
                atoms.extend((char, run[1]) for char in run[0])
                if not run[0]:
                    atoms.append(("", True))
        expanded = _expand(atoms)
        if len(expanded) > BRACE_WORDS_MAX:
            return (Word((Piece(Part.BRACE),)),)
        return tuple(_finish(list(each)) for each in expanded)


def _expand(atoms: list[Atom]) -> list[list[Atom]]:
    """Brace expansion of the first expandable brace and of what it gives; stops once there are too many."""
    for start, atom in enumerate(atoms):
        if atom != ("{", False):
            continue
        found = _alternatives(atoms, start)
        if found is None:
            continue
        alternatives, end = found
        tails = _expand(atoms[end + 1 :])
        heads = [head for alternative in alternatives for head in _expand(alternative)]
        if len(heads) * len(tails) > BRACE_WORDS_MAX:
            return [[]] * (BRACE_WORDS_MAX + 1)
        return [[*atoms[:start], *head, *tail] for head in heads for tail in tails]
    return [atoms]


def _alternatives(atoms: list[Atom], start: int) -> tuple[list[list[Atom]], int] | None:
    """The alternatives of the brace that opens at `start` and where it closes; None where it is plain text."""
    depth, commas = 0, [start]
    for at in range(start, len(atoms)):
        atom = atoms[at]
        if atom == ("{", False):
            depth += 1
        elif atom == (",", False) and depth == 1:
            commas.append(at)
        elif atom == ("}", False):
            depth -= 1
            if depth == 0:
                if len(commas) > 1:
                    edges = [*commas, at]
                    return [atoms[a + 1 : b] for a, b in pairwise(edges)], at
                listed = _range(atoms[start + 1 : at])
                return (listed, at) if listed else None
    return None


def _range(atoms: list[Atom]) -> list[list[Atom]]:
    """What {a..b} lists, or nothing where it is no range; one more than allowed where it is too long."""
    text = "".join(atom[0] if isinstance(atom, tuple) and not atom[1] else "\0" for atom in atoms)
    match = _RANGE.match(text)
    if match is None:
        return []
    letters = match[3] is not None
    first, last = (ord(match[3]), ord(match[4])) if letters else (int(match[1]), int(match[2]))
    step = max(1, abs(int(match[5] or "1")))
    if abs(last - first) // step >= BRACE_WORDS_MAX:
        return [[]] * (BRACE_WORDS_MAX + 1)
    width = (
        0 if letters else max(len(n) if n.lstrip("-").startswith("0") and n != "0" else 0 for n in (match[1], match[2]))
    )
    numbers = range(first, last + (1 if last >= first else -1), step if last >= first else -step)
    texts = [chr(n) if letters else str(n).zfill(width) for n in numbers]
    return [[(char, False) for char in text] for text in texts]


def _finish(runs: list[tuple[str, bool] | Piece]) -> Word:
    """One word of its runs: tilde at the start, globs outside quotes, literals joined."""
    pieces: list[Piece] = []
    text: list[str] = []

    def flush() -> None:
        joined = "".join(text)
        text.clear()
        if joined:
            pieces.append(Piece(Part.LITERAL, joined))

    closing = any(not isinstance(run, Piece) and "]" in run[0] for run in runs)
    runs = _joined(runs)
    for index, run in enumerate(runs):
        if isinstance(run, Piece):
            flush()
            pieces.append(run)
            continue
        raw, quoted = run
        if quoted:
            text.append(raw)
            continue
        tilde = _TILDE.match(raw) if index == 0 else None
        if tilde and (tilde.end() < len(raw) or len(runs) == 1):
            pieces.append(Piece(Part.TILDE, tilde[1]))
            raw = raw[tilde.end() :]
        for char in raw:
            if char in "*?" or (char == "[" and closing):
                flush()
                pieces.append(Piece(Part.GLOB, char))
            else:
                text.append(char)
    flush()
    return Word(tuple(pieces)) if pieces else literal("")


def _joined(runs: list[tuple[str, bool] | Piece]) -> list[tuple[str, bool] | Piece]:
    """Neighbouring runs of the same quoting as one."""
    out: list[tuple[str, bool] | Piece] = []
    for run in runs:
        last = out[-1] if out else None
        if isinstance(run, tuple) and isinstance(last, tuple) and run[1] == last[1]:
            out[-1] = (last[0] + run[0], run[1])
        else:
            out.append(run)
    return out
