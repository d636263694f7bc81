"""Variables that change what programs do, and words that hold code: whatever sets them makes a command opaque."""

from __future__ import annotations

import re
from collections.abc import Iterable

from interlock_policies.shell.findings import Findings
from interlock_policies.shell.syntax import Assignment, Part, Piece, Word

_NAMES = frozenset({
    "BASHOPTS", "BASH_ENV", "BROWSER", "CDPATH", "CURL_HOME", "DOCKER_HOST", "EDITOR", "ENV", "GCONV_PATH",
    "GLOBIGNORE", "GREP_OPTIONS", "HOME", "IFS", "JAVA_TOOL_OPTIONS", "KUBECONFIG", "LESS", "LESSCLOSE", "LESSOPEN",
    "LOCPATH", "MANPAGER", "MANPATH", "NODE_OPTIONS", "NODE_PATH", "OLDPWD", "PAGER", "PATH", "PERL5DB", "PERL5LIB",
    "PERL5OPT", "PROMPT_COMMAND", "PS0", "PS1", "PS4", "PWD", "PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "RSYNC_RSH",
    "RUBYLIB", "RUBYOPT", "SHELL", "SHELLOPTS", "SSH_ASKPASS", "SUDO_ASKPASS", "SYSTEMD_EDITOR", "SYSTEMD_PAGER",
    "TAR_OPTIONS", "TERMINFO", "TMPDIR", "VISUAL", "WGETRC", "_JAVA_OPTIONS",
})  # fmt: skip
_FAMILIES = ("LD_", "DYLD_", "BASH_FUNC", "GIT_", "INTERLOCK_")
_HARMLESS = ("GIT_AUTHOR_", "GIT_COMMITTER_", "GIT_TERMINAL_PROMPT", "GIT_OPTIONAL_LOCKS")
_PAGERS = frozenset({"PAGER", "MANPAGER", "GIT_PAGER", "SYSTEMD_PAGER"})
_NAME = re.compile(r"[A-Za-z_]\w*")


def is_sensitive(name: str) -> bool:
    """True where setting this variable changes which code runs or where it works."""
    return name in _NAMES or (name.startswith(_FAMILIES) and not name.startswith(_HARMLESS))


def check_assignment(assignment: Assignment, findings: Findings) -> None:
    """Note an assignment that makes what follows opaque."""
    check_variable(assignment.name, assignment.value, findings)


def check_variable(name: str, value: Word, findings: Findings) -> None:
    """Note a variable that changes what programs do, and a value that holds code."""
    text = value.literal
    if is_sensitive(name) and not (name in _PAGERS and text in ("", "cat")):
        findings.unclear(f"it sets {name}")
    if text is not None and holds_code(text):
        findings.unclear(f"the value of {name} holds code")
    if may_compute(value):
        findings.outside_values = True


def may_compute(word: Word) -> bool:
    """True where the word's value could run code in arithmetic: only a subscript does, so it needs a bracket."""
    return any(_may_subscript(piece) for piece in word.pieces)


def _may_subscript(piece: Piece) -> bool:
    if piece.inner is not None:
        return True
    if piece.part is Part.LITERAL:
        return "[" in piece.text
    return piece.part not in (Part.VARIABLE, Part.ARITHMETIC)


def check_names(words: Iterable[Word], findings: Findings) -> None:
    """Note names given to export, read, for and their like that are sensitive or hold code."""
    for word in words:
        if word.literal is None and not _NAME.match(word.prefix):
            findings.unclear("which variable it sets is not known")
        match = _NAME.match(word.prefix)
        if match and is_sensitive(match[0]):
            findings.unclear(f"it sets {match[0]}")
        if word.literal is not None and holds_code(word.literal):
            findings.unclear("a variable's name holds code")


def check_declaration(words: tuple[Word, ...], findings: Findings) -> None:
    """Note what export, declare and their like do to names: sensitive ones, code in them, references to others."""
    check_names(words[1:], findings)
    texts = [word.literal or "" for word in words[1:]]
    if any(text[:1] in "-+" and "i" in text for text in texts if text):
        findings.computes = True
    if words[0].literal != "export" and any(text[:1] == "-" and "n" in text for text in texts):
        findings.unclear("a variable stands for another one")


def holds_code(text: str) -> bool:
    """True where a text would run something if it were expanded once more."""
    return "$(" in text or "`" in text
