"""Reader one of two: the tree that shfmt (mvdan/sh) prints as JSON, as normalised syntax; it never starts shfmt."""

from __future__ import annotations

from interlock_policies.shell.expressions import (
    UnknownSyntaxError,
    chosen,
    computed,
    counted,
    heredoc_text,
    inners,
    test_name,
    with_redirects,
)
from interlock_policies.shell.shfmt_words import Json, ShfmtWords
from interlock_policies.shell.syntax import Compound, Kind, Node, Redirect, Simple, Word, literal, sequence
from interlock_policies.shell.words import WordBuilder, double_quoted


class ShfmtRefused(Exception):
    """shfmt did not read the text: a syntax error, its time limit or its output limit."""


class ShfmtReader(ShfmtWords):
    """Turns shfmt's JSON into syntax. Raises UnknownSyntaxError for what it does not know."""

    def program(self, tree: Json) -> Node:
        """The whole program."""
        return self.statements(tree.get("Stmts"))

    def statements(self, statements: list[Json] | None) -> Node:
        """These statements, one after the other."""
        return sequence([self._statement(statement) for statement in statements or []])

    def _statement(self, statement: Json) -> Node:
        redirects = tuple(self._redirect(redirect) for redirect in statement.get("Redirs") or [])
        command = statement.get("Cmd")
        node: Node = Simple() if command is None else self._command(command)
        if redirects:
            node = with_redirects(node, redirects)
        if statement.get("Negated"):
            node = Compound(Kind.NEGATED, (node,))
        if statement.get("Coprocess"):
            node = Compound(Kind.COPROCESS, (node,))
        if statement.get("Background"):
            node = Compound(Kind.BACKGROUND, (node,))
        return node

    def _command(self, command: Json) -> Node:
        kind = command["Type"]
        match kind:
            case "CallExpr":
                return self._call(command)
            case "BinaryCmd":
                return self._binary(command)
            case "Block":
                return Compound(Kind.GROUP, (self.statements(command.get("Stmts")),))
            case "Subshell":
                return Compound(Kind.SUBSHELL, (self.statements(command.get("Stmts")),))
            case "IfClause":
                return self._if(command)
            case "WhileClause":
                parts = (self.statements(command.get("Cond")), self.statements(command.get("Do")))
                return Compound(Kind.LOOP, parts)
            case "ForClause":
                return self._for(command)
            case "CaseClause":
                return self._case(command)
            case "FuncDecl":
                return Compound(Kind.FUNCTION, (self._statement(command["Body"]),), name=command["Name"]["Value"])
            case "TimeClause":
                return self._time(command)
            case "CoprocClause":
                return Compound(Kind.COPROCESS, (self._statement(command["Stmt"]),))
            case "TestClause":
                return self._test(command)
            case "ArithmCmd":
                return Compound(Kind.ARITHMETIC, tuple(computed(self.expression(command.get("X")))))
            case "LetClause":
                words = [word for each in command.get("Exprs") or [] for word in self.expression(each)]
                return Compound(Kind.ARITHMETIC, tuple(computed(words)))
            case "DeclClause":
                return self._declaration(command)
        raise UnknownSyntaxError(f"the construct {kind}")

    def _call(self, command: Json) -> Node:
        words = tuple(word for each in command.get("Args") or [] for word in self.words(each))
        assignments = tuple(self.assignment(each) for each in command.get("Assigns") or [])
        if words and words[0].literal == "[" and words[-1].literal == "]" and not assignments:
            operators = {word.literal for word in words if word.literal}
            name = test_name(operators, double=False)
            found = computed(list(words)) if name else inners(list(words))
            return Compound(Kind.TEST, tuple(found), name=name)
        return Simple(words, assignments)

    def _binary(self, command: Json) -> Node:
        kinds = {"|": Kind.PIPE, "|&": Kind.PIPE, "&&": Kind.AND, "||": Kind.OR}
        kind = kinds.get(command["Op"])
        if kind is None:
            raise UnknownSyntaxError(f"the operator {command['Op']}")
        return Compound(kind, (self._statement(command["X"]), self._statement(command["Y"])))

    def _if(self, command: Json) -> Node:
        parts = [self.statements(command.get("Cond")), self.statements(command.get("Then"))]
        other = command.get("Else")
        if other:
            parts.append(self._if(other) if other.get("Cond") else self.statements(other.get("Then")))
        return Compound(Kind.BRANCH, tuple(parts))

    def _for(self, command: Json) -> Node:
        loop = command["Loop"]
        body = self.statements(command.get("Do"))
        if loop["Type"] == "WordIter":
            words = tuple(word for each in loop.get("Items") or [] for word in self.words(each))
            return Compound(Kind.LOOP, (body,), name=loop["Name"]["Value"], words=words)
        return counted([word for part in ("Init", "Cond", "Post") for word in self.expression(loop.get(part))], body)

    def _case(self, command: Json) -> Node:
        patterns: list[Word] = []
        parts = []
        for item in command.get("Items") or []:
            patterns.extend(self.word(pattern) for pattern in item.get("Patterns") or [])
            parts.append(self.statements(item.get("Stmts")))
        return chosen(self.word(command["Word"]), patterns, parts)

    def _time(self, command: Json) -> Node:
        words = (literal("time"), *([literal("-p")] if command.get("PosixFormat") else []))
        if not command.get("Stmt"):
            return Simple(words)
        timed = self._statement(command["Stmt"])
        if isinstance(timed, Simple) and not timed.assignments:
            return Simple((*words, *timed.words), (), timed.redirects)
        return timed

    def _test(self, command: Json) -> Node:
        operators: set[str] = set()
        words = self.expression(command.get("X"), operators)
        name = test_name(operators, double=True)
        return Compound(Kind.TEST, tuple(computed(words) if name else inners(words)), name=name)

    def _declaration(self, command: Json) -> Node:
        words = [literal(command["Variant"]["Value"])]
        assignments = []
        for argument in command.get("Args") or []:
            if not argument.get("Naked"):
                assignments.append(self.assignment(argument))
            elif argument.get("Name"):
                words.append(literal(argument["Name"]["Value"]))
            else:
                words.extend(self.words(argument["Value"]))
        return Simple(tuple(words), tuple(assignments), declares=True)

    def _redirect(self, redirect: Json) -> Redirect:
        descriptor = (redirect.get("N") or {}).get("Value", "")
        operator = redirect["Op"]
        body = redirect.get("Hdoc")
        if operator in ("<<", "<<-"):
            quoted = any(part["Type"] != "Lit" or "\\" in part["Value"] for part in redirect["Word"]["Parts"])
            text = self._heredoc(body or {}, operator, quoted=quoted)
            return Redirect(operator, descriptor, body=text)
        return Redirect(operator, descriptor, self.word(redirect["Word"]))

    def _heredoc(self, body: Json, operator: str, *, quoted: bool) -> Word:
        build = WordBuilder()
        for part in body.get("Parts") or []:
            if part["Type"] == "Lit":
                text = heredoc_text(part.get("Value", ""), operator)
                build.quoted(text if quoted else double_quoted(text))
            else:
                self.part(build, part, quoted=True)
        return build.word()
