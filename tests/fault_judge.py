"""The judgement on a run under a fault: what the disk shows against what was answered and recorded. It asks nobody."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from faulted import Spot, lines_of
from faults import Case

COUNTERS = ("lost", "doubled", "false_success", "orphans", "half_committed")
WHYS_MAX, WHY_CHARS_MAX = 3, 600  # a verdict fits one write to a pipe
LOUD_BYTES = sum(len(f"{number}\n") for number in range(1, 60_001))
UNDONE = ("held", "cancelled", "denied", "discarded", "invalid", "awaiting_approval")


@dataclass
class Verdict:
    """How often each of the five came to pass in a case (0 is right), and what it was like."""

    seed: int
    what: str
    happened: bool
    state: str = ""
    lost: int = 0
    doubled: int = 0
    false_success: int = 0
    orphans: int = 0
    half_committed: int = 0
    why: list[str] = field(default_factory=list)

    def count(self, counter: str, why: str) -> None:
        setattr(self, counter, getattr(self, counter) + 1)
        if len(self.why) < WHYS_MAX:
            self.why.append(f"{counter}: {why}"[:WHY_CHARS_MAX])


def judged(case: Case, spot: Spot, *, happened: bool, orphans: list[str], notes: list[str]) -> Verdict:
    """Hold what is on the disk against what was said of it."""
    what = f"{case.fault} at {case.place} ({case.nth}), {case.level} {case.kind}"
    verdict = Verdict(case.seed, what, happened)
    answer, found = _read(spot, "answer.json"), _read(spot, "found.json")
    lines = lines_of(spot)
    for line in orphans:
        verdict.count("orphans", line)
    for note in notes:
        verdict.count("lost", note)
    if max(lines) > 1:
        verdict.count("doubled", f"the files hold {lines} lines")
    if found is None:
        verdict.count("lost", f"the second server said nothing: {_log(spot)}")
        return verdict
    if not found["chain"]:
        verdict.count("lost", "the record's chain is broken")
    row = found["calls"][0] if found["calls"] else None
    verdict.state = f"{row['state']} {row['code']} {found['lines']} {found.get('commits', '')}" if row else "no row"
    _judge_lines(verdict, case, row, answer, found)
    if case.level == "staged":
        rest = [path.name for path in spot.work.iterdir() if path.name not in ("counter", "second")]
        if len({*lines}) > 1 or len({*found["lines"]}) > 1 or rest:
            verdict.count("half_committed", f"{found['lines']}, then {lines}, beside them {rest}")
    return verdict


def _judge_lines(
    verdict: Verdict, case: Case, row: dict[str, Any] | None, answer: dict[str, Any] | None, found: dict[str, Any]
) -> None:
    once = found["lines"] == [1, 1]
    ran = max(found["lines"]) > 0
    states = [one["state"] for one in (row, answer) if one is not None]
    if "succeeded" in states and (not once or case.kind == "fails"):
        verdict.count("false_success", f"said {states}, and the files hold {found['lines']} lines")
    if answer is not None and answer["state"] == "succeeded" and case.kind == "loud":
        seen = answer["result"]["stdout_bytes"]
        if seen != LOUD_BYTES:
            verdict.count("lost", f"{seen} bytes of output are known, of {LOUD_BYTES}")
    if row is None:
        if ran or answer is not None:
            verdict.count("lost", f"nothing is on record, and the files hold {found['lines']} lines")
        return
    if row["life"] == "dispatched" or (row["life"] == "awaiting" and not row["approved"]):
        verdict.count("lost", f"it is {row['life']} for ever")
    elif row["state"] == "unknown" and not case.may_lose_sight:
        verdict.count("lost", f"it stays unknown: {row['message']}")
    elif ran and (row["state"] in UNDONE or (row["state"] == "failed" and not _fails_in_place(case))):
        verdict.count("lost", f"{row['state']} {row['code']} {row['message']}, and it did {found['lines']}")
    elif case.level == "staged" and row["state"] == "held" and case.kind != "fails":
        landed = [commit["state"] for commit in found["commits"]]
        if landed != ["succeeded"]:
            verdict.count("lost", f"what is held does not land: {found['commits']}")
    if answer is not None and answer["state"] == "succeeded" != row["state"]:
        verdict.count("lost", f"it was answered as succeeded, and is {row['state']} on record")


def _fails_in_place(case: Case) -> bool:
    """Whether a failure that leaves its lines is what this call is about."""
    return case.kind == "fails" and case.level != "staged"


def _read(spot: Spot, name: str) -> dict[str, Any] | None:
    path = spot.folder / name
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _log(spot: Spot) -> str:
    path = spot.folder / "log"
    return path.read_text(errors="replace")[-600:] if path.exists() else "no log"
