"""The normalised tree of a shell program that both readers produce; values only, it never reads text itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Part(StrEnum):
    """What one piece of a word is."""

    LITERAL = "literal"
    GLOB = "glob"  # one of * ? [
    TILDE = "tilde"  # text: the user's name, "" for the caller
    VARIABLE = "variable"  # text: its name where the expansion is plain, else ""
    COMMAND = "command"  # $(…) and `…`
    PROCESS = "process"  # <(…) and >(…)
    ARITHMETIC = "arithmetic"
    BRACE = "brace"  # a brace expression too large to expand
    EXTGLOB = "extglob"
    ARRAY = "array"
    CODE = "code"  # ${!x} and ${x@P}: a value that is evaluated again
    INPUT = "input"  # what xargs or find puts there


class Kind(StrEnum):
    """How a compound command runs its parts."""

    SEQUENCE = "sequence"
    AND = "and"
    OR = "or"
    PIPE = "pipe"
    SUBSHELL = "subshell"
    GROUP = "group"
    BACKGROUND = "background"
    NEGATED = "negated"
    BRANCH = "branch"  # parts: condition, body, otherwise
    LOOP = "loop"
    CHOICE = "choice"  # case: each part may run
    FUNCTION = "function"
    COPROCESS = "coprocess"
    TEST = "test"  # [ … ], [[ … ]]: parts are the substitutions in it
    ARITHMETIC = "arithmetic"  # (( … )), let


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece of a word. `inner` holds the program of a substitution."""

    part: Part
    text: str = ""
    inner: Node | None = None


@dataclass(frozen=True, slots=True)
class Word:
    """One word after brace expansion and quote removal: its pieces, neighbouring literals joined."""

    pieces: tuple[Piece, ...]

    @property
    def literal(self) -> str | None:
        """The exact value, or None where any piece is not literal."""
        if len(self.pieces) == 1 and self.pieces[0].part is Part.LITERAL:
            return self.pieces[0].text
        return None

    @property
    def prefix(self) -> str:
        """The literal text before the first piece that is not literal."""
        first = self.pieces[0]
        return first.text if first.part is Part.LITERAL else ""

    @property
    def dynamic(self) -> frozenset[Part]:
        """The kinds of pieces that are not literal."""
        return frozenset(piece.part for piece in self.pieces if piece.part is not Part.LITERAL)

    @property
    def shown(self) -> str:
        """The word for a reader: dynamic pieces as their kind in angle brackets."""
        return "".join(p.text if p.part in (Part.LITERAL, Part.GLOB) else f"<{p.part}>" for p in self.pieces)

    def without_prefix(self, length: int) -> Word:
        """The word without its first `length` literal characters."""
        first = self.pieces[0]
        rest = Piece(Part.LITERAL, first.text[length:])
        pieces = (rest, *self.pieces[1:]) if rest.text or len(self.pieces) == 1 else self.pieces[1:]
        return Word(pieces)


def literal(text: str) -> Word:
    """A word that is exactly this text."""
    return Word((Piece(Part.LITERAL, text),))


@dataclass(frozen=True, slots=True)
class Redirect:
    """One redirection. `target` is None for a here-document, whose `body` is set."""

    operator: str
    descriptor: str = ""
    target: Word | None = None
    body: Word | None = None


@dataclass(frozen=True, slots=True)
class Assignment:
    """One assignment; `name` is without its subscript, `subscripted` says that it had one."""

    name: str
    value: Word
    subscripted: bool = False


@dataclass(frozen=True, slots=True)
class Simple:
    """A simple command. `declares`: export, declare, local … whose assignments are arguments."""

    words: tuple[Word, ...] = ()
    assignments: tuple[Assignment, ...] = ()
    redirects: tuple[Redirect, ...] = ()
    declares: bool = False


@dataclass(frozen=True, slots=True)
class Compound:
    """A compound command. `name`: the function's; `words`: what a loop or a choice expands."""

    kind: Kind
    parts: tuple[Node, ...] = ()
    redirects: tuple[Redirect, ...] = ()
    name: str = ""
    words: tuple[Word, ...] = ()


Node = Simple | Compound


def sequence(parts: list[Node]) -> Node:
    """These nodes one after the other; one node is itself."""
    return parts[0] if len(parts) == 1 else Compound(Kind.SEQUENCE, tuple(parts))


def words_of(node: Node) -> Iterator[Word]:
    """Every word that the node itself expands: its own, its assignments', its redirections'."""
    yield from node.words
    if isinstance(node, Simple):
        for assignment in node.assignments:
            yield assignment.value
    for redirect in node.redirects:
        yield from (word for word in (redirect.target, redirect.body) if word is not None)


def simple_commands(node: Node) -> Iterator[Simple]:
    """Every simple command of a tree in source order, those of substitutions before the command that holds them."""
    for word in words_of(node):
        for piece in word.pieces:
            if piece.inner is not None:
                yield from simple_commands(piece.inner)
    if isinstance(node, Simple):
        yield node
        return
    for part in node.parts:
        yield from simple_commands(part)
