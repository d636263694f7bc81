"""Measures analysis and decision on corpora of dangerous and benign commands, read from outside, never copied.

    python benchmarks/corpora.py [DIRECTORY] [--misses N] [--kinds]

DIRECTORY (or INTERLOCK_CORPORA, or ../shared/corpora beside the checkout) holds *.jsonl files
whose objects have a `command` and a `label`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from interlock.shfmt import Shfmt, find_shfmt
from interlock_policies.engine import PolicyEngine
from interlock_policies.facts import HostFacts, Principal, Situation
from interlock_policies.packs import SHIPPED
from interlock_policies.scope import honest_declaration
from interlock_policies.shell.analyse import Analyser
from interlock_tools.call import Call
from interlock_tools.effects import Declaration, EffectKind, Effects, Network
from interlock_tools.errors import Refusal

CWD = "/home/agent/project"
HOME = "/home/agent"
STOPPED = ("DENY", "ASK")
ENVIRONMENTS = ("dev", "prod")

Judge = Callable[[str], str]  # a command → "ALLOW" | "ASK" | "DENY"


@dataclass
class Tally:
    """What one label of one corpus was seen as."""

    kinds: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    traits: Counter[str] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)
    total: int = 0


def rows(path: Path) -> Iterator[Mapping[str, str]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                yield json.loads(line)


def kind_of(effects: Effects | Refusal) -> str:
    """One word for what the analysis saw; the least certain wins."""
    if isinstance(effects, Refusal):
        return "unreadable"
    if effects.opaque:
        return "opaque"
    if effects.unknown_programs:
        return "unknown"
    if effects.of(EffectKind.DELETE):
        return "delete"
    if effects.of(EffectKind.SYSTEM, EffectKind.SERVICE):
        return "system"
    if effects.of(EffectKind.WRITE):
        return "write"
    if effects.privileged:
        return "privileged"
    return "network" if effects.of(EffectKind.NETWORK) else "read"


def passes_as_read(kind: str) -> bool:
    return kind in ("read", "network")


def traits_of(effects: Effects | Refusal) -> Iterator[str]:
    if isinstance(effects, Refusal):
        return
    if effects.privileged:
        yield "privileged"
    if effects.downloads_to_shell:
        yield "downloads to a shell"
    if effects.unknown_programs:
        yield "unknown program"


def measure(path: Path, analyser: Analyser, judge: Judge | None) -> dict[str, Tally]:
    tallies: dict[str, Tally] = {}
    for row in rows(path):
        tally = tallies.setdefault(row["label"], Tally())
        effects = analyser.analyse(row["command"], cwd=CWD, home=HOME)
        kind = kind_of(effects)
        tally.total += 1
        tally.kinds[kind] += 1
        tally.traits.update(traits_of(effects))
        verdict = judge(row["command"]) if judge else ""
        tally.verdicts[verdict] += 1
        dangerous = row["label"] == "dangerous"
        passed = verdict not in STOPPED if judge else passes_as_read(kind)
        if passed if dangerous else not passed:
            tally.missed.append(f"{verdict or kind:10} {row['command']}")
    return tallies


def report(name: str, tallies: Mapping[str, Tally], misses: int, *, judged: bool, kinds: bool) -> None:
    for label, tally in sorted(tallies.items()):
        as_read = sum(count for kind, count in tally.kinds.items() if passes_as_read(kind))
        print(f"{name} {label}: {tally.total} commands")
        if kinds:
            print("  seen as   " + _shares(tally.kinds, tally.total))
            print("  traits    " + _shares(tally.traits, tally.total))
            print(f"  passes as plain reading: {as_read} ({as_read / tally.total:.1%})")
        if judged:
            stopped = sum(tally.verdicts[verdict] for verdict in STOPPED)
            print("  verdicts  " + _shares(tally.verdicts, tally.total))
            print(f"  stopped: {stopped} ({stopped / tally.total:.1%})")
        for line in tally.missed[:misses]:
            print("    ", line[:160].replace("\n", "⏎"))


def _shares(counter: Counter[str], total: int) -> str:
    return "  ".join(f"{name} {count} ({count / total:.1%})" for name, count in counter.most_common()) or "none"


def run(
    directory: Path, *, judge: Judge | None = None, misses: int = 0, kinds: bool = True
) -> dict[str, dict[str, Tally]]:
    """Measure every corpus in the directory and print it; `judge` is the decision, where one is to be measured too."""
    analyser = Analyser(shfmt=Shfmt(find_shfmt()))
    out = {}
    for path in sorted(directory.glob("*.jsonl")):
        out[path.stem] = measure(path, analyser, judge)
        report(path.stem, out[path.stem], misses, judged=judge is not None, kinds=kinds)
    return out


def policy_judge(environment: str) -> Judge:
    """The shipped policy's verdict on a command that an operator declares honestly, on a host of this environment."""
    analyser = Analyser(shfmt=Shfmt(find_shfmt()))
    engine = PolicyEngine.load([], schema_packs=SHIPPED)
    operator = Principal("agent", roles=frozenset({"operator"}), hosts=("*",))
    host = HostFacts("box", labels={"env": environment}, user="agent", home=HOME, cwd=CWD, workspace=(CWD,))

    def judge(command: str) -> str:
        effects = analyser.analyse(command, cwd=CWD, home=HOME)
        if isinstance(effects, Refusal):
            return "DENY"
        honest = honest_declaration(effects)
        declared = Declaration(
            writes=tuple(honest.get("writes", ())),
            deletes=tuple(honest.get("deletes", ())),
            services=tuple(honest.get("services", ())),
            network=Network(honest.get("network", "none")),
        )
        call = Call("c_0", operator.name, "shell_run", host.name, {"command": command}, declaration=declared)
        whole = replace(effects, declared=declared)
        return engine.decide(operator, host, call, whole, Situation()).verdict.value

    return judge


def corpora_directory(given: str | None) -> Path | None:
    """The directory that was named, or the one beside the checkout; None where there is no corpus in it."""
    beside = Path(__file__).resolve().parents[1].parent / "shared" / "corpora"
    directory = Path(given or os.environ.get("INTERLOCK_CORPORA") or beside)
    return directory if any(directory.glob("*.jsonl")) else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", help="where the *.jsonl files are")
    parser.add_argument("--misses", type=int, default=0, help="print so many misjudged commands per corpus and label")
    parser.add_argument("--kinds", action="store_true", help="print what the analysis saw too")
    arguments = parser.parse_args()
    directory = corpora_directory(arguments.directory)
    if directory is None:
        print("no corpora found: name their directory, or set INTERLOCK_CORPORA", file=sys.stderr)
        return 2
    began = time.perf_counter()
    for environment in ENVIRONMENTS:
        print(f"── on a host with env={environment}, declared honestly, no containment")
        run(directory, judge=policy_judge(environment), misses=arguments.misses, kinds=arguments.kinds)
    print(f"took {time.perf_counter() - began:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
