"""Alike: which measured paths no loaded rule can tell apart, so that one question stands for all. It guesses nothing.

A rule sees of a path its classes and what they touch, and further only what its text names: directories
(`Dir::"/srv"`), paths (`Path::"/x"`, `resource.path == "/x"`) and patterns (`resource.path like "*.lock"`). Two changes
with the same classes that are in the same named directories and match the same patterns are one question. Every single
path is classified and compared; nothing is sampled. Where a rule looks at paths in any other way, each path is a
question of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from interlock_policies.facts import HostFacts
from interlock_policies.paths import is_within, normalised, reach
from interlock_policies.questions import (
    CHANGED_PATHS,
    Question,
    ancestors,
    clean,
    declared_only,
    question_of,
    questions,
    with_whole,
)
from interlock_policies.scope import is_sink
from interlock_tools.call import Call
from interlock_tools.effects import Effect, EffectKind, Effects

# A diff that deletes so many entries of a workspace itself is asked about as a sweep of it.
SWEEP_ENTRIES_MIN = 8
_SILENT = re.compile(r'//[^\n]*|@\w+\s*\(\s*"(?:[^"\\\n]|\\.)*"\s*\)|("(?:[^"\\\n]|\\.)*")')
# What is understood of a rule's text; a backslash or anything else that speaks of paths is not.
_LITERAL = r'\s*"([^"\\]*)"'
_DIRECTORY = re.compile(rf"\bDir\s*::{_LITERAL}")
_PATH = re.compile(rf"\b(?:Path\s*::|resource\s*\.\s*path\s*[!=]=){_LITERAL}")
_PATTERN = re.compile(rf"\bresource\s*\.\s*path\s+like{_LITERAL}")
_STRANGE = re.compile(r"\bpath\b|\bPath\b|\bDir\b|\\")


@dataclass(frozen=True, slots=True)
class Sight:
    """What loaded rules can see of a path beside its classes: whether it is what they name, or (`whole`) all of it."""

    directories: frozenset[str] = frozenset()
    paths: frozenset[str] = frozenset()
    patterns: frozenset[str] = frozenset()
    whole: bool = False

    def of(self, path: str) -> tuple[frozenset[str], frozenset[str], str]:
        """A value that is the same for two paths where no rule can tell them apart by anything but their classes."""
        text = clean(path)
        above = frozenset(directory for directory in self.directories if is_within(text, directory))
        matched = frozenset(pattern for pattern in self.patterns if like(text, pattern))
        return above, matched, text if self.whole or text in self.paths else ""


WHOLE = Sight(whole=True)


def sight_of(texts: Iterable[str]) -> Sight:
    """What these rules can see of a path. A text that could be read in two ways sees all of it."""
    spoken = "\n".join(_SILENT.sub(lambda found: found[1] or " ", text) for text in texts)
    found: dict[re.Pattern[str], set[str]] = {}
    for understood in (_DIRECTORY, _PATH, _PATTERN):
        found[understood] = set(understood.findall(spoken))
        spoken = understood.sub(" ", spoken)
    directories, paths, patterns = (frozenset(names) for names in found.values())
    return Sight(directories, paths, patterns, bool(_STRANGE.search(spoken)))


def like(text: str, pattern: str) -> bool:
    """Cedar's `like`: a star stands for any text, and nothing else is special. Linear in the text for each star."""
    first, *rest = pattern.split("*")
    if not rest:
        return text == first
    *middle, last = rest
    if len(text) < len(first) + len(last) or not (text.startswith(first) and text.endswith(last)):
        return False
    at, end = len(first), len(text) - len(last)
    for part in middle:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True


def asked_of(
    call: Call, effects: Effects, host: HostFacts, sight: Sight, *, deferred: bool = False
) -> tuple[Question, ...]:
    """Every question that has to be put to the rules: of measured effects one for all that no rule can tell apart."""
    if not effects.measured:
        return questions(call, effects, host, deferred=deferred)
    found: dict[Question, None] = {}
    seen: set[tuple[object, ...]] = set()
    for effect in effects.inferred:
        if effect.kind not in CHANGED_PATHS:
            found[question_of(effect, host)] = None
        elif not is_sink(effect):
            _add(found, seen, effect, host, sight)
    for effect in _swept(effects, host):
        found[question_of(effect, host)] = None
    for effect in declared_only(call, effects):
        if effect.kind not in CHANGED_PATHS:
            found[question_of(effect, host, declared=True)] = None
    return with_whole(found, effects, host)


def _add(
    found: dict[Question, None], seen: set[tuple[object, ...]], effect: Effect, host: HostFacts, sight: Sight
) -> None:
    path = normalised(effect.target) or "/"
    hit = reach(path, host, recursive=effect.recursive, exact=effect.exact)
    sort = (effect.kind, hit.own, hit.touches, effect.by, effect.recursive, effect.exact, sight.of(path))
    if sort in seen:
        return
    seen.add(sort)
    found[
        Question(
            effect.kind.value,
            "Path",
            path,
            (("path", clean(path)),),
            directories=ancestors(path),
            classes=frozenset(hit.own),
            touches=frozenset(hit.touches),
            by=effect.by,
            recursive=effect.recursive,
            exact=effect.exact,
            measured=True,
        )
    ] = None


def _swept(effects: Effects, host: HostFacts) -> Iterable[Effect]:
    """A workspace of which many entries are gone: the rules are asked about an unnamed part of it, as for `rm *`."""
    for tree in map(normalised, host.workspace):
        gone = {
            effect.target
            for effect in effects.inferred
            if effect.kind is EffectKind.DELETE and effect.target.rpartition("/")[0] == tree
        }
        if len(gone) >= SWEEP_ENTRIES_MIN:
            yield Effect(EffectKind.DELETE, tree, "", recursive=True, exact=False)
