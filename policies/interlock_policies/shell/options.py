"""Splitting a program's words into options and operands by its grammar in the table; it decides nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

from interlock_policies.shell.syntax import Part, Word
from interlock_policies.shell.table import Option, Program

_MAY_BE_OPTION = frozenset({Part.VARIABLE, Part.COMMAND, Part.CODE, Part.INPUT, Part.BRACE, Part.ARITHMETIC})
_UNKNOWN = Option("unknown")


@dataclass(frozen=True, slots=True)
class Found:
    """One option as it was given: its full name, what the table says of it, its value."""

    name: str
    option: Option
    value: Word | None = None


@dataclass(slots=True)
class Scan:
    """A program's words, split.

    `doubtful`: words that may be options or hold some, but cannot be read. `only_asks`: the words are --help or
    --version and nothing else, at most after a subcommand.
    """

    options: list[Found] = field(default_factory=list)
    operands: list[Word] = field(default_factory=list)
    doubtful: list[Word] = field(default_factory=list)
    only_asks: bool = False
    rest: tuple[Word, ...] = ()

    def has(self, *names: str) -> bool:
        """True where one of these options was given."""
        return any(found.name in names for found in self.options)

    def plays(self, role: str) -> bool:
        """True where an option of this role was given."""
        if role == "harmless" and self.only_asks:
            return True
        return any(found.option.role == role for found in self.options)

    def value(self, *names: str) -> Word | None:
        """The last value given to one of these options."""
        values = [found.value for found in self.options if found.name in names and found.value is not None]
        return values[-1] if values else None


def scan(program: Program, words: tuple[Word, ...], *, stop: bool = False) -> Scan:
    """Split the words after the program's name. `stop`: the first operand ends the options, `rest` is what remains."""
    out = Scan(only_asks=_only_asks(program, words))
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if word.literal == "--":
            out.rest = words[at:]
            if not stop:
                out.operands.extend(out.rest)
            return out
        prefix = word.prefix
        if prefix.startswith("-") and len(prefix) > 1:
            at += _option(program, word, words[at] if at < len(words) else None, out)
            continue
        if stop:
            out.rest = words[at - 1 :]
            return out
        if word.pieces[0].part in _MAY_BE_OPTION:
            out.doubtful.append(word)
        out.operands.append(word)
    return out


def _only_asks(program: Program, words: tuple[Word, ...]) -> bool:
    if len(words) == 1:
        return words[0].literal in ("--help", "--version")
    subcommand = len(words) in (2, 3) and bool(program.subcommands)
    return subcommand and words[-1].literal == "--help" and all(not w.prefix.startswith("-") for w in words[:-1])


def _option(program: Program, word: Word, following: Word | None, out: Scan) -> int:
    """Add the option or options in one word; how many of the following words they took (0 or 1)."""
    prefix = word.prefix
    if prefix.startswith("--") or (program.single and len(prefix) > 2):
        return _long(program, word, following, out)
    if program.single and prefix in program.options:
        return _long(program, word, following, out)
    return _short(program, word, following, out)


def _long(program: Program, word: Word, following: Word | None, out: Scan) -> int:
    name, equals, _ = word.prefix.partition("=")
    full, option = _known(program, name)
    if equals:
        out.options.append(Found(full, option, word.without_prefix(len(name) + 1)))
        return 0
    if word.literal is None:
        out.doubtful.append(word)
    if option.value == "required" and following is not None:
        out.options.append(Found(full, option, following))
        return 1
    out.options.append(Found(full, option))
    return 0


def _known(program: Program, name: str) -> tuple[str, Option]:
    """The option of this name, or the one it abbreviates; of several, one that has an effect."""
    option = program.options.get(name)
    if option is not None:
        return name, option
    longer = [known for known in program.options if known.startswith(name)] if name.startswith("--") else []
    if not longer:
        return name, _UNKNOWN
    harmless = ("flags", "values", "harmless")
    full = min(longer, key=lambda known: program.options[known].role in harmless)
    return full, program.options[full]


def _short(program: Program, word: Word, following: Word | None, out: Scan) -> int:
    letters = word.prefix
    for at in range(1, len(letters)):
        name = "-" + letters[at]
        option = program.options.get(name)
        if option is None and letters[1:].isdigit():
            option = program.options.get("-NUM", _UNKNOWN)
        option = option or _UNKNOWN
        if option is _UNKNOWN and letters[at + 1 : at + 2] in ("/", ".", "~"):
            out.options.append(Found(name, option, word.without_prefix(at + 1)))
            return 0
        if not option.value:
            out.options.append(Found(name, option))
            continue
        attached = word.without_prefix(at + 1)
        if attached.literal != "":
            out.options.append(Found(name, option, attached))
            return 0
        if option.value == "required" and following is not None:
            out.options.append(Found(name, option, following))
            return 1
        out.options.append(Found(name, option))
        return 0
    if word.literal is None:
        out.doubtful.append(word)
    return 0


def joined(words: tuple[Word, ...]) -> str | None:
    """The words as one text with spaces between, or None where one is not literal."""
    texts = [word.literal for word in words]
    return None if None in texts else " ".join(text for text in texts if text is not None)
