"""find and fd: where they start, what they delete, write or run for each file; pure word work."""

from __future__ import annotations

from interlock_policies.shell.feeds import below, find_roots, follows, names_wanted
from interlock_policies.shell.run import Run
from interlock_policies.shell.state import State, targets
from interlock_policies.shell.syntax import Part, Word, literal
from interlock_policies.shell.wrappers import substituted

_RUNS = frozenset({"-exec", "-execdir", "-ok", "-okdir"})
_WRITES = frozenset({"-fprint", "-fprint0", "-fls", "-fprintf"})
_VALUES = frozenset({
    "-name", "-iname", "-path", "-ipath", "-wholename", "-iwholename", "-regex", "-iregex", "-lname", "-ilname",
    "-type", "-xtype", "-size", "-mtime", "-atime", "-ctime", "-mmin", "-amin", "-cmin", "-newer", "-anewer", "-cnewer",
    "-newermt", "-newerct", "-newerat", "-maxdepth", "-mindepth", "-user", "-group", "-uid", "-gid", "-perm", "-links",
    "-inum", "-samefile", "-fstype", "-used", "-printf", "-regextype", "-context",
})  # fmt: skip
_ROOTS_MAX = 16
_HIDDEN = frozenset({Part.VARIABLE, Part.COMMAND, Part.INPUT, Part.CODE, Part.BRACE, Part.ARITHMETIC})


def find(run: Run) -> None:
    """find: reads its trees; -delete, -exec, -fprint and their like are seen."""
    roots = find_roots(run.words)
    for root in roots:
        run.read(root, recursive=True)
        if root.pieces[0].part in _HIDDEN:
            run.unclear("a word that is not literal may be an action")
    if follows(run.words):
        run.read_anything()
    words, at = run.words, 0
    while at < len(words) and words[at] in roots:
        at += 1
    while at < len(words):
        text = words[at].literal
        at += 1
        if text == "-delete":
            for root in (literal("/"),) if follows(words) else roots:
                run.delete(root, recursive=True, within=True)
        elif text in _WRITES:
            if at < len(words):
                run.write(words[at])
            at += 2 if text == "-fprintf" else 1
        elif text in _RUNS:
            at = _executed(run, roots, words, at, apart=text.endswith("dir"))
        elif text in _VALUES:
            at += 1
        elif text == "-files0-from":
            run.unclear("the trees that it searches come from elsewhere")
        elif text is None and words[at - 1].pieces[0].part in _HIDDEN:
            run.unclear("a word that is not literal may be an action")


def _executed(run: Run, roots: tuple[Word, ...], words: tuple[Word, ...], at: int, *, apart: bool) -> int:
    """Analyse the command of one -exec for each root; where the words after it begin."""
    end = next((i for i in range(at, len(words)) if _ends(words, i)), len(words))
    command = words[at:end]
    if not command or end == len(words):
        run.unclear("a command in it has no end")
    if follows(words):
        roots = (literal("/"),)
    named = names_wanted(words[:at])
    for root in roots[:_ROOTS_MAX] if command else ():
        state = run.state.moved((None,)) if apart else run.state
        found = below(literal_root(root, run.state), named=named)
        run.again(tuple(substituted(word, "{}", found) for word in command), state=state)
    if len(roots) > _ROOTS_MAX:
        run.unclear("it starts from more trees than are looked at")
    return end + 1


def _ends(words: tuple[Word, ...], at: int) -> bool:
    return words[at].literal == ";" or (words[at].literal == "+" and words[at - 1].literal == "{}")


def literal_root(root: Word, state: State) -> Word:
    """The root as an absolute path where it is one exact place, else as it was written."""
    found = targets(state.expand(root), state)
    if found is not None and len(found) == 1 and found[0].exact:
        return literal(found[0].path)
    return root


def fd(run: Run) -> None:
    """fd: reads a tree; -x and -X run a command for what they find."""
    texts = [word.literal for word in run.words]
    marks = [index for index, text in enumerate(texts) if text in ("-x", "-X", "--exec", "--exec-batch")]
    before = run.words[: marks[0]] if marks else run.words
    places = [word for word in before if not word.prefix.startswith("-")][1:] or [literal(".")]
    for place in places:
        run.read(place, recursive=True)
    if any(text in ("-L", "--follow") for text in texts):
        places = [literal("/")]
        run.read_anything()
    if any(text is None and word.pieces[0].part in _HIDDEN for text, word in zip(texts, run.words, strict=True)):
        run.unclear("a word that is not literal may be an action")
    for place in places if marks else ():
        command = tuple(word for word in run.words[marks[0] + 1 :] if word.literal not in (";", "+"))
        found = below(literal_root(place, run.state))
        marked = any("{}" in word.shown for word in command)
        if command:
            run.again(tuple(substituted(word, "{}", found) for word in command) + (() if marked else (found,)))
