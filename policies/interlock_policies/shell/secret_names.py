"""Globs and names of secrets: which secrets a pattern may match that names none of them; it never looks at a disk."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

from interlock_policies.shell.syntax import Part, Word

NAMES_MAX = 8
_BRACKETS = re.compile(r"\[[!^]?.[^\]]*\]", re.DOTALL)
ANYTHING = "**"  # a glob piece: anything in a tree, at any depth
_HIDDEN = (
    ".env .env.local .env.production .netrc .pgpass .npmrc .pypirc .git-credentials .my.cnf .vault-token .htpasswd"
    " .bash_history .zsh_history .psql_history .mysql_history .python_history"
).split()
_PLAIN = (
    "id_rsa id_ed25519 id_ecdsa id_dsa credentials.json credentials.yaml credentials.yml credentials.ini secrets.json"
    " secrets.yaml secrets.yml secrets.toml secret.yaml secret.json secrets.env application_default_credentials.json"
    " service-account.json service_account.json privkey.pem server-key.pem server.key x.key client_key x.p12 x.pfx"
    " x.jks x.keystore x.kdbx x.ppk x.ovpn x.keytab environ shadow"
).split()
# A pattern that matches one of these, too, means all there is of a kind and not secrets.
_ORDINARY = tuple("zqw" + ending for ending in ("", *(
    ".json .yaml .yml .toml .ini .txt .env .log .conf .md .py .cfg .csv"
).split()))  # fmt: skip


def secret_names(word: Word) -> tuple[str, ...]:
    """Names of secrets that the last part of a glob may match; none for a literal word."""
    if not word.dynamic:
        return ()
    if any(piece.text == ANYTHING for piece in word.pieces if piece.part is Part.GLOB):
        return (_HIDDEN[0], _PLAIN[0])
    pattern = _last_part(word)
    if pattern.startswith("."):  # without that the shell leaves hidden names out
        return tuple(name for name in _HIDDEN if fnmatchcase(name, pattern))[:NAMES_MAX]
    if any(fnmatchcase(name, pattern) for name in _ORDINARY):
        return ()
    return tuple(name for name in _PLAIN if fnmatchcase(name, pattern))[:NAMES_MAX]


def may_be_secret(pattern: str) -> bool:
    """True where a pattern as find takes it, by which `*` also stands for a leading dot, may match a secret's name."""
    plain = "*" if "[[" in pattern else _BRACKETS.sub("?", pattern.lower())
    if any(fnmatchcase(name, plain) for name in _HIDDEN):
        return True
    return not any(fnmatchcase(name, plain) for name in _ORDINARY) and any(fnmatchcase(n, plain) for n in _PLAIN)


def _last_part(word: Word) -> str:
    """The pattern after the last slash, as fnmatch has it; a bracket expression stands for any one character."""
    chars = [(char, piece.part is Part.GLOB) for piece in word.pieces for char in piece.text]
    out: list[str] = []
    at = 0
    while at < len(chars):
        char, special = chars[at]
        if special and char == "[":
            end = next((i for i in range(at + 2, len(chars)) if chars[i][0] == "]"), at)
            nested = any(chars[i][0] == "[" for i in range(at + 1, len(chars)))  # [[:alpha:]] and the like
            out.append("*" if nested else "?")
            at = len(chars) if nested else end
        else:
            out.append(char if special or char not in "*?[" else "?")
        at += 1
    return "".join(out).rstrip("/").rpartition("/")[2]
