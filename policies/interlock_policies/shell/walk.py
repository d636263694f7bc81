"""Walking a tree: which commands run, where, with what on standard input; it knows no program's effects."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import replace

from interlock_policies.shell.agree import Readers, Unreadable
from interlock_policies.shell.builtins import CHANGES_SHELL, Moved, moves
from interlock_policies.shell.commands import apply, known_program, unknown
from interlock_policies.shell.feeds import feed_from, runs_download
from interlock_policies.shell.findings import Findings
from interlock_policies.shell.redirects import redirected, redirection
from interlock_policies.shell.run import Feed, Handler, Run
from interlock_policies.shell.scopes import assigned, changes_directory, learned, plain_value
from interlock_policies.shell.sensitive import check_assignment, check_declaration, check_names, may_compute
from interlock_policies.shell.state import Outcome, State, merged
from interlock_policies.shell.syntax import (
    Compound,
    Kind,
    Node,
    Part,
    Piece,
    Redirect,
    Simple,
    Word,
    literal,
    words_of,
)
from interlock_policies.shell.table import Program, Table

DEPTH_MAX = 6
READINGS_MAX = 12
BINDINGS_MAX = 16
_NO_FEED = Feed()


class Walk:
    """One walk over one command line and everything that it hands to further shells."""

    def __init__(self, table: Table, handlers: Mapping[str, Handler], readers: Readers, findings: Findings) -> None:
        self._table = table
        self._handlers = handlers
        self._readers = readers
        self._findings = findings
        self._functions: set[str] = set()
        self._unbound: set[str] = set()
        self._readings = 0

    def text(self, text: str, state: State, depth: int, feed: Feed = _NO_FEED) -> Outcome | Unreadable:
        """Read a program text and walk it. Unreadable where it is no program at all."""
        self._readings += 1
        if self._readings > READINGS_MAX:
            return Unreadable("it hands too many texts to further shells")
        reading = self._readers.read(text)
        if isinstance(reading, Unreadable):
            return reading
        if reading.doubt:
            self._findings.unclear(reading.doubt)
        outcome = Outcome(state, state)
        for node in reading.nodes:
            self._learn(node)
            outcome = self.node(node, state, depth, feed)
        return outcome

    def script(self, text: str, state: State, depth: int, feed: Feed) -> None:
        """Walk a text that a command gives to another shell."""
        if depth > DEPTH_MAX:
            self._findings.unclear("commands are wrapped too deeply")
            return
        outcome = self.text(text, state, depth, feed)
        if isinstance(outcome, Unreadable):
            self._findings.unclear(f"the text given to a shell cannot be read: {outcome.reason}")

    def command(self, words: tuple[Word, ...], state: State, depth: int, feed: Feed) -> None:
        """Analyse one command by its words: its own, or one that another program runs."""
        if depth > DEPTH_MAX:
            self._findings.unclear("commands are wrapped too deeply")
            return
        words = tuple(state.expand(word) for word in words)
        name = words[0].literal
        run = Run(Program(words[0].shown), words[1:], state, feed, depth, self._findings, self)
        if name is None:
            self._findings.unclear(f"which program runs is not known: {words[0].shown}")
        if name is None or name in self._functions:  # a function's body was walked where it is defined, and is opaque
            return
        program = known_program(name, self._table)
        if program is None:
            unknown(run, name)
            return
        run = replace(run, program=program if program.name == posixpath.basename(name) else replace(program, name=name))
        if runs_download(run):
            self._findings.downloads_to_shell = True
        apply(run, self._handlers)

    def node(self, node: Node, state: State, depth: int, feed: Feed = _NO_FEED) -> Outcome:
        """Walk one node from this state."""
        for word in words_of(node):
            for piece in word.pieces:
                if piece.inner is not None:
                    self.node(piece.inner, state, depth)
                if piece.part is Part.CODE:
                    self._findings.unclear("a variable's value is evaluated again")
                self._computes(piece)
        for redirect in node.redirects:
            self._redirect(node, redirect, state, depth)
        feed = redirected(node.redirects, feed)
        if isinstance(node, Simple):
            return self._simple(node, state, depth, feed)
        return self._compound(node, state, depth, feed)

    def _computes(self, piece: Piece) -> None:
        """Arithmetic, also that of ${a[…]} and ${a:…}; what a command prints into it is a value from outside."""
        if piece.part is Part.ARITHMETIC or (piece.part is Part.VARIABLE and not piece.text):
            self._findings.computes = True
            self._findings.outside_values |= piece.inner is not None

    def _compound(self, node: Compound, state: State, depth: int, feed: Feed) -> Outcome:
        match node.kind:
            case Kind.SEQUENCE | Kind.GROUP:
                return self._sequence(node, state, depth, feed)
            case Kind.AND | Kind.OR:
                return self._list(node, state, depth, feed)
            case Kind.PIPE:
                self._pipe(node, state, depth, feed)
            case Kind.BRANCH:
                return self._branch(node, state, depth, feed)
            case Kind.NEGATED:
                outcome = self.node(node.parts[0], replace(state, strict=False), depth, feed)
                return Outcome(outcome.fail, outcome.ok)
            case Kind.LOOP | Kind.CHOICE:
                return self._repeated(node, state, depth, feed)
            case Kind.TEST | Kind.ARITHMETIC:
                if node.kind is Kind.ARITHMETIC or node.name == "computes":
                    self._findings.computes = True
                    self._findings.outside_values |= bool(node.parts)
                if node.name == "names":
                    self._findings.unclear("a test evaluates a variable's name")
                self._parts(node, state, depth, feed)
            case Kind.FUNCTION:
                self._findings.unclear(f"it defines the function {node.name}")
                self._parts(node, state.moved((None,)) if changes_directory(node) else state, depth, feed)
            case Kind.COPROCESS:
                self._findings.unclear("it starts a coprocess")
                self._parts(node, state, depth, feed)
            case _:  # SUBSHELL, BACKGROUND: their state ends with them
                self._parts(node, state, depth, feed)
        return Outcome(state, state)

    def _parts(self, node: Compound, state: State, depth: int, feed: Feed) -> None:
        for part in node.parts:
            self.node(part, state, depth, feed)

    def _sequence(self, node: Compound, state: State, depth: int, feed: Feed) -> Outcome:
        outcome = Outcome(state, state)
        for part in node.parts:
            outcome = self.node(part, state, depth, feed)
            after = outcome.ok if state.strict and isinstance(part, Simple) else outcome.either
            state = after or state  # what follows an exit is read all the same
        return outcome

    def _list(self, node: Compound, state: State, depth: int, feed: Feed) -> Outcome:
        first = self.node(node.parts[0], replace(state, strict=False), depth, feed)
        goes_on = first.ok if node.kind is Kind.AND else first.fail
        second = self.node(node.parts[1], (goes_on or state).strict_as(state), depth, feed)
        ok, fail = (second.ok, merged(first.fail, second.fail))
        if node.kind is Kind.OR:
            ok, fail = merged(first.ok, second.ok), second.fail
        return Outcome(ok and ok.strict_as(state), fail and fail.strict_as(state))

    def _pipe(self, node: Compound, state: State, depth: int, feed: Feed) -> None:
        stages: list[Node] = [node.parts[1]]
        left = node.parts[0]
        while isinstance(left, Compound) and left.kind is Kind.PIPE and not left.redirects:
            stages.append(left.parts[1])
            left = left.parts[0]
        stages.append(left)
        for stage in reversed(stages):
            self.node(stage, state, depth, feed)
            feed = feed_from(stage, state, feed)

    def _branch(self, node: Compound, state: State, depth: int, feed: Feed) -> Outcome:
        condition = self.node(node.parts[0], replace(state, strict=False), depth, feed)
        body = self.node(node.parts[1], (condition.ok or state).strict_as(state), depth, feed)
        if len(node.parts) == 2:
            after = merged(body.either, condition.fail and condition.fail.strict_as(state))
            return Outcome(after, after)
        other = self.node(node.parts[2], (condition.fail or state).strict_as(state), depth, feed)
        after = merged(body.either, other.either)
        return Outcome(after, after)

    def _repeated(self, node: Compound, state: State, depth: int, feed: Feed) -> Outcome:
        """A loop or a choice: what its parts assign is not known in them, and where they change directory neither."""
        inside = state
        for name in assigned(node):
            inside = inside.bound(name, None)
        if changes_directory(node):
            inside = inside.moved((*state.directories, None))
        for binding in self._bindings(node, inside):
            for part in node.parts:
                self.node(part, binding, depth, feed)
        return Outcome(inside, inside)

    def _bindings(self, node: Compound, state: State) -> list[State]:
        """The states that a loop's body starts with: one for each value where all of them are known."""
        if node.name:
            check_names([literal(node.name)], self._findings)
        words = [state.expand(word) for word in node.words]
        self._findings.outside_values |= any(may_compute(word) for word in words)
        plain = all(word.dynamic <= {Part.GLOB} for word in words) and 0 < len(words) <= BINDINGS_MAX
        if not node.name or not plain or node.name in self._unbound:
            return [state.bound(node.name, None)]
        return [state.bound(node.name, word) for word in words]

    def _simple(self, node: Simple, state: State, depth: int, feed: Feed) -> Outcome:
        reads = bool(node.words) and node.words[0].literal == "read"
        for assignment in node.assignments:
            if not (reads and assignment.name == "IFS"):  # IFS= read: for that one read only
                check_assignment(assignment, self._findings)
        if node.declares or not node.words:
            for each in node.assignments:
                self._findings.computes |= bool(each.subscripted)
                value = (
                    None if each.name in self._unbound or each.subscripted else plain_value(state.expand(each.value))
                )
                state = state.bound(each.name, value)
        if not node.words:
            return Outcome(state, state)
        if node.declares:
            check_declaration(node.words, self._findings)
            return Outcome(state, state)
        moved = moves(node, state, self._findings)
        if isinstance(moved, Moved):
            return Outcome(moved.ok, moved.fail)
        if isinstance(moved, str):  # eval: the text runs in this very shell
            return self._eval(moved, state, depth, feed)
        first = node.words[0].literal
        stored = first == "set" or (first == "printf" and node.words[1:] and node.words[1].prefix.startswith("-v"))
        if stored:  # what it is given may come back as a value
            self._findings.outside_values |= first == "printf" or any(may_compute(word) for word in node.words[1:])
        self.command(node.words, state, depth, feed)
        if node.words[0].literal in CHANGES_SHELL:
            state = replace(state.moved((None,)), variables={})
        return Outcome(state, state)

    def _eval(self, text: str, state: State, depth: int, feed: Feed) -> Outcome:
        if depth >= DEPTH_MAX:
            self._findings.unclear("commands are wrapped too deeply")
            return Outcome(state, state)
        outcome = self.text(text, state, depth + 1, feed)
        if isinstance(outcome, Unreadable):
            self._findings.unclear(f"the text given to eval cannot be read: {outcome.reason}")
            return Outcome(state, state)
        return Outcome(outcome.either or state, outcome.either or state)

    def _redirect(self, node: Node, redirect: Redirect, state: State, depth: int) -> None:
        by = node.words[0].shown if isinstance(node, Simple) and node.words else "redirection"
        redirection(Run(Program(by), (), state, _NO_FEED, depth, self._findings, self), node, redirect)

    def _learn(self, node: Node) -> None:
        names = learned(node)
        self._functions, self._unbound = self._functions | names.functions, self._unbound | names.unbound
        self._findings.outside_values |= names.outside_values
