"""The trail of one call: the named steps of the line, timed. It observes; it never decides."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum

from interlock.records import Span
from interlock_tools.call import Json


class Step(StrEnum):
    """Every step of the line, in its order. A new step is a new fault point: tests walk this enumeration."""

    ACCEPT = "accept"
    ANALYSE = "analyse"
    DECIDE = "decide"
    ADMIT = "admit"
    APPROVE = "approve"
    AUTHORIZE = "authorize"
    DISPATCH = "dispatch"
    OBSERVE = "observe"
    LAND = "land"
    VERIFY = "verify"
    SETTLE = "settle"
    ANSWER = "answer"


OnStep = Callable[[Step, str], None]  # the step, and "begin" or "end"

SPANS_MAX = 64


def unwatched(step: Step, moment: str) -> None:
    """The observer that does nothing."""


class Trail:
    """Collects the spans of one call. `clock` gives the wall time that is recorded; durations are monotonic."""

    def __init__(self, clock: Callable[[], float], on_step: OnStep = unwatched) -> None:
        self._clock = clock
        self._on_step = on_step
        self.spans: list[Span] = []

    @contextmanager
    def step(self, step: Step) -> Iterator[dict[str, Json]]:
        """Time one step; what is put into the yielded dict becomes the span's attributes."""
        attributes: dict[str, Json] = {}
        started, begun = self._clock(), time.perf_counter()
        self._on_step(step, "begin")
        try:
            yield attributes
        finally:
            if len(self.spans) < SPANS_MAX:
                self.spans.append(Span(step.value, started, time.perf_counter() - begun, attributes))
        self._on_step(step, "end")

    def snapshot(self) -> tuple[Span, ...]:
        """The spans so far."""
        return tuple(self.spans)
