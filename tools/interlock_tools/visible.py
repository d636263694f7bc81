"""Visible text: a text from outside, made safe to print for a human. It hides nothing and interprets nothing."""

from __future__ import annotations

import unicodedata

TEXT_CHARS_MAX = 10_000
MARKS_IN_A_ROW_MAX = 4

# Categories whose characters do something instead of showing something: control, format (bidi, zero width), surrogate,
# private use, unassigned, line and paragraph separators.
_ACTING = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Characters that look like nothing or like a blank, though their category says letter, mark or symbol.
_BLANK_LOOKING = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0\ufffc")
_SPELLED = {"\n": "⏎\n", "\t": "\\t", "\\": "\\\\", "⏎": "\\u{23ce}"}


def visible(text: str, chars_max: int = TEXT_CHARS_MAX) -> str:
    r"""The text with every character that is not plainly visible written as an escape.

    Control, ANSI, bidi, zero-width, blank-looking and unassigned characters, variation selectors, blanks other than the
    space, and marks beyond four on one letter become `\u{hex}`. A line feed becomes `⏎` and a line feed, a tab `\t`, a
    backslash `\\`, so that no text can look like one of our escapes. Of more than `chars_max` characters the rest is
    left out, and how many that are is said.
    """
    shown = text[:chars_max]
    if not (shown.isascii() and shown.isprintable() and "\\" not in shown):
        shown = "".join(_escaped(shown))
    left_out = len(text) - chars_max
    return f"{shown}…({left_out} more characters)" if left_out > 0 else shown


def _escaped(text: str) -> list[str]:
    parts = []
    marks = 0
    for char in text:
        marks = marks + 1 if unicodedata.combining(char) else 0
        if char in _SPELLED:
            parts.append(_SPELLED[char])
        elif _hides(char) or marks > MARKS_IN_A_ROW_MAX:
            parts.append(f"\\u{{{ord(char):x}}}")
        else:
            parts.append(char)
    return parts


def _hides(char: str) -> bool:
    category = unicodedata.category(char)
    if category in _ACTING or char in _BLANK_LOOKING:
        return True
    if category == "Zs":
        return char != " "
    return "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef"  # variation selectors
