"""The shell's own commands that change its state: cd, set, exit, eval; the others are in the table."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, replace

from interlock_policies.shell.findings import Findings
from interlock_policies.shell.options import joined
from interlock_policies.shell.sensitive import check_names
from interlock_policies.shell.state import State, targets
from interlock_policies.shell.syntax import Simple, Word
from interlock_tools.effects import Effect, EffectKind

# After these the directory and the variables may be any.
CHANGES_SHELL = frozenset({"eval", "source", "."})
_TAKE_NAMES = frozenset({"read", "printf", "unset", "mapfile", "readarray", "getopts", "wait", "test", "["})
_PREFIXES = frozenset({"command", "builtin"})


@dataclass(frozen=True, slots=True)
class Moved:
    """The states after success and after failure, as of a builtin that changes them."""

    ok: State | None
    fail: State | None


def moves(node: Simple, state: State, findings: Findings) -> Moved | str | None:
    """What a builtin makes of the state; a text where it is to be evaluated here; None where it is no such builtin."""
    words = tuple(state.expand(word) for word in node.words)
    words = _without_prefixes(words, keyword=not node.assignments)
    name, arguments = words[0].literal, words[1:]
    if name in _TAKE_NAMES:
        check_names(_names(name, arguments), findings)
    match name:
        case "cd" | "pushd":
            findings.programs[name] = None
            moved = _directory(name, arguments, state)
            for place in moved.ok.directories if moved.ok else ():
                if place is not None and place not in state.directories:
                    findings.add(Effect(EffectKind.READ, place, "cd"))
            return moved
        case "popd":
            return Moved(state.moved((None,)), state)
        case "set":
            return _options(arguments, state)
        case "exit":
            plain = not node.redirects and all((word.literal or "").isdigit() for word in arguments)
            return Moved(None, None) if plain and len(arguments) < 2 else None
        case "eval":
            return joined(arguments) if arguments else None
    return None


def _without_prefixes(words: tuple[Word, ...], *, keyword: bool) -> tuple[Word, ...]:
    """The builtin that runs in this very shell after `command`, `builtin` and (where it is the keyword) `time`."""
    while len(words) > 1 and (words[0].literal in _PREFIXES or (keyword and words[0].literal == "time")):
        rest = words[1:]
        while len(rest) > 1 and rest[0].literal in ("-p", "--"):
            rest = rest[1:]
        if rest[0].prefix.startswith("-"):
            break
        words = rest
    return words


def _names(name: str, arguments: tuple[Word, ...]) -> tuple[Word, ...]:
    """The words that the builtin may take as variables' names."""
    if name == "printf":
        return arguments[1:2] if arguments and arguments[0].literal == "-v" else ()
    if name in ("test", "["):
        return arguments if any(word.literal in ("-v", "-R") for word in arguments) else ()
    return arguments


def _directory(name: str, arguments: tuple[Word, ...], state: State) -> Moved:
    flags = [word for word in arguments if word.literal in ("-P", "-L", "-e", "--")]
    places = [word for word in arguments if word not in flags]
    if not places:
        return Moved(state.moved((state.home,) if name == "cd" else (None,)), state)
    first = places[0]
    if len(places) > 1 or (first.literal is not None and first.literal.startswith(("-", "+"))):
        return Moved(state.moved((None,)), state)
    if first.literal == "":
        return Moved(state, state)
    found = targets(first, state) if first.literal is not None else None
    if found is None:
        return Moved(state.moved((None,)), state)
    if any(word.literal == "-P" for word in flags):
        return Moved(state.moved((None,)), state)
    # Without -P the shell takes `..` away as text, as its $PWD has it.
    return Moved(state.moved(tuple(posixpath.normpath(target.path) for target in found)), state)


def _options(arguments: tuple[Word, ...], state: State) -> Moved | None:
    texts = [word.literal or "" for word in arguments]
    for at, text in enumerate(texts):
        named = text in ("-o", "+o") and texts[at + 1 : at + 2] == ["errexit"]
        if named or ("e" in text and text[0] in "-+" and not text.startswith("--")):
            changed = replace(state, strict=text.startswith("-"))
            return Moved(changed, changed)
    return None
