"""What can go wrong and where: every fault at every named step, drawn from seeds. It lets nothing happen itself.

The places are enumerated from the code: a new step of the server's line, of a run or of a landing is a new place here.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Iterator
from dataclasses import dataclass

from interlock.runner.steps import FAULT_POINTS
from interlock.trail import Step

# What is done from outside to the world as it is when a step is come to.
OUTSIDE = (
    "cut", "stall", "corrupt", "kill-server", "kill-helper", "kill-supervisor", "kill-sshd", "fill-disk", "jump-clock",
)  # fmt: skip
# What is done to the process of the runner that comes to one of its own steps.
WITHIN = ("kill-there", f"raise:{errno.ENOSPC}", f"raise:{errno.EIO}", "stall:0.5")
LEVELS = ("none", "confined", "staged")
KINDS = ("quick", "slow", "loud", "handle", "fails")
LINE_PLACES = tuple(f"{step.value}/{moment}" for step in Step for moment in ("begin", "end"))
# Those of deployments have tables of their own: no call of these kinds comes to them.
RUNNER_PLACES = tuple(step for step in FAULT_POINTS if not step.startswith("app-"))
PLACES = LINE_PLACES + RUNNER_PLACES
FAULTS = OUTSIDE + WITHIN
# The first process of a room is the first of its process namespace: it cannot stop or kill itself there, it can sleep.
SLEEPS = ("room-start", "room-built")
CLOCK_JUMPS_SECONDS = (3_600.0, -3_600.0, 5 * 86_400.0, -5 * 86_400.0)


@dataclass(frozen=True)
class Case:
    """One run: this fault, when this place is come to for the nth time, during a call of this kind at this level."""

    seed: int
    fault: str
    place: str
    level: str
    kind: str
    nth: int = 1
    clock_seconds: float = 0.0
    stall_seconds: float = 1.0

    @property
    def is_on_line(self) -> bool:
        return "/" in self.place

    @property
    def is_within(self) -> bool:
        """Whether the runner does it to itself, by the name of the step alone."""
        return ":" in self.fault

    @property
    def named(self) -> str:
        """What the first helper is told; "" where the runner's steps are left alone."""
        if self.is_on_line:
            return ""
        if self.is_within:
            return f"{self.place}={self.fault}"
        return f"{self.place}=stall:1.0" if self.place in SLEEPS else f"{self.place}=stop"

    @property
    def may_lose_sight(self) -> bool:
        """Whether it can end what alone knows how the command went, or all that it could be written down with."""
        return self.fault in ("kill-supervisor", "kill-there", "fill-disk") or self.fault.startswith("raise")


def combinations() -> Iterator[tuple[str, str]]:
    """Every fault with every place that it can happen at."""
    for place in PLACES:
        for fault in OUTSIDE:
            yield fault, place
    for place in RUNNER_PLACES:
        for fault in WITHIN:
            yield fault, place


def drawn(seed: int) -> Case:
    """The case of a seed: the seeds go through all combinations, again and again, each time with another rest."""
    every = list(combinations())
    random.Random(1).shuffle(every)
    return rest_of(seed, *every[seed % len(every)])


def rest_of(seed: int, fault: str, place: str) -> Case:
    """This fault at this place, with whatever else belongs to a case drawn from the seed."""
    draw = random.Random(seed)
    # Only what is staged, and does not fail, lands; only what no layer holds is asked about before it runs.
    lands, asks = place.startswith(("landing-", "land/")), place.startswith("approve/")
    level = "staged" if lands or (not asks and draw.random() < 0.5) else draw.choice(LEVELS[: 1 if asks else 2])
    kind = draw.choice([kind for kind in KINDS if not (lands and kind == "fails")])
    nth = 1 if "/" in place or draw.random() < 0.8 else 2
    return Case(
        seed, fault, place, level, kind, nth, draw.choice(CLOCK_JUMPS_SECONDS), draw.choice((0.3, 1.0, 4.0))
    )  # fmt: skip


def covering() -> list[Case]:
    """Every place once and every fault several times: the fewest cases that leave out neither."""
    cases = []
    for number, place in enumerate(PLACES):
        faults = OUTSIDE if "/" in place else FAULTS
        cases.append(rest_of(number, faults[number % len(faults)], place))
    return cases
