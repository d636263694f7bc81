"""What one analysis has found so far, and the Effects it ends in; it collects and never judges."""

from __future__ import annotations

from dataclasses import dataclass, field

from interlock_tools.effects import Effect, EffectKind, Effects

_MAKE_LINKS = frozenset({"ln", "cp", "mv", "tar", "unzip", "cpio", "rsync", "bsdtar", "git"})
FINDINGS_MAX = 2_000  # effects and reasons each; a text of 16 KiB cannot honestly need more


@dataclass(slots=True)
class Findings:
    """Ordered sets, kept as dictionaries so that order is that of the text."""

    effects: dict[Effect, None] = field(default_factory=dict)
    programs: dict[str, None] = field(default_factory=dict)
    unknown: dict[str, None] = field(default_factory=dict)
    opaque: dict[str, None] = field(default_factory=dict)
    downloaded: set[str] = field(default_factory=set)
    privileged: bool = False
    downloads_to_shell: bool = False
    computes: bool = False
    outside_values: bool = False

    def add(self, effect: Effect) -> None:
        """Keep an effect; beyond the limit the rest is opaque."""
        if len(self.effects) < FINDINGS_MAX:
            self.effects[effect] = None
        else:
            self.unclear("it has too many effects to list")

    def unclear(self, reason: str) -> None:
        """Keep a reason why a part could not be read."""
        if len(self.opaque) < FINDINGS_MAX:
            self.opaque[reason] = None

    def _through_own_links(self) -> bool:
        """Whether a path leads through one that the same command line makes by means that make links."""
        made = [e.target.rstrip("/") + "/" for e in self.effects if e.kind is EffectKind.WRITE and e.by in _MAKE_LINKS]
        return any(e.target.startswith(place) for e in self.effects for place in made if e.by not in _MAKE_LINKS)

    def result(self) -> Effects:
        """Everything found, as a value."""
        if self._through_own_links():
            self.unclear("it goes through a path that it makes itself, which may be a link")
        if self.computes and self.outside_values:
            self.unclear("arithmetic on a value from outside may run code")
        return Effects(
            inferred=tuple(self.effects),
            programs=tuple(self.programs),
            unknown_programs=tuple(self.unknown),
            opaque=tuple(self.opaque),
            privileged=self.privileged,
            downloads_to_shell=self.downloads_to_shell,
        )
