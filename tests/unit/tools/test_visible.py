"""Text for human eyes: nothing in it acts, nothing in it hides."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock_tools.visible import visible

ESCAPE = re.compile(r"\\u\{([0-9a-f]+)\}|\\t|\\\\|⏎\n|[^\\⏎\n]", re.DOTALL)

tricky = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from(
            "\x00\x1b\x07\r\n\t\\⏎\u202e\u2066\u200b\u200d\ufeff\u00ad\u3164\u2800\u00a0\ufe0f\U000e0041\u0301"
        ),
    )
)


@given(tricky)
def test_nothing_that_acts_or_hides_survives(text) -> None:
    for char in visible(text).replace("⏎\n", ""):
        assert unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
        assert char == " " or unicodedata.category(char) != "Zs"
        assert char not in "\u3164\u2800\u034f\ufe0f"


@given(tricky)
def test_the_text_can_be_read_back(text) -> None:
    def plain(match: re.Match[str]) -> str:
        whole = match.group()
        if match[1]:
            return chr(int(match[1], 16))
        return {"\\t": "\t", "\\\\": "\\", "⏎\n": "\n"}.get(whole, whole)

    shown = visible(text)
    assert "".join(plain(match) for match in ESCAPE.finditer(shown)) == text


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="\\")))
def test_plain_text_stays_as_it_is(text) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rm -rf /\x1b[2K\rls", r"rm -rf /\u{1b}[2K\u{d}ls"),
        ("a\u202eb", r"a\u{202e}b"),
        ("pay\u200bpal", r"pay\u{200b}pal"),
        ("a\nb\tc", "a⏎\nb\\tc"),
        (r"\u{1b}", r"\\u{1b}"),
        ("Grüße, 世界 é", "Grüße, 世界 é"),
        ("a" + "\u0301" * 6, "a" + "\u0301" * 4 + r"\u{301}\u{301}"),
        ("\ud800", r"\u{d800}"),
    ],
)
def test_it_looks_like_this(text, shown) -> None:
    assert visible(text) == shown


def test_what_is_left_out_is_counted() -> None:
    assert visible("a" * 12, 10) == "a" * 10 + "…(2 more characters)"
