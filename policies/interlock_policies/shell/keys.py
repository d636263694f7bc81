"""ssh-keygen, openssl, getent and ps: programs that handle or show secrets under names of their own."""

from __future__ import annotations

from interlock_policies.shell.commands import by_table
from interlock_policies.shell.options import scan
from interlock_policies.shell.run import Run
from interlock_policies.shell.syntax import literal


def ssh_keygen(run: Run) -> None:
    """ssh-keygen: the file of -f is read where it only shows something, and else made."""
    found = scan(run.program, run.words)
    key = found.value("-f")
    if key is not None and found.plays("harmless"):
        run.read(key)
    for word in found.operands:
        run.read(word)
    by_table(run)


def openssl(run: Run) -> None:
    """openssl: besides what the table says every operand after the subcommand may be a file."""
    for word in scan(run.program, run.words).operands[1:]:
        text = word.literal or ""
        run.read(literal(text.removeprefix("file:")) if text.startswith("file:") else word)
    by_table(run)


def getent(run: Run) -> None:
    """getent: the databases of passwords are files that only root reads."""
    texts = [word.literal for word in run.words if not word.prefix.startswith("-")]
    for name, path in (("shadow", "/etc/shadow"), ("gshadow", "/etc/gshadow")):
        if name in texts or None in texts:
            run.read(literal(path))


def ps(run: Run) -> None:
    """ps: an option letter `e` without a dash shows the environment of processes."""
    for word in scan(run.program, run.words).operands:
        text = word.literal
        if text is None or (text.isalpha() and "e" in text):
            run.read(literal("/proc/1/environ"))
