"""The entrance: caching, bounds, time, and what it does with odd places."""

from __future__ import annotations

import time

import pytest

from interlock.shfmt import Shfmt, find_shfmt, run_shfmt
from interlock_policies.shell.analyse import Analyser, analyse_command
from interlock_policies.shell.shfmt import ShfmtRefused
from interlock_tools.effects import Declaration, Effects


def counting() -> tuple[Analyser, list[str]]:
    asked: list[str] = []
    shfmt = Shfmt(find_shfmt(), timeout_seconds=10)

    def ask(text: str) -> str:
        asked.append(text)
        return shfmt(text)

    return Analyser(shfmt=ask, cache_entries_max=2), asked


def test_the_same_command_in_the_same_place_is_analysed_once():
    analyser, asked = counting()
    first = analyser.analyse("rm a", cwd="/x", home="/h")
    assert analyser.analyse("rm a", cwd="/x", home="/h") is first
    assert asked == ["rm a"]
    assert analyser.analyse("rm a", cwd="/y", home="/h") != first


def test_the_cache_forgets_what_was_not_asked_for_longest():
    analyser, asked = counting()
    for text in ("ls a", "ls b", "ls a", "ls c", "ls a", "ls b"):
        analyser.analyse(text, cwd="/", home="/")
    assert asked == ["ls a", "ls b", "ls c", "ls b"]


def test_a_cached_analysis_takes_no_time_and_a_first_one_little(analyser):
    command = "cd /srv/app && sudo systemctl restart x | tee log; find . -name '*.py' -exec grep -l x {} + > out"
    tree = run_shfmt(command)
    fresh = Analyser(shfmt=lambda _: tree, cache_entries_max=1)
    times = []
    for index in range(60):
        began = time.process_time()
        fresh.analyse(command, cwd=f"/{index}", home="/h")
        times.append(time.process_time() - began)
    assert sorted(times)[30] < 0.004
    analyser.analyse(command, cwd="/w", home="/h")
    began = time.process_time()
    for _ in range(1_000):
        analyser.analyse(command, cwd="/w", home="/h")
    assert (time.process_time() - began) / 1_000 < 0.0001


def test_the_declaration_is_empty_and_programs_are_listed_in_order(analyse):
    effects = analyse("ls | sudo tee /a; rm b")
    assert effects.declared == Declaration()
    assert effects.programs == ("ls", "sudo", "tee", "rm")


def test_a_working_directory_that_is_not_absolute_is_not_known(analyser):
    effects = analyser.analyse("rm a", cwd="", home="/h")
    assert isinstance(effects, Effects)
    assert effects.opaque


def test_one_command_can_be_analysed_without_keeping_an_analyser():
    effects = analyse_command("rm a", cwd="/x", home="/h", shfmt=Shfmt(find_shfmt(), timeout_seconds=10))
    assert isinstance(effects, Effects)
    assert [e.target for e in effects.inferred] == ["/x/a"]


@pytest.mark.parametrize(("text", "timeout_seconds"), [("if", 10), ("ls", 0.000001)])
def test_shfmt_refuses_syntax_errors_and_what_takes_too_long(text, timeout_seconds):
    with pytest.raises(ShfmtRefused):
        Shfmt(find_shfmt(), timeout_seconds)(text)


def test_too_many_texts_for_further_shells_are_opaque(analyse):
    assert analyse("; ".join("sh -c 'rm /a'" for _ in range(40))).opaque
