"""A team's own tests of the whole policy: lines that say what must be decided, in the words that rule examples use.

    # *.tests, beside the Cedar files
    expect ASK:  operator on env=prod: service restart nginx
    expect team.db-data: operator on env=dev, group=db: delete /srv/app/data/**

What stands after `expect` is a verdict, or the id of a rule that must be among those that decide.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from interlock_policies.engine import PolicyEngine
from interlock_policies.facts import Verdict
from interlock_policies.situations import example_of
from interlock_policies.statements import PolicyFault

FILE_BYTES_MAX = 1024 * 1024
TESTS_MAX = 10_000
_LINE = re.compile(r"expect\s+([\w.:-]+?)\s*:\s+(.*)")


@dataclass(frozen=True, slots=True)
class Finding:
    """A test that failed: where it stands, what it says, what was decided instead."""

    file: str
    line: int
    text: str
    got: str


def beside(policy_files: Sequence[Path]) -> list[Path]:
    """The test files of these policy files and folders: `team.tests` beside `team.cedar`, `*.tests` within a folder."""
    found: list[Path] = []
    for path in policy_files:
        found += sorted(path.glob("*.tests")) if path.is_dir() else [path.with_suffix(".tests")]
    return [path for path in dict.fromkeys(found) if path.is_file()]


def run_tests(engine: PolicyEngine, path: Path) -> tuple[int, list[Finding]]:
    """How many tests a file has, and those that failed. Raises PolicyFault where it cannot be read."""
    try:
        with path.open("rb") as file:
            text = file.read(FILE_BYTES_MAX).decode()
    except (OSError, UnicodeDecodeError) as fault:
        raise PolicyFault(str(path), 0, f"the file cannot be read: {type(fault).__name__}") from None
    count = 0
    failed: list[Finding] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith(("#", "//")):
            continue
        count += 1
        if count > TESTS_MAX:
            raise PolicyFault(str(path), number, f"there are more than {TESTS_MAX} tests")
        got = _got(engine, line, str(path), number)
        if got:
            failed.append(Finding(str(path), number, line, got))
    return count, failed


def _got(engine: PolicyEngine, line: str, file: str, number: int) -> str:
    """What was decided instead, or ""."""
    found = _LINE.fullmatch(line)
    if not found:
        raise PolicyFault(file, number, "this is no test", "expect ASK: operator on env=prod: write /srv/app/x")
    expected, text = found.groups()
    try:
        example = example_of(text)
    except ValueError as fault:
        raise PolicyFault(file, number, f"this test cannot be read: {fault}") from None
    decision = engine.decide(example.principal, example.host, example.call, example.effects, example.situation)
    right = decision.verdict == expected if expected in list(Verdict) else expected in decision.rule_ids
    return "" if right else f"{decision.verdict.value} by {', '.join(decision.rule_ids) or 'nothing'}"
