"""Redaction: secrets taken out of text and JSON before anything is stored, logged, shown or sent.

It knows the formats of `secrets_known` and the configured values, also as base64 and as part of a URL. It never shows
what it found.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from urllib.parse import quote, quote_plus

from interlock_policies.secrets_known import (
    FORMATS,
    HARMLESS_VALUE,
    PEM_BEGIN,
    PEM_END,
    PEM_MARK_CHARS_MAX,
    SENSITIVE_NAME,
)
from interlock_tools.call import Json

MASK = "[redacted]"
VALUE_CHARS_MIN = 6
VALUES_MAX = 1_000
DEPTH_MAX = 64
HOLD_CHARS_MAX = 16 * 1024
REMEMBERED_MAX = 4_096
REMEMBERED_CHARS_MAX = 128
_PASSES_MAX = 64  # masking one secret may bare the next; hardly any text needs a third pass

Span = tuple[int, int]


class Redactor:
    """Masks secrets.

    `values`: configured secrets; those shorter than VALUE_CHARS_MIN would hit everything and are left out.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        forms = sorted({form for value in [*values][:VALUES_MAX] for form in _forms(value)}, key=len, reverse=True)
        self._values = re.compile("|".join(map(re.escape, forms))) if forms else None
        # Names and words of records come again and again; long texts hardly ever do.
        self._remembered = lru_cache(maxsize=REMEMBERED_MAX)(self._text)

    def __repr__(self) -> str:
        return "Redactor()"

    def text(self, text: str) -> str:
        """The text with every secret replaced by MASK. Doing it again changes nothing."""
        return self._remembered(text) if len(text) <= REMEMBERED_CHARS_MAX else self._text(text)

    def _text(self, text: str) -> str:
        for _ in range(_PASSES_MAX):
            masked = _masked(text, self.spans(text))
            if masked == text:
                break
            text = masked
        return text

    def json(self, value: Json) -> Json:
        """The JSON value with its strings and keys redacted, and whatever stands under a name like `password` masked.

        Below DEPTH_MAX levels everything is masked. The argument is left as it is.
        """
        return self._json(value, 0)

    def stream(self) -> RedactedStream:
        """A redactor for text that comes in chunks."""
        return RedactedStream(self)

    def spans(self, text: str) -> list[Span]:
        """Where the secrets stand: start and end offsets, in order, without overlap."""
        return _merged(self._found(text))

    def _found(self, text: str) -> Iterator[Span]:
        if self._values:
            yield from (match.span() for match in self._values.finditer(text))
        lowered = text.lower()
        for known in FORMATS:
            if any(hint in lowered for hint in known.hints):
                for match in known.pattern.finditer(text):
                    span = match.span(match.lastindex or 0)
                    if span[0] < span[1] and not (
                        known.named and HARMLESS_VALUE.fullmatch(text, *_trimmed(text, span))
                    ):
                        yield _trimmed(text, span) if known.named else span
        if "-----begin" in lowered:
            yield from _pem_spans(text)

    def _json(self, value: Json, depth: int) -> Json:
        if isinstance(value, str):
            return self.text(value)
        if not isinstance(value, dict | list | tuple):
            return value
        if depth >= DEPTH_MAX:
            return MASK
        if not isinstance(value, dict):
            return [self._json(entry, depth + 1) for entry in value]
        shown: dict[str, Json] = {}
        for name, entry in value.items():
            key = self.text(str(name))
            while key in shown:
                key += "+"
            hidden = SENSITIVE_NAME.search(str(name)) and not isinstance(entry, bool | dict | list | tuple | None)
            shown[key] = MASK if hidden and entry != "" else self._json(entry, depth + 1)
        return shown


class RedactedStream:
    """Redacts text that comes in chunks: a secret that is split over chunks is still caught.

    It holds back the line that is not finished (at most HOLD_CHARS_MAX characters, unless a secret stands across), and
    swallows an open private key without holding it.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._held = ""
        self._in_key = False
        self._swallowing = False  # inside one unbroken secret that is longer than what may be held

    def feed(self, chunk: str) -> str:
        """What can be shown after this chunk; possibly nothing yet."""
        self._held += chunk
        out = ""
        while self._held:
            shown, again = self._step()
            out += shown
            if not again:
                break
        return out

    def end(self) -> str:
        """What was still held back."""
        held, self._held = self._held, ""
        if self._in_key:
            end = PEM_END.search(held)
            held = held[end.end() :] if end else ""
        if self._swallowing:
            held = held.lstrip() if held[:1].isspace() else _after_word(held)
        self._in_key = self._swallowing = False
        return self._redactor.text(held)

    def _step(self) -> tuple[str, bool]:
        """What can be shown now, and whether there may be more to do at once."""
        if self._in_key:
            return self._leave_key()
        if self._swallowing:
            rest = _after_word(self._held)
            self._swallowing, self._held = not rest, rest
            return "", bool(rest)
        begin = PEM_BEGIN.search(self._held)
        if begin and not PEM_END.search(self._held, begin.end()):
            shown = self._redactor.text(self._held[: begin.start()]) + MASK
            self._held, self._in_key = self._held[begin.end() :], True
            return shown, True
        return self._cut(), False

    def _leave_key(self) -> tuple[str, bool]:
        end = PEM_END.search(self._held)
        if end is None:
            self._held = self._held[-PEM_MARK_CHARS_MAX:]
            return "", False
        self._held, self._in_key = self._held[end.end() :], False
        return "", True

    def _cut(self) -> str:
        """Show whole lines; of a line that is too long, what stands before the last thing that could go on."""
        newline = self._held.rfind("\n") + 1
        if newline:
            shown, self._held = self._held[:newline], self._held[newline:]
            return self._redactor.text(shown) + (self._cut() if len(self._held) > HOLD_CHARS_MAX else "")
        if len(self._held) <= HOLD_CHARS_MAX:
            return ""
        at = len(self._held) - HOLD_CHARS_MAX // 2
        for start, end in self._redactor.spans(self._held):
            if start < at < end or end == len(self._held):
                at = min(at, start)
        shown, self._held = self._held[:at], self._held[at:]
        out = self._redactor.text(shown)
        if len(self._held) > HOLD_CHARS_MAX:
            self._held, self._swallowing = "", True
            out += MASK
        return out


def _after_word(text: str) -> str:
    """What follows the first white space, with it; "" where there is none."""
    found = re.search(r"\s", text)
    return text[found.start() :] if found else ""


def _forms(value: str) -> Iterator[str]:
    """A configured value in every form in which it is looked for; a long value's lines count each."""
    for part in {value, value.strip(), *(line.strip() for line in value.splitlines())}:
        if len(part) < VALUE_CHARS_MIN:
            continue
        yield part
        yield from (quote(part, safe=""), quote_plus(part), part.replace("\\", "\\\\").replace('"', '\\"'))
        data = part.encode("utf-8", "surrogatepass")
        for shift in range(3):
            yield from _base64_forms(data, shift)


def _base64_forms(data: bytes, shift: int) -> Iterator[str]:
    """How the data looks inside base64, where `shift` bytes of something else stand before it in its group of three."""
    coded = base64.b64encode(b"\0" * shift + data).rstrip(b"=").decode()
    spare = (shift + len(data)) % 3
    inner = coded[(0, 2, 3)[shift] : len(coded) - (1 if spare else 0)]
    if len(inner) >= VALUE_CHARS_MIN:
        yield inner
        yield inner.replace("+", "-").replace("/", "_")


def _trimmed(text: str, span: Span) -> Span:
    """A named value's span without the punctuation that ends its clause."""
    start, end = span
    while end > start + 1 and text[end - 1] in ",;)}>\\":
        end -= 1
    return start, end


def _pem_spans(text: str) -> Iterator[Span]:
    """Private keys from their first mark to their last; to the end of the text where that is missing."""
    at = 0
    while begin := PEM_BEGIN.search(text, at):
        end = PEM_END.search(text, begin.end())
        at = end.end() if end else len(text)
        yield begin.start(), at


def _merged(spans: Iterable[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _masked(text: str, spans: list[Span]) -> str:
    parts: list[str] = []
    at = 0
    for start, end in spans:
        parts += [text[at:start], MASK]
        at = end
    return "".join([*parts, text[at:]])
