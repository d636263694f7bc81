"""One command with its words: finding its program in the table and saying what the table says; no grammar, no state."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping

from interlock_policies.shell.feeds import below
from interlock_policies.shell.options import Found, Scan, scan
from interlock_policies.shell.run import Handler, Run, place_of
from interlock_policies.shell.secret_names import may_be_secret
from interlock_policies.shell.syntax import Part, Word, literal
from interlock_policies.shell.table import Program, Subcommand, Table

_STANDARD_DIRECTORIES = frozenset({
    "/bin", "/usr/bin", "/sbin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin",
})  # fmt: skip
_SHOWN_WORDS_MAX = 6


def known_program(name: str, table: Table) -> Program | None:
    """The table's entry for a program called by this name or path; only standard directories are trusted."""
    if "/" in name:
        path = posixpath.normpath(name)
        if posixpath.dirname(path) not in _STANDARD_DIRECTORIES:
            return None
        name = posixpath.basename(path)
    return table.get(name) or (table.get(name.split(".", 1)[0] + ".") if "." in name else None)


def apply(run: Run, handlers: Mapping[str, Handler]) -> None:
    """Add everything that this command does to the findings."""
    run.findings.programs[run.name] = None
    if run.program.handler:
        handlers[run.program.handler](run)
    else:
        by_table(run)


def unknown(run: Run, name: str) -> None:
    """A program without an entry. One that was downloaded by this very command is downloaded code that runs."""
    shown = place_of_program(run, name)
    run.findings.programs[shown] = None
    run.findings.unknown[shown] = None
    if shown in run.findings.downloaded:
        run.findings.downloads_to_shell = True


def place_of_program(run: Run, name: str) -> str:
    """The absolute path of a program that is called by a path, else its name."""
    return (place_of(literal(name), run.state) or name) if "/" in name else name


def by_table(run: Run) -> None:
    """What the table alone says."""
    found = scan(run.program, run.words)
    if found.plays("harmless"):
        return
    if run.program.reason:
        run.unclear(run.program.reason)
        return
    apply_options(run, found)
    _always(run, run.program.always, found)
    if run.program.subcommands:
        subcommand(run, found)
    else:
        apply_operands(run, found)


def apply_options(run: Run, found: Scan) -> None:
    """What the options do, and whether there are some that cannot be read."""
    program = run.program
    for option in found.options:
        _option(run, option)
    if found.plays("wide") or (found.plays("through") and found.plays("recursive")):
        run.read_anything()
    if found.doubtful and program.wary:
        run.unclear("a word that is not literal may be an option")


def _option(run: Run, found: Found) -> None:
    role, value = found.option.role, found.value
    if role == "unknown" and run.program.strict:
        run.unclear(f"its option {found.name} is not known here")
    elif role == "unknown":
        _attached(run, found)
    elif role in ("run", "system"):
        if role == "run":
            run.unclear(f"its option {found.name} runs or loads something")
        else:
            run.system(found.name)
    elif role == "network":
        run.network(value)
    elif value is not None and role == "into":
        run.write(value, recursive=True, within=True)
    elif value is not None and role == "names":
        pattern = "".join(piece.text for piece in value.pieces)  # the shell hands an unquoted one on where nothing fits
        plain = value.dynamic <= {Part.GLOB}
        if not plain or (pattern[:1] != "!" and may_be_secret(pattern.rpartition("/")[2])):
            run.read(below(literal(".")))
    elif value is not None and role in ("read", "write", "delete", "wide"):
        role_of(run, "read" if role == "wide" else role, value, recursive=False)


def _attached(run: Run, found: Found) -> None:
    """What an option that the table does not list has attached may be a file that it reads."""
    if found.value is not None and not run.program.strict:
        run.read(found.value)


def apply_operands(run: Run, found: Scan) -> None:
    """What the operands' roles say."""
    recursive = found.plays("recursive") or run.program.here == "tree"
    listed = list(roles(run.program, found))
    for role, word in listed:
        role_of(run, role, word, recursive=recursive)
    here = run.program.here in ("always", "tree") or (run.program.here == "recursive" and recursive)
    if here and not any(role == "read" for role, _ in listed):
        run.read(literal("."), recursive=recursive)
    if found.operands and any(role.startswith("system") for role in run.program.operands):
        run.system(shown(found.operands))


def roles(program: Program, found: Scan) -> Iterable[tuple[str, Word]]:
    """Each operand with its role."""
    wanted = list(program.operands)
    words = found.operands
    if program.instead and found.has(*program.instead):
        wanted = wanted[1:] or ["text*"]
    star = next((index for index, role in enumerate(wanted) if role.endswith("*")), len(wanted))
    if found.plays("into") and len(wanted) > star + 1:
        wanted = wanted[: star + 1]
    before = wanted[:star]
    after = wanted[star + 1 :]
    last = len(words) - len(after)
    for index, word in enumerate(words):
        if index < len(before):
            yield before[index], word
        elif index >= last and after:
            yield after[index - last], word
        else:
            yield (wanted[star].rstrip("*") if star < len(wanted) else "text"), word


def role_of(run: Run, role: str, word: Word, *, recursive: bool) -> None:
    """One operand in one role."""
    match role:
        case "read":
            run.read(word, recursive=recursive)
        case "write":
            into = len(run.program.operands) > 1 and run.program.operands[-1] == "write"  # cp, mv, ln, install
            within = into and (word.literal or "").endswith(("/", "/.", "/.."))
            run.write(word, recursive=recursive, within=within or (into and word.literal in (".", "..")))
        case "delete":
            run.delete(word, recursive=recursive)
        case "move":
            run.read(word, recursive=True)
            run.delete(word, recursive=True)
        case "network":
            run.network(word)
        case "run":
            run.unclear(f"it runs {word.shown}")
        case _:
            pass


def subcommand(run: Run, found: Scan) -> None:
    """What the first matching line of the program's subcommands says; one that is not listed is opaque."""
    words = tuple(word.literal for word in found.operands)
    lines = run.program.subcommands
    line = matching(lines, words)
    if line is None:
        if words or found.options or any("opaque" in each.effects and each.pattern == ("*",) for each in lines):
            run.unclear(f"its subcommand is not known here: {shown(found.operands)}")
        return
    if "service" in line.effects:
        verb = words[0] or "?"
        for word in found.operands[1:]:
            run.service(verb, word.literal or "?")
        if len(words) < 2:
            run.service(verb, "?")
    _always(run, tuple(effect for effect in line.effects if effect != "service"), found)


def matching(lines: tuple[Subcommand, ...], words: tuple[str | None, ...]) -> Subcommand | None:
    """The first line that matches these operands."""
    return next((line for line in lines if line.matches(words)), None)


def _always(run: Run, effects: tuple[str, ...], found: Scan) -> None:
    for effect in effects:
        match effect:
            case "network":
                run.network(None)
            case "system":
                run.system(shown(found.operands))
            case "tree":
                run.tree()
            case "opaque":
                run.unclear(f"{shown(found.operands) or 'it'} runs what this analysis does not see")
            case "privileged":
                run.findings.privileged = True
            case _:
                pass


def shown(words: Iterable[Word]) -> str:
    """The first words, for a reader."""
    return " ".join(word.shown for word in list(words)[:_SHOWN_WORDS_MAX])
