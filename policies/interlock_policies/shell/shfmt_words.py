"""Words, assignments and expressions in shfmt's JSON, as normalised syntax; statements are the reader's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from interlock_policies.shell.expressions import UnknownSyntaxError, inner_of, inners
from interlock_policies.shell.syntax import Assignment, Node, Part, Piece, Word, literal
from interlock_policies.shell.words import WordBuilder, ansi_c, double_quoted

Json = Mapping[str, Any]
_PLAIN_EXPANSION = frozenset({"Type", "Pos", "End", "Dollar", "Rbrace", "Short", "Param"})


class ShfmtWords(ABC):
    """The half of the reader that turns words into pieces."""

    @abstractmethod
    def statements(self, statements: list[Json] | None) -> Node:
        """These statements, one after the other."""

    def assignment(self, assignment: Json) -> Assignment:
        """One assignment."""
        name = (assignment.get("Name") or {}).get("Value", "")
        words = self.expression(assignment.get("Index"))
        if assignment.get("Array"):
            for element in assignment["Array"].get("Elems") or []:
                words += self.expression(element.get("Index"))
                words += self.words(element["Value"]) if element.get("Value") else []
            return Assignment(name, Word((Piece(Part.ARRAY, inner=inner_of(words)),)))
        value = self.word(assignment["Value"]) if assignment.get("Value") else literal("")
        if inners(words):
            value = Word((*value.pieces, Piece(Part.ARITHMETIC, inner=inner_of(words))))
        return Assignment(name, value, subscripted=bool(assignment.get("Index")))

    def expression(self, node: Any, operators: set[str] | None = None) -> list[Word]:
        """The words in a test or an arithmetic expression; its operators are added to `operators`."""
        if not node:
            return []
        if "Parts" in node:
            return [self.word(node)]
        kind = node.get("Type")
        if operators is not None:
            operators.add(node.get("Op", ""))
        if kind in ("BinaryTest", "BinaryArithm"):
            return self.expression(node.get("X"), operators) + self.expression(node.get("Y"), operators)
        if kind in ("UnaryTest", "ParenTest", "UnaryArithm", "ParenArithm"):
            return self.expression(node.get("X"), operators)
        if kind == "Word":
            return []
        raise UnknownSyntaxError(f"the expression {kind}")

    def words(self, word: Json) -> tuple[Word, ...]:
        """The words that one word expands to."""
        return self._build(word).words()

    def word(self, word: Json) -> Word:
        """The word where no brace expansion happens."""
        return self._build(word).word()

    def _build(self, word: Json) -> WordBuilder:
        build = WordBuilder()
        for part in word.get("Parts") or []:
            self.part(build, part, quoted=False)
        return build

    def part(self, build: WordBuilder, part: Json, *, quoted: bool) -> None:
        """Add one part of a word."""
        match part["Type"]:
            case "Lit":
                text = part.get("Value", "")
                build.quoted(double_quoted(text)) if quoted else build.unquoted(text)
            case "SglQuoted":
                text = part.get("Value", "")
                build.quoted(ansi_c(text) if part.get("Dollar") else text)
            case "DblQuoted":
                build.quoted("")
                for inside in part.get("Parts") or []:
                    self.part(build, inside, quoted=True)
            case "ParamExp":
                self._expansion(build, part)
            case "CmdSubst":
                build.dynamic(Part.COMMAND, inner=self.statements(part.get("Stmts")))
            case "ProcSubst":
                build.dynamic(Part.PROCESS, part.get("Op", ""), self.statements(part.get("Stmts")))
            case "ArithmExp":
                build.dynamic(Part.ARITHMETIC, inner=inner_of(self.expression(part.get("X"))))
            case "ExtGlob":
                build.dynamic(Part.EXTGLOB)
            case other:
                raise UnknownSyntaxError(f"the word part {other}")

    def _expansion(self, build: WordBuilder, part: Json) -> None:
        name = (part.get("Param") or {}).get("Value", "")
        if _PLAIN_EXPANSION.issuperset(part):
            build.dynamic(Part.VARIABLE, name)
            return
        again = part.get("Excl") or (part.get("Exp") or {}).get("Op") == "@"
        words = self.expression(part.get("Index"))
        for group in ("Slice", "Repl", "Exp"):
            for value in (part.get(group) or {}).values():
                if isinstance(value, dict):
                    words += self.expression(value)
        build.dynamic(Part.CODE if again else Part.VARIABLE, inner=inner_of(words))
