"""Which names of secrets a glob may match, and that everyday globs match none."""

from __future__ import annotations

import pytest


def _read(analyse, command):
    return {effect.target for effect in analyse(command).of("read")}


@pytest.mark.parametrize(
    "glob", [".e*", ".[e]nv", ".[!a]nv", ".?nv", ".*", ".env*", "./.e*", "\\.e*", "'.e'*", ".[[:alpha:]]nv"]
)
def test_a_glob_that_may_match_a_secret_reads_it(analyse, glob):
    assert "/jobs/.env" in _read(analyse, f"cat {glob}")


@pytest.mark.parametrize("glob", ["*", "*.log", "*.json", "src*", "test_*.py", "[a-z]*", ".gitig*", "'.e*'"])
def test_an_everyday_glob_reads_no_secret(analyse, glob):
    assert not {path for path in _read(analyse, f"cat {glob}") if path.endswith((".env", "id_rsa", ".json"))}


@pytest.mark.parametrize(
    ("words", "secret"),
    [
        ("-exec cat {} +", True),
        ("-name '*.py' -exec cat {} +", False),
        ("-name '*env*' -exec cat {} +", True),
        ("-name '*.py' -o -type f -exec cat {} +", True),
        ("! -name '*.py' -exec cat {} +", True),
        ("-iname '.E*' -exec cat {} +", True),
    ],
)
def test_what_find_hands_on_may_be_a_secret_unless_names_say_otherwise(analyse, words, secret):
    assert ("/jobs/.env" in _read(analyse, f"find . {words}")) is secret
