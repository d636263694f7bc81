"""Words, assignments and expressions in tree-sitter's tree, as normalised syntax; statements are the reader's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import tree_sitter

from interlock_policies.shell.expressions import UnknownSyntaxError, heredoc_text, inner_of, inners
from interlock_policies.shell.syntax import Assignment, Node, Part, Piece, Word, literal
from interlock_policies.shell.words import WordBuilder, ansi_c, double_quoted

_EXPRESSIONS = frozenset({
    "test_command", "binary_expression", "unary_expression", "parenthesized_expression", "ternary_expression",
    "postfix_expression", "subscript", "extglob_pattern", "compound_statement", "arithmetic_expansion",
})  # fmt: skip
_LEAVES = frozenset({"test_operator", "variable_name", "number", "regex", "file_descriptor", "comment"})
_BARE_WORDS = frozenset({"word", "number", "variable_name", "special_variable_name", "brace_expression"})

Tree = tree_sitter.Node


class TreeWords(ABC):
    """The half of the reader that turns words into pieces."""

    def __init__(self, source: bytes) -> None:
        self._source = source

    @abstractmethod
    def statements(self, children: Sequence[Tree]) -> Node:
        """A list of statements."""

    @abstractmethod
    def substitution(self, node: Tree) -> Node:
        """The program of a command substitution."""

    def text(self, node: Tree) -> str:
        """The node's own text."""
        return self._source[node.start_byte : node.end_byte].decode()

    def heredoc_body(self, node: Tree, operator: str, *, quoted: bool) -> Word:
        """The text of a here-document."""
        if quoted:
            return literal(heredoc_text(self.text(node), operator))
        build = WordBuilder()
        at = node.start_byte
        for child in node.children:
            if child.type == "heredoc_content" or not child.is_named:
                continue
            build.quoted(double_quoted(self._source[at : child.start_byte].decode()))
            self._piece(build, child, quoted=True)
            at = child.end_byte
        build.quoted(double_quoted(heredoc_text(self._source[at : node.end_byte].decode(), operator)))
        return build.word()

    def assignment(self, node: Tree) -> Assignment:
        """One assignment."""
        name, value, computed = "", literal(""), []
        subscripted = False
        for child in node.children:
            if child.type == "variable_name":
                name = self.text(child)
            elif child.type == "subscript":
                computed = self.expressions(child)
                name = self.text(child).split("[", 1)[0]
                subscripted = True
            elif child.type == "array":
                elements = [w for e in child.children if e.is_named and e.type != "comment" for w in self.words(e)]
                value = Word((Piece(Part.ARRAY, inner=inner_of(elements)),))
            elif child.is_named:
                value = self.word(child)
        if inners(computed):
            value = Word((*value.pieces, Piece(Part.ARITHMETIC, inner=inner_of(computed))))
        return Assignment(name, value, subscripted)

    def expressions(self, node: Tree) -> list[Word]:
        """The words in a test or an arithmetic expression."""
        if node.type == "variable_assignment":
            return [self.assignment(node).value]
        if node.type not in _EXPRESSIONS:
            return [] if node.type in _LEAVES else [self.word(node)]
        return [word for child in node.children if child.is_named for word in self.expressions(child)]

    def words(self, node: Tree) -> tuple[Word, ...]:
        """The words that one word of the grammar expands to."""
        build = WordBuilder()
        self._piece(build, node, quoted=False)
        return build.words()

    def word(self, node: Tree) -> Word:
        """The word where no brace expansion happens."""
        build = WordBuilder()
        self._piece(build, node, quoted=False)
        return build.word()

    def _piece(self, build: WordBuilder, node: Tree, *, quoted: bool) -> None:
        kind = node.type
        if kind in _BARE_WORDS or not node.is_named:
            if kind == "word" and node.named_child_count:
                raise UnknownSyntaxError("a word of several parts")
            build.unquoted(self.text(node))
        elif kind == "raw_string":
            build.quoted(self.text(node)[1:-1])
        elif kind == "ansi_c_string":
            build.quoted(ansi_c(self.text(node)[2:-1]))
        elif kind == "string":
            self._string(build, node)
        elif kind == "translated_string":
            self._string(build, node.children[-1])
        elif kind == "concatenation":
            for child in node.children:
                self._piece(build, child, quoted=quoted)
        else:
            self._dynamic(build, node)

    def _string(self, build: WordBuilder, node: Tree) -> None:
        build.quoted("")
        at = node.start_byte + 1
        for child in node.children:
            if child.type in ('"', "string_content", "$") or not child.is_named:
                continue
            start = child.start_byte
            while start < child.end_byte and self._source[start : start + 1].isspace():
                start += 1  # the grammar counts blanks before a backquote as part of the substitution
            build.quoted(double_quoted(self._source[at:start].decode()))
            self._piece(build, child, quoted=True)
            at = child.end_byte
        build.quoted(double_quoted(self._source[at : node.end_byte - 1].decode()))

    def _dynamic(self, build: WordBuilder, node: Tree) -> None:
        match node.type:
            case "simple_expansion":
                build.dynamic(Part.VARIABLE, self.text(node)[1:])
            case "expansion":
                self._expansion(build, node)
            case "command_substitution":
                build.dynamic(Part.COMMAND, inner=self.substitution(node))
            case "process_substitution":
                build.dynamic(Part.PROCESS, node.children[0].type, self.statements(node.children))
            case "arithmetic_expansion":
                build.dynamic(Part.ARITHMETIC, inner=inner_of(self.expressions(node)))
            case "extglob_pattern" | "regex":
                if any(char in self.text(node) for char in "$`"):
                    raise UnknownSyntaxError("an expansion inside a pattern")
                build.dynamic(Part.EXTGLOB)
            case other:
                raise UnknownSyntaxError(f"the word part {other}")

    def _expansion(self, build: WordBuilder, node: Tree) -> None:
        inside = [child for child in node.children if child.type not in ("${", "}")]
        if len(inside) == 1 and inside[0].type in ("variable_name", "special_variable_name"):
            build.dynamic(Part.VARIABLE, self.text(inside[0]))
            return
        tokens = {child.type for child in inside if not child.is_named}
        words: list[Word] = []
        for child in inside:
            if child.type == "regex" and any(char in self.text(child) for char in "$`"):
                raise UnknownSyntaxError("an expansion inside a pattern")
            if child.is_named and child.type not in _LEAVES and child.type != "special_variable_name":
                words += self.expressions(child)
        build.dynamic(Part.CODE if {"!", "@"} & tokens else Part.VARIABLE, inner=inner_of(words))
