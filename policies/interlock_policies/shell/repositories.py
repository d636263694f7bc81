"""git: which repository, what its subcommand changes, what it loses, whom it reaches, and options that run programs."""

from __future__ import annotations

from fnmatch import fnmatchcase

from interlock_policies.shell.commands import apply_options, shown
from interlock_policies.shell.options import Scan, scan
from interlock_policies.shell.repository_files import asks, named_files, operands, outputs
from interlock_policies.shell.run import Run
from interlock_policies.shell.state import absolute
from interlock_policies.shell.syntax import Word, literal
from interlock_policies.shell.wrappers import where
from interlock_tools.effects import EffectKind

_HARMLESS_SETTINGS = (
    "user.",
    "color.",
    "advice.",
    "core.quotepath",
    "init.defaultbranch",
    "log.date",
    "log.decorate",
    "commit.gpgsign=false",
)
_HARMLESS_NAMES = ("user.", "color.", "advice.", "core.quotepath", "init.defaultbranch", "log.date", "pull.", "push.")
# Short options whose value may be attached: what follows the letter is no option.
_ATTACHED = {
    "checkout": "bB", "switch": "cC", "commit": "mFcCtSu", "clean": "e", "tag": "mFu", "merge": "mFsXS", "log": "SGLn",
    "branch": "u", "stash": "m", "rebase": "sXSx", "push": "o", "grep": "eABCm", "diff": "SGUO", "show": "SGUO",
}  # fmt: skip
# Settings that keep what a repository says from running.
_DISARMING = frozenset({"core.hookspath=/dev/null", "core.fsmonitor=false", "core.pager=cat", "diff.external="})


def git(run: Run) -> None:
    """git: its own options, then its subcommand against the table's lines, every one that matches."""
    found = scan(run.program, run.words, stop=True)
    if found.plays("harmless") or not found.rest:
        return
    apply_options(run, found)
    _settings(run, found)
    state = run.state
    for option in found.options:
        if option.option.role == "moves" and option.value is not None:
            one = Scan(options=[option])
            state = where(Run(run.program, (), state, run.feed, run.depth, run.findings, run.shell), one)
    here = Run(run.program, found.rest, state, run.feed, run.depth, run.findings, run.shell)
    named_files(here, found.rest)
    _subcommand(here, found.rest, hooks=not _unhooked(found))


def _unhooked(found: Scan) -> bool:
    """True where the last word on hooks is that there are none."""
    texts = [
        ((each.value.literal if each.value else None) or "").lower() for each in found.options if each.name == "-c"
    ]
    paths = [text for text in texts if text.startswith("core.hookspath")]
    return paths[-1:] == ["core.hookspath=/dev/null"]


def _settings(run: Run, found: Scan) -> None:
    """-c NAME=VALUE may name a program to run; only names that cannot are let through."""
    for option in found.options:
        if option.name == "-c":
            text = ((option.value.literal if option.value else None) or "?").lower()
            if not text.startswith(_HARMLESS_SETTINGS) and text not in _DISARMING:
                run.unclear(f"it sets {text.partition('=')[0]}, which may run a program")


def _configured(run: Run, words: tuple[Word, ...]) -> None:
    """What `git config` sets may name a program that git starts later; only names that cannot are let through."""
    names = [word for word in operands(words) if word.literal not in ("set", "unset")]
    for word in names[:1] if len(names) > 1 else ():
        if not (word.literal or "?").lower().startswith(_HARMLESS_NAMES):
            run.unclear(f"it sets {word.shown}, which may name a program")


def _subcommand(run: Run, words: tuple[Word, ...], *, hooks: bool) -> None:
    first = words[0].literal
    if first is None:
        run.unclear("its subcommand is not literal")
        return
    if first == "config" and not asks(words):
        _configured(run, words)
    if any(word.literal is None and word.dynamic and not word.prefix for word in words[1:]):
        run.unclear("a word that is not literal may be an option")
    lines = [line for line in run.program.subcommands if _matches(line.pattern, words)]
    if not lines:
        run.unclear(f"its subcommand is not known here or an alias: {first}")
    for line in lines:
        for effect in line.effects:
            if effect == "hooks" and hooks:
                run.unclear(f"{shown(words[:1])} runs the hooks of the repository, unless -c core.hooksPath=/dev/null")
            _effect(run, effect, words)
        if "only" in line.effects:
            return


def _matches(pattern: tuple[str, ...], words: tuple[Word, ...]) -> bool:
    """The first part is the subcommand; every other one must stand somewhere after it, options in any spelling."""
    if not fnmatchcase(words[0].literal or "", pattern[0]):
        return False
    attached = _ATTACHED.get(words[0].literal or "", "")
    texts = [_before_value(word.prefix, attached) for word in words[1:]]
    return all(_stands(part, texts) for part in pattern[1:])


def _before_value(text: str, attached: str) -> str:
    """A cluster of short options up to the first that takes what follows as its value."""
    if not text.startswith("-") or text.startswith("--"):
        return text
    end = next((at + 1 for at, letter in enumerate(text) if letter in attached), len(text))
    return text[:end]


def _stands(part: str, texts: list[str]) -> bool:
    if part[0] == "!":
        return not _stands(part[1:], texts)
    if part == "#2":  # at least two operands
        return len([text for text in texts if not text.startswith("-")]) >= 2
    if part == "#1":
        return any(not text.startswith("-") for text in texts)
    if part == "--":
        return "--" in texts
    if part.startswith("--"):
        return any(len(text) > 3 and (text.partition("=")[0] == part or part.startswith(text)) for text in texts)
    if len(part) == 2 and part[0] == "-":
        return any(_in_cluster(part[1], text) for text in texts)
    return any(fnmatchcase(text, part) for text in texts)


def _in_cluster(letter: str, text: str) -> bool:
    return text.startswith("-") and not text.startswith("--") and letter in text[1:]


def _effect(run: Run, effect: str, words: tuple[Word, ...]) -> None:
    match effect:
        case "index":
            run.write(literal(".git"), recursive=True)
        case "tree":
            run.tree()
        case "removes":
            run.delete(literal("."), recursive=True, within=True)
        case "operands":
            _removed(run, words)
        case "outputs":
            outputs(run, words)
        case "clone":
            _cloned(run, words)
        case "network":
            run.network(_remote(words))
        case "loses":
            run.system(shown(words))
        case "runs":
            run.unclear(f"{shown(words)} runs a program")
        case "settings":
            run.add(EffectKind.WRITE, absolute(".gitconfig", run.state.home))
        case "remote":
            run.system(shown(words))
        case _:
            pass


def _removed(run: Run, words: tuple[Word, ...]) -> None:
    for word in operands(words):
        run.delete(word, recursive=True)


def _remote(words: tuple[Word, ...]) -> Word | None:
    return next((word for word in operands(words) if ":" in word.prefix or word.prefix.startswith("/")), None)


def _cloned(run: Run, words: tuple[Word, ...]) -> None:
    found = operands(words)
    if len(found) > 1:
        run.write(found[-1], recursive=True)
    elif found:
        name = (found[0].literal or "").rstrip("/").rpartition("/")[2].rpartition(":")[2].removesuffix(".git")
        run.write(literal(name or "."), recursive=True, within=not name)
