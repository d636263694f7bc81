"""What is known of the shell's state at one point: where it may stand and what its variables hold; values only."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from interlock_policies.shell.syntax import Part, Piece, Word

DIRECTORIES_MAX = 4


@dataclass(frozen=True, slots=True)
class State:
    """`directories`: every working directory that is possible here, None where it may be any."""

    directories: tuple[str | None, ...]
    home: str
    variables: Mapping[str, Word] = field(default_factory=dict)
    strict: bool = False  # set -e: what fails ends it

    def moved(self, directories: tuple[str | None, ...]) -> State:
        """The same state in other directories; too many become unknown."""
        unique = tuple(dict.fromkeys(directories))
        return replace(self, directories=unique if len(unique) <= DIRECTORIES_MAX else (None,))

    def bound(self, name: str, value: Word | None) -> State:
        """The same state with a variable set, or forgotten where its value is not known."""
        variables = {key: word for key, word in self.variables.items() if key != name}
        if value is not None:
            variables[name] = value
        return replace(self, variables=variables)

    def strict_as(self, other: State) -> State:
        """The same state with `set -e` as in another one."""
        return replace(self, strict=other.strict)

    def expand(self, word: Word) -> Word:
        """The word with what is known put in: ~, $HOME and variables that were set to one plain word."""
        if all(piece.part not in (Part.TILDE, Part.VARIABLE) for piece in word.pieces):
            return word
        pieces: list[Piece] = []
        for piece in word.pieces:
            pieces.extend(self._known(piece))
        return Word(_joined(pieces))

    def _known(self, piece: Piece) -> tuple[Piece, ...]:
        if piece.inner is not None:
            return (piece,)
        if (piece.part is Part.TILDE and not piece.text) or (piece.part is Part.VARIABLE and piece.text == "HOME"):
            return (Piece(Part.LITERAL, self.home),)
        if piece.part is Part.VARIABLE and piece.text == "PWD" and len(self.directories) == 1:
            here = self.directories[0]
            return (piece,) if here is None else (Piece(Part.LITERAL, here),)
        if piece.part is Part.VARIABLE and piece.text in self.variables:
            return self.variables[piece.text].pieces
        return (piece,)


def merged(one: State | None, other: State | None) -> State | None:
    """What holds where either state may be the real one; None is a point that is never reached."""
    if one is None or other is None:
        return one or other
    if one == other:
        return one
    variables = {name: word for name, word in one.variables.items() if other.variables.get(name) == word}
    both = replace(one, variables=variables, strict=one.strict and other.strict)
    return both.moved((*one.directories, *other.directories))


@dataclass(frozen=True, slots=True)
class Outcome:
    """The state after a node succeeded and after it failed; None where that cannot happen."""

    ok: State | None
    fail: State | None

    @property
    def either(self) -> State | None:
        """The state where it is not known which of both happened."""
        return merged(self.ok, self.fail)


def _joined(pieces: list[Piece]) -> tuple[Piece, ...]:
    """Neighbouring literals as one."""
    out: list[Piece] = []
    for piece in pieces:
        if out and piece.part is Part.LITERAL and out[-1].part is Part.LITERAL:
            out[-1] = Piece(Part.LITERAL, out[-1].text + piece.text)
        else:
            out.append(piece)
    return tuple(out)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a path leads: see Effect for `exact` and `recursive`."""

    path: str
    exact: bool = True
    recursive: bool = False


def absolute(path: str, directory: str) -> str:
    """The path made absolute, without `.` and double slashes; `..` stays, for what stands before it may be a link."""
    parts = [part for part in posixpath.join(directory, path).split("/") if part not in ("", ".")]
    return "/" + "/".join(parts)


def targets(word: Word, state: State) -> tuple[Target, ...] | None:
    """Every path that the word may name, or None where that cannot be said."""
    if not word.dynamic <= {Part.GLOB}:
        return None
    prefix, tree = word.prefix if word.pieces[0].part is Part.LITERAL else "", False
    pattern = bool(word.dynamic)
    if pattern:
        tail = "".join(piece.text for piece in word.pieces if piece.part is Part.LITERAL)[len(prefix) :]
        if ".." in tail or "/" in tail.rstrip("/"):
            return None  # what matches the pattern may be a link that leads anywhere
        tree = any(piece.text.startswith("**") for piece in word.pieces if piece.part is Part.GLOB)
        prefix = prefix[: prefix.rfind("/") + 1]
    if prefix.startswith("/"):
        return (Target(absolute(prefix, "/"), not pattern, tree),)
    if None in state.directories:
        return None
    here = [directory for directory in state.directories if directory is not None]
    return tuple(Target(absolute(prefix, directory), not pattern, tree) for directory in here)
