"""What the tests of shell analysis share: one analyser, and effects in words that can be compared."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from interlock.shfmt import Shfmt, find_shfmt
from interlock_policies.shell.analyse import Analyser
from interlock_tools.effects import Effects

CWD = "/jobs"
HOME = "/home/agent"


@pytest.fixture(scope="session")
def analyser() -> Analyser:
    return Analyser(shfmt=Shfmt(find_shfmt(), timeout_seconds=10))


@pytest.fixture(scope="session")
def analyse(analyser: Analyser) -> Callable[[str], Effects]:
    def one(command: str) -> Effects:
        effects = analyser.analyse(command, cwd=CWD, home=HOME)
        assert isinstance(effects, Effects), effects.message
        return effects

    return one


@pytest.fixture(scope="session")
def seen(analyse: Callable[[str], Effects]) -> Callable[[str], set[str]]:
    """The effects but reads as "kind target", `/**` behind a recursive one, `~` behind an inexact one; plus marks."""

    def one(command: str) -> set[str]:
        effects = analyse(command)
        found = {
            f"{e.kind} {e.target}{'/**' if e.recursive else ''}{'' if e.exact else '~'}"
            for e in effects.inferred
            if e.kind != "read"
        }
        marks = {
            "OPAQUE": effects.opaque,
            "UNKNOWN": effects.unknown_programs,
            "PRIVILEGED": effects.privileged,
            "DOWNLOAD": effects.downloads_to_shell,
        }
        return found | {mark for mark, holds in marks.items() if holds}

    return one
