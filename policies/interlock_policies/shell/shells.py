"""Shells and interpreters: the text they are given is read where it is a shell's and literal, and opaque where not."""

from __future__ import annotations

from dataclasses import replace

from interlock_policies.shell.commands import apply_options
from interlock_policies.shell.options import scan
from interlock_policies.shell.run import Run
from interlock_policies.shell.syntax import Word

_WITH_VALUE = frozenset({"-o", "+o", "-O", "+O"})
_HARMLESS_SHOPTS = frozenset({
    "nullglob", "failglob", "checkwinsize", "histappend", "cmdhist", "inherit_errexit", "lithist", "huponexit",
})  # fmt: skip
_LOADING = ("--rcfile", "--init-file", "--posix")


def shell(run: Run) -> None:
    """sh, bash and their like: -c TEXT, a script, or what comes over standard input."""
    words = run.words
    letters, at = "", 0
    while at < len(words) and words[at].prefix.startswith(("-", "+")) and len(words[at].prefix) > 1:
        text = words[at].literal
        at += 1
        if text in ("--version", "--help"):
            return
        if text is None or text.startswith(_LOADING):
            run.unclear("an option that loads something or cannot be read")
        elif text == "--":
            break
        elif text in ("-O", "+O") and (at >= len(words) or words[at].literal not in _HARMLESS_SHOPTS):
            run.unclear("an option of the shell that changes how it reads words")
            at += 1
        elif not text.startswith("--"):
            letters += text[1:] if text.startswith("-") else ""
            at += 1 if text in _WITH_VALUE else 0
    rest = words[at:]
    if "c" in letters:
        _text(run, rest, only_checked="n" in letters)
    elif rest and "s" not in letters and rest[0].literal != "-":
        run.read(rest[0])
        if "n" not in letters:
            run.unclear(f"it runs the script {rest[0].shown}")
    else:
        _standard_input(run)


def shopt(run: Run) -> None:
    """shopt: options that change what a glob matches or how words are read make what follows opaque."""
    texts = [word.literal for word in run.words]
    sets = any(text is None or (text[:1] == "-" and ("s" in text or "u" in text)) for text in texts)
    if sets and any(text is None or (text[:1] != "-" and text not in _HARMLESS_SHOPTS) for text in texts):
        run.unclear("an option of the shell that changes how it reads words")


def _text(run: Run, rest: tuple[Word, ...], *, only_checked: bool) -> None:
    if rest and rest[0].literal == "--":
        rest = rest[1:]
    text = rest[0].literal if rest else None
    if text is None:
        run.unclear("the text that it runs is not literal")
        return
    if only_checked:
        return
    variables = {str(index): word for index, word in enumerate(rest[1:]) if _one_word(word)}
    run.script(text, state=replace(run.state, variables=variables, strict=False))


def _one_word(word: Word) -> bool:
    text = word.literal
    return bool(text) and not any(char in " \t\n*?[" for char in text or "")


def _standard_input(run: Run) -> None:
    state = replace(run.state, variables={}, strict=False)
    text = run.feed.text
    if text is not None:
        if text.literal is None:
            run.unclear("the text that it runs is not literal")
        else:
            run.shell.script(text.literal, state, run.depth + 1, replace(run.feed, text=None))
        return
    if run.feed.path is not None:
        run.unclear(f"it runs the script {run.feed.path.shown}")
        return
    run.unclear("its program comes over standard input")
    if run.feed.words:
        printed = " ".join(word.literal or "" for word in run.feed.words)
        run.shell.script(printed, state, run.depth + 1, replace(run.feed, words=None, piped=False))


def interpreter(run: Run) -> None:
    """python, node, perl …: whatever they run is opaque; only asking for their version is not."""
    found = scan(run.program, run.words, stop=True)
    if found.plays("harmless") and not found.rest:
        return
    apply_options(run, found)
    if found.rest and not any(option.value for option in found.options):
        run.read(found.rest[0])
    run.unclear("an interpreter runs code that this analysis does not read")


def ssh(run: Run) -> None:
    """ssh HOST COMMAND: it reaches the host; what runs there is opaque."""
    found = scan(run.program, run.words, stop=True)
    if found.plays("harmless"):
        return
    if found.rest:
        run.network(found.rest[0])
        run.unclear("what runs on another host is not seen here")
