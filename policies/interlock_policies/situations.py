"""Situations: one line of words that describes who asks for what on which host, as the values a decision is made from.

    ROLE[+ROLE…] [on LABEL=VALUE …] [, SETTING …] : EFFECT [; EFFECT …]

Settings: autonomy=N kind=human confidence=low doubts=N approval=ROLE containment=N previewed waits measured tool=NAME
program=NAME unknown=NAME by=NAME opaque privileged download reads=PATH reaches=LEVEL separated undo hour=N weekday=N
group=NAME app=NAME owner=NAME release=ID hosts=N fleet=N share=N canary frozen outside. `waits`: nothing lands yet.
`measured`: the effects were seen on the host. `reads`: a place of secrets that it asks to see. `reaches`, `separated`,
`undo`: what the host can do. `app` to `outside`: the deployment: the hosts that it changes, those that the app has, the
percent of them at once; a canary goes first; a freeze is in force; it is outside of the app's windows.

Effects: `read|write|delete PATH` (`/dir/**` is the whole tree, `/dir/*` something in it), `service VERB NAME`, `network
TARGET`, `system PROGRAM: WHAT`, `nothing`. The host has its workspace at /srv/app, its home at /home/agent, Interlock's
own files in /var/lib/interlock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from interlock_policies.calendar import NO_REASON
from interlock_policies.facts import Fleet, HostFacts, Level, Principal, PrincipalKind, Situation
from interlock_policies.places import words
from interlock_tools.call import Call, Confidence
from interlock_tools.effects import Effect, EffectKind, Effects

EXAMPLE_HOST = HostFacts(
    name="example",
    user="agent",
    home="/home/agent",
    cwd="/srv/app",
    workspace=("/srv/app",),
    protected=("/var/lib/interlock",),
)
_PATH_KINDS = {kind.value: kind for kind in (EffectKind.READ, EffectKind.WRITE, EffectKind.DELETE)}
_OTHER_KINDS = {kind.value: kind for kind in (EffectKind.SERVICE, EffectKind.NETWORK, EffectKind.SYSTEM)}


@dataclass(frozen=True, slots=True)
class Example:
    """Everything that one decision is made from."""

    principal: Principal
    host: HostFacts
    call: Call
    effects: Effects
    situation: Situation


def example_of(text: str) -> Example:
    """The situation that this line describes. Raises ValueError with a sentence where it cannot be read."""
    head, found, tail = text.partition(": ")
    if not found:
        raise ValueError("between who asks and what is done stands ': '")
    where, _, rest = head.partition(",")
    who, *labels = where.split() or [""]
    if labels and (labels[0] != "on" or not all("=" in label for label in labels[1:])):
        raise ValueError("after the roles stands 'on LABEL=VALUE …', and after a comma what else is to hold")
    host = replace(EXAMPLE_HOST, labels=dict(label.split("=", 1) for label in labels[1:]))
    roles = frozenset(who.split("+"))
    example = Example(
        Principal("example", roles=roles),
        host,
        Call("example", "example", "shell_run", host.name, {}),
        Effects(inferred=tuple(_effect(part.strip()) for part in tail.split(";") if part.strip() != "nothing")),
        Situation(weekday=1, hour=12),
    )
    for setting in rest.split():
        example = _with(example, setting)
    return example


def _effect(text: str) -> Effect:
    kind, _, target = text.partition(" ")
    target = target.strip()
    if kind in _PATH_KINDS and target.startswith("/"):
        if target.endswith("/**"):
            return Effect(_PATH_KINDS[kind], target[:-3] or "/", "example", recursive=True)
        if target.endswith("/*"):
            return Effect(_PATH_KINDS[kind], target[:-2] or "/", "example", recursive=kind == "delete", exact=False)
        return Effect(_PATH_KINDS[kind], target, "example")
    if kind in _OTHER_KINDS and target:
        return Effect(_OTHER_KINDS[kind], target, "example")
    known = ", ".join([*_PATH_KINDS, *_OTHER_KINDS, "nothing"])
    raise ValueError(f"{text!r} is no effect; an effect begins with {known}, and paths are absolute")


_SETTINGS = words(
    "autonomy kind confidence doubts approval containment previewed waits measured tool program unknown by opaque"
    " privileged download reads reaches separated undo hour weekday group"
    " app owner release hosts fleet share canary frozen outside"
)


def _with(example: Example, setting: str) -> Example:
    """The example with one setting applied."""
    name, _, value = setting.partition("=")
    match name:
        case "autonomy" | "kind":
            changed = {"autonomy": int(value)} if name == "autonomy" else {"kind": PrincipalKind(value)}
            return replace(example, principal=replace(example.principal, **changed))
        case "group" | "reaches" | "separated" | "undo":
            return replace(example, host=_with_ability(example.host, name, value))
        case "confidence":
            return replace(example, call=replace(example.call, confidence=Confidence(value)))
        case "doubts":
            return replace(example, call=replace(example.call, doubts=("a doubt",) * int(value)))
        case "tool":
            return replace(example, call=replace(example.call, tool=value))
        case "program" | "unknown" | "by" | "opaque" | "privileged" | "download" | "reads" | "measured":
            return replace(example, effects=_with_effect(example.effects, name, value))
        case "approval" | "containment" | "previewed" | "waits" | "hour" | "weekday":
            return replace(example, situation=_with_grant(example.situation, name, value))
        case "app" | "owner" | "release" | "hosts" | "fleet" | "share" | "canary" | "frozen" | "outside":
            fleet = _with_fleet(example.situation.fleet, name, value)
            return replace(example, situation=replace(example.situation, fleet=fleet))
    raise ValueError(f"there is no setting {name!r}; known are {', '.join(sorted(_SETTINGS))}")


def _with_ability(host: HostFacts, name: str, value: str) -> HostFacts:
    match name:
        case "group":
            return replace(host, groups=host.groups | {value})
        case "reaches":
            names = [level.word for level in Level]
            return replace(host, containment=tuple(names[: names.index(value) + 1]))
        case "separated":
            return replace(host, separates_loopback=True)
        case _:
            return replace(host, undo=True)


def _with_effect(effects: Effects, name: str, value: str) -> Effects:
    match name:
        case "program":
            return replace(effects, programs=(*effects.programs, value))
        case "unknown":
            return replace(effects, unknown_programs=(*effects.unknown_programs, value))
        case "opaque":
            return replace(effects, opaque=(*effects.opaque, value or "it cannot be read"))
        case "by":
            return replace(effects, inferred=tuple(replace(effect, by=value) for effect in effects.inferred))
        case "privileged":
            return replace(effects, privileged=True)
        case "reads":
            return replace(effects, declared=replace(effects.declared, reads=(*effects.declared.reads, value)))
        case "measured":
            return replace(effects, measured=True)
        case _:
            return replace(effects, downloads_to_shell=True)


def _with_grant(situation: Situation, name: str, value: str) -> Situation:
    match name:
        case "approval":
            return replace(situation, approvals=situation.approvals | {value})
        case "containment":
            return replace(situation, containment=int(value))
        case "previewed":
            return replace(situation, previewed=True)
        case "waits":
            return replace(situation, lands=False)
        case "hour":
            return replace(situation, hour=int(value))
        case _:
            return replace(situation, weekday=int(value))


def _with_fleet(fleet: Fleet, name: str, value: str) -> Fleet:
    match name:
        case "app":
            return replace(fleet, app=value)
        case "owner":
            return replace(fleet, owner=value)
        case "release":
            return replace(fleet, release=value)
        case "hosts":
            return replace(fleet, hosts=int(value))
        case "fleet":
            return replace(fleet, fleet=int(value))
        case "share":
            return replace(fleet, share=int(value))
        case "canary":
            return replace(fleet, canary=True)
        case "frozen":
            return replace(fleet, frozen=value or NO_REASON)
        case _:
            return replace(fleet, in_window=False)
