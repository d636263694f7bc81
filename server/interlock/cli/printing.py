"""Printing for people: tables and trees in a terminal, plain columns elsewhere, JSON where it was asked for.

Everything that came from an agent or a host passes through `visible` here; nothing else of these modules prints it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from interlock_tools.visible import visible

if TYPE_CHECKING:
    from rich.console import Console

CELL_CHARS_MAX = 200
PLAIN_CHARS_WIDE = 160
_GOOD = frozenset({"succeeded", "ALLOW", "approved", "used", "ok", "true"})
_BAD = frozenset({"failed", "denied", "invalid", "unknown", "DENY", "expired", "cancelled", "discarded"})
_OPEN = frozenset({"awaiting_approval", "pending", "running", "held", "ASK"})


class Escaped(str):
    """A text of the record that `visible` made already: escaped once is enough."""

    __slots__ = ()


def print_json(value: Any) -> None:
    """A JSON value, readable; ASCII only, so that no character of it acts on a terminal."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=True))


def one_line(value: Any, chars_max: int = CELL_CHARS_MAX) -> str:
    """Any value as one visible line."""
    if isinstance(value, Escaped):
        return str(value) if len(value) <= chars_max else f"{value[:chars_max]}…"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) if value is not None else ""
    return visible(text, chars_max).replace("\n", " ")


def console() -> Console:
    """The terminal; without colours where it is none or NO_COLOR is set."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else int(os.environ.get("COLUMNS", "") or PLAIN_CHARS_WIDE)
    return Console(highlight=False, markup=False, emoji=False, width=width, soft_wrap=not sys.stdout.isatty())


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], empty: str) -> None:
    """A table; `empty` is said where there is no row. Plain columns where the output is no terminal."""
    cells = [[one_line(cell) for cell in row] for row in rows]
    if not cells:
        click.echo(empty)
    elif sys.stdout.isatty():
        _print_rich(columns, cells)
    else:
        widths = [max(len(row[index]) for row in [list(columns), *cells]) for index in range(len(columns))]
        for row in [[name.upper() for name in columns], *cells]:
            click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _print_rich(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell, style=style_of(cell)) for cell in row))
    console().print(table)


def print_fields(fields: Mapping[str, Any]) -> None:
    """Names and values, one a line; a list of texts takes a line each. An empty value is left out.

    Where a value itself has several lines, the further ones begin with a bar: none can pass for a line of ours.
    """
    width = max((len(name) for name in fields), default=0)
    for name, value in fields.items():
        if value in ("", None, [], {}):
            continue
        entries = value if isinstance(value, list) else [value]
        texts = [entry if isinstance(entry, str) else json.dumps(entry, ensure_ascii=False) for entry in entries]
        for label, text in zip([name, *[""] * len(texts)], texts, strict=False):
            shown = str(text) if isinstance(text, Escaped) else visible(text)
            click.echo(f"{label.ljust(width)}  {continued(shown, width + 2)}")


def continued(text: str, indent: int) -> str:
    """Visible text whose further lines begin with a bar."""
    return text.replace("\n", "\n" + " " * max(indent - 2, 0) + "│ ")


def style_of(word: str) -> str:
    """The colour of a state or verdict; "" for any other word."""
    return "green" if word in _GOOD else "red" if word in _BAD else "yellow" if word in _OPEN else ""


def when(seconds: float | None) -> str:
    """A time of the record in local time; "" where there is none."""
    if seconds is None:
        return ""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def until(seconds: float | None) -> str:
    """How long until a time: "4 m 10 s", or "past"."""
    if seconds is None:
        return ""
    left = int(seconds - time.time())
    return (
        "past"
        if left <= 0
        else f"{left} s"
        if left < 120
        else f"{left // 60} m"
        if left < 7_200
        else f"{left // 3_600} h"
    )


def took(seconds: float) -> str:
    """A duration a person can compare: µs, ms or s."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    return f"{seconds * 1_000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def share(rate: float | None) -> str:
    """A rate as per cent; "–" where nothing was measured."""
    return "–" if rate is None else f"{rate * 100:.0f} %"
