"""The reading half of the file family: file_read, file_list, file_search. Their only effect is to read a path."""

from __future__ import annotations

from functools import partial

from interlock_tools.declare import PATH_CHARS_MAX, POSITION_MAX, flag, number, path, text
from interlock_tools.effects import Effect, EffectKind
from interlock_tools.fields import Form
from interlock_tools.files import FILE_NAMES, FOLDER_NAMES, encoding_field, glob_field, reading_fields
from interlock_tools.plan import ListFiles, Plan, ReadFile, SearchFiles
from interlock_tools.shared import FieldLimits, Inventory
from interlock_tools.tool import READS, Arguments, Tool

LINES_DEFAULT, BYTES_DEFAULT, READ_MAX = 2_000, 16_384, 65_536
ENTRIES_DEFAULT, MATCHES_DEFAULT, FOUND_MAX = 200, 100, 1_000


def reading_file_tools(inventory: Inventory, limits: FieldLimits) -> tuple[Tool, ...]:
    """file_read, file_list, file_search."""
    return (_file_read(inventory, limits), _file_list(inventory, limits), _file_search(inventory, limits))


def _file_read(inventory: Inventory, limits: FieldLimits) -> Tool:
    amount = "Lines, or bytes with offset or base64."
    aliases = ("max_lines", "lines", "length", "max_bytes")
    own = (
        path("path", "Absolute.", *FILE_NAMES),
        number("line", "First line.", "start_line", default=1, minimum=1, maximum=POSITION_MAX),
        number("offset", "Or first byte.", "start", maximum=POSITION_MAX),
        number("limit", amount, *aliases, minimum=1, maximum=READ_MAX, published=True),
        encoding_field(),
    )
    words = "Read a file by lines or bytes; tells sha256 and size."
    fields = reading_fields(inventory, limits, *own)
    return Tool("file_read", "Read file", words, fields, READS, _plan_read, partial(_reads, "file_read"))


def _plan_read(arguments: Arguments) -> Plan:
    by_bytes = arguments["offset"] >= 0 or arguments["encoding"] == "base64"
    offset = max(arguments["offset"], 0) if by_bytes else -1
    limit = arguments["limit"]
    if limit < 0:
        limit = BYTES_DEFAULT if by_bytes else LINES_DEFAULT
    return ReadFile(arguments["path"], arguments["line"], offset, limit, arguments["encoding"])


def _file_list(inventory: Inventory, limits: FieldLimits) -> Tool:
    own = (
        path("path", "Absolute directory.", *FOLDER_NAMES),
        glob_field("Names that match.", "pattern", "filter", "match"),
        flag("recursive", "The whole tree.", "recurse"),
        flag("hidden", "Dot files too.", "all", "show_hidden", "include_hidden", default=True),
        number(
            "limit",
            "Entries at most.",
            *("max", "max_results"),
            default=ENTRIES_DEFAULT,
            minimum=1,
            maximum=FOUND_MAX,
            published=True,
        ),
        text("after", "After this entry.", "cursor", form=Form.LINE, chars_max=PATH_CHARS_MAX),
    )
    words = "List a directory or glob: sizes, owners, modes, times."
    fields = reading_fields(inventory, limits, *own)
    return Tool("file_list", "List files", words, fields, READS, _plan_list, partial(_reads, "file_list"))


def _plan_list(arguments: Arguments) -> Plan:
    return ListFiles(
        arguments["path"],
        arguments["glob"],
        arguments["recursive"],
        arguments["hidden"],
        arguments["limit"],
        arguments["after"],
    )


def _file_search(inventory: Inventory, limits: FieldLimits) -> Tool:
    aliases = ("query", "search", "text", "needle")
    own = (
        path("path", "Absolute file or directory.", *FOLDER_NAMES),
        text("pattern", "Text to find.", *aliases, form=Form.LINE, required=True, chars_min=1),
        flag("regex", "Extended regex.", "is_regex", "regexp", "use_regex"),
        flag("ignore_case", "Any case.", "case_insensitive", "insensitive"),
        glob_field("Files named so.", "include", "file_pattern", "files"),
        number("context_lines", "Lines around.", "context", default=0, maximum=10),
        number(
            "limit",
            "Matches at most.",
            *("max", "max_results"),
            default=MATCHES_DEFAULT,
            minimum=1,
            maximum=FOUND_MAX,
            published=True,
        ),
    )
    words = "Find lines in a file or tree."
    fields = reading_fields(inventory, limits, *own)
    return Tool("file_search", "Search files", words, fields, READS, _plan_search, partial(_reads, "file_search"))


def _plan_search(arguments: Arguments) -> Plan:
    return SearchFiles(
        arguments["path"],
        arguments["pattern"],
        arguments["regex"],
        arguments["ignore_case"],
        arguments["glob"],
        arguments["context_lines"],
        arguments["limit"],
    )


def _reads(tool: str, arguments: Arguments) -> tuple[Effect, ...]:
    recursive = arguments.get("recursive", tool == "file_search")
    return (Effect(EffectKind.READ, arguments["path"], tool, recursive=recursive),)
