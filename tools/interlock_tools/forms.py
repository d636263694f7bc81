"""Forms: whether a text looks as its field demands, and what it is once normalised. It repeats no text in a reason."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from interlock_tools.fields import Form

COMPONENT_BYTES_MAX = 255

_PORT = re.compile(r"(?:([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):)?([0-9]{1,5})")
_OCTAL = re.compile(r"0?[0-7]{3}")


@dataclass(frozen=True, slots=True)
class Unfit:
    """Why a text does not have its form."""

    reason: str


def formed(form: Form, text: str) -> str | Unfit:
    """The text in its normal form, or why it has none."""
    check = _FORMS.get(form)
    return text if check is None else check(text)


def has_utf8(text: str) -> bool:
    """True where the text has a UTF-8 form (half a surrogate pair has none)."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def has_control(text: str) -> bool:
    """True where the text holds a control character (line breaks are some) or a line separator."""
    if text.isascii():
        return not text.isprintable()
    return any(unicodedata.category(char) in ("Cc", "Zl", "Zp") for char in text)


def _prose(text: str) -> str | Unfit:
    return Unfit("more than blanks is needed") if not text.strip() else text


def _line(text: str) -> str | Unfit:
    if has_control(text.replace("\t", " ")):
        return Unfit("one line without control characters is expected")
    return text


def _path(text: str) -> str | Unfit:
    if has_control(text):
        return Unfit("it holds a control character")
    if not text.startswith("/"):
        return Unfit("an absolute path is expected; '~' and variables are not expanded here")
    clean = "/" + posixpath.normpath(text).lstrip("/")
    if any(len(part.encode()) > COMPONENT_BYTES_MAX for part in clean.split("/")):
        return Unfit(f"a name in it is longer than {COMPONENT_BYTES_MAX} bytes")
    return clean


def _glob(text: str) -> str | Unfit:
    if has_control(text):
        return Unfit("it holds a control character")
    if text.startswith("/") or ".." in text.split("/"):
        return Unfit("a pattern below 'path' is expected: not absolute, no '..'")
    return text


def _port(text: str) -> str | Unfit:
    found = _PORT.fullmatch(text)
    if found is None or not 1 <= int(found[2]) <= 65_535:
        return Unfit("[host:]port is expected, with a port from 1 to 65535")
    return text


def _octal(text: str) -> str | Unfit:
    if not _OCTAL.fullmatch(text):
        return Unfit("an octal mode from 0000 to 0777 is expected, as a string")
    return text.rjust(4, "0")


def _matching(pattern: str, reason: str) -> Callable[[str], str | Unfit]:
    compiled = re.compile(pattern)
    return lambda text: text if compiled.fullmatch(text) else Unfit(reason)


def _hex(pattern: str, reason: str) -> Callable[[str], str | Unfit]:
    compiled = re.compile(pattern)
    return lambda text: text.lower() if compiled.fullmatch(text) else Unfit(reason)


_FORMS: Mapping[Form, Callable[[str], str | Unfit]] = {
    Form.PROSE: _prose,
    Form.LINE: _line,
    Form.PATH: _path,
    Form.GLOB: _glob,
    Form.ID: _matching(r"[A-Za-z0-9._:-]+", "letters, digits and ._:- are expected"),
    Form.LABEL: _matching(r"[\w./-]{1,100}=[\w./:@-]{0,200}", "key=value is expected"),
    Form.SERVICE: _matching(r"[A-Za-z0-9@._:\\][A-Za-z0-9@._:\\-]*", "a service's name is expected"),
    Form.PORT: _port,
    Form.URL: _matching(r"https?://[^\s/?#]+[^\s]*", "an http or https URL is expected"),
    Form.NUMBER: _matching(r"[0-9]{1,10}", "digits are expected, as a string"),
    Form.SHA256: _hex(r"[0-9a-fA-F]{64}", "64 hex digits are expected"),
    Form.GUARD: _hex(r"[0-9a-fA-F]{64}|absent", "64 hex digits or 'absent' are expected"),
    Form.OCTAL: _octal,
}
