"""Redaction: secrets go, also when they come in pieces; digests, ids and plain talk stay."""

import base64
import string
import time
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from interlock_policies.redact import DEPTH_MAX, HOLD_CHARS_MAX, MASK, Redactor

PLAIN = Redactor()
A36 = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
PEM = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\nAAAAB3Nza\n-----END OPENSSH PRIVATE KEY-----"

SECRETS = [
    "AKIA" + "ABCDEFGHIJ234567",
    "ghp_" + A36,
    "github_pat_" + A36 + "abcdef",
    "glpat-" + "abcdefghij0123456789",
    "xoxb-" + "123456789012-abcdefghijkl",
    "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0In0" + ".c2lnbmF0dXJl",
    "sk-proj-" + A36,
    "sk-ant-api03-" + A36,
    "sk_live_" + "abcdefghij0123456789",
    "AIza" + "SyA1234567890abcdefghijklmnopqrstuv",
    "npm_" + A36,
    "hf_" + A36,
    "ilk_" + A36,
]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("frame", ["{}", "x {} y", '"{}"', "a={}", "({}),", "line\n{}\nline", "https://h/?k={}&x=1"])
def test_known_formats_go_wherever_they_stand(secret: str, frame: str) -> None:
    shown = PLAIN.text(frame.format(secret))
    assert secret not in shown
    assert secret[-12:] not in shown
    assert MASK in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("password=hunter2x y", f"password={MASK} y"),
        ("DB_PASSWORD: hunter2x", f"DB_PASSWORD: {MASK}"),
        ("MYSQL_PWD=hunter2x mysql", f"MYSQL_PWD={MASK} mysql"),
        ('{"password": "a b, c", "user": "bob"}', f'{{"password": "{MASK}", "user": "bob"}}'),
        ('{\\"client_secret\\":\\"abcdefg\\"}', f'{{\\"client_secret\\":\\"{MASK}\\"}}'),
        ("secret_access_key = 'ab cd'", f"secret_access_key = '{MASK}'"),
        ("curl 'https://x/?token=abcdefgh&page=2'", f"curl 'https://x/?token={MASK}&page=2'"),
        ("mysql --password hunter2x --host h", f"mysql --password {MASK} --host h"),
        ("sshpass -p hunter2x ssh h", f"sshpass -p {MASK} ssh h"),
        ("Authorization: Basic dXNlcjpwYXNz", f"Authorization: {MASK}"),
        ("curl -H 'Authorization: Bearer abc.def' https://h", f"curl -H 'Authorization: {MASK}' https://h"),
        ("got bearer abcdefghijklmnop1234", f"got bearer {MASK}"),
        ("Set-Cookie: session=abcdef; HttpOnly", f"Set-Cookie: {MASK}"),
        ("postgres://app:hunter2x@db/app", f"postgres://app:{MASK}@db/app"),
        ("https://:hunter2x@h/", f"https://:{MASK}@h/"),
        (f"before\n{PEM}\nafter", f"before\n{MASK}\nafter"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE cut off", MASK),
    ],
)
def test_named_secrets_go_and_what_stands_around_them_stays(text: str, shown: str) -> None:
    assert PLAIN.text(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "commit 3f786850e387550fdab836ed7e6dc881de23001b",
        "id 123e4567-e89b-12d3-a456-426614174000",
        "integrity sha512-" + "Ab1+" * 20 + "==",
        "max_tokens=4096 tokens: 512",
        "password: true, password=$PASSWORD, token=${TOKEN}, secret: null, api_key=<your key>",
        "PasswordAuthentication no",
        "PWD=/home/agent OLDPWD=/srv",
        "the secret garden, a token ring, the key question",
        "https://example.com:8080/path@2x.png",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample user@host",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "drwxr-xr-x 2 root root 4096 Nov 21 07:41 sk-some-very-long-directory-name-here",
        "task-1234567890123456789012345678901234567890",
        "monkey=banana turkey: dinner",
        "if (token == other) passwd(1)",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert PLAIN.text(text) == text


def test_configured_values_go_in_every_form() -> None:
    value = 's3cr3t/+ "välue"'
    redactor = Redactor([value])
    forms = [
        value,
        quote(value, safe=""),
        value.replace('"', '\\"'),
        *(base64.b64encode(prefix + value.encode() + b"tail").decode() for prefix in (b"", b"a", b"ab", b"user:")),
        base64.urlsafe_b64encode(b"u:" + value.encode()).decode(),
    ]
    for form in forms:
        shown = redactor.text(f"x {form} y")
        assert MASK in shown
        assert "s3cr3t" not in shown
    assert value not in repr(redactor)


def test_every_line_of_a_configured_value_goes() -> None:
    redactor = Redactor(["first line here\nsecond line here"])
    assert redactor.text("a second line here b") == f"a {MASK} b"


def test_a_short_value_is_not_looked_for() -> None:
    assert Redactor(["abc", ""]).text("abcabc") == "abcabc"


def test_json_loses_secrets_in_values_keys_and_under_telling_names() -> None:
    redactor = Redactor(["hunter2value"])
    value = {
        "password": "x y z",
        "nested": [{"api_key": 12345, "note": "hunter2value"}, "ghp_" + A36],
        "hunter2value": 1,
        "token": {"id": "t1"},
        "enabled_password": True,
        "empty_secret": "",
        "n": 5,
        "none": None,
    }
    assert redactor.json(value) == {
        "password": MASK,
        "nested": [{"api_key": MASK, "note": MASK}, MASK],
        MASK: 1,
        "token": {"id": "t1"},
        "enabled_password": True,
        "empty_secret": "",
        "n": 5,
        "none": None,
    }
    assert value["password"] == "x y z"


def test_two_names_that_become_one_are_both_kept() -> None:
    shown = Redactor(["hunter2value", "hunter3value"]).json({"hunter2value": 1, "hunter3value": 2})
    assert sorted(shown.values()) == [1, 2]


def test_json_deeper_than_the_limit_is_masked() -> None:
    deep: object = "leaf"
    for _ in range(DEPTH_MAX + 5):
        deep = [deep]
    assert "leaf" not in str(PLAIN.json(deep))


def pieces(redactor: Redactor, chunks: list[str]) -> str:
    stream = redactor.stream()
    return "".join(stream.feed(chunk) for chunk in chunks) + stream.end()


@pytest.mark.parametrize("secret", [*SECRETS, PEM, "configured-value"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000])
def test_a_secret_that_comes_in_pieces_is_caught(secret: str, size: int) -> None:
    text = f"start\nline {secret} more\nend"
    chunks = [text[at : at + size] for at in range(0, len(text), size)]
    assert pieces(Redactor(["configured-value"]), chunks) == f"start\nline {MASK} more\nend"


@pytest.mark.parametrize("offset", [0, 1, 5, 20, HOLD_CHARS_MAX // 2])
def test_a_secret_in_a_line_without_end_is_caught_wherever_it_stands(offset: int) -> None:
    secret = "ghp_" + A36
    text = ("word " * HOLD_CHARS_MAX)[: HOLD_CHARS_MAX - offset] + " " + secret + " " + "tail " * HOLD_CHARS_MAX
    for size in (100, 4096, HOLD_CHARS_MAX * 3):
        shown = pieces(PLAIN, [text[at : at + size] for at in range(0, len(text), size)])
        assert secret[:14] not in shown
        assert secret[-14:] not in shown
        assert shown.startswith("word word")
        assert shown.endswith("tail ")


def test_what_a_stream_holds_back_is_bounded() -> None:
    for unit in ("x", "word ", "A1b2", "ghp_" + "a" * 5000):
        stream = PLAIN.stream()
        for _ in range(200):
            stream.feed(unit * 200 if len(unit) < 10 else unit)
            assert len(stream._held) <= HOLD_CHARS_MAX + 5004
        stream.end()


def test_an_endless_token_is_swallowed_and_what_follows_is_shown() -> None:
    shown = pieces(PLAIN, ["ghp_", *["a1b2" * 1000] * 20, " after\nnext"])
    assert shown == f"{MASK} after\nnext"


def test_an_open_private_key_is_swallowed_to_its_end() -> None:
    body = "MIIEpAIBAAKCAQEA\n" * 2000
    whole = f"a\n-----BEGIN RSA PRIVATE KEY-----\n{body}-----END RSA PRIVATE KEY-----\nb\n"
    assert pieces(PLAIN, [whole[at : at + 999] for at in range(0, len(whole), 999)]) == f"a\n{MASK}\nb\n"
    assert pieces(PLAIN, [whole[:5000]]) == f"a\n{MASK}"


WORDS = st.sampled_from(
    [
        *SECRETS,
        PEM,
        "password=",
        "password: ",
        "token",
        '"',
        "'",
        " ",
        "\n",
        "=",
        ":",
        "&",
        ",",
        ";",
        "\\",
        "[redacted]",
        "hunter2secret",
        "https://",
        "user",
        "@",
        "Authorization: ",
        "bearer ",
        "--password ",
        "-----BEGIN RSA PRIVATE KEY-----",
        "x",
        "é",
        "]",
    ]
)
TEXTS = st.lists(WORDS, max_size=14).map("".join) | st.text(max_size=60)
CONFIGURED = Redactor(["hunter2secret"])


@settings(max_examples=400, deadline=None)
@given(TEXTS)
@example("password=[redacted],x")
@example('token: "hunter2secret" x')
def test_redacting_twice_changes_nothing(text: str) -> None:
    once = CONFIGURED.text(text)
    assert CONFIGURED.text(once) == once


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.integers(1, 30))
def test_no_secret_survives_whole_or_in_pieces(text: str, size: int) -> None:
    text = f"{text} ghp_{A36[::-1]} hunter2secret"
    for shown in (
        CONFIGURED.text(text),
        pieces(CONFIGURED, [text[at : at + size] for at in range(0, len(text), size)]),
    ):
        assert A36[::-1] not in shown
        assert "hunter2secret" not in shown


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(alphabet=string.ascii_lowercase + " \n", max_size=30), max_size=20))
def test_harmless_text_comes_through_a_stream_unchanged(chunks: list[str]) -> None:
    text = "".join(chunks)
    if PLAIN.text(text) == text:
        assert pieces(PLAIN, chunks) == text


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "ghp_",
        "eyJ",
        "eyJa.",
        "password",
        "password=",
        "password=[",
        "://",
        "://a:",
        "-",
        "--",
        "--a-",
        "sk-",
        "-----BEGIN ",
        "bearer ",
        '"',
        "\\",
        "xox",
        "a_",
        "_pwd",
        "sshpass -p",
        "-----BEGIN RSA PRIVATE KEY-----",
    ],
)
def test_hostile_text_takes_linear_time(unit: str) -> None:
    def seconds(size: int) -> float:
        text = (unit * (size // len(unit) + 1))[:size]
        best = 9.0
        for _ in range(3):
            started = time.process_time()
            CONFIGURED.text(text)
            best = min(best, time.process_time() - started)
        return best

    small, large = seconds(20_000), seconds(160_000)
    assert large < 0.05 + small * 30, f"{small:.4f} s for 20,000 characters, {large:.4f} s for 160,000"
