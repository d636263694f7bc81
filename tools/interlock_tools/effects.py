"""Effects: what a call changes or reads, as declared by its caller and as inferred from its text. Values only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum


class EffectKind(StrEnum):
    """What happens to a target. The target's form depends on the kind."""

    READ = "read"  # absolute path
    WRITE = "write"  # absolute path: created or changed
    DELETE = "delete"  # absolute path: may disappear
    SERVICE = "service"  # "verb name": "restart nginx"
    NETWORK = "network"  # host, URL, or "?" where it cannot be read
    SYSTEM = "system"  # packages, users, mounts, kernel, processes, containers: "program: what"


class Network(StrEnum):
    """What a call may reach over the network."""

    NONE = "none"
    OUTBOUND = "outbound"


@dataclass(frozen=True, slots=True)
class Effect:
    """One effect on one target.

    `by` names the program or tool that causes it. `recursive`: the whole tree below the target. `exact` is False
    where the target is only the deepest directory known to hold the real one (a glob, a dynamic word).
    """

    kind: EffectKind
    target: str
    by: str
    recursive: bool = False
    exact: bool = True


@dataclass(frozen=True, slots=True)
class Declaration:
    """The expected effect, as the caller declared it (absolute, normalised paths).

    `reads`: places of secrets that it has to see; any other reading needs no declaration.
    """

    writes: tuple[str, ...] = ()
    deletes: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    network: Network = Network.NONE
    reads: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """True where nothing but reading was declared."""
        return not (self.writes or self.deletes or self.services or self.network is Network.OUTBOUND)


@dataclass(frozen=True, slots=True)
class Effects:
    """Everything that analysis could say about one call.

    `opaque` holds the reasons why a part could not be read; `unknown_programs` those without an entry in the table.
    `inferred` is complete only where both are empty. `measured`: it is what a host saw change, path by path, and
    nothing more than that can happen.

    `paths` is every path that was looked up on the host: as it is written, whether its last part is followed, where it
    leads. `believed`: some of them a moment ago, so that the host has to look again before anything begins.
    """

    declared: Declaration = Declaration()
    inferred: tuple[Effect, ...] = ()
    programs: tuple[str, ...] = ()
    unknown_programs: tuple[str, ...] = ()
    opaque: tuple[str, ...] = ()
    privileged: bool = False
    downloads_to_shell: bool = False
    measured: bool = False
    paths: tuple[tuple[str, bool, str], ...] = ()
    believed: bool = field(default=False, compare=False)

    def of(self, *kinds: EffectKind) -> tuple[Effect, ...]:
        """The inferred effects of these kinds, in the order they were found."""
        return tuple(effect for effect in self.inferred if effect.kind in kinds)

    @property
    def changes(self) -> bool:
        """True where anything but reading was inferred or declared, or where something could not be read."""
        return (
            any(effect.kind is not EffectKind.READ for effect in self.inferred)
            or not self.declared.is_empty
            or bool(self.opaque or self.unknown_programs)
            or self.privileged
        )


def declaration_of(effects: Iterable[Effect]) -> Declaration:
    """The declaration that says exactly what these effects write and delete."""
    listed = tuple(effects)
    return Declaration(
        tuple(effect.target for effect in listed if effect.kind is EffectKind.WRITE),
        tuple(effect.target for effect in listed if effect.kind is EffectKind.DELETE),
    )
