"""The wire form of a command: one exec string that every login shell reads alike. It builds text and parses its echo.

The login shell (sh, csh, fish, …) sees only words in single quotes that hold no quote, backslash, bang or line end, so
none of its own expansions can touch the command. `env -i` starts the pinned bash with a clean environment, whatever the
login's start-up files set. A short prologue there decodes the command, makes sure that it leads a process group of its
own, enters the working directory, and writes a random marker with its process id on both streams. What came before it
is the login shell's noise, and a command whose marker was never written has not begun.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

CALL_VARIABLE = "INTERLOCK_CALL"
NOISE_BYTES_MAX = 64 * 1024
_PLAIN_WORD = re.compile(r"[A-Za-z0-9_./:=+,@%-]+")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f'\\!]")

# Read by bash alone, inside single quotes of the login shell: it must not contain ' or ! or a backslash or a line end.
# A group of its own, so that the whole tree can be ended: OpenSSH gives one, sudo and other servers do not.
_OWN_GROUP = (
    "s=; { read -r s </proc/$$/stat; } 2>/dev/null; a=(${s##*) }); "
    '[ "${a[2]}" = $$ ] || [ "$1" = own ] || { type -P setsid >/dev/null && '
    'exec setsid "$BASH" --noprofile --norc -c "$BASH_EXECUTION_STRING" bash own "${@:2}"; }; '
)
_EXPORT = 'for v; do printf -v v %b "$v"; export "$v"; done; set --; '
_DECODE = 'm=$2; printf -v d %b "$3"; printf -v INTERLOCK_TEXT %b "$4"; shift 4; ' + _EXPORT
_ENTER = (
    'cd -- "$d" 2>/dev/null || { echo "$m no-cwd 0" >&2; exit 97; }; '
    'echo "$m $$ ${a[19]:-0}" && echo "$m $$ ${a[19]:-0}" >&2 || exit 97; unset s a m d v; '
)
_PROLOGUE = _OWN_GROUP + _DECODE + _ENTER
_FROM_NOTHING = "exec </dev/null;"
_RUN = 'eval "$INTERLOCK_TEXT"'


@dataclass(frozen=True, slots=True)
class Exec:
    """One exec string and the marker that its prologue writes."""

    line: str
    marker: bytes


def build_exec(
    command: str,
    *,
    shell: str,
    cwd: str,
    environment: Mapping[str, str],
    call_id: str = "",
    become: str = "",
    takes_stdin: bool = False,
) -> Exec:
    """The exec string for a command. Raises ValueError for a NUL byte, or names that cannot be passed on safely."""
    for word in (shell, become, call_id):
        if word and not _PLAIN_WORD.fullmatch(word):
            raise ValueError(f"not a plain word: {word!r}")
    for name in environment:
        if not _NAME.fullmatch(name):
            raise ValueError(f"not a variable's name: {name!r}")
    marker = f"interlock-{secrets.token_hex(12)}"
    prologue = _PROLOGUE + ("" if takes_stdin else _FROM_NOTHING) + _RUN
    words = ["/usr/bin/env", "-i"]
    words += [f"{CALL_VARIABLE}={call_id}"] if call_id else []
    words += [shell, "--noprofile", "--norc", "-c", f"'{prologue}'", "bash", "any", marker]
    words += [quoted(text) for text in (cwd, command, *(f"{name}={value}" for name, value in environment.items()))]
    if become:
        words = ["sudo", "-n", "-u", become, "--", *words]
    return Exec(" ".join(("exec", *words)), marker.encode())


def quoted(text: str) -> str:
    """One word for any login shell; bash's `printf %b` turns it back into the text."""
    if "\0" in text:
        raise ValueError("a NUL byte cannot be passed to a command")
    return "'" + _UNSAFE.sub(lambda found: f"\\x{ord(found[0]):02x}", text) + "'"


@dataclass(frozen=True, slots=True)
class Begun:
    """The command began: its process id (its group's too) and its start time in kernel ticks (0 = not known)."""

    pid: int
    start_ticks: int


class AfterMarker:
    """Takes one stream and lets through only what comes after the marker's line. Its memory is bounded."""

    def __init__(self, marker: bytes) -> None:
        self._marker = marker
        self._held = b""
        self.noise = b""
        self.begun: Begun | None = None
        self.passed = False

    def feed(self, data: bytes) -> bytes:
        """What of these bytes is the command's own."""
        if self.passed:
            return data
        self._held += data
        start = self._held.find(self._marker)
        end = self._held.find(b"\n", start) if start >= 0 else -1
        if end < 0:
            self._bound(start)
            return b""
        self._note(self._held[start:end].split())
        self.noise, rest = self._noise(start), self._held[end + 1 :]
        self._held = b""
        self.passed = True
        return rest

    def before(self) -> str:
        """What the login shell said before the command began: one line of printable text, cut."""
        text = (self.noise or self._held)[:400].decode("utf-8", "replace")
        return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:200]

    def _bound(self, start: int) -> None:
        if start < 0 and len(self._held) > NOISE_BYTES_MAX:
            self.noise = self.noise or self._held[:400]
            self._held = self._held[-len(self._marker) :]

    def _noise(self, start: int) -> bytes:
        return self.noise or self._held[: min(start, 400)]

    def _note(self, words: list[bytes]) -> None:
        if len(words) == 3 and words[1].isdigit():
            self.begun = Begun(int(words[1]), int(words[2]) if words[2].isdigit() else 0)
