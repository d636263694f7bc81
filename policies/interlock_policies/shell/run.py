"""One command while it is analysed: what handlers are given and the few things that they may say about it."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from interlock_policies.shell.findings import Findings
from interlock_policies.shell.secret_names import secret_names
from interlock_policies.shell.state import State, absolute, targets
from interlock_policies.shell.syntax import Part, Word, literal
from interlock_policies.shell.table import Program
from interlock_tools.effects import Effect, EffectKind

SHOWN_CHARS_MAX = 120
_STREAMS = frozenset({
    "/dev/null", "/dev/stdin", "/dev/stdout", "/dev/stderr", "/dev/tty", "/dev/zero", "/dev/full", "/dev/random",
    "/dev/urandom", "-",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Feed:
    """What arrives on standard input.

    `text`: a here-document or here-string; `path`: the file of `< file`; `words`: those that are known to come through
    a pipe, None where they are not; `downloaded`: it comes from the network.
    """

    piped: bool = False
    text: Word | None = None
    path: Word | None = None
    words: tuple[Word, ...] | None = None
    downloaded: bool = False


class Shell(Protocol):
    """What a handler may ask of the walk that it is part of."""

    def command(self, words: tuple[Word, ...], state: State, depth: int, feed: Feed) -> None:
        """Analyse a command that the one at hand runs."""

    def script(self, text: str, state: State, depth: int, feed: Feed) -> None:
        """Analyse a program text that the command at hand gives to a shell."""


@dataclass(frozen=True, slots=True)
class Run:
    """One command: its program, the words after the name, where it stands, what it is fed."""

    program: Program
    words: tuple[Word, ...]
    state: State
    feed: Feed
    depth: int
    findings: Findings
    shell: Shell

    @property
    def name(self) -> str:
        """The program's name."""
        return self.program.name

    def read(self, word: Word, *, recursive: bool = False) -> None:
        """It reads this path."""
        self._touch(EffectKind.READ, word, recursive=recursive)

    def read_anything(self) -> None:
        """What it reads is not known: it follows links out of a tree, or is told elsewhere."""
        self.add(EffectKind.READ, "/", recursive=True, exact=False)

    def write(self, word: Word, *, recursive: bool = False, within: bool = False) -> None:
        """It creates or changes this path. `within`: something in this directory, it is not known what."""
        self._touch(EffectKind.WRITE, word, recursive=recursive, within=within)

    def delete(self, word: Word, *, recursive: bool = False, within: bool = False) -> None:
        """This path may disappear."""
        self._touch(EffectKind.DELETE, word, recursive=recursive, within=within)

    def tree(self) -> None:
        """It may change anything in the working directory."""
        self.write(literal("."), recursive=True, within=True)

    def network(self, word: Word | None) -> None:
        """It reaches this host or URL; None where it cannot be read."""
        text = word.literal if word is not None else None
        self.add(EffectKind.NETWORK, text or "?")

    def system(self, what: str) -> None:
        """It changes something that is no file: packages, users, processes, a database, a remote thing."""
        self.add(EffectKind.SYSTEM, f"{self.name}: {what}"[:SHOWN_CHARS_MAX].rstrip(": "))

    def service(self, verb: str, name: str) -> None:
        """It starts, stops or otherwise steers a service."""
        self.add(EffectKind.SERVICE, f"{verb} {name.removesuffix('.service')}"[:SHOWN_CHARS_MAX])

    def unclear(self, reason: str) -> None:
        """A part of it cannot be read: the reason, after the program's name."""
        self.findings.unclear(f"{self.name}: {reason}"[:SHOWN_CHARS_MAX])

    def add(self, kind: EffectKind, target: str, *, recursive: bool = False, exact: bool = True) -> None:
        """One effect of this command."""
        self.findings.add(Effect(kind, target, self.name, recursive, exact))

    def again(self, words: tuple[Word, ...], *, feed: Feed | None = None, state: State | None = None) -> None:
        """It runs this command."""
        self.shell.command(words, state or self.state, self.depth + 1, self.feed if feed is None else feed)

    def script(self, text: str, *, state: State | None = None) -> None:
        """It gives this text to a shell."""
        self.shell.script(text, state or self.state, self.depth + 1, self.feed)

    def elsewhere(self) -> Run:
        """The same command where the working directory is not known."""
        return replace(self, state=self.state.moved((None,)))

    def _touch(self, kind: EffectKind, word: Word, *, recursive: bool, within: bool = False) -> None:
        word = self.state.expand(word)
        text = word.literal
        if text is not None and (text in _STREAMS or text.startswith("/dev/fd/")):
            return
        if text is not None and text.startswith(("/dev/tcp/", "/dev/udp/")):
            self.add(EffectKind.NETWORK, text)
            return
        if word.dynamic == {Part.PROCESS} and len(word.pieces) == 1:
            return  # what stands in it is analysed by itself
        # A slash at the end follows a link: what lies behind it disappears, not the link.
        within = within or (kind is EffectKind.DELETE and text is not None and text.endswith(("/", "/.")))
        found = targets(word, self.state) if text != "" else ()
        if found is None:
            self._unknown(kind, word, recursive=recursive)
            return
        names = secret_names(word) if kind is EffectKind.READ else ()
        for target in found:
            deep = recursive or target.recursive
            self.add(kind, target.path, recursive=deep, exact=target.exact and not within)
            for name in names:
                self.add(kind, posixpath.join(target.path, name))

    def _unknown(self, kind: EffectKind, word: Word, *, recursive: bool) -> None:
        if kind is EffectKind.READ:
            self.add(kind, "/", recursive=recursive, exact=False)
        else:
            self.unclear(f"it is not known which path it would {kind}: {word.shown}")


Handler = Callable[[Run], None]


def place_of(word: Word, state: State) -> str | None:
    """The one absolute path that a word names, None where it names none or several."""
    text = state.expand(word).literal
    if text is None or (not text.startswith("/") and (len(state.directories) != 1 or state.directories[0] is None)):
        return None
    return absolute(text, state.directories[0] or "/")
