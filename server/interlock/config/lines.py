"""On which line each key of a TOML text stands: a scanner over what tomllib has accepted. It judges nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

Path = tuple[str | int, ...]

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_SIMPLE_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r"}
_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BLANK = re.compile(r"[ \t]*")
_SCALAR = re.compile(r"[^,\]}\n#]*")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'
    r"|'''[\s\S]*?'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)


@dataclass(slots=True)
class Lines:
    """Where keys stand. A path is a tuple of keys and, inside arrays, indices."""

    known: dict[Path, int] = field(default_factory=dict)

    def at(self, path: Sequence[str | int]) -> int:
        """The line (1-based) of this key, or of the nearest one above it that is written down; 0 where none is."""
        for length in range(len(path), 0, -1):
            line = self.known.get(tuple(path[:length]))
            if line is not None:
                return line
        return 0


def scan(text: str) -> Lines:
    """The line of every key and array element of a valid TOML text. Never raises on one; depth is the parser's own."""
    scanner = _Scanner(text)
    scanner.document()
    return scanner.lines


class _Scanner:
    """One walk over the text. `_position` only ever grows, so that the walk ends whatever the text is."""

    def __init__(self, text: str) -> None:
        self.lines = Lines()
        self._text = text
        self._position = 0
        self._line = 1
        self._counts: dict[Path, int] = {}  # how many elements an array of tables has so far

    def document(self) -> None:
        table: Path = ()
        while self._skip(_SPACE) < len(self._text):
            before = self._position
            table = self._header() if self._peek() == "[" else self._pair(table)
            if self._position == before:  # not TOML after all: leave it
                return

    def _header(self) -> Path:
        double = self._text.startswith("[[", self._position)
        line = self._line
        self._move(2 if double else 1)
        keys = self._keys()
        path = self._through_arrays(keys[:-1] if double else keys)
        if double and keys:
            array = (*path, keys[-1])
            index = self._counts.get(array, 0)
            self._counts[array] = index + 1
            self.lines.known.setdefault(array, line)
            path = (*array, index)
        self._skip(_BLANK)
        self._move(2 if double else 1)
        self.lines.known.setdefault(path, line)
        return path

    def _through_arrays(self, keys: Path) -> Path:
        """A header that goes through an array of tables means its last element."""
        path: Path = ()
        for key in keys:
            path = (*path, key)
            if path in self._counts:
                path = (*path, self._counts[path] - 1)
        return path

    def _pair(self, table: Path) -> Path:
        line = self._line
        path = table
        for key in self._keys():
            path = (*path, key)
            self.lines.known.setdefault(path, line)
        self._skip(_BLANK)
        self._move(1)  # the equals sign
        self._skip(_BLANK)
        self._value(path)
        return table

    def _keys(self) -> Path:
        keys: list[str | int] = []
        while self._position < len(self._text):
            self._skip(_BLANK)
            keys.append(self._key())
            self._skip(_BLANK)
            if self._peek() != ".":
                break
            self._move(1)
        return tuple(keys)

    def _key(self) -> str:
        quote = self._peek()
        if quote in ('"', "'"):
            found = self._take(_STRING)
            return _unescape(found[1:-1]) if quote == '"' else found[1:-1]
        return self._take(_BARE)

    def _value(self, path: Path) -> None:
        self.lines.known.setdefault(path, self._line)
        opening = self._peek()
        if opening == "[":
            self._elements(path)
        elif opening == "{":
            self._inline(path)
        elif opening in ('"', "'"):
            self._take(_STRING)
        else:
            self._take(_SCALAR)

    def _elements(self, path: Path) -> None:
        self._move(1)
        index = 0
        while self._skip(_SPACE) < len(self._text) and self._peek() != "]":
            before = self._position
            self._value((*path, index))
            index += 1
            self._skip(_SPACE)
            if self._peek() == ",":
                self._move(1)
            if self._position == before:
                return
        self._move(1)

    def _inline(self, path: Path) -> None:
        self._move(1)
        while self._skip(_SPACE) < len(self._text) and self._peek() != "}":
            before = self._position
            self._pair(path)
            self._skip(_SPACE)
            if self._peek() == ",":
                self._move(1)
            if self._position == before:
                return
        self._move(1)

    def _peek(self) -> str:
        return self._text[self._position : self._position + 1]

    def _move(self, chars: int) -> None:
        end = min(self._position + chars, len(self._text))
        self._line += self._text.count("\n", self._position, end)
        self._position = end

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._position)
        taken = found.group() if found else ""
        self._move(len(taken))
        return taken

    def _skip(self, pattern: re.Pattern[str]) -> int:
        self._take(pattern)
        return self._position


def _unescape(text: str) -> str:
    def character(found: re.Match[str]) -> str:
        code = found.group(1) or found.group(2)
        if code:
            return chr(min(int(code, 16), 0x10FFFF))
        return _SIMPLE_ESCAPES.get(found.group(3), found.group(3))

    return _ESCAPE.sub(character, text)
