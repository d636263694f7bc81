"""Whatever the text: it never raises, it is deterministic and bounded, and tokens thrown in hide no deletion."""

from __future__ import annotations

import shutil
import subprocess
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interlock.shfmt import Shfmt, find_shfmt
from interlock_policies.shell.analyse import Analyser
from interlock_tools.effects import EffectKind, Effects
from interlock_tools.errors import CommandUnreadable

TOKENS = [
    "'", '"', "\\", "\n", "$", "`", "#", " #", ";", "|", "&", "<", ">", "(", ")", "{", "}", "$(", "$((", "))", "<<E\n",
    "\nE\n", "<<'E'\n", "\\\n", "!", "*", "[", "]", "=", "~", " - ", "$'", '"$', "${", "<(", ">(", "&&", "||", "\t",
    " in ", " do ", " done ", " if ", " then ", " fi ", "time ", "coproc ", " 2>", "0<", "&>", "@", "1", "((", "[[ ",
    " ]]", ";;", "case x in ", "a)", "esac", "function f ", "f() ", "exec ", "eval ", "echo ", "A=", "<<<", ">|", "%",
]  # fmt: skip
BASES = [
    "rm -rf /data", "ls; rm -rf /data", "cd /x && rm -rf /data", "echo a | xargs ls; rm -rf /data",
    "rm -rf /data | cat",
    "if true; then rm -rf /data; fi", "sudo rm -rf /data", "(rm -rf /data) > /dev/null", "sh -c 'rm -rf /data'",
    "for i in a; do rm -rf /data; done", "cat <<X\nhi\nX\nrm -rf /data", "find /data -delete", "A=1 rm -rf /data",
    'echo "$(rm -rf /data)"', "rm -rf /data & wait", "env A=1 rm -rf /data",
]  # fmt: skip
BOUNDED = settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
BASH = shutil.which("bash")


@st.composite
def mutated(draw):
    text = draw(st.sampled_from(BASES))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.sampled_from(TOKENS)) + text[at:]
    return text


def quiet(result: Effects | CommandUnreadable) -> bool:
    """True where the result would pass as harmless reading."""
    return isinstance(result, Effects) and not (
        result.opaque or result.unknown_programs or result.of(EffectKind.DELETE, EffectKind.WRITE, EffectKind.SYSTEM)
    )


def as_bash_reads(command: str) -> str | None:
    """bash's own print of the command as a function's body; None where bash does not read it.

    The function is never called, the shell is restricted and has no programs. A text with a closing brace could end the
    function early, so it is not asked about.
    """
    if "}" in command:
        return None
    body = f"f() {{\n{command}\n}}\n"
    checked = _bash("-n", body)
    if checked.returncode or checked.stderr:
        return None
    done = _bash("-r", body + "declare -f f\n")
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def _bash(option: str, text: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [BASH or "", "--norc", "--noprofile", option],
        input=text.encode(),
        capture_output=True,
        timeout=10,
        env={"PATH": "/nonexistent"},
        cwd="/",
        check=False,
    )


@BOUNDED
@given(st.one_of(mutated(), st.text(max_size=60), st.lists(st.sampled_from(TOKENS + BASES), max_size=12).map("".join)))
def test_analysis_never_raises_is_deterministic_and_bounded(analyser, text):
    began = time.monotonic()
    first = analyser.analyse(text, cwd="/jobs", home="/home/agent")
    assert time.monotonic() - began < 15
    fresh = Analyser(shfmt=Shfmt(find_shfmt(), timeout_seconds=10), cache_entries_max=0) if len(text) < 8 else analyser
    assert first == fresh.analyse(text, cwd="/jobs", home="/home/agent")
    assert isinstance(first, Effects | CommandUnreadable)


@pytest.mark.skipif(BASH is None, reason="there is no bash to ask")
@BOUNDED
@given(mutated())
def test_tokens_thrown_in_hide_no_deletion_that_bash_still_sees(analyser, text):
    if not quiet(analyser.analyse(text, cwd="/jobs", home="/home/agent")):
        return
    printed = as_bash_reads(text)
    if printed is None:
        return
    commands = [line.strip() for line in printed.splitlines()]
    assert not any(line.startswith(("rm -rf /data", "sudo rm", "find /data -delete")) for line in commands), text
