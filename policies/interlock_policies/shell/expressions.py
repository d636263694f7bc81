"""What both readers share: programs in expressions, names of tests, texts of here-documents; it reads no grammar."""

from __future__ import annotations

import re

from interlock_policies.shell.syntax import Compound, Kind, Node, Part, Redirect, Simple, Word, sequence


class UnknownSyntaxError(Exception):
    """A construct that this reader does not know; the text is opaque then."""


ARITHMETIC_TESTS = frozenset({"-eq", "-ne", "-lt", "-le", "-gt", "-ge"})
NAME_TESTS = frozenset({"-v", "-R"})


def inners(words: list[Word]) -> list[Node]:
    """The programs of every substitution in these words, in order."""
    return [piece.inner for word in words for piece in word.pieces if piece.inner is not None]


def inner_of(words: list[Word]) -> Node | None:
    """The programs in the words of an expression as one node, None where there is none. Raises as `computed` does."""
    found = computed(words)
    return sequence(found) if found else None


def test_name(operators: set[str], *, double: bool) -> str:
    """Say "names" where the test looks at a name, "computes" where it computes what its operands hold, else ""."""
    if operators & NAME_TESTS:
        return "names"
    return "computes" if double and operators & ARITHMETIC_TESTS else ""


def computed(words: list[Word]) -> list[Node]:
    """The programs in the words of a test or of arithmetic. Raises where a quoted one holds code: it would run."""
    for word in words:
        if any(piece.part is Part.LITERAL and ("$(" in piece.text or "`" in piece.text) for piece in word.pieces):
            raise UnknownSyntaxError("code quoted inside an expression")
    return inners(words)


def counted(words: list[Word], body: Node) -> Node:
    """The loop `for ((…))`: its expressions are arithmetic. Raises as `computed` does."""
    return Compound(Kind.LOOP, (Compound(Kind.ARITHMETIC, tuple(computed(words))), body))


def chosen(word: Word, patterns: list[Word], parts: list[Node]) -> Node:
    """A case: its word is expanded, and so are its patterns. Raises where a pattern computes or evaluates again."""
    if any(pattern.dynamic & {Part.ARITHMETIC, Part.CODE} for pattern in patterns):
        raise UnknownSyntaxError("arithmetic in a pattern")
    return Compound(Kind.CHOICE, (*inners(patterns), *parts), words=(word,))


def heredoc_text(body: str, operator: str) -> str:
    """A here-document's text with the tabs removed that <<- removes."""
    return re.sub(r"^\t+", "", body, flags=re.MULTILINE) if operator == "<<-" else body


def with_redirects(node: Node, redirects: tuple[Redirect, ...]) -> Node:
    """The same node with these redirections after its own."""
    if isinstance(node, Simple):
        return Simple(node.words, node.assignments, (*node.redirects, *redirects), node.declares)
    return Compound(node.kind, node.parts, (*node.redirects, *redirects), node.name, node.words)
