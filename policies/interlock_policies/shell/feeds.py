"""What flows through pipes: the words a command prints, and whether downloaded text reaches a shell; pure look-ups."""

from __future__ import annotations

import posixpath

from interlock_policies.shell.run import Feed, Run, place_of
from interlock_policies.shell.secret_names import ANYTHING, may_be_secret
from interlock_policies.shell.state import State
from interlock_policies.shell.syntax import Node, Part, Piece, Simple, Word, literal, simple_commands

_DOWNLOADERS = frozenset({
    "aria2c", "axel", "curl", "fetch", "ftp", "http", "https", "lwp-download", "lynx", "nc", "ncat", "netcat",
    "socat", "w3m", "wget", "xh",
})  # fmt: skip
_CARRIERS = frozenset({
    "sudo", "doas", "env", "nohup", "timeout", "nice", "ionice", "command", "exec", "setsid", "stdbuf", "time",
    "torsocks", "proxychains", "proxychains4", "busybox", "ssh", "xargs",
})  # fmt: skip
SHELLS = frozenset({"ash", "bash", "dash", "fish", "ksh", "mksh", "rbash", "sh", "zsh"})
_INTERPRETERS = frozenset({
    "bun", "deno", "lua", "node", "nodejs", "perl", "php", "powershell", "pwsh", "python", "python2", "python3", "ruby",
})  # fmt: skip
_EVALUATORS = frozenset({"eval", "source", "."})
_PRINTED_WORDS_MAX = 64
_DISJOINING = frozenset({"-o", "-or", ","})
_NEGATING = frozenset({"!", "-not"})


def fetches(node: Node) -> bool:
    """True where a command in it downloads something."""
    return any(_downloads(simple) for simple in simple_commands(node))


def _downloads(simple: Simple) -> bool:
    names = [posixpath.basename(word.literal or "") for word in simple.words]
    if not names:
        return False
    return names[0] in _DOWNLOADERS or (names[0] in _CARRIERS and any(name in _DOWNLOADERS for name in names))


def feed_from(stage: Node, state: State, feed: Feed) -> Feed:
    """What a stage of a pipe gives to the next one, from what it was given itself."""
    downloaded = feed.downloaded or fetches(stage)
    return Feed(piped=True, words=_printed(stage, state), downloaded=downloaded)


def _printed(stage: Node, state: State) -> tuple[Word, ...] | None:
    """The words that a command prints where its text says so."""
    if not isinstance(stage, Simple) or not stage.words or len(stage.words) > _PRINTED_WORDS_MAX:
        return None
    words = [state.expand(word) for word in stage.words]
    arguments = words[1:]
    if words[0].literal == "echo":
        texts = [word.literal for word in arguments if word.literal not in ("-n", "-e", "-E")]
        if None in texts:
            return None
        return tuple(literal(part) for text in texts if text for part in text.split())
    if words[0].literal == "find" and not follows(tuple(arguments)):
        named = names_wanted(tuple(arguments))
        return tuple(below(root, named=named) for root in find_roots(tuple(arguments)))
    return None


def find_roots(arguments: tuple[Word, ...]) -> tuple[Word, ...]:
    """The directories that find starts from."""
    roots: list[Word] = []
    for word in arguments:
        text = word.prefix
        if text in ("-H", "-L", "-P") or text.startswith("-O"):
            continue
        if text.startswith("-") or word.literal in ("!", "(", ")"):
            break
        roots.append(word)
    return tuple(roots) or (literal("."),)


def follows(arguments: tuple[Word, ...]) -> bool:
    """True where find follows the links that it meets."""
    return any(word.literal in ("-L", "-follow") for word in arguments)


def names_wanted(arguments: tuple[Word, ...]) -> bool:
    """True where find only finds names of a kind, none of which are secrets': in every alternative that it has."""
    texts = [word.literal or "" for word in arguments]
    if "(" in texts and any(text in _NEGATING for text in texts):
        return False
    named = [False]
    for at, text in enumerate(texts[:-1]):
        if text in _DISJOINING:
            named.append(False)
        elif text in ("-name", "-iname") and (at == 0 or texts[at - 1] not in _NEGATING):
            pattern = texts[at + 1]
            named[-1] = named[-1] or (pattern != "" and not may_be_secret(pattern))
    return all(named)


def below(root: Word, *, named: bool = False) -> Word:
    """A word for anything in the tree of a directory; `named`: for what bears the name of no secret."""
    return Word((*_with_slash(root), Piece(Part.GLOB, f"{ANYTHING}/*" if named else ANYTHING)))


def _with_slash(root: Word) -> tuple[Piece, ...]:
    last = root.pieces[-1]
    if last.part is Part.LITERAL:
        return (*root.pieces[:-1], Piece(Part.LITERAL, last.text.rstrip("/") + "/"))
    return (*root.pieces, Piece(Part.LITERAL, "/"))


def runs_download(run: Run) -> bool:
    """True where a shell or an interpreter is given downloaded text as its program."""
    name = posixpath.basename(run.name)
    if name not in SHELLS | _INTERPRETERS | _EVALUATORS:
        return False
    inner = [piece.inner for word in run.words for piece in word.pieces if piece.inner is not None]
    if any(fetches(each) for each in inner):
        return True
    if any(place_of(word, run.state) in run.findings.downloaded for word in run.words if word.literal):
        return True
    if run.feed.path is not None and place_of(run.feed.path, run.state) in run.findings.downloaded:
        return True
    if run.feed.downloaded and any(Part.INPUT in word.dynamic for word in run.words):
        return True
    for given in (run.feed.text, run.feed.path):
        if given is not None and any(piece.inner is not None and fetches(piece.inner) for piece in given.pieces):
            return True
    return run.feed.downloaded and _reads_program(name, run.words)


def _reads_program(name: str, words: tuple[Word, ...]) -> bool:
    """True where the program text comes over standard input: no script, no -c."""
    for word in words:
        text = word.literal
        if text is None or text in ("-", "/dev/stdin", "-s", "/proc/self/fd/0", "/dev/fd/0"):
            return True
        if name in SHELLS and text.startswith("-") and "c" in text and not text.startswith("--"):
            return False
        if name in _INTERPRETERS and text in ("-c", "-e", "-m", "-r", "-p", "--eval"):
            return False
        if not text.startswith(("-", "+")):
            return False
    return name not in _EVALUATORS
