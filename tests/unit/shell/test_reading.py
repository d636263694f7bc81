"""Reading: what both readers must agree on, the misparses that are known, and what is refused."""

from __future__ import annotations

import pytest

from interlock.shfmt import Shfmt, find_shfmt
from interlock_policies.shell.agree import Readers, Reading, Unreadable
from interlock_policies.shell.syntax import Part
from interlock_policies.shell.words import BRACE_WORDS_MAX, WordBuilder, ansi_c
from interlock_tools.errors import CommandUnreadable

AGREED = [
    r'a=1 b=2 cmd -x "q $x `ls`" {a,b}c ~/x >f 2>&1',
    "cat <<X | sh\nx $y $(z)\nX",
    "cat <<'X' > f && rm y\n`no` $x\nX",
    "time -p ls; ! ls & wait",
    "[[ -n $a && $b == c* ]] && (( x++ )); let y=1; export A=1 B; declare -a z=(1 2)",
    "for i in 1 2; do ls; done; for ((i=0;i<2;i++)); do :; done",
    "case x in a|b) ls;; *) rm x;; esac",
    "if a; then b; elif c; then d; elif e; then f; else g; fi; while a; do b; done; until a; do b; done",
    "{ a; } >x; (b)",
    r"f() { ls; }; echo $'a\n' " + "${x:-y} ${x/a/b} ${x:1:2} ${a[1]} $((1+2)) <(ls)",
    "git checkout 2>/dev/null -- foo",
    r"""echo a\ b "c d"'e' \$x "\$y" [a-z] x? "*" # comment""",
    'ls | while read -r l; do echo "$l"; done',
    "unset x; local y; readonly z=3",
    'test -f x && [ "$a" = "b" ] || return 1',
]


@pytest.fixture(scope="module")
def readers() -> Readers:
    return Readers(Shfmt(find_shfmt(), timeout_seconds=10))


@pytest.mark.parametrize("text", AGREED)
def test_both_readers_agree_on_ordinary_shell(readers, text):
    reading = readers.read(text)
    assert isinstance(reading, Reading)
    assert reading.doubt == ""


@pytest.mark.parametrize(
    "text",
    [
        "cat <<X\n`rm -rf /data`\nX",
        "echo ${x:=`rm -rf /data`}",
        "ls #\\\nrm -rf /data",
        "r\\\nm -rf /data",
    ],
)
def test_the_known_misparses_are_noticed_and_what_either_reader_saw_is_kept(analyse, text):
    effects = analyse(text)
    assert effects.opaque
    assert any(e.kind == "delete" and e.target == "/data" for e in effects.inferred)


@pytest.mark.parametrize("text", ["if then", "echo 'x", "a | | b", "ls )", "${", "for in", "x=(", "cat <<"])
def test_a_syntax_error_is_refused(analyser, text):
    assert isinstance(analyser.analyse(text, cwd="/", home="/"), CommandUnreadable)


@pytest.mark.parametrize(
    "text",
    [
        "ls \x00x", "ls \x1b[31m", "ls\rrm x", "ls \u202ex", "ls \u200bx", "ls \u2066x", "rm\u00a0-rf x", "ls \ufeff",
        "ls \u3000x", "ls \ud800", "cat /etc/p\u0430sswd", "rm \u2212rf x", "rm \u2014rf x", "ls \uff0fetc",
        "cat \u2215etc", "\uff52\uff4d x", "ls \U000e0041", "rm x\u2028ls", "\u03bfls x",
    ],
)  # fmt: skip
def test_characters_that_hide_something_are_refused(analyser, text):
    refused = analyser.analyse(text, cwd="/", home="/")
    assert isinstance(refused, CommandUnreadable)
    assert refused.path == "command"


@pytest.mark.parametrize(
    "text",
    ["echo 'naïve café — “so” …'", "git tag -m 'Größe übernehmen: 漢字, привет'", "ls ~/Übungen/файл", "echo 👍"],
)
def test_other_languages_are_no_disguise(analyse, text):
    assert not analyse(text).opaque


def test_what_is_too_long_is_refused(analyser):
    assert isinstance(analyser.analyse("echo " + "x" * 20_000, cwd="/", home="/"), CommandUnreadable)
    assert isinstance(analyser.analyse("echo abcdef", cwd="/", home="/", command_chars_max=5), CommandUnreadable)


@pytest.mark.parametrize("opening", ["(", "$(", "{ ", "${x:-", "if a; then ", "<(", "while a; do ", "((", "[[ ( "])
def test_what_nests_too_deeply_is_refused(analyser, opening):
    assert isinstance(analyser.analyse(opening * 1_000, cwd="/", home="/"), CommandUnreadable)


def test_a_reader_that_answers_nonsense_is_opaque_or_refused():
    novel = Readers(lambda _: '{"Stmts": [{"Cmd": {"Type": "Novel"}}]}').read("ls")
    assert isinstance(novel, Reading)
    assert novel.doubt
    assert isinstance(Readers(lambda _: "[" * 100_000).read("ls"), Unreadable)
    assert isinstance(Readers(lambda _: "not json").read("ls"), Unreadable)
    empty = Readers(lambda _: '{"Stmts": []}').read("rm -rf /")
    assert isinstance(empty, Reading)
    assert empty.doubt


def words(*runs: tuple[str, bool]) -> list[str | None]:
    build = WordBuilder()
    for text, quoted in runs:
        (build.quoted if quoted else build.unquoted)(text)
    return [word.literal for word in build.words()]


def test_brace_expansion_is_that_of_bash():
    assert words(("{a,b}{c,d}", False)) == ["ac", "ad", "bc", "bd"]
    assert words(("x{1..3}y", False)) == ["x1y", "x2y", "x3y"]
    assert words(("{01..03}", False)) == ["01", "02", "03"]
    assert words(("{c..a}", False)) == ["c", "b", "a"]
    assert words(("{5..1..2}", False)) == ["5", "3", "1"]
    assert words(("{a,{b,c}}", False)) == ["a", "b", "c"]
    assert words(("{a}", False)) == ["{a}"]
    assert words(("{a,b}", True)) == ["{a,b}"]
    assert words(("{a", False), (",", True), ("b}", False)) == ["{a,b}"]
    assert words(("\\{a,b}", False)) == ["{a,b}"]


def test_a_brace_expansion_that_is_too_large_is_dynamic():
    for text in ("{1..100000}", "{1..9}{1..9}{1..9}", "{" + ",".join("ab" * BRACE_WORDS_MAX) + "}"):
        build = WordBuilder()
        build.unquoted(text)
        (word,) = build.words()
        assert word.dynamic == {Part.BRACE}


def test_ansi_c_quoting_is_that_of_bash():
    assert ansi_c(r"\x72\155\u0020\U0000002d\'\e") == "rm -'\x1b"
    assert ansi_c(r"a\0b") == "a"
    assert ansi_c(r"\q") == r"\q"
