"""sed and awk: whether their small programs only print, and what they write or run where they do not."""

from __future__ import annotations

import re

from interlock_policies.shell.commands import apply_options
from interlock_policies.shell.options import scan
from interlock_policies.shell.run import Run
from interlock_policies.shell.syntax import Word, literal

_ADDRESS = r"(?:\d+(?:~\d+)?|\$|/(?:\\.|[^/\\\n])*/[IM]*|\\(.)(?:(?!\1).)*\1[IM]*)"
_SED_ADDRESSES = re.compile(rf"\s*(?:{_ADDRESS}(?:\s*,\s*(?:[+~]?\d+|\$|/(?:\\.|[^/\\\n])*/[IM]*))?)?\s*!?\s*")
_SED_PLAIN = frozenset("pPdDqQgGhHxnNlz=F")
_SED_FLAGS = re.compile(r"[gpiImM0-9]*")
_SED_FILE = re.compile(r"\s*([^\n]*)")
_AWK_TOKEN = re.compile(r'"(?:\\.|[^"\\\n])*"|#[^\n]*|/(?:\\.|\[[^\]\n]*\]|[^/\\\n])+/|.', re.DOTALL)
_AWK_BEFORE_PATTERN = frozenset("(,{};!~&|\n:?")
_AWK_RUNS = re.compile(r"\bARGV\b|\bSYMTAB\b|\bsystem\b|\bgetline\b|@|(?<!\|)\|(?!\|)|\|&")
_AWK_WRITES = re.compile(r"\b(?:print|printf)\b[^;}\n]*>")


def sed(run: Run) -> None:
    """sed: -i changes its files, w writes one, e runs a command; a script that is not understood is opaque."""
    found = scan(run.program, run.words)
    if found.plays("harmless"):
        return
    apply_options(run, found)
    scripts = [each.value for each in found.options if each.name in ("-e", "--expression") and each.value is not None]
    files = list(found.operands)
    if not scripts and not found.has("-f", "--file") and files:
        scripts.append(files.pop(0))
    for script in scripts:
        _sed_script(run, script)
    suffix = found.value("-i", "--in-place")
    if suffix is not None and (suffix.literal is None or "/" in suffix.literal):
        run.unclear("its suffix names another directory")
    for file in files:
        run.read(file)
        if found.has("-i", "--in-place"):
            run.write(file)


def _sed_script(run: Run, script: Word) -> None:
    if script.literal is None:
        run.unclear("its script is not literal")
        return
    understood, written, read = sed_files(script.literal)
    for path in written:
        run.write(literal(path))
    for path in read:
        run.read(literal(path))
    if not understood:
        run.unclear("its script may run or write something")


def sed_files(script: str) -> tuple[bool, list[str], list[str]]:
    """Whether a sed script was understood as harmless but for its files; those it writes, and those it reads."""
    at = 0
    written: list[str] = []
    read: list[str] = []
    while at < len(script):
        if script[at] in " \t\n;{}":
            at += 1
            continue
        if script[at] == "#":
            at = _line_end(script, at)
            continue
        match = _SED_ADDRESSES.match(script, at)
        at = match.end() if match else at
        if at >= len(script):
            return False, written, read
        command = script[at]
        if command in "{};\n":
            at += 0 if command == "}" else 1
        elif command in _SED_PLAIN:
            at = _plain_end(script, at + 1)
        elif command in "sy":
            at = _substitution(script, at + 1, written, flags=command == "s")
        elif command in "aicbtT:":
            at = _line_end(script, at)
        elif command in "rRwW":
            file = _SED_FILE.match(script, at + 1)
            (read if command in "rR" else written).append(file[1] if file else "")
            at = _line_end(script, at)
        else:
            return False, written, read
        if at < 0:
            return False, written, read
    return True, written, read


def _line_end(script: str, at: int) -> int:
    """Where the line ends; a backslash before the newline continues it."""
    while at < len(script):
        if script[at] == "\\":
            at += 2
        elif script[at] == "\n":
            return at
        else:
            at += 1
    return len(script)


def _plain_end(script: str, at: int) -> int:
    """After a command without text: an exit code may follow, then only what separates commands; -1 otherwise."""
    while at < len(script) and script[at] in " \t0123456789":
        at += 1
    return at if at >= len(script) or script[at] in ";\n}#" else -1


def _substitution(script: str, at: int, written: list[str], *, flags: bool) -> int:
    """After s/…/…/flags or y/…/…/; -1 where it is not understood. A file that `w` names goes to `written`."""
    if at >= len(script) or script[at] in "\\\n":
        return -1
    mark, parts = script[at], 0
    at += 1
    while at < len(script) and parts < 2:
        if script[at] == "\\":
            at += 1
        elif script[at] == "[" and parts == 0 and mark != "[":
            closing = script.find("]", at + 2)
            at = closing if closing > 0 and mark not in script[at:closing] else at
        elif script[at] == mark:
            parts += 1
        at += 1
    if parts < 2:
        return -1
    if flags:
        match = _SED_FLAGS.match(script, at)
        at = match.end() if match else at
        if at < len(script) and script[at] == "w":
            file = _SED_FILE.match(script, at + 1)
            written.append(file[1] if file else "")
            return _line_end(script, at)
    return _plain_end(script, at)


def awk(run: Run) -> None:
    """awk: opaque where its program runs, reads or writes by itself; else it reads its files."""
    found = scan(run.program, run.words)
    if found.plays("harmless"):
        return
    apply_options(run, found)
    files = list(found.operands)
    programs: list[Word] = []
    if not found.has("-f", "--file", "-E", "--exec"):
        programs = files[:1]
        files = files[1:]
    programs += [each.value for each in found.options if each.name in ("-e", "--source") and each.value is not None]
    for program in programs:
        _awk_program(run, program)
    if found.has("-i", "--include"):
        for file in _files(files):
            run.write(file)
    for file in _files(files):
        run.read(file)


def _files(operands: list[Word]) -> list[Word]:
    return [word for word in operands if not re.match(r"[A-Za-z_]\w*=", word.prefix)]


def _awk_program(run: Run, program: Word) -> None:
    if program.literal is None:
        run.unclear("its program is not literal")
        return
    code = awk_code(program.literal)
    if _AWK_RUNS.search(code):
        run.unclear("its program may run a command or read another file")
    if _AWK_WRITES.search(code):
        run.unclear("its program may write a file")


def awk_code(program: str) -> str:
    """The program without its comments and with empty strings and patterns."""
    out: list[str] = []
    before, at = "\n", 0
    while at < len(program):
        match = _AWK_TOKEN.match(program, at)
        piece = match[0] if match else program[at]
        if len(piece) > 1 and piece[0] == "/" and before not in _AWK_BEFORE_PATTERN:
            piece = "/"
        at += len(piece)
        if piece[0] == "#":
            continue
        plain = piece if len(piece) == 1 else piece[0] * 2
        out.append(plain)
        before = plain[-1] if not plain.isspace() or "\n" in plain else before
    return "".join(out)
