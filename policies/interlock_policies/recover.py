"""Near misses: a command that would touch another path than it declares, corrected to the declared one. Text only.

It only proposes. Whoever offers a candidate first analyses and decides it again, as the call it would be.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from interlock_policies.paths import is_within, normalised
from interlock_tools.effects import Declaration, Effect, EffectKind

CANDIDATES_MAX = 8
_EFFECTS_MAX = 8
# A word of the shell as it stands between blanks, operators, quotes and the `=` of `of=/path`.
_WORD = re.compile(r"[^\s;|&<>()'\"`=]+")
_GLOB = re.compile(r"[*?\[]")
_PLAIN = re.compile(r"[A-Za-z0-9_./@%+:,-]+")


def correction(command: str, declared: Declaration, undeclared: Sequence[Effect], cwd: str) -> list[str]:
    """Commands like this one in which every undeclared path is replaced by a declared one; best first.

    Empty where an undeclared effect is no path, where no declared path resembles it, or where its word does not stand
    literally in the command. `cwd` is absolute.
    """
    if not undeclared or len(undeclared) > _EFFECTS_MAX:
        return []
    choices: list[list[dict[str, str]]] = []
    for effect in dict.fromkeys(undeclared):
        words = _words_for(effect, command, cwd)
        meant = _meant(effect, declared)
        options = [{word: _spelled(word, effect, path, base) for word in words} for path in meant for base in (cwd, "")]
        if not words or not options:
            return []
        choices.append(options)
    found: list[str] = []
    for rank in range(max(map(len, choices))):
        chosen = [options[min(rank, len(options) - 1)] for options in choices]
        replacements = {word: new for option in chosen for word, new in option.items()}
        if all(_PLAIN.fullmatch(new.rstrip("*?[]!^")) for new in replacements.values()):
            found.append(_replaced(command, replacements))
    return [text for text in dict.fromkeys(found) if text != command][:CANDIDATES_MAX]


def _words_for(effect: Effect, command: str, cwd: str) -> list[str]:
    """The literal words of the command that name the effect's target."""
    target = normalised(effect.target)
    words = dict.fromkeys(_WORD.findall(command))
    return [word for word in words if target and _place(word, effect, cwd) == target]


def _place(word: str, effect: Effect, cwd: str) -> str:
    literal, _ = _split(word, effect)
    return normalised(literal if literal.startswith("/") else f"{cwd}/{literal}")


def _split(word: str, effect: Effect) -> tuple[str, str]:
    """The part of a word that names the effect's target, and the glob after it."""
    glob = None if effect.exact else _GLOB.search(word)
    if glob is None:
        return word, ""
    slash = word.rfind("/", 0, glob.start())
    return (word[:slash] or "/", word[slash:]) if slash >= 0 else (".", word)


def _meant(effect: Effect, declared: Declaration) -> list[str]:
    """The paths that may have been meant: at or below a declared one, with the target's tail; longest tail first."""
    trees = {EffectKind.WRITE: declared.writes, EffectKind.DELETE: declared.deletes}.get(effect.kind, ())
    parts = normalised(effect.target).strip("/").split("/")
    found: list[tuple[int, str]] = []
    for tree in map(normalised, trees):
        tree_parts = tree.strip("/").split("/")
        for at, part in enumerate(parts):
            if part and part == tree_parts[-1]:
                path = "/".join([tree, *parts[at + 1 :]])
                found.append((_common_tail(parts[: at + 1], tree_parts), path))
    ranked = sorted(found, key=lambda entry: (-entry[0], len(entry[1])))
    return list(dict.fromkeys(path for _, path in ranked))


def _common_tail(left: Sequence[str], right: Sequence[str]) -> int:
    count = 0
    for one, other in zip(reversed(left), reversed(right), strict=False):
        if one != other:
            break
        count += 1
    return count


def _spelled(word: str, effect: Effect, path: str, base: str) -> str:
    """The path as the word has it: relative to `base` where it lies below, with the word's own glob and slash."""
    literal, glob = _split(word, effect)
    ending = "/" if literal.endswith("/") and literal != "/" and not glob else ""
    if base and path != base and is_within(path, base):
        return "./" + path.removeprefix(base).lstrip("/") + ending + glob
    return path + ending + glob


def _replaced(command: str, replacements: dict[str, str]) -> str:
    return _WORD.sub(lambda match: replacements.get(match[0], match[0]), command)
