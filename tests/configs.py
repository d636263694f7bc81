"""What the tests of the configuration share: writing a file, loading it, and the problems it has."""

from pathlib import Path

import pytest

from interlock.config import ConfigFault, Problem, load

AGENT = '\n[principals.agent]\nroles = ["operator"]\nhosts = ["*"]\n'


def write(folder: Path, text: str, name: str = "interlock.toml", mode: int = 0o600) -> Path:
    path = folder / name
    path.write_text(text)
    path.chmod(mode)
    return path


def problems_of(folder: Path, text: str) -> tuple[Problem, ...]:
    with pytest.raises(ConfigFault) as caught:
        load(write(folder, text))
    return caught.value.problems


def only_problem(folder: Path, text: str) -> Problem:
    problems = problems_of(folder, text)
    assert len(problems) == 1, problems
    return problems[0]
