"""The script: the runner's sh form as it is sent, what it is asked, and what it answers. It connects to nothing.

One exec is one request: a line that any login shell reads alike, then on standard input the text, the request, and the
command's own input. The shell reads the text and the request as one line each and checks their lengths, so a dropped
upload starts nothing; what the login shell or its start-up files print comes before the marker and is dropped.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from interlock.hosts.program import SYSTEM_PATH
from interlock.hosts.wire import Exec

LINE_BYTES_MAX = 4_096
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_UNSAFE = re.compile(rb"[^ -~]|[\\|]")
_COMMENT = re.compile(r"^#.*\n", re.MULTILINE)

# Inside single quotes of any login shell: no ' and no ! and no backslash and no line end.
# A dd that knows how reads the text at once and not a byte more; the builtin takes a system call for each byte.
_READ_AND_RUN = (
    'echo "$1 $$ 0"; echo "$1 $$ 0" >&2; '
    "text=$(dd bs=$(($2 + 1)) count=1 iflag=fullblock 2>/dev/null) || IFS= read -r text; "
    '[ ${#text} = "$2" ] && IFS= read -r request && [ ${#request} = "$3" ] && '
    'text=$(printf %b "$text") && set -- && eval "$text"; exit 95'
)


@dataclass(frozen=True, slots=True)
class Script:
    """The sh form as it is sent: one line that `printf %b` turns back into the text, and the digest of the file."""

    line: str
    digest: str


@cache
def script() -> Script:
    """The sh form of this installation, its comments and indentation left here."""
    whole = files("interlock.runner").joinpath("plain.sh").read_text("ascii")
    text = _COMMENT.sub("", "".join(line.lstrip(" ") for line in whole.splitlines(keepends=True)))
    line = text.replace("\\", "\\\\").replace("\n", "\\n")
    return Script(line, hashlib.sha256(whole.encode()).hexdigest())


@dataclass(frozen=True, slots=True)
class Request:
    """One exec string, and what is written to its standard input."""

    exec: Exec
    upload: bytes


def build_request(verb: str, run: str, home: str, *fields: str | int, become: str = "", stdin: bytes = b"") -> Request:
    """What asks the host for a verb. Raises ValueError for what cannot be passed on."""
    if become and not _USER.fullmatch(become):
        raise ValueError(f"not a plain word: {become!r}")
    text = script().line
    request = "|".join(_escaped(str(field)) for field in (verb, run, home, *fields))
    marker = f"interlock-{secrets.token_hex(12)}"
    elevated = ["sudo", "-n", "-u", become, "--"] if become else []
    words = ["/usr/bin/env", "-i", f"PATH={SYSTEM_PATH}", "LC_ALL=C", "/bin/sh", "-c", f"'{_READ_AND_RUN}'", "sh"]
    line = " ".join(["exec", *elevated, *words, marker, str(len(text)), str(len(request))])
    return Request(Exec(line, marker.encode()), f"{text}\n{request}\n".encode() + stdin)


def pairs_of(environment: Mapping[str, str]) -> list[str]:
    """The environment as fields. Raises ValueError for what is no variable's name."""
    for name in environment:
        if not _NAME.fullmatch(name):
            raise ValueError(f"not a variable's name: {name!r}")
    return [f"{name}={value}" for name, value in environment.items()]


def _escaped(text: str) -> str:
    if "\0" in text:
        raise ValueError("a NUL byte cannot be passed to a command")
    data = _UNSAFE.sub(lambda found: b"\\0%03o" % found[0][0], text.encode("utf-8", "surrogateescape"))
    return data.decode("ascii")


class Answer:
    """Takes the answer of one exec as it comes: output goes on at once, the last line is kept. Its memory is bounded.

    `last` are the words of its `state` or `refused` line; it stays empty where the answer was cut.
    """

    def __init__(self, take_output: Callable[[int, int, bytes], None]) -> None:
        self._take_output = take_output
        self._line = b""
        self._which, self._offset, self._left = 0, 0, 0
        self.heard_bytes = 0
        self.last: list[str] = []

    def feed(self, data: bytes) -> None:
        """The next bytes of the answer."""
        self.heard_bytes += len(data)
        while data:
            if self._left:
                piece, data = data[: self._left], data[self._left :]
                self._take_output(self._which, self._offset, piece)
                self._offset += len(piece)
                self._left -= len(piece)
                continue
            line, end, data = data.partition(b"\n")
            self._line = (self._line + line)[:LINE_BYTES_MAX]
            if end:
                self._read(self._line.decode("utf-8", "replace").split())
                self._line = b""

    def _read(self, words: list[str]) -> None:
        if words[:1] == ["data"] and len(words) == 4 and all(word.isdigit() for word in words[1:]):
            self._which, self._offset, self._left = int(words[1]) - 1, int(words[2]), int(words[3])
        elif words[:1] in (["state"], ["refused"]) and len(words) > 1:
            self.last = words
