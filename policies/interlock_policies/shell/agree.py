"""Reading a program with both readers and comparing what they saw; where they differ it is opaque, never guessed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

from interlock_policies.shell.expressions import UnknownSyntaxError
from interlock_policies.shell.shfmt import ShfmtReader, ShfmtRefused
from interlock_policies.shell.syntax import Kind, Node, Part, Piece, Redirect, Simple, Word
from interlock_policies.shell.treesitter import TreeSitterReader

READING_DEPTH = RecursionError  # what Python raises where a text nests deeper than either reader can follow


@dataclass(frozen=True, slots=True)
class Reading:
    """What a text was read as. `nodes`: one tree, or both where they differ. `doubt`: why it is opaque, or ""."""

    nodes: tuple[Node, ...]
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The text is no program that can be read at all."""

    reason: str


class Readers:
    """Both readers behind one call. Holds the tree-sitter parser; pure but for the shfmt that it is given."""

    def __init__(self, shfmt: Callable[[str], str]) -> None:
        self._shfmt = shfmt
        self._second = TreeSitterReader()

    def read(self, text: str) -> Reading | Unreadable:
        """Read one program text. A syntax error in shfmt's eyes is Unreadable; every disagreement is a doubt."""
        try:
            first = ShfmtReader().program(json.loads(self._shfmt(text)))
        except ShfmtRefused as refused:
            return Unreadable(str(refused))
        except UnknownSyntaxError as unknown:
            return Reading((), f"the shell text holds {unknown}")
        except READING_DEPTH:
            return Unreadable("it is nested too deeply")
        except ValueError:
            return Unreadable("its syntax tree could not be read")
        try:
            second = self._second.program(text)
        except (UnknownSyntaxError, READING_DEPTH):
            return Reading((first,), "the two shell readers do not agree on the text")
        try:
            same = listing(first) == listing(second)
        except READING_DEPTH:
            return Unreadable("it is nested too deeply")
        if not same:
            return Reading((first, second), "the two shell readers do not agree on the text")
        return Reading((first,))


def listing(node: Node) -> list[object]:
    """What must be equal: every simple command in order, with the subshells and functions it stands in."""
    out: list[object] = []
    _list(node, (), out)
    return out


def _list(node: Node, scope: tuple[str, ...], out: list[object]) -> None:
    if isinstance(node, Simple):
        out.append((scope, tuple(_word(word, scope, out) for word in node.words), _assignments(node, scope, out)))
    else:
        if node.kind in (Kind.SUBSHELL, Kind.FUNCTION, Kind.BACKGROUND, Kind.COPROCESS, Kind.LOOP, Kind.TEST):
            scope = (*scope, f"{node.kind}:{node.name}")
            out.append((scope, tuple(_word(word, scope, out) for word in node.words)))
        for part in node.parts:
            _list(part, scope, out)
    if node.redirects:
        out.append((scope, sorted(_redirect(redirect, scope, out) for redirect in node.redirects)))


def _assignments(node: Simple, scope: tuple[str, ...], out: list[object]) -> object:
    return tuple((each.name, each.subscripted, _word(each.value, scope, out)) for each in node.assignments)


def _redirect(redirect: Redirect, scope: tuple[str, ...], out: list[object]) -> tuple[str, str, str]:
    if redirect.body is not None:
        pieces = tuple(piece for piece in redirect.body.pieces if piece.part is not Part.LITERAL)
        return redirect.operator, redirect.descriptor, repr(_word(Word(pieces), scope, out))
    target = _word(redirect.target, scope, out) if redirect.target else None
    return redirect.operator, redirect.descriptor, repr(target)


def _word(word: Word, scope: tuple[str, ...], out: list[object]) -> tuple[Piece, ...]:
    pieces = []
    for piece in word.pieces:
        if piece.inner is not None:
            _list(piece.inner, (*scope, piece.part), out)
        pieces.append(replace(piece, inner=None) if piece.inner is not None else piece)
    return tuple(pieces)
