"""Characters that hide what a command is: control, bidirectional, invisible and look-alike ones; it only looks."""

from __future__ import annotations

import re
import unicodedata

_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f"
    "\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff\U000e0000-\U000e0fff\ud800-\udfff]"
)
_WORD = re.compile(r"\w+")
_HARMLESS_FOLDS = ("...", "TM")  # … and ™ are prose
_DASH = re.compile(r"(?:^|[\s'\"])[\u2010-\u2015\u2212\ufe58\ufe63\uff0d]+[A-Za-z]")
_SLASHES = "\u2044\u2215\u29f8\u2571"
_LOOK_ALIKE_SCRIPTS = ("CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU")


def hidden_character(command: str) -> str:
    """Why the text must not be trusted as it looks ("it holds the character U+202E"), or "" where it may."""
    if command.isascii() and not _HIDDEN.search(command):
        return ""
    match = _HIDDEN.search(command)
    if match:
        return f"it holds the invisible or control character U+{ord(match[0]):04X}"
    if _DASH.search(command):
        return "it holds a dash that is not the one options begin with"
    found = _folded(command) or _mixed(command)
    return f"it holds the look-alike character U+{ord(found):04X}" if found else ""


def _folded(command: str) -> str:
    """The first character that compatibility folding turns into an ASCII one, or ""."""
    for char in command:
        if char.isascii():
            continue
        folded = unicodedata.normalize("NFKC", char)
        if char in _SLASHES or (folded.isascii() and folded.strip() and folded not in _HARMLESS_FOLDS):
            return char
    return ""


def _mixed(command: str) -> str:
    """The first character of another script inside a word of ASCII letters, or ""."""
    for word in _WORD.findall(command):
        if word.isascii() or not any(char.isascii() and char.isalpha() for char in word):
            continue
        for char in word:
            if unicodedata.name(char, "").startswith(_LOOK_ALIKE_SCRIPTS):
                return str(char)
    return ""
