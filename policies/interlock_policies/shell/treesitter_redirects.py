"""Redirections, here-documents and substitutions in tree-sitter's tree; statements are the reader's."""

from __future__ import annotations

from abc import abstractmethod

from interlock_policies.shell.expressions import UnknownSyntaxError, with_redirects
from interlock_policies.shell.syntax import Kind, Node, Redirect, Simple, Word, literal
from interlock_policies.shell.treesitter_words import Tree, TreeWords

REDIRECTS = frozenset({"file_redirect", "heredoc_redirect", "herestring_redirect"})
CONNECTORS = {"&&": Kind.AND, "||": Kind.OR, "|": Kind.PIPE, "|&": Kind.PIPE}


class TreeRedirects(TreeWords):
    """The part of the reader that knows what the grammar hangs below a redirection."""

    def __init__(self, source: bytes) -> None:
        super().__init__(source)
        self._later: list[Word] = []

    @abstractmethod
    def statement(self, node: Tree) -> Node:
        """One statement."""

    def redirect(self, node: Tree, after: list[tuple[Kind, Node]] | None = None) -> list[Redirect]:
        """The redirection, and those that the grammar hangs below it; what follows a here-document goes to `after`."""
        if node.type == "heredoc_redirect":
            return self._heredoc(node, after)
        descriptor, operator, targets = "", "", []
        for child in node.children:
            if child.type == "file_descriptor":
                descriptor = self.text(child)
            elif not child.is_named:
                operator = self.text(child)
            else:
                targets.append(child)
        if operator in (">&-", "<&-") and not targets:
            return [Redirect(operator[:2], descriptor, literal("-"))]
        if not targets:
            raise UnknownSyntaxError("a redirection without a target")
        for target in targets[1:]:  # the grammar hangs the arguments that follow a redirection below it
            self._later.extend(self.words(target))
        return [Redirect(operator, descriptor, self.word(targets[0]))]

    def taken(self) -> tuple[Word, ...]:
        """The words found after redirections since the last time this was asked."""
        later = tuple(self._later)
        self._later.clear()
        return later

    def _heredoc(self, node: Tree, after: list[tuple[Kind, Node]] | None) -> list[Redirect]:
        operator, descriptor, quoted = "<<", "", False
        body = literal("")
        more: list[Redirect] = []
        kind: Kind | None = None
        for child in node.children:
            if child.type in ("<<", "<<-"):
                operator = child.type
            elif child.type == "file_descriptor":
                descriptor = self.text(child)
            elif child.type == "heredoc_start":
                quoted = any(char in self.text(child) for char in "'\"\\")
            elif child.type == "heredoc_body":
                body = self.heredoc_body(child, operator, quoted=quoted)
            elif child.type in REDIRECTS:
                more += self.redirect(child, after)
            elif child.type in CONNECTORS:
                kind = CONNECTORS[child.type]
            elif child.type == "pipeline" and after is not None:
                after.append((Kind.PIPE, self.statement(child)))
            elif child.is_named and child.type != "heredoc_end":
                if kind is None or after is None:
                    raise UnknownSyntaxError("words after a here-document")
                after.append((kind, self.statement(child)))
        return [Redirect(operator, descriptor, body=body), *more]

    def substitution(self, node: Tree) -> Node:
        """The program of a command substitution."""
        redirects = [
            redirect for child in node.children if child.type in REDIRECTS for redirect in self.redirect(child)
        ]
        if self.taken():
            raise UnknownSyntaxError("words after a redirection")
        if redirects:
            return Simple((), (), tuple(redirects))
        return self.statements(node.children)


def with_later(node: Node, redirects: tuple[Redirect, ...], later: tuple[Word, ...]) -> Node:
    """The node with redirections, and with the arguments that stood after them."""
    if later and not isinstance(node, Simple):
        raise UnknownSyntaxError("words after a redirection")
    if isinstance(node, Simple):
        node = Simple((*node.words, *later), node.assignments, node.redirects, node.declares)
    return with_redirects(node, redirects)
