"""Cedar text cut into statements with their lines and comments, under limits. It parses no expression; Cedar does.

Cedar names no line in its messages, and deep nesting ends the process that parses it; so it is measured here first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

FILE_CHARS_MAX = 256 * 1024
STATEMENT_CHARS_MAX = 16 * 1024
STATEMENTS_MAX = 1_000
NESTING_MAX = 40

_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"|//[^\n]*|[()\[\]{};]|"')
_ANNOTATION = re.compile(r"@([A-Za-z_]\w*)")


class PolicyFault(Exception):
    """A policy file cannot be used.

    `file` and `line` (1-based; 0 where no line is to blame) say where, `hint` what would mend it ("" where unknown).
    """

    def __init__(self, file: str, line: int, message: str, hint: str = "") -> None:
        super().__init__(f"{file}:{line}: {message}" + (f" ({hint})" if hint else ""))
        self.file = file
        self.line = line
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Comment:
    """One `//` comment that stands before a statement's end: its line (1-based) and its text without the slashes."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Statement:
    """One policy: its text with the `;`, the line its first word stands on, and the comments that belong to it."""

    text: str
    line: int
    comments: tuple[Comment, ...]

    def line_of(self, word: str) -> int:
        """The line on which `word` first stands in this statement; the statement's own where it does not."""
        found = re.search(rf"(?<![\w:]){re.escape(word)}(?!\w)", self.text) if word else None
        return self.line + self.text.count("\n", 0, found.start()) if found else self.line


def closest(word: str, names: Sequence[str]) -> str:
    """A hint that names the closest of `names`, or ""."""
    near = get_close_matches(word, names, n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else ""


def cut(file: str, text: str) -> tuple[Statement, ...]:
    """The statements of one file, in order. Raises PolicyFault over a limit, or where text is left open at its end."""
    if len(text) > FILE_CHARS_MAX:
        raise PolicyFault(file, 0, f"the file is longer than {FILE_CHARS_MAX} characters", "split it into several")
    statements: list[Statement] = []
    comments: list[Comment] = []
    start, depth = 0, 0
    for token in _TOKEN.finditer(text):
        mark, line = token[0], text.count("\n", 0, token.start()) + 1
        if mark.startswith("//"):
            comments.append(Comment(line, mark[2:].strip()))
        elif mark == '"':
            raise PolicyFault(file, line, "a string is not closed on its line", 'write \\" for a quote inside a string')
        elif mark in ("(", "[", "{"):
            depth += 1
            if depth > NESTING_MAX:
                raise PolicyFault(file, line, f"brackets are nested deeper than {NESTING_MAX}")
        elif mark in (")", "]", "}"):
            depth -= 1
            if depth < 0:
                raise PolicyFault(file, line, f"there is a {mark!r} too many")
        elif mark == ";" and depth == 0:
            statements.append(_statement(file, text, start, token.end(), tuple(comments)))
            comments, start = [], token.end()
            if len(statements) > STATEMENTS_MAX:
                raise PolicyFault(file, line, f"there are more than {STATEMENTS_MAX} policies in one file")
    _nothing_left(file, text, start)
    return tuple(statements)


def _statement(file: str, text: str, start: int, end: int, comments: tuple[Comment, ...]) -> Statement:
    begin = _first_word(text, start, end)
    line = text.count("\n", 0, begin) + 1
    if end - begin > STATEMENT_CHARS_MAX:
        raise PolicyFault(file, line, f"the policy is longer than {STATEMENT_CHARS_MAX} characters", "split it")
    return Statement(text[begin:end], line, comments)


def _first_word(text: str, start: int, end: int) -> int:
    """Where the first character stands that is neither space nor comment."""
    at = start
    while at < end:
        if text.startswith("//", at):
            at = text.find("\n", at)
            at = end if at < 0 else at
        elif text[at].isspace():
            at += 1
        else:
            return at
    return end


def _nothing_left(file: str, text: str, start: int) -> None:
    begin = _first_word(text, start, len(text))
    if begin < len(text):
        line = text.count("\n", 0, begin) + 1
        raise PolicyFault(file, line, "the policy that begins here has no end", "every policy ends with ';'")


def annotations_in(statement: Statement) -> tuple[str, ...]:
    """The names of the annotations that stand before `permit` or `forbid`."""
    head = re.split(
        r"(?m)^\s*(?:permit|forbid)\b", re.sub(r'"(?:[^"\\\n]|\\.)*"|//[^\n]*', "", statement.text), maxsplit=1
    )[0]
    return tuple(_ANNOTATION.findall(head))
