"""The entrance: a command line in, its Effects or the refusal to read it out; it runs nothing, keeps only a cache."""

from __future__ import annotations

import posixpath
from collections import OrderedDict
from collections.abc import Callable, Mapping

from interlock_policies.shell import editors, files, keys, repositories, searches, shells, transfers, wrappers
from interlock_policies.shell.agree import Readers, Unreadable
from interlock_policies.shell.characters import hidden_character
from interlock_policies.shell.findings import Findings
from interlock_policies.shell.run import Handler
from interlock_policies.shell.shfmt import ShfmtRefused
from interlock_policies.shell.state import State
from interlock_policies.shell.table import Table, load_table
from interlock_policies.shell.walk import Walk
from interlock_tools.effects import Effects
from interlock_tools.errors import CommandUnreadable

COMMAND_CHARS_MAX = 16_384
NESTING_MAX = 48
CACHE_ENTRIES_MAX = 1_024
_CACHED_CHARS_MAX = 4_096  # longer texts are analysed anew; the cache stays below a few megabytes
_OPENING, _CLOSING = frozenset("({["), frozenset(")}]")
_NESTING_WORDS = frozenset({"if", "while", "until", "for", "case", "select"})


def handlers() -> Mapping[str, Handler]:
    """What the table's `handler` names mean."""
    return {
        "awk": editors.awk,
        "compress": files.compress,
        "copy": transfers.copy_between,
        "curl": transfers.curl,
        "dd": files.dd,
        "env": wrappers.env,
        "fd": searches.fd,
        "find": searches.find,
        "flock": wrappers.flock,
        "getent": keys.getent,
        "git": repositories.git,
        "interpreter": shells.interpreter,
        "mktemp": files.mktemp,
        "openssl": keys.openssl,
        "parallel": wrappers.parallel,
        "ps": keys.ps,
        "sed": editors.sed,
        "service": files.service,
        "shell": shells.shell,
        "shopt": shells.shopt,
        "split": files.split,
        "ssh": shells.ssh,
        "ssh_keygen": keys.ssh_keygen,
        "su": wrappers.su,
        "sudo": wrappers.sudo,
        "sysctl": files.sysctl,
        "tar": files.tar,
        "test": files.test,
        "unzip": files.unzip,
        "watch": wrappers.watch,
        "wget": transfers.wget,
        "wrapper": wrappers.wrapper,
        "xargs": wrappers.xargs,
        "zip": files.zip_archive,
    }


class Analyser:
    """Analyses command lines with one table and one pair of readers, and remembers the last results.

    `shfmt` takes a program text and returns shfmt's JSON, raising ShfmtRefused where it does not read it.
    Raises TableFault where the packaged table is broken. Not safe for use by several threads at once.
    """

    def __init__(self, *, shfmt: Callable[[str], str], cache_entries_max: int = CACHE_ENTRIES_MAX) -> None:
        self._readers = Readers(shfmt)
        self._table: Table = load_table()
        self._handlers = handlers()
        self._cache: OrderedDict[tuple[str, str, str], Effects | CommandUnreadable] = OrderedDict()
        self._cache_entries_max = cache_entries_max

    @property
    def programs(self) -> frozenset[str]:
        """The names of all programs in the table."""
        return frozenset(self._table)

    def analyse(
        self, command: str, *, cwd: str, home: str, command_chars_max: int = COMMAND_CHARS_MAX
    ) -> Effects | CommandUnreadable:
        """What the command would do when started in `cwd` (absolute) by a user whose home is `home`.

        Targets are absolute, normalised paths; the declaration in the result is empty. CommandUnreadable for a syntax
        error, hidden characters, and for what is too long or nested too deeply.
        Raises nothing of its own; what `shfmt` raises beside ShfmtRefused (a missing binary) passes through.
        """
        if len(command) > command_chars_max:
            return _unreadable(f"it is longer than {command_chars_max} characters")
        cached = self.known(command, cwd=cwd, home=home)
        if cached is not None:
            return cached
        key = (command, cwd, home)
        result = self._analyse(command, cwd, home)
        if len(command) <= _CACHED_CHARS_MAX and self._cache_entries_max > 0:
            self._cache[key] = result
            if len(self._cache) > self._cache_entries_max:
                self._cache.popitem(last=False)
        return result

    def known(self, command: str, *, cwd: str, home: str) -> Effects | CommandUnreadable | None:
        """The remembered result of the same analysis, or None; it starts nothing."""
        key = (command, cwd, home)
        cached = self._cache.get(key)
        if cached is not None:
            self._cache.move_to_end(key)
        return cached

    def _analyse(self, command: str, cwd: str, home: str) -> Effects | CommandUnreadable:
        hidden = hidden_character(command)
        if hidden:
            return _unreadable(hidden)
        if nesting(command) > NESTING_MAX:
            return _unreadable("it is nested too deeply")
        findings = Findings()
        walk = Walk(self._table, self._handlers, self._readers, findings)
        start = posixpath.normpath(cwd) if cwd.startswith("/") else None
        try:
            outcome = walk.text(command, State((start,), home or "/"), 0)
        except RecursionError:
            return _unreadable("it is nested too deeply")
        if isinstance(outcome, Unreadable):
            return _unreadable(outcome.reason)
        return findings.result()


def nesting(command: str) -> int:
    """An upper bound, found without parsing, of how deeply brackets and keywords nest, quoted ones included."""
    depth = deepest = 0
    for char in command:
        if char in _OPENING:
            depth += 1
            deepest = max(deepest, depth)
        elif char in _CLOSING:
            depth = max(0, depth - 1)
    words = command.split() if "if" in command or "while" in command or "for" in command or "case" in command else ()
    return deepest + max(0, sum(word in _NESTING_WORDS for word in words) - NESTING_MAX // 2)


def _unreadable(reason: str) -> CommandUnreadable:
    return CommandUnreadable(reason=reason, path="command")


def analyse_command(
    command: str, *, cwd: str, home: str, shfmt: Callable[[str], str], command_chars_max: int = COMMAND_CHARS_MAX
) -> Effects | CommandUnreadable:
    """Analyse one command line with a fresh Analyser; where many are analysed, keep one Analyser instead."""
    analyser = Analyser(shfmt=shfmt, cache_entries_max=0)
    return analyser.analyse(command, cwd=cwd, home=home, command_chars_max=command_chars_max)


__all__ = ["Analyser", "ShfmtRefused", "analyse_command"]
