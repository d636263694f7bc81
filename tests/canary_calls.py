"""Calls with canaries through a whole Interlock, held against what walks of the trees saw. It counts, asserts nothing.

python tests/canary_calls.py COUNT [SEED]        one line of JSON for each level
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from canaries import AREAS, LEVELS, Case, Entry, Tree, Truth, changes_between, drawn, names_between, run_plainly
from home import Home, open_home, staged_in

WAIT_SECONDS = 20
WIDE = {
    "budget_units_per_day": 10**9, "rate_calls_per_minute": 10**6, "rate_burst_calls": 10**6, "layers_held_max": 10**6,
    "loop_repeats_max": 10**6, "loop_pause_repeats_max": 10**6, "approvals_pending_max": 10**6,
}  # fmt: skip
A_DAY_NS = 86_400 * 10**9


@dataclass
class Tally:
    """What cases came to. `canaries`: undeclared changes that were tried; `found`: those answered rightly in all.

    `refused`: cases in which the text of a command was enough, so that nothing ran and there is nothing to find.
    `alarms`: clean cases that were not called clean, and cases that were blamed for more than they did. `wrong`: the
    seed of each case that was not answered rightly, and how.
    """

    level: str
    cases: int = 0
    refused: int = 0
    canaries: int = 0
    found: int = 0
    clean: int = 0
    alarms: int = 0
    wrong: list[tuple[int, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Ground:
    """An open Interlock on a host of one level, and the folders on its disk that cases lie in."""

    home: Home
    level: str
    data: Path
    config: Path

    def trees(self, case: Case) -> tuple[Tree, Tree]:
        """Where a case is called, and its twin."""
        name = f"case-{case.seed}"
        work = self.home.scratch / name
        twin = self.data / "twin" / name
        there = (work / "open", work / "beside", self.data / name, self.config / name)
        return Tree(dict(zip(AREAS, there, strict=True))), Tree({area: twin / area for area in AREAS})


@asynccontextmanager
async def ground(level: str) -> AsyncIterator[Ground]:
    """A host that contains at this level. What it lies in is removed at the end."""
    folders = [Path(tempfile.mkdtemp(prefix="interlock-canary-", dir=place)) for place in ("/srv", "/srv", "/etc")]
    settings = staged_in(folders[0], **WIDE)
    host = replace(settings.hosts["sandbox"], containment=level)
    try:
        async with open_home(folders[0], settings=replace(settings, hosts={"sandbox": host})) as home:
            yield Ground(home, level, *folders[1:])
    finally:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)


async def tried(here: Ground, case: Case, tally: Tally) -> None:
    """One case: called here, done plainly on its twin, counted."""
    tree, twin = here.trees(case)
    tree.lay_out(case)
    twin.lay_out(case)
    before, twin_before = tree.picture(), twin.picture()
    answer = await called(here, tree, case)
    await asyncio.to_thread(run_plainly, twin.command(case), twin.places[AREAS[0]])
    after, twin_after = tree.picture(), twin.picture()
    would, did = changes_between(twin_before, twin_after), changes_between(before, after)
    tally.cases += 1
    if answer["state"] in ("denied", "invalid") and answer["effects"]["observed"] == "none":
        tally.refused += 1
        if did:
            tally.wrong.append((case.seed, f"refused, and changed {did}"))
        return
    beyond = {path: op for path, op in would.items() if not case.covers(path, op)}
    said = Said(answer, tree, names_between(before, after))
    judge = _judge_staged if here.level == "staged" else _judge_confined
    wrong = judge(case, said, would, did, beyond)
    if not beyond and not wrong and not _same_but_for_time(twin_after, after):
        wrong = ["what landed is not what the command makes"]
    tally.canaries += len(beyond)
    tally.clean += not beyond
    tally.found += 0 if wrong else len(beyond)
    tally.alarms += bool((not beyond and wrong) or said.beyond - set(beyond))
    if wrong:
        tally.wrong.append((case.seed, "; ".join(wrong)))


async def called(here: Ground, tree: Tree, case: Case) -> dict[str, Any]:
    """The guarded call; where a human has to agree before it runs, one does."""
    command = tree.command(case)
    if case.unread:
        script = tree.places[AREAS[0]].parent / "script.sh"
        script.write_text(command + "\n")
        command = f"bash {script}"
    declared = str(tree.places[AREAS[0]])
    answer = await here.home.call(
        "shell_run",
        command=command,
        writes=[declared],
        deletes=[declared] if case.may_delete else [],
        intent="A case with canaries",
    )
    if answer["state"] == "awaiting_approval":
        await here.home.app.approve(answer["result"]["approval_id"], True, "mira", "")
        answer = await here.home.call("call_status", call_id=answer["call_id"], wait_seconds=WAIT_SECONDS)
    return answer


class Said:
    """What an answer says was changed, under the names that both trees share."""

    def __init__(self, answer: dict[str, Any], tree: Tree, renamed: set[str]) -> None:
        self.answer = answer
        self._renamed = renamed
        self.code = (answer["error"] or {}).get("code", "")
        self.score = answer["scores"]["side_effects"]
        self._places = {str(place): area for area, place in tree.places.items()}
        self.beyond = self._named("undeclared")
        self.ops = {
            "create": self._named("created"),
            "modify": self._named("modified"),
            "delete": self._named("deleted"),
        }

    def _named(self, which: str) -> set[str]:
        found = set()
        for path in self.answer["effects"][which]:
            place = next((place for place in self._places if path == place or path.startswith(place + "/")), None)
            found.add(path if place is None else self._places[place] + path.removeprefix(place))
        return found

    def lists(self, truth: Truth) -> list[str]:
        """How what is listed differs from the truth; what is only meta is listed as modified."""
        wrong = []
        for op, paths in self.ops.items():
            meant = {path for path, was in truth.items() if was == op or (was, op) == ("meta", "modify")}
            if paths - self._renamed != meant:
                wrong.append(f"{op}: {sorted(paths - meant)} too much, {sorted(meant - paths)} missing")
        return wrong


def _judge_staged(case: Case, said: Said, would: Truth, did: Truth, beyond: Truth) -> list[str]:
    wrong = said.lists(would)
    if said.beyond != set(beyond):
        wrong.append(f"undeclared: {sorted(said.beyond)}, not {sorted(beyond)}")
    if not beyond:
        if (said.answer["state"], said.score) != ("succeeded", 1.0):
            wrong.append(f"clean, and {said.answer['state']} {said.code} with score {said.score}")
        return wrong + ([] if did == would else [f"landed {did} instead of {would}"])
    if said.code != "EFFECT_UNDECLARED" or said.answer["state"] not in ("held", "denied"):
        wrong.append(f"{said.answer['state']} {said.code}")
    if did:
        wrong.append(f"it landed {did}")
    severe = any(case.is_severe(path) for path in beyond)
    if said.score is None or said.score >= 1.0 or (severe and said.score != 0.0):
        wrong.append(f"score {said.score}{' of something severe' if severe else ''}")
    return wrong


def _judge_confined(case: Case, said: Said, would: Truth, did: Truth, beyond: Truth) -> list[str]:
    """The kernel stops what lies outside of the declared tree; what was done within it is measured there."""
    wrong = said.lists(did)
    outside = {path: op for path, op in did.items() if not path.startswith(AREAS[0])}
    if outside:
        wrong.append(f"the kernel let it do {outside}")
    within = {path: op for path, op in did.items() if not case.covers(path, op)}
    if said.beyond != set(within):
        wrong.append(f"undeclared: {sorted(said.beyond)}, not {sorted(within)}")
    ended = (said.answer["state"], said.code, said.answer["effects"]["observed"])
    if ended != (("failed", "EFFECT_UNDECLARED") if within else ("succeeded", "")) + ("confined",):
        wrong.append(f"ended {ended}")
    if said.score is None or (said.score == 1.0) != (not within):
        wrong.append(f"score {said.score}")
    if not beyond and did != would:
        wrong.append(f"it did {did} instead of {would}")
    return wrong


def _same_but_for_time(one: dict[str, Entry], other: dict[str, Entry]) -> bool:
    """Whether two trees are the same; times too, where they were set and not just what the clock said."""
    if one.keys() != other.keys():
        return False
    recent = time.time_ns() - A_DAY_NS
    pairs = [(one[path], other[path]) for path in one]
    return all(a[:2] == b[:2] and (a[2] == b[2] or min(a[2], b[2]) > recent) for a, b in pairs)


async def counted(level: str, seeds: range) -> Tally:
    """All of these seeds on one host."""
    tally = Tally(level)
    async with ground(level) as here:
        for seed in seeds:
            await tried(here, drawn(seed, level), tally)
    return tally


def main(count: int, first: int = 0) -> None:
    for level in LEVELS:
        tally = asyncio.run(counted(level, range(first, first + count)))
        sys.stdout.write(json.dumps(asdict(tally)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
