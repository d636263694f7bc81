"""git's operands and options that name files: what a subcommand reads, and where it writes beside the repository."""

from __future__ import annotations

from interlock_policies.shell.feeds import below
from interlock_policies.shell.run import Run
from interlock_policies.shell.syntax import Part, Piece, Word, literal
from interlock_policies.shell.wrappers import joined_pieces

_SHOWS = frozenset({
    "add", "annotate", "apply", "archive", "blame", "cat-file", "diff", "diff-files", "diff-index", "diff-tree", "grep",
    "hash-object", "log", "merge-file", "mv", "range-diff", "show", "stage", "stash", "update-index",
    "whatchanged",
})  # fmt: skip
_READ_OPTIONS = frozenset({
    "--file", "--contents", "--ignore-revs-file", "--pathspec-from-file", "--exclude-from", "--template", "-f", "-F",
})  # fmt: skip
_WRITE_OPTIONS = frozenset({"--output", "--output-directory", "--separate-git-dir", "--prefix", "-o"})
_ASKS = frozenset({"-l", "--list", "--get", "--get-all", "--get-regexp", "get", "list"})
_UNTRACKED = ("--no-index", "--untracked", "--no-exclude-standard")
TAKE_VALUE = frozenset({"-m", "-F", "--message", "--author", "--date", "-C"})


def operands(words: tuple[Word, ...]) -> list[Word]:
    """What is no option and no value of one that takes the next word; the subcommand is left out."""
    out: list[Word] = []
    skip = False
    for word in words[1:]:
        text = word.literal
        if skip:
            skip = False
        elif text in TAKE_VALUE:
            skip = True
        elif text is None or not text.startswith("-"):
            out.append(word)
    return out


def named_files(run: Run, words: tuple[Word, ...]) -> None:
    """The files that a subcommand's words name; `words` begin with it."""
    name = words[0].literal
    run.read(literal("."))
    if name in _SHOWS:
        lines = [word.without_prefix(2) for word in words[1:] if word.prefix.startswith("-L")]
        for word in [*operands(words), *lines]:
            _shown(run, word)
    if name == "grep" and any(word.prefix.startswith(_UNTRACKED) for word in words):
        run.read(below(literal(".")))
    for at, word in enumerate(words[1:], 1):
        option, value = _option(word, words[at + 1] if at + 1 < len(words) else None)
        if option in _READ_OPTIONS and value is not None:
            run.read(value)
            if name == "config" and not asks(words):
                run.write(value)
    if name == "init":
        _made(run, operands(words))
    elif name == "worktree" and words[1:2] and words[1].literal == "add":
        _made(run, operands(words)[1:2])


def asks(words: tuple[Word, ...]) -> bool:
    """True where `git config` only shows settings."""
    return any(word.literal in _ASKS for word in words)


def outputs(run: Run, words: tuple[Word, ...]) -> None:
    """Where it writes what an option names, as diff --output does, or a bundle's file."""
    for at, word in enumerate(words[1:], 1):
        option, value = _option(word, words[at + 1] if at + 1 < len(words) else None)
        if value is not None and any(option == each or _abbreviates(option, each) for each in _WRITE_OPTIONS):
            run.write(value)
    if words[0].literal == "bundle":
        for word in operands(words)[1:2]:
            run.write(word)


def _abbreviates(option: str, name: str) -> bool:
    return len(option) > 3 and option.startswith("--") and name.startswith(option)


def _made(run: Run, places: list[Word]) -> None:
    for place in places:
        run.write(place, recursive=True)


def _option(word: Word, following: Word | None) -> tuple[str, Word | None]:
    """An option's name and its value: after `=`, attached to a letter, or the next word."""
    text = word.prefix
    if text.startswith("--"):
        name, equals, _ = text.partition("=")
        return name, word.without_prefix(len(name) + 1) if equals else following
    if text.startswith("-") and len(text) > 1:
        return text[:2], following if len(text) == 2 and word.literal is not None else word.without_prefix(2)
    return "", None


def _shown(run: Run, word: Word) -> None:
    """An operand that may be a path, a revision or both (HEAD:path); a quoted pattern is git's to expand."""
    text = word.literal
    if text is None:
        run.read(word)
        return
    for path in {text, text.rpartition(":")[2].rpartition(")")[2].lstrip("/!^")} - {""}:
        marks = [Piece(Part.GLOB if char in "*?[" else Part.LITERAL, char) for char in path]
        run.read(literal(path) if not any(char in path for char in "*?[") else joined_pieces(marks))
