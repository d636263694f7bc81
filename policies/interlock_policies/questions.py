"""Questions: what one call puts to the rules, one question for each distinct effect. It asks and answers nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from interlock_policies.endpoints import EndpointClass, classify_endpoint, host_of
from interlock_policies.facts import HostFacts
from interlock_policies.paths import PathClass, classify, normalised, reach
from interlock_policies.places import words
from interlock_policies.scope import is_sink, service_of
from interlock_tools.call import Call
from interlock_tools.effects import Effect, EffectKind, Effects, Network

QUESTIONS_MAX = 128
PROGRAMS_MAX = 64
_STRING_CHARS_MAX = 4_096

CHANGED_PATHS = (EffectKind.WRITE, EffectKind.DELETE)
# What holds for a directory as a whole: whoever declares a tree declares what lies in it.
_AS_A_WHOLE = frozenset({PathClass.ROOT, PathClass.TOP})

# These read names, sizes and times, never what a file holds.
_NAMES_ONLY = words(
    "ls dir vdir exa eza tree find locate stat namei du df findmnt mountpoint test [ [[ realpath readlink cd pushd popd"
    " lsattr getfacl file_list"
)


@dataclass(frozen=True, slots=True)
class Question:
    """One thing that is asked: an action on a resource, with the facts of the effect behind it."""

    action: str
    kind: str  # the resource's entity type
    target: str
    attributes: tuple[tuple[str, str], ...]
    directories: tuple[str, ...] = ()
    classes: frozenset[str] = frozenset()
    touches: frozenset[str] = frozenset()
    by: str = ""
    recursive: bool = False
    exact: bool = True
    declared: bool = False
    measured: bool = False

    @property
    def names_only(self) -> bool:
        """True where names and sizes are looked at, and no contents."""
        return self.action == EffectKind.READ and self.by in _NAMES_ONLY


def too_many(asked: tuple[Question, ...], effects: Effects) -> bool:
    """True where a call does more than can be decided at once; it is not looked at in part."""
    if len({*effects.programs, *effects.unknown_programs}) > PROGRAMS_MAX:
        return True
    return len(asked) > QUESTIONS_MAX and not effects.measured


def questions(call: Call, effects: Effects, host: HostFacts, *, deferred: bool = False) -> tuple[Question, ...]:
    """Every distinct question that this call raises on this host; at least one; QUESTIONS_MAX + 1 are too many.

    `deferred`: what it writes and deletes waits in a layer, and is asked about once it was measured.
    """
    found = dict.fromkeys(_of_effects(call, effects, host, deferred=deferred))
    return with_whole(found, effects, host)[: QUESTIONS_MAX + 1]


def with_whole(found: dict[Question, None], effects: Effects, host: HostFacts) -> tuple[Question, ...]:
    """These questions, with the one about the call as a whole where that is asked."""
    # What only the tool itself does is said by its effects; a shell's call is also asked about as a whole.
    whole = effects.programs or effects.unknown_programs or effects.opaque or effects.privileged
    if not found or whole or effects.downloads_to_shell:
        run = Question("run", "Host", host.name, (("name", clean(host.name)),))
        found = {run: None} | found
    return tuple(found)


def _of_effects(call: Call, effects: Effects, host: HostFacts, *, deferred: bool) -> Iterator[Question]:
    waiting = CHANGED_PATHS if deferred else ()
    for effect in effects.inferred:
        if not is_sink(effect) and effect.kind not in waiting:
            yield question_of(effect, host)
    for effect in declared_only(call, effects):
        if effect.kind not in waiting:
            yield question_of(effect, host, declared=True)


def declared_only(call: Call, effects: Effects) -> Iterator[Effect]:
    """What was declared and not inferred: allowed to happen, so policy has to agree to it."""
    seen = {(effect.kind, normalised(effect.target)) for effect in effects.inferred if effect.exact}
    for kind, paths in ((EffectKind.WRITE, effects.declared.writes), (EffectKind.DELETE, effects.declared.deletes)):
        for path in paths:
            if (kind, normalised(path)) not in seen:
                yield Effect(kind, path, call.tool, recursive=True, exact=False)
    for path in effects.declared.reads:
        yield Effect(EffectKind.READ, path, call.tool, recursive=True)
    services = {service_of(effect.target) for effect in effects.of(EffectKind.SERVICE)}
    for name in effects.declared.services:
        if service_of(name) not in services:
            yield Effect(EffectKind.SERVICE, f"manage {name}", call.tool)
    readable = not (effects.opaque or effects.unknown_programs)
    if effects.declared.network is Network.OUTBOUND and not (readable and effects.of(EffectKind.NETWORK)):
        yield Effect(EffectKind.NETWORK, "?", call.tool)


def question_of(effect: Effect, host: HostFacts, *, declared: bool = False) -> Question:
    """What is asked about one effect. `declared`: nothing was seen that does it, it may only happen."""
    match effect.kind:
        case EffectKind.SERVICE:
            verb, _, _ = effect.target.partition(" ")
            name = clean(service_of(effect.target))
            return Question(
                "service",
                "Service",
                f"{verb} {name}",
                (("name", name), ("verb", clean(verb))),
                by=effect.by,
                declared=declared,
            )
        case EffectKind.NETWORK:
            kind = classify_endpoint(effect.target) if effect.target != "?" else EndpointClass.UNKNOWN
            attributes = (("name", clean(host_of(effect.target) or effect.target)), ("class", kind.value))
            return Question("network", "Endpoint", effect.target, attributes, by=effect.by, declared=declared)
        case EffectKind.SYSTEM:
            program, _, what = effect.target.partition(":")
            attributes = (("program", clean(program.strip())), ("what", clean(what.strip())))
            return Question("system", "System", effect.target, attributes, by=effect.by, declared=declared)
        case _:
            return _path_question(effect, host, declared=declared)


def _path_question(effect: Effect, host: HostFacts, *, declared: bool) -> Question:
    """One path. Of a declared tree it is not known whether it is one: what the path itself is counts as well."""
    names_only = effect.kind is EffectKind.READ and effect.by in _NAMES_ONLY
    itself = classify(effect.target, host) - _AS_A_WHOLE if declared else frozenset()
    whole = reach(effect.target, host, recursive=effect.recursive, exact=effect.exact)
    path = normalised(effect.target) or "/"
    return Question(
        effect.kind.value,
        "Path",
        path,
        (("path", clean(path)),),
        directories=ancestors(path),
        classes=frozenset(whole.own | itself),
        touches=frozenset(whole.own | itself if names_only else whole.touches | itself),
        by=effect.by,
        recursive=effect.recursive,
        exact=effect.exact,
        declared=declared,
    )


def ancestors(path: str) -> tuple[str, ...]:
    """The path itself and every directory above it."""
    found = [path]
    while path != "/":
        path = path.rpartition("/")[0] or "/"
        found.append(path)
    return tuple(found)


def clean(text: str) -> str:
    """The text as Cedar can take it: valid Unicode of a bounded length."""
    return text[:_STRING_CHARS_MAX].encode("utf-8", "replace").decode("utf-8")


def changes_anything(effects: Effects, *, deferred: bool = False) -> bool:
    """True where the call is seen to change something: writing to /dev/null does not count, nor what waits in a layer.

    What could not be read may change something, too; whether that counts depends on what contains it.
    """
    counted = set(EffectKind) - {EffectKind.READ} - set(CHANGED_PATHS if deferred else ())
    declared = effects.declared
    return (
        any(effect.kind in counted and not is_sink(effect) for effect in effects.inferred)
        or bool(declared.services or declared.network is Network.OUTBOUND)
        or (not deferred and bool(declared.writes or declared.deletes))
        or effects.privileged
        or effects.downloads_to_shell
    )
