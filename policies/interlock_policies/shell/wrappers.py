"""Programs that run another command: sudo, env, timeout, xargs, flock, watch; each only finds that command's words."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace

from interlock_policies.shell.commands import apply_options
from interlock_policies.shell.options import Scan, joined, scan
from interlock_policies.shell.run import Feed, Run
from interlock_policies.shell.sensitive import check_names, check_variable
from interlock_policies.shell.state import State, targets
from interlock_policies.shell.syntax import Part, Piece, Word, literal

_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=")
_EACH_MAX = 16
INPUT = Word((Piece(Part.INPUT),))


def wrapper(run: Run) -> None:
    """sudo, nohup, timeout and their like: options, then so many operands, then the command."""
    found = _opened(run)
    if found is None:
        return
    rest = _after_operands(run, found)
    if rest:
        run.again(rest, state=where(run, found))
    elif run.program.privileged:
        _privileged_alone(run, found)


def _opened(run: Run) -> Scan | None:
    """The options, already applied; None where they make it show something only."""
    found = scan(run.program, run.words, stop=True)
    if run.program.privileged:
        run.findings.privileged = True
    if found.plays("harmless"):
        return None
    apply_options(run, found)
    return found


def _after_operands(run: Run, found: Scan) -> tuple[Word, ...]:
    rest = found.rest
    while run.program.assigns and rest and _ASSIGNMENT.match(rest[0].prefix):
        name = rest[0].prefix.split("=", 1)[0]
        check_variable(name, rest[0].without_prefix(len(name) + 1), run.findings)
        rest = rest[1:]
    return rest[max(run.program.wraps, 0) :]


def where(run: Run, found: Scan) -> State:
    """The state that the command starts in: another directory where an option says so."""
    for option in found.options:
        if option.option.role == "moves":
            found_places = targets(run.state.expand(option.value or literal(".")), run.state)
            exact = found_places is not None and all(place.exact for place in found_places)
            return run.state.moved(tuple(p.path for p in found_places or ()) if exact else (None,))
    return run.state


def _privileged_alone(run: Run, found: Scan) -> None:
    if found.has("-e", "--edit"):
        run.unclear("it opens an editor")
    else:
        run.unclear("it opens an interactive shell")


def sudo(run: Run) -> None:
    """sudo and doas: as a wrapper; a login shell starts in another directory."""
    found = _opened(run)
    if found is None:
        return
    rest = _after_operands(run, found)
    if found.has("-e", "--edit"):
        for word in rest:
            run.write(word)
    if not rest or found.has("-e", "--edit"):
        _privileged_alone(run, found)
        return
    state = where(run, found)
    if found.has("-i", "--login"):
        state = state.moved((None,))
    run.again(rest, state=replace(state, variables={}))


def su(run: Run) -> None:
    """su and runuser: the text after -c, or the command after -u USER."""
    run.findings.privileged = True
    found = scan(run.program, run.words)
    if found.plays("harmless"):
        return
    text = found.value("-c", "--command", "--session-command")
    apply_options(run, found)
    if text is not None and text.literal is not None:
        run.script(text.literal, state=replace(run.state.moved((*run.state.directories, None)), variables={}))
    elif found.has("-u", "--user"):
        stopped = scan(run.program, run.words, stop=True)
        if stopped.rest:
            run.again(stopped.rest)
    else:
        run.unclear("it opens an interactive shell")


def env(run: Run) -> None:
    """env: as a wrapper; -S splits a text into words by rules of its own."""
    found = _opened(run)
    if found is None:
        return
    for option in found.options:
        if option.name in ("-u", "--unset"):
            check_names([option.value or INPUT], run.findings)
    if found.has("-i", "--ignore-environment"):
        run.unclear("it drops the environment, and with it the mark by which the command is found and stopped")
    text = found.value("-S", "--split-string")
    if text is not None and text.literal is not None:
        run.script(" ".join([text.literal, *(word.shown for word in found.rest)]))
        return
    rest = _after_operands(run, found)
    if rest:
        run.again(rest, state=where(run, found))


def xargs(run: Run) -> None:
    """xargs: the command with what comes through the pipe appended, or put where -I says."""
    found = _opened(run)
    if found is None:
        return
    rest = found.rest or (literal("echo"),)
    given = run.feed.words if not found.has("-a", "--arg-file") else None
    words = given if given is not None and len(given) <= 4 * _EACH_MAX else (INPUT,)
    feed = Feed(downloaded=run.feed.downloaded)
    replaced = _replaced(found)
    if not replaced:
        run.again((*rest, *words), feed=feed)
        return
    for word in words if len(words) <= _EACH_MAX else (INPUT,):
        run.again(tuple(substituted(each, replaced, word) for each in rest), feed=feed)


def _replaced(found: Scan) -> str:
    for option in found.options:
        if option.name in ("-I", "-i", "--replace"):
            return (option.value.literal if option.value else None) or "{}"
    return ""


def substituted(word: Word, mark: str, value: Word) -> Word:
    """The word with every mark in its literal text replaced by a value."""
    if not any(piece.part is Part.LITERAL and mark in piece.text for piece in word.pieces):
        return word
    pieces: list[Piece] = []
    for piece in word.pieces:
        if piece.part is not Part.LITERAL:
            pieces.append(piece)
            continue
        for index, text in enumerate(piece.text.split(mark)):
            pieces.extend(value.pieces if index else ())
            pieces.extend([Piece(Part.LITERAL, text)] if text else [])
    return joined_pieces(pieces)


def joined_pieces(pieces: list[Piece]) -> Word:
    """A word of these pieces with neighbouring literals joined."""
    out: list[Piece] = []
    for piece in pieces:
        if out and piece.part is Part.LITERAL and out[-1].part is Part.LITERAL:
            out[-1] = Piece(Part.LITERAL, out[-1].text + piece.text)
        else:
            out.append(piece)
    return Word(tuple(out)) if out else literal("")


def watch(run: Run) -> None:
    """watch: its words joined go to sh -c, again and again."""
    found = _opened(run)
    if found is None or not found.rest:
        return
    run.again(found.rest)  # what was meant, and below what sh makes of the words joined
    text = joined(found.rest)
    if text is None:
        run.unclear("the text that it gives to a shell is not literal")
    elif not found.has("-x", "--exec"):
        run.script(text)


def flock(run: Run) -> None:
    """flock: a lock file or a descriptor, then a command or -c TEXT."""
    found = _opened(run)
    if found is None or not found.rest:
        return
    lock, rest = found.rest[0], found.rest[1:]
    if not (lock.literal or "").isdigit():
        run.write(lock)
    if rest and rest[0].literal in ("-c", "--command"):
        text = rest[1].literal if len(rest) > 1 else None
        if text is None:
            run.unclear("the text that it gives to a shell is not literal")
        else:
            run.script(text)
    elif rest:
        run.again(rest)


def parallel(run: Run) -> None:
    """GNU parallel: the command before ::: once for each word after it; everything else is opaque."""
    texts = [word.literal for word in run.words]
    if ":::" not in texts:
        run.unclear("the commands that it runs come from elsewhere")
        return
    at = texts.index(":::")
    found = scan(run.program, run.words[:at], stop=True)
    apply_options(run, found)
    arguments = run.words[at + 1 :]
    if len(arguments) > _EACH_MAX or any(word.literal in (":::", "::::", ":::+") for word in arguments):
        run.unclear("it combines more words than are looked at")
        return
    for argument in arguments:
        _one_of_many(run, found.rest, argument)


def _one_of_many(run: Run, template: tuple[Word, ...], argument: Word) -> None:
    """One word of parallel's: it is quoted and joined with the template for a shell; without one it is the text."""
    if argument.literal is None:
        run.unclear("the commands that it runs are not literal")
        return
    if not template:
        run.script(argument.literal)
        return
    if not any("{" in word.shown for word in template):
        template = (*template, literal("{}"))
    run.again(
        tuple(substituted(word, "{}", argument) for word in template)
    )  # what was meant, whatever the joining makes
    text = joined(tuple(substituted(word, "{}", literal(shlex.quote(argument.literal))) for word in template))
    if text is None or "{" in text.replace("{}", ""):
        run.unclear("the commands that it runs are not literal")
    else:
        run.script(text)
