"""Every command says what it does, prints JSON where asked, and fails with one typed line and a telling exit code."""

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from interlock.cli import ending
from interlock.cli.root import cli

CONFIG = """
[hosts.sandbox]
embedded = true
[hosts.far]
address = "127.0.0.1"
port = 9
[principals.agent]
roles = ["operator"]
hosts = ["*"]
"""


def run(*words: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(cli, list(words), input=stdin, prog_name="interlock")


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, click.Group):
        for name, sub in command.commands.items():
            yield from commands(sub, (*path, name))


EVERY = sorted(commands(cli))


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_every_command_explains_itself_and_each_of_its_options(path: tuple[str, ...]) -> None:
    result = run(*path, "--help")
    assert result.exit_code == 0
    command: click.Command = cli
    for name in path:
        assert isinstance(command, click.Group)
        command = command.commands[name]
    assert command.help
    assert command.help.splitlines()[0].endswith((".", "say what is wrong and where."))
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    assert not [option.name for option in options if not option.help]


def test_the_verbs_are_those_that_were_promised() -> None:
    leaves = {" ".join(path) for path in EVERY}
    promised = """serve|init|doctor|hosts list|hosts trust|policy check|policy test|policy explain|approvals list
    |approvals show|approvals approve|approvals deny|trace list|trace show|trace export|trace verify|scores|token create
    |token list|token revoke|inspect|stop|lift|reconcile|demo|version|budget|unpause|policy reload"""
    assert {name.strip() for name in promised.split("|")} <= leaves


READING = [
    ("approvals", "list"),
    ("trace", "list"),
    ("trace", "verify"),
    ("scores",),
    ("token", "list"),
    ("hosts", "list"),
    ("policy", "check"),
    ("policy", "test"),
    ("policy", "explain"),
    ("stop", "--list"),
    ("reconcile",),
    ("budget",),
    ("budget", "agent"),
    ("policy", "reload"),
    ("inspect",),
    ("version",),
]


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_what_can_be_read_can_be_read_as_json(words: tuple[str, ...]) -> None:
    result = run(*words, "--json")
    assert result.exit_code == 0, result.output
    json.loads(result.stdout)
    assert run(*words).exit_code == 0


def test_the_doctor_finds_the_embedded_default_well() -> None:
    result = run("doctor")
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.stdout.splitlines() if " sandbox " in line]
    assert "login" in line
    every = run("doctor", "--verbose")
    assert "sandbox: login" in every.stdout
    assert "sandbox: shell" in every.stdout


def test_the_doctor_names_what_is_wrong_and_how_to_mend_it(tmp_path: Path) -> None:
    config = tmp_path / "conf" / "interlock.toml"  # a folder of its own: no tool may touch what lies in it
    config.parent.mkdir()
    config.write_text(CONFIG)
    result = run("doctor", "--config", str(config), "--json")
    assert result.exit_code == ending.NO
    rows = [row for row in json.loads(result.stdout) if not row["ok"]]
    assert rows
    assert all(row["mend"] for row in rows)
    assert {row["what"].partition(":")[0] for row in rows} == {"far"}


def test_init_writes_a_start_that_loads_and_overwrites_nothing(home: Path) -> None:
    first = run("init")
    config = home / ".config/interlock/interlock.toml"
    assert first.exit_code == 0, first.output
    assert config.stat().st_mode & 0o777 == 0o600
    for words in (("policy", "check"), ("policy", "test"), ("hosts", "list"), ("doctor",)):
        result = run(*words)
        assert result.exit_code == 0, result.output
    config.write_text("# mine\n")
    again = run("init")
    assert again.exit_code == ending.REFUSED
    assert config.read_text() == "# mine\n"


@pytest.mark.parametrize(
    ("words", "exit_code", "code"),
    [
        (("approvals", "show", "a_none"), ending.UNKNOWN, "APPROVAL_UNKNOWN"),
        (("approvals", "approve", "a_none"), ending.REFUSED, "APPROVAL_NOT_PENDING"),
        (("approvals", "deny", "a_none", "--reason", "x"), ending.REFUSED, "APPROVAL_NOT_PENDING"),
        (("trace", "show", "c_none"), ending.UNKNOWN, "CALL_UNKNOWN"),
        (("token", "create", "nobody"), ending.UNKNOWN, "PRINCIPAL_UNKNOWN"),
        (("token", "revoke", "none"), ending.UNKNOWN, "TOKEN_UNKNOWN"),
        (("hosts", "trust", "nowhere", "--fingerprint", "SHA256:x"), ending.UNKNOWN, "HOST_UNKNOWN"),
        (("hosts", "trust", "sandbox"), ending.REFUSED, "NOT_CONFIRMED"),
        (("policy", "explain", "shell_run", "{}", "--principal", "nobody"), ending.UNKNOWN, "PRINCIPAL_UNKNOWN"),
        (("inspect", "--principal", "nobody"), ending.UNKNOWN, "PRINCIPAL_UNKNOWN"),
        (("serve", "--principal", "nobody"), ending.UNKNOWN, "PRINCIPAL_UNKNOWN"),
        (("lift", "all"), ending.REFUSED, "NOT_STOPPED"),
        (("stop", "host:nowhere"), ending.UNKNOWN, "HOST_UNKNOWN"),
        (("stop", "principal:agnt"), ending.UNKNOWN, "PRINCIPAL_UNKNOWN"),
        (("stop", "planet:earth"), 2, "BAD_REQUEST"),
        (("policy", "explain", "shel_run", "{}"), ending.UNKNOWN, "TOOL_UNKNOWN"),
        (("policy", "explain", "c_none"), ending.UNKNOWN, "CALL_UNKNOWN"),
        (("budget", "nobody"), ending.UNKNOWN, "PRINCIPAL_UNKNOWN"),
        (("unpause", "agent", "s_none"), ending.REFUSED, "NOT_PAUSED"),
        (("reconcile", "c_none"), ending.UNKNOWN, "CALL_UNKNOWN"),
        (("reconcile", "c_none", "--end"), ending.UNKNOWN, "CALL_UNKNOWN"),
        (("reconcile", "c_none", "--as", "failed"), ending.UNKNOWN, "CALL_UNKNOWN"),
        (("trace", "verify", "--head", "x"), 2, "BAD_REQUEST"),
        (("policy", "check", "--config", "none.toml"), ending.CONFIGURATION, "CONFIG"),
    ],
)
def test_a_failure_is_one_typed_line_and_an_exit_code(words: tuple[str, ...], exit_code: int, code: str) -> None:
    result = run(*words)
    assert result.exit_code == exit_code, result.output
    assert result.stderr.startswith(f"interlock: {code}: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ("reconcile", "--end"),
        ("reconcile", "c_1", "--end", "--as", "failed"),
        ("policy", "explain", "x", "{"),
        ("token", "create"),
        ("what",),
    ],
)
def test_a_wrong_command_line_ends_with_two(words: tuple[str, ...]) -> None:
    assert run(*words).exit_code == 2


def test_a_broken_configuration_gives_a_line_for_each_problem(tmp_path: Path) -> None:
    config = tmp_path / "conf" / "interlock.toml"  # a folder of its own: no tool may touch what lies in it
    config.parent.mkdir()
    config.write_text(CONFIG + '[limits]\nattemps_max = 2\nrate_burst_calls = "many"\n')
    result = run("hosts", "list", "--config", str(config))
    assert result.exit_code == ending.CONFIGURATION
    lines = result.stderr.splitlines()
    assert len(lines) == 2
    assert any(f"{config}:11: limits.attemps_max: unknown key (did you mean 'attempts_max'?)" in line for line in lines)


def test_a_broken_policy_names_file_and_line(tmp_path: Path) -> None:
    config = tmp_path / "conf" / "interlock.toml"  # a folder of its own: no tool may touch what lies in it
    config.parent.mkdir()
    config.write_text(CONFIG + '[policy]\nfiles = ["team.cedar"]\n')
    (config.parent / "team.cedar").write_text(
        '// a comment\n@id("x.y")\npermit (principal, action, resource) when { nonsense };\n'
    )
    result = run("policy", "check", "--config", str(config))
    assert result.exit_code == ending.CONFIGURATION
    assert f"{config.parent / 'team.cedar'}:" in result.stderr


def test_a_teams_tests_hold_or_say_what_was_decided_instead(tmp_path: Path) -> None:
    config = tmp_path / "conf" / "interlock.toml"  # a folder of its own: no tool may touch what lies in it
    config.parent.mkdir()
    config.write_text(CONFIG)
    tests = config.parent / "team.tests"
    tests.write_text(
        "# ours\nexpect DENY: operator on env=dev: delete /etc\nexpect ALLOW: operator on env=dev: delete /etc\n"
    )
    result = run("policy", "test", str(tests), "--config", str(config))
    assert result.exit_code == ending.NO
    assert "1 of 2 tests in 1 files hold" in result.stdout
    assert f"{tests}:3:" in result.stderr
    tests.write_text("expect nothing\n")
    assert run("policy", "test", str(tests)).exit_code == ending.CONFIGURATION


def test_a_token_is_shown_once_and_can_be_revoked() -> None:
    made = json.loads(run("token", "create", "agent", "--label", "ci\x1b[31m", "--json").stdout)
    listed = run("token", "list")
    assert made["token"]["token_id"] in listed.stdout
    assert made["secret"] not in listed.stdout
    assert "\x1b" not in listed.stdout
    assert run("token", "revoke", made["token"]["token_id"]).exit_code == 0
    (row,) = json.loads(run("token", "list", "--json").stdout)
    assert row["revoked"] is not None


def test_the_kill_switch_is_pulled_and_lifted_with_a_reason() -> None:
    assert run("stop", "principal:agent", "--reason", "look into it").exit_code == 0
    (row,) = json.loads(run("stop", "--list", "--json").stdout)
    assert (row["scope"], row["reason"]) == ("principal:agent", "look into it")
    assert row["by"].startswith("local:")
    assert run("lift", "principal:agent").exit_code == 0
    assert json.loads(run("stop", "--list", "--json").stdout) == []


def test_a_kept_head_verifies_later_and_a_forged_one_does_not() -> None:
    run("stop")
    run("lift")
    head = json.loads(run("trace", "verify", "--json").stdout)["head"]
    run("stop")
    assert run("trace", "verify", "--head", head).exit_code == 0
    forged = run("trace", "verify", "--head", head.replace(head[3:11], "0" * 8, 1))
    assert forged.exit_code == ending.NO
    assert "RECORD_BROKEN" in forged.stderr


def test_a_decision_is_explained_without_being_recorded() -> None:
    call = json.dumps({"command": "rm -rf /etc", "deletes": ["/etc"], "intent": "tidy up"})
    result = run("policy", "explain", "shell_run", call, "--host", "sandbox", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["verdict"] == "DENY"
    assert found["rules"]
    assert json.loads(run("trace", "list", "--json").stdout) == []


def test_every_exit_code_is_explained_where_they_are_defined() -> None:
    codes = {ending.NO, ending.CONFIGURATION, ending.UNKNOWN, ending.REFUSED, ending.OWNER, ending.INTERNAL}
    explained = {int(line.split()[0]) for line in (ending.__doc__ or "").splitlines() if line.strip()[:1].isdigit()}
    assert codes | {0, 2, ending.INTERRUPTED} == explained


def test_a_name_that_there_is_not_is_answered_with_the_closest() -> None:
    for words in (("stop", "host:sandbx"), ("serve", "--principal", "agnt"), ("policy", "explain", "shel_run", "{}")):
        result = run(*words)
        assert result.exit_code == ending.UNKNOWN
        assert "did you mean" in result.stderr, result.stderr
    assert "there is no principal `nobody`" in run("serve", "--principal", "nobody").stderr


def test_a_command_alone_is_explained_as_what_shell_run_would_run() -> None:
    result = run("policy", "explain", "shell_run", "rm -rf /etc", "--host", "sandbox", "--json")
    assert json.loads(result.stdout)["verdict"] == "DENY", result.output


def test_a_host_whose_login_was_not_tried_says_so(tmp_path: Path) -> None:
    config = tmp_path / "conf" / "interlock.toml"  # a folder of its own: no tool may touch what lies in it
    config.parent.mkdir()
    config.write_text(CONFIG)
    result = run("doctor", "--config", str(config))
    (line,) = [line for line in result.stdout.splitlines() if "far: login" in line]
    assert "not tried" in line
