"""Requests: questions as the engine's own JSON. It decides nothing.

Nothing that a caller wrote enters as anything but a string, so no text can become an entity or a call of a function.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from interlock_policies.facts import Fleet, HostFacts, Level, Principal, Situation
from interlock_policies.questions import Question, changes_anything, clean
from interlock_tools.call import Call, Json
from interlock_tools.effects import Effects

STRICTEST_ENVIRONMENT = "prod"
REASONS_MAX = 16
_REASON_CHARS_MAX = 200


@dataclass(frozen=True, slots=True)
class Form:
    """One call's questions in the engine's form; `requests` fills in the situation that is asked about."""

    entities: str
    key: str  # everything but the contexts, as one string
    heads: tuple[Mapping[str, Json], ...]
    contexts: tuple[Mapping[str, Json], ...]  # each distinct one, once
    which: tuple[int, ...]  # the context of each question
    unread: bool = False  # a part could not be read: what does not run in a layer may change something

    def requests(self, situation: Situation) -> list[dict[str, Json]]:
        """The engine's requests, in the questions' order, as they would be in this situation."""
        texts = self.texts(situation)
        return [{**head, "context": texts[at]} for head, at in zip(self.heads, self.which, strict=True)]

    def texts(self, situation: Situation) -> tuple[str, ...]:
        """Each distinct context as it would be in this situation, as JSON."""
        granted: dict[str, Json] = {
            "approvals": sorted(clean(role) for role in situation.approvals),
            "containment": situation.containment,
            "previewed": situation.previewed,
            "weekday": situation.weekday,
            "hour": situation.hour,
            **_deployment(situation.fleet),
        }
        if self.unread and situation.containment < Level.STAGED:
            granted["changes"] = True
        return tuple(json.dumps({**context, **granted}) for context in self.contexts)


def form(
    asked: tuple[Question, ...],
    principal: Principal,
    host: HostFacts,
    call: Call,
    effects: Effects,
    *,
    deferred: bool = False,
) -> Form:
    """The questions as entities, requests and contexts. `deferred` as in `questions`."""
    who = {"type": "Principal", "id": clean(principal.name)}
    whole: dict[str, Json] = {
        "tool": clean(call.tool),
        "changes": changes_anything(effects, deferred=deferred),
        "effects": sorted({question.action for question in asked} - {"run"}),
        "programs": sorted({clean(name) for name in effects.programs}),
        "unknown": sorted({clean(name) for name in effects.unknown_programs}),
        "opaque": sorted({clean(reason[:_REASON_CHARS_MAX]) for reason in effects.opaque[:REASONS_MAX]}),
        "privileged": effects.privileged,
        "downloadsToShell": effects.downloads_to_shell,
        "confidence": call.confidence.value,
        "doubts": len(call.doubts),
        "separated": host.separates_loopback,
        "undo": host.undo,
    }
    above = _above(host)
    entities = {("Principal", who["id"]): _principal_entity(who, principal)}
    heads: list[Mapping[str, Json]] = []
    facts: dict[tuple[Json, ...], int] = {}
    which: list[int] = []
    for question in asked:
        uid = {"type": question.kind, "id": clean(question.target)}
        entities[question.kind, uid["id"]] = _resource_entity(uid, question, above, clean(host.name))
        heads.append({"principal": who, "action": {"type": "Action", "id": question.action}, "resource": uid})
        which.append(facts.setdefault(_effect_facts(question), len(facts)))
    listed = json.dumps(list(entities.values()))
    contexts = tuple({**whole, **_effect_context(found)} for found in facts)
    unread = bool(effects.opaque or effects.unknown_programs)
    return Form(listed, f"{listed}{json.dumps(heads)}{which}", tuple(heads), contexts, tuple(which), unread)


def _deployment(fleet: Fleet) -> dict[str, Json]:
    """What a context says of the deployment; of a freeze only that there is one, its reason is for people."""
    return {
        "app": clean(fleet.app),
        "owner": clean(fleet.owner),
        "release": clean(fleet.release),
        "hosts": fleet.hosts,
        "fleet": fleet.fleet,
        "share": fleet.share,
        "canary": fleet.canary,
        "frozen": bool(fleet.frozen),
        "inWindow": fleet.in_window,
    }


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


def _effect_facts(question: Question) -> tuple[Json, ...]:
    """What a context says of the effect behind a question, as a value that can be compared."""
    return (
        question.classes,
        question.touches,
        clean(question.by),
        question.recursive,
        question.exact,
        question.names_only,
        question.declared,
        question.measured,
    )


def _effect_context(facts: tuple[Json, ...]) -> dict[str, Json]:
    classes, touches, by, recursive, exact, names_only, declared, measured = facts
    return {
        "classes": sorted(classes),
        "touches": sorted(touches),
        "by": by,
        "recursive": recursive,
        "exact": exact,
        "namesOnly": names_only,
        "declared": declared,
        "measured": measured,
    }
