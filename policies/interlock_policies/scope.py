"""Scope: whether what was inferred stays within what was declared, and the declaration that would be honest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from interlock_policies.facts import HostFacts
from interlock_policies.paths import PathClass, classify, is_within, normalised
from interlock_tools.call import Json
from interlock_tools.effects import Declaration, Effect, EffectKind, Effects, Network

_PATHS = (EffectKind.READ, EffectKind.WRITE, EffectKind.DELETE)
_NOWHERE = HostFacts(name="")


def path_queries(effects: Effects) -> tuple[tuple[str, bool], ...]:
    """Every inferred and declared path with whether its last component is followed; each pair once, in order.

    Reads and writes land in a link's target (True); a delete removes the link itself (False), unless it is of something
    below the path. A declared path is asked the way the effect that it has to cover is asked.
    """
    inferred = ((effect.target, _follows(effect)) for effect in effects.of(*_PATHS))
    there = effects.declared
    declared = [(path, True) for path in (*there.writes, *there.reads)] + [(path, False) for path in there.deletes]
    return tuple(dict.fromkeys([*inferred, *declared]))


def resolved(effects: Effects, mapping: Mapping[tuple[str, bool], str]) -> Effects:
    """The same effects with every path as its host's kernel finds it. A path without an entry stays."""

    def place(path: str, follow: bool) -> str:
        return mapping.get((path, follow), path)

    declared = replace(
        effects.declared,
        writes=_once(place(path, follow=True) for path in effects.declared.writes),
        deletes=_once(place(path, follow=False) for path in effects.declared.deletes),
        reads=_once(place(path, follow=True) for path in effects.declared.reads),
    )
    inferred = tuple(
        replace(effect, target=place(effect.target, _follows(effect))) if effect.kind in _PATHS else effect
        for effect in effects.inferred
    )
    paths = tuple((path, follow, real) for (path, follow), real in mapping.items())
    return replace(effects, declared=declared, inferred=inferred, paths=paths)


def undeclared(effects: Effects) -> tuple[Effect, ...]:
    """The inferred effects that the declaration does not cover, in the order they were found.

    Reading needs no declaration, and neither does writing where nothing stays (/dev/null). A system effect cannot be
    declared: policy alone decides about it.
    """
    return tuple(effect for effect in effects.inferred if not _covered(effect, effects.declared))


def honest_declaration(effects: Effects) -> dict[str, Json]:
    """A JSON merge patch: the declaration widened by exactly what is undeclared. {} where nothing is missing."""
    missing = undeclared(effects)
    declared = effects.declared
    patch: dict[str, Json] = {}
    for field, kind, present in (
        ("writes", EffectKind.WRITE, declared.writes),
        ("deletes", EffectKind.DELETE, declared.deletes),
        ("services", EffectKind.SERVICE, declared.services),
    ):
        extra = [
            service_of(effect.target) if field == "services" else effect.target
            for effect in missing
            if effect.kind is kind
        ]
        if extra:
            patch[field] = list(_once([*present, *extra]))
    if any(effect.kind is EffectKind.NETWORK for effect in missing):
        patch["network"] = Network.OUTBOUND.value
    return patch


def service_of(target: str) -> str:
    """The service's name in a service effect's target ("restart nginx" → "nginx"), without a unit's suffix."""
    return target.rpartition(" ")[2].removesuffix(".service")


def is_sink(effect: Effect) -> bool:
    """True for a write that leaves nothing behind: /dev/null, a terminal, the command's own streams."""
    if effect.kind is not EffectKind.WRITE or not effect.exact or not effect.target.startswith("/dev/"):
        return False
    return PathClass.SINK in classify(effect.target, _NOWHERE)


def _follows(effect: Effect) -> bool:
    return effect.kind is not EffectKind.DELETE or not effect.exact


def _covered(effect: Effect, declared: Declaration) -> bool:
    match effect.kind:
        case EffectKind.WRITE:
            return is_sink(effect) or _within_any(effect.target, declared.writes)
        case EffectKind.DELETE:
            return _within_any(effect.target, declared.deletes)
        case EffectKind.SERVICE:
            return service_of(effect.target) in {service_of(name) for name in declared.services}
        case EffectKind.NETWORK:
            return declared.network is Network.OUTBOUND
        case _:
            return True


def _within_any(path: str, trees: Iterable[str]) -> bool:
    clean = normalised(path)
    return bool(clean) and any(is_within(clean, normalised(tree)) for tree in trees)


def _once(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))
