"""Which names a program sets, and which of their values may be believed; it only looks at the tree."""

from __future__ import annotations

from dataclasses import dataclass

from interlock_policies.shell.syntax import Compound, Kind, Node, Word, simple_commands

# Builtins that set the variables they name; their values come from elsewhere.
_SETTERS = frozenset({
    "read", "mapfile", "readarray", "printf", "getopts", "unset", "eval", "source", ".", "let", "wait",
})  # fmt: skip
_FROM_OUTSIDE = frozenset({"read", "mapfile", "readarray"})


@dataclass(frozen=True, slots=True)
class Names:
    """`functions`: those it defines. `unbound`: variables whose values must not be believed anywhere."""

    functions: frozenset[str]
    unbound: frozenset[str]
    outside_values: bool


def learned(node: Node) -> Names:
    """The names that a program defines or sets by means that this analysis does not follow."""
    functions: set[str] = set()
    unbound: set[str] = set()
    outside = False
    for compound in _compounds(node):
        if compound.kind is Kind.FUNCTION:
            functions.add(compound.name)
            unbound |= assigned(compound)
    for simple in simple_commands(node):
        names = {word.literal for word in simple.words if word.literal}
        if names & _SETTERS:
            unbound |= {name.split(mark, 1)[0] for name in names for mark in ("[", "=")}
            outside = outside or bool(names & _FROM_OUTSIDE)
    return Names(frozenset(functions), frozenset(unbound), outside)


def assigned(node: Node) -> set[str]:
    """Every variable that is assigned somewhere in a tree, loop variables included."""
    names = {assignment.name for simple in simple_commands(node) for assignment in simple.assignments}
    names |= {compound.name for compound in _compounds(node)}
    return names - {""}


def changes_directory(node: Node) -> bool:
    """True where a command in it may change the working directory."""
    names = {each.words[0].literal for each in simple_commands(node) if each.words}
    return bool(names & {"cd", "pushd", "popd", "eval", "source", ".", "command", "builtin", None})


def _compounds(node: Node) -> list[Compound]:
    """Every compound command of a tree, those inside substitutions excepted."""
    found: list[Compound] = []
    todo: list[Node] = [node]
    while todo:
        each = todo.pop()
        if isinstance(each, Compound):
            found.append(each)
            todo.extend(each.parts)
    return found


def plain_value(word: Word) -> Word | None:
    """The word where it is one literal that an unquoted expansion leaves as it is, else None."""
    text = word.literal
    return word if text and not any(char in " \t\n*?[" for char in text) else None
