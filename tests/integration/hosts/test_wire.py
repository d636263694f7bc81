"""The exec string under every login shell that is on this machine, and what its echo tells."""

import shlex
import shutil
import subprocess

import pytest

from interlock.hosts.wire import NOISE_BYTES_MAX, AfterMarker, build_exec, quoted

SHELLS = [["sh"], ["bash"], ["dash"], ["tcsh"], ["fish"], ["zsh"], ["busybox", "sh"]]
TEXTS = [
    "",
    'it\'s "both"',
    "back\\slash \\n \\x41 \\c \\\\ end",
    "$HOME `id` $(id) ${x:-y}",
    "bang! !! !$ !x",
    "line\nbreaks\r\ttabs\n\n",
    "snow ☃ é 日本",
    "-n %s %b %%",
    "~ * ? [a] {b,c} & | ; < > ( ) # ^",
    "\x01\x1b\x7f",
    "x" * 16_000,
]


@pytest.mark.parametrize("shell", [shell for shell in SHELLS if shutil.which(shell[0])], ids=" ".join)
def test_any_text_reaches_bash_through_any_login_shell(shell: list[str]) -> None:
    for text in TEXTS:
        exec_ = build_exec(
            f'printf %s {shlex.quote(text)}; printf %s "$ODD" >&2',
            shell="/bin/bash",
            cwd="/",
            environment={"ODD": text, "PATH": "/usr/bin:/bin"},
            call_id="call-1",
        )
        assert len(exec_.line) < 128 * 1024
        done = subprocess.run(
            [*shell, "-c", exec_.line], capture_output=True, start_new_session=True, timeout=10, check=True
        )
        assert AfterMarker(exec_.marker).feed(done.stdout).decode() == text
        assert AfterMarker(exec_.marker).feed(done.stderr).decode() == text


def test_a_command_leads_its_own_group_even_where_nobody_gave_it_one() -> None:
    exec_ = build_exec("ps -o pgid= -p $$; echo $$", shell="/bin/bash", cwd="/", environment={"PATH": "/usr/bin:/bin"})
    done = subprocess.run(["sh", "-c", f"( {exec_.line} )"], capture_output=True, timeout=10, check=True)
    after = AfterMarker(exec_.marker)
    group, pid = after.feed(done.stdout).split()
    assert group == pid
    assert after.begun is not None
    assert after.begun.pid == int(pid)
    assert after.begun.start_ticks > 0


def test_noise_before_the_marker_is_dropped_and_bounded() -> None:
    after = AfterMarker(b"interlock-mark")
    for _ in range(100):
        assert after.feed(b"noise " * 1_000) == b""
    assert len(after._held) <= NOISE_BYTES_MAX + 6_000
    assert after.feed(b"\ninterlock-ma") == b""
    assert after.feed(b"rk 12 34") == b""
    assert after.feed(b"5\nown") == b"own"
    assert (after.begun.pid, after.begun.start_ticks) == (12, 345)
    assert after.before().startswith("noise noise")
    assert after.feed(b" more") == b" more"


def test_what_cannot_be_passed_on_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        quoted("a\0b")
    for wrong in ({"shell": "/bin/ba sh"}, {"become": "a;b"}, {"call_id": "x y"}):
        fields = {"shell": "/bin/bash", **wrong}
        with pytest.raises(ValueError, match="plain word"):
            build_exec("true", cwd="/", environment={}, **fields)
    with pytest.raises(ValueError, match="variable"):
        build_exec("true", shell="/bin/bash", cwd="/", environment={"A-B": "1"})
