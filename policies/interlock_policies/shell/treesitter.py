"""Reader two of two: tree-sitter's bash grammar as normalised syntax; it keeps one parser and never guesses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import tree_sitter
import tree_sitter_bash

from interlock_policies.shell.expressions import UnknownSyntaxError, chosen, computed, counted, inners, test_name
from interlock_policies.shell.syntax import Assignment, Compound, Kind, Node, Redirect, Simple, Word, literal, sequence
from interlock_policies.shell.treesitter_redirects import CONNECTORS, REDIRECTS, TreeRedirects, with_later
from interlock_policies.shell.treesitter_words import Tree

TREE_DEPTH_MAX = 120


class TreeSitterReader:
    """Turns program text into syntax. The parser object is made once and reused."""

    def __init__(self) -> None:
        self._parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_bash.language()))

    def program(self, text: str) -> Node:
        """The whole program. Raises UnknownSyntaxError for errors and for what this reader does not know."""
        root = self._parser.parse(text.encode()).root_node
        if root.has_error:
            raise UnknownSyntaxError("a syntax error")
        return _Walk(text.encode()).statements(root.children)


class _Walk(TreeRedirects):
    """One walk over one tree: its statements."""

    def __init__(self, source: bytes) -> None:
        super().__init__(source)
        self._depth = 0

    def statements(self, children: Sequence[Tree]) -> Node:
        """A list of statements; `&` puts the one before it into the background."""
        out: list[Node] = []
        for child in children:
            if child.type == "&" and out:
                out[-1] = Compound(Kind.BACKGROUND, (out[-1],))
            elif child.is_named and child.type != "comment":
                out.append(self.statement(child))
        return sequence(out)

    def statement(self, node: Tree) -> Node:
        """One statement."""
        self._depth += 1
        if self._depth > TREE_DEPTH_MAX:
            raise UnknownSyntaxError("nesting too deep")
        method = getattr(self, f"_on_{node.type}", None)
        if method is None:
            raise UnknownSyntaxError(f"the construct {node.type}")
        found: Node = method(node)
        self._depth -= 1
        return found

    def _on_command(self, node: Tree) -> Node:
        words: list[Word] = []
        assignments: list[Assignment] = []
        redirects: list[Redirect] = []
        for child in node.children:
            if child.type == "command_name":
                if child.child_count != 1:
                    raise UnknownSyntaxError("a program name of several parts")
                words.extend(self.words(child.children[0]))
            elif child.type == "variable_assignment":
                assignments.append(self.assignment(child))
            elif child.type in REDIRECTS:
                redirects.append(self.redirect(child)[0])
                words.extend(self.taken())
            elif child.type == "subshell":
                raise UnknownSyntaxError("a subshell inside a command")
            elif child.is_named or child.type in ("==", "=~", "$"):
                words.extend(self.words(child) if child.type != "comment" else ())
            else:
                raise UnknownSyntaxError(f"the token {child.type}")
        if words and words[0].literal == "let":
            return Compound(Kind.ARITHMETIC, tuple(computed(words)))
        return Simple(tuple(words), tuple(assignments), tuple(redirects))

    def _on_list(self, node: Tree) -> Node:
        left, operator, right = (child for child in node.children if child.type != "comment")
        return Compound(CONNECTORS[operator.type], (self.statement(left), self.statement(right)))

    def _on_pipeline(self, node: Tree) -> Node:
        stages = [self.statement(child) for child in node.children if child.is_named and child.type != "comment"]
        out = stages[0]
        for stage in stages[1:]:
            out = Compound(Kind.PIPE, (out, stage))
        return out

    def _on_negated_command(self, node: Tree) -> Node:
        return Compound(Kind.NEGATED, (self.statements(node.children),))

    def _on_subshell(self, node: Tree) -> Node:
        return Compound(Kind.SUBSHELL, (self.statements(node.children),))

    def _on_compound_statement(self, node: Tree) -> Node:
        if node.children[0].type == "((":
            return Compound(Kind.ARITHMETIC, tuple(computed(self.expressions(node))))
        return Compound(Kind.GROUP, (self.statements(node.children),))

    def _on_if_statement(self, node: Tree) -> Node:
        groups: list[list[Tree]] = [[]]
        clauses: list[Tree] = []
        for child in node.children:
            if child.type in ("elif_clause", "else_clause"):
                clauses.append(child)
            elif child.type == "then":
                groups.append([])
            else:
                groups[-1].append(child)
        parts = [self.statements(group) for group in groups]
        if clauses:
            parts.append(self._otherwise(clauses))
        return Compound(Kind.BRANCH, tuple(parts))

    def _otherwise(self, clauses: list[Tree]) -> Node:
        first, rest = clauses[0], clauses[1:]
        if first.type == "else_clause":
            return self.statements(first.children)
        at = next(i for i, child in enumerate(first.children) if child.type == "then")
        parts = [self.statements(first.children[:at]), self.statements(first.children[at:])]
        if rest:
            parts.append(self._otherwise(rest))
        return Compound(Kind.BRANCH, tuple(parts))

    def _on_while_statement(self, node: Tree) -> Node:
        body = next(child for child in node.children if child.type == "do_group")
        condition = [child for child in node.children if child.type != "do_group"]
        return Compound(Kind.LOOP, (self.statements(condition), self.statements(body.children)))

    def _on_for_statement(self, node: Tree) -> Node:
        name, body = "", None
        words: list[Word] = []
        for child in node.children:
            if child.type == "variable_name" and not name:
                name = self.text(child)
            elif child.type in ("do_group", "compound_statement"):
                body = self.statements(child.children)
            elif child.is_named and child.type != "comment":
                words.extend(self.words(child))
        if body is None:
            raise UnknownSyntaxError("a loop without a body")
        return Compound(Kind.LOOP, (body,), name=name, words=tuple(words))

    def _on_c_style_for_statement(self, node: Tree) -> Node:
        words: list[Word] = []
        body: Node = Simple()
        for child in node.children:
            if child.type in ("do_group", "compound_statement"):
                body = self.statements(child.children)
            elif child.is_named:
                words.extend(self.expressions(child))
        return counted(words, body)

    def _on_case_statement(self, node: Tree) -> Node:
        words: list[Word] = []
        patterns: list[Word] = []
        parts: list[Node] = []
        for child in node.children:
            if child.type == "case_item":
                values = child.children_by_field_name("value")
                for value in values:
                    patterns.extend(self.expressions(value))
                rest = [each for each in child.children if each.id not in {value.id for value in values}]
                parts.append(self.statements(rest))
            elif child.is_named and child.type != "comment":
                words.append(self.word(child))
        if len(words) != 1:
            raise UnknownSyntaxError("a case of an unusual form")
        return chosen(words[0], patterns, parts)

    def _on_function_definition(self, node: Tree) -> Node:
        name = node.child_by_field_name("name")
        body = node.child_by_field_name("body")
        if name is None or body is None or node.children_by_field_name("redirect"):
            raise UnknownSyntaxError("a function of an unusual form")
        return Compound(Kind.FUNCTION, (self.statement(body),), name=self.text(name))

    def _on_test_command(self, node: Tree) -> Node:
        double = node.children[0].type == "[["
        operators = {self.text(each) for each in _descendants(node) if each.type == "test_operator"}
        name = test_name(operators, double=double)
        words = self.expressions(node)
        return Compound(Kind.TEST, tuple(computed(words) if name else inners(words)), name=name)

    def _on_declaration_command(self, node: Tree) -> Node:
        words: list[Word] = []
        assignments: list[Assignment] = []
        for child in node.children:
            if not child.is_named:
                words.append(literal(self.text(child)))
            elif child.type == "variable_assignment":
                assignments.append(self.assignment(child))
            else:
                words.extend(self.words(child))
        return Simple(tuple(words), tuple(assignments), declares=True)

    def _on_unset_command(self, node: Tree) -> Node:
        words = [literal(self.text(node.children[0]))]
        for child in node.children[1:]:
            words.extend(self.words(child))
        return Simple(tuple(words))

    def _on_variable_assignment(self, node: Tree) -> Node:
        return Simple((), (self.assignment(node),))

    def _on_variable_assignments(self, node: Tree) -> Node:
        return Simple((), tuple(self.assignment(child) for child in node.children if child.is_named))

    def _on_redirected_statement(self, node: Tree) -> Node:
        bodies = [c for c in node.children if c.is_named and c.type not in REDIRECTS and c.type != "comment"]
        if len(bodies) > 1:
            raise UnknownSyntaxError("a redirection around several statements")
        body: Node = self.statement(bodies[0]) if bodies else Simple()
        redirects: list[Redirect] = []
        after: list[tuple[Kind, Node]] = []
        for child in node.children:
            if child.type in REDIRECTS:
                first, *more = self.redirect(child, after)
                redirects += [first, *more]
        body = with_later(body, tuple(redirects), self.taken())
        for kind, following in after:
            body = Compound(kind, (body, following))
        return body


def _descendants(node: Tree) -> Iterator[Tree]:
    todo = [node]
    while todo:
        each = todo.pop()
        yield each
        todo.extend(each.children)
