"""Questions: what one call puts to Cedar, one question for each distinct effect, as the engine's own JSON.

Nothing that a caller wrote enters as anything but a string, so no text can become an entity or a call of a function.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from interlock_policies.endpoints import EndpointClass, classify_endpoint, host_of
from interlock_policies.facts import HostFacts, Principal, Situation
from interlock_policies.paths import normalised, reach
from interlock_policies.places import words
from interlock_policies.scope import is_sink, service_of
from interlock_tools.call import Call, Json
from interlock_tools.effects import Effect, EffectKind, Effects, Network

QUESTIONS_MAX = 128
PROGRAMS_MAX = 64
REASONS_MAX = 16
_REASON_CHARS_MAX = 200
STRICTEST_ENVIRONMENT = "prod"
_STRING_CHARS_MAX = 4_096

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


def too_many(asked: tuple[Question, ...], effects: Effects) -> bool:
    """True where a call does more than can be decided at once; it is not looked at in part."""
    return len(asked) > QUESTIONS_MAX or len({*effects.programs, *effects.unknown_programs}) > PROGRAMS_MAX


def questions(call: Call, effects: Effects, host: HostFacts) -> tuple[Question, ...]:
    """Every distinct question that this call raises on this host; at least one; QUESTIONS_MAX + 1 are too many."""
    found = dict.fromkeys(_of_effects(call, effects, host))
    # What only the tool itself does is said by its effects; a shell's call is also asked about as a whole.
    whole = effects.programs or effects.unknown_programs or effects.opaque or effects.privileged
    if not found or whole or effects.downloads_to_shell:
        run = Question("run", "Host", host.name, (("name", clean(host.name)),))
        found = {run: None} | found
    return tuple(found)[: QUESTIONS_MAX + 1]


def _of_effects(call: Call, effects: Effects, host: HostFacts) -> Iterator[Question]:
    for effect in effects.inferred:
        if not is_sink(effect):
            yield _question(effect, host)
    for effect in _declared_only(call, effects):
        yield _question(effect, host, declared=True)


def _declared_only(call: Call, effects: Effects) -> Iterator[Effect]:
    """What was declared and not inferred: allowed to happen, so policy has to agree to it."""
    seen = {(effect.kind, normalised(effect.target)) for effect in effects.inferred if effect.exact}
    for kind, paths in ((EffectKind.WRITE, effects.declared.writes), (EffectKind.DELETE, effects.declared.deletes)):
        for path in paths:
            if (kind, normalised(path)) not in seen:
                yield Effect(kind, path, call.tool, recursive=True, exact=False)
    services = {service_of(effect.target) for effect in effects.of(EffectKind.SERVICE)}
    for name in effects.declared.services:
        if service_of(name) not in services:
            yield Effect(EffectKind.SERVICE, f"manage {name}", call.tool)
    readable = not (effects.opaque or effects.unknown_programs)
    if effects.declared.network is Network.OUTBOUND and not (readable and effects.of(EffectKind.NETWORK)):
        yield Effect(EffectKind.NETWORK, "?", call.tool)


def _question(effect: Effect, host: HostFacts, *, declared: bool = False) -> Question:
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
    names_only = effect.kind is EffectKind.READ and effect.by in _NAMES_ONLY
    whole = reach(effect.target, host, recursive=effect.recursive, exact=effect.exact)
    path = normalised(effect.target) or "/"
    return Question(
        effect.kind.value,
        "Path",
        path,
        (("path", clean(path)),),
        directories=_ancestors(path),
        classes=frozenset(whole.own),
        touches=frozenset(whole.own if names_only else whole.touches),
        by=effect.by,
        recursive=effect.recursive,
        exact=effect.exact,
        declared=declared,
    )


def _ancestors(path: str) -> tuple[str, ...]:
    """The path itself and every directory above it."""
    found = [path]
    while path != "/":
        path = path.rpartition("/")[0] or "/"
        found.append(path)
    return tuple(found)


def clean(text: str) -> str:
    """The text as Cedar can take it: valid Unicode of a bounded length."""
    return text[:_STRING_CHARS_MAX].encode("utf-8", "replace").decode("utf-8")


def changes_anything(effects: Effects) -> bool:
    """True where the call changes something, or could: writing to /dev/null does not count."""
    return (
        any(effect.kind is not EffectKind.READ and not is_sink(effect) for effect in effects.inferred)
        or not effects.declared.is_empty
        or bool(effects.opaque or effects.unknown_programs)
        or effects.privileged
        or effects.downloads_to_shell
    )


@dataclass(frozen=True, slots=True)
class Form:
    """One call's questions in the engine's form; `requests` fills in the situation that is asked about."""

    entities: str
    key: str  # everything but the contexts, as one string
    heads: tuple[Mapping[str, Json], ...]
    contexts: tuple[Mapping[str, Json], ...]

    def requests(self, situation: Situation) -> list[dict[str, Json]]:
        """The engine's requests, in the questions' order, as they would be in this situation."""
        granted = {
            "approvals": sorted(clean(role) for role in situation.approvals),
            "containment": situation.containment,
            "previewed": situation.previewed,
            "weekday": situation.weekday,
            "hour": situation.hour,
        }
        return [
            {**head, "context": json.dumps({**context, **granted})}
            for head, context in zip(self.heads, self.contexts, strict=True)
        ]


def form(asked: tuple[Question, ...], principal: Principal, host: HostFacts, call: Call, effects: Effects) -> Form:
    """The questions as entities, requests and contexts."""
    who = {"type": "Principal", "id": clean(principal.name)}
    whole: dict[str, Json] = {
        "tool": clean(call.tool),
        "changes": changes_anything(effects),
        "programs": sorted({clean(name) for name in effects.programs}),
        "unknown": sorted({clean(name) for name in effects.unknown_programs}),
        "opaque": sorted({clean(reason[:_REASON_CHARS_MAX]) for reason in effects.opaque[:REASONS_MAX]}),
        "privileged": effects.privileged,
        "downloadsToShell": effects.downloads_to_shell,
        "confidence": call.confidence.value,
        "doubts": len(call.doubts),
    }
    above = _above(host)
    entities = {("Principal", who["id"]): _principal_entity(who, principal)}
    heads: list[Mapping[str, Json]] = []
    contexts: list[Mapping[str, Json]] = []
    for question in asked:
        uid = {"type": question.kind, "id": clean(question.target)}
        entities[question.kind, uid["id"]] = _resource_entity(uid, question, above, clean(host.name))
        heads.append({"principal": who, "action": {"type": "Action", "id": question.action}, "resource": uid})
        contexts.append(whole | _effect_facts(question))
    listed = json.dumps(list(entities.values()))
    return Form(listed, f"{listed}{json.dumps(heads)}", tuple(heads), tuple(contexts))


def _above(host: HostFacts) -> list[dict[str, str]]:
    """What every resource of a host lies in: its environment, groups and labels."""
    found = [{"type": "Env", "id": clean(host.environment or STRICTEST_ENVIRONMENT)}]
    found += [{"type": "Group", "id": clean(group)} for group in sorted(host.groups)]
    found += [{"type": "Label", "id": clean(f"{key}={value}")} for key, value in sorted(host.labels.items())]
    return found


def _principal_entity(uid: dict[str, str], principal: Principal) -> Json:
    return {
        "uid": uid,
        "attrs": {"name": uid["id"], "kind": principal.kind.value, "autonomy": principal.autonomy},
        "parents": [{"type": "Role", "id": clean(role)} for role in sorted(principal.roles)],
    }


def _resource_entity(uid: dict[str, str], question: Question, above: list[dict[str, str]], host: str) -> Json:
    parents = [{"type": "Dir", "id": clean(directory)} for directory in question.directories] + above
    if question.kind != "Host":
        parents.append({"type": "Host", "id": host})
    return {"uid": uid, "attrs": dict(question.attributes), "parents": parents}


def _effect_facts(question: Question) -> dict[str, Json]:
    return {
        "classes": sorted(question.classes),
        "touches": sorted(question.touches),
        "by": clean(question.by),
        "recursive": question.recursive,
        "exact": question.exact,
        "namesOnly": question.action == "read" and question.by in _NAMES_ONLY,
        "declared": question.declared,
    }
