"""The formats of secrets that redaction knows: data, and nothing else.

Every pattern begins with a literal or a bounded class and nests no repetition, so that searching is linear in the text.
A pattern is tried only where one of its hints (lower case) occurs in the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Format:
    """One format: its one group that matched is the secret, or where it has none all of it.

    With `named`, harmless values (true, $VAR) are left alone.
    """

    hints: tuple[str, ...]
    pattern: re.Pattern[str]
    named: bool = False


def _token(hints: str, pattern: str) -> Format:
    """A token whose beginning is rare enough to be looked for anywhere."""
    return Format(tuple(hints.split()), re.compile(pattern))


def _word(hints: str, pattern: str) -> Format:
    """A token that begins where no word goes on; inside words its beginning is common."""
    return Format(tuple(hints.split()), re.compile(rf"(?<![A-Za-z0-9_])(?:{pattern})"))


_NAMES = (
    r"(?:pass(?:word|wd|phrase|code)|_pwd|secret(?:[_-]?(?:access[_-]?)?key)?|client[_-]?secret|token"
    r"|api[_-]?key|apikey|access[_-]?key(?:[_-]?id)?|private[_-]?key|account[_-]?key|encryption[_-]?key|signing[_-]?key"
    r"|auth[_-]?key|connection[_-]?string|credentials?)"
)
_NAME_HINTS = ("pass", "pwd", "secret", "token", "key", "connection", "credential")
_VALUE = r"(?:\"([^\"\r\n]+)|'([^'\r\n]+)|([^\s\"'&]+))"

SENSITIVE_NAME = re.compile(rf"(?i){_NAMES}$")
HARMLESS_VALUE = re.compile(
    r"(?i)(?:true|false|null|none|nil|yes|no|on|off|enabled|disabled|required|optional|undefined|string|str|bytes|int"
    r"|\d{1,5}|\$.*|<.*|%.*|\*+|x{3,}|\.{3}|[=:!~].*|\(.*|\{\{?.*|\[)"
)

FORMATS: tuple[Format, ...] = (
    _word(
        "akia asia agpa aida aroa anpa abia acca",
        r"(?:AKIA|ASIA|AGPA|AIDA|AROA|ANPA|ABIA|ACCA)[A-Z2-7]{16}(?![A-Z0-9])",
    ),
    _token("ghp_ gho_ ghu_ ghs_ ghr_", r"gh[pousr]_[A-Za-z0-9_]{36,}"),
    _token("github_pat_", r"github_pat_[A-Za-z0-9_]{40,}"),
    _word("gl", r"gl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|soat|oas)-[A-Za-z0-9_.-]{20,}"),
    _token("xox", r"xox[abeoprs]-[A-Za-z0-9-]{10,}"),
    _token("xapp-", r"xapp-[A-Za-z0-9-]{10,}"),
    _token("hooks.slack.com", r"hooks\.slack\.com/services/[A-Za-z0-9/_-]{20,}"),
    _token("eyj", r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?"),
    _word("sk-", r"sk-(?=[A-Za-z_-]{0,60}[0-9])[A-Za-z0-9_-]{20,}"),
    _word("k_live_ k_test_", r"[sr]k_(?:live|test)_[A-Za-z0-9]{16,}"),
    _word("aiza", r"AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
    _token("ya29.", r"ya29\.[A-Za-z0-9_-]{20,}"),
    _token("npm_", r"npm_[A-Za-z0-9]{36}(?![A-Za-z0-9])"),
    _token("pypi-", r"pypi-[A-Za-z0-9_-]{50,}"),
    _word("hf_", r"hf_[A-Za-z0-9]{30,}"),
    _token("dop_v1_", r"dop_v1_[a-f0-9]{64}"),
    _word("hvs. hvb. hvr.", r"hv[sbr]\.[A-Za-z0-9_-]{20,}"),
    _word("sg.", r"SG\.[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{16,}"),
    _token("age-secret-key-", r"AGE-SECRET-KEY-1[A-Z0-9]{58}"),
    _token("ilk_", r"ilk_[A-Za-z0-9_-]{16,}"),
    # name=value, name: value, "name": "value", also with escaped quotes
    Format(
        _NAME_HINTS,
        re.compile(rf"(?i){_NAMES}\\{{0,2}}[\"']?[ \t]{{0,8}}(?::=|=>|[=:])[ \t]{{0,8}}\\{{0,2}}{_VALUE}"),
        named=True,
    ),
    # --password value
    Format(_NAME_HINTS, re.compile(rf"(?i)--[a-z-]{{0,20}}{_NAMES}[ \t]{{1,8}}(?!-){_VALUE}"), named=True),
    Format(("mysql", "mariadb"), re.compile(r"(?:mysql|mariadb)[^|;&\r\n]{0,200}?[ \t]-p([^\s\"'|;&]+)")),
    Format(("sshpass",), re.compile(r"sshpass[ \t]{1,8}-p[ \t]{0,8}[\"']?([^\s\"']+)")),
    Format(
        ("authorization", "x-api-key", "x-auth-token", "private-token", "cookie"),
        re.compile(
            r"(?i)(?:authorization|x-api-key|x-auth-token|private-token|cookie)"
            r"[\"']?[ \t]{0,8}[:=][ \t]{0,8}[\"']?([^\r\n\"']+)"
        ),
        named=True,
    ),
    Format(("bearer",), re.compile(r"(?i)(?<![a-z])bearer[ \t]{1,8}([a-z0-9._~+/=-]{16,})")),
    Format(("://",), re.compile(r"://[^\s/@:\"'\\]{0,128}:([^\s/@\"']{1,512})@")),
)

PEM_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
PEM_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
PEM_MARK_CHARS_MAX = 80
