"""Runs what the documents show: configurations load, policies hold, envelopes are valid, command lines parse."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import jsonschema
import pytest

from house import ROOT
from interlock.cli.root import cli
from interlock.config import load
from interlock.control.address import SOCKET_NAME
from interlock.policy_tests import run_tests
from interlock_policies.engine import PolicyEngine
from interlock_policies.packs import SHIPPED, PolicySource
from interlock_tools.envelope import ENVELOPE_SCHEMA
from pages import CONFIGURATION, CONTRACT, OPERATIONS, PAGES, POLICIES, README, Page, commands

PROGRAM = Path(sys.executable).parent / "interlock"
RUN_SECONDS = 60
OPENSSH_CLIENT = "Host web1 web2 web9\n  User deploy\n  HostName %h.example.net\n"
ANSIBLE_INI = "[web]\nweb1 ansible_host=192.0.2.1 env=staging\n"
ANSIBLE_YAML = "all:\n  children:\n    db:\n      hosts:\n        db1: {ansible_host: 192.0.2.2, role: database}\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with what the examples refer to."""
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text(OPENSSH_CLIENT)
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "inventory.ini").write_text(ANSIBLE_INI)
    (tmp_path / "conf" / "inventory.yml").write_text(ANSIBLE_YAML)
    for name in ("INTERLOCK_CONFIG", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
    monkeypatch.setenv("DB_PASSWORD", "correct horse")
    return tmp_path


@pytest.mark.parametrize("number", range(len(CONFIGURATION.blocks("toml"))))
def test_an_example_of_the_configuration_loads(home: Path, number: int) -> None:
    text = CONFIGURATION.blocks("toml")[number]
    whole = text if "[principals." in text else f'{text}\n[principals.agent]\nroles = ["observer"]\nhosts = ["*"]\n'
    path = home / "conf" / "interlock.toml"  # a folder of its own: no tool may touch what lies in it
    path.write_text(whole)
    settings = load(path)
    assert settings.hosts
    if "[inventory" in text:
        assert "web9" not in settings.hosts
        assert settings.hosts["web1"].labels == {"env": "staging"}


def test_the_examples_of_policies_load_and_their_own_examples_hold(tmp_path: Path) -> None:
    (rules,) = POLICIES.blocks("cedar")
    engine = PolicyEngine.load([PolicySource("page", rules)], schema_packs=SHIPPED)
    assert rules.count("match:") + rules.count("expect ") >= 5
    assert "team.weekend" in {entry.rule.id for entry in engine.rules()}
    (tests,) = [block for block in POLICIES.blocks("") if block.startswith("# comments")]
    path = tmp_path / "team.tests"
    path.write_text(tests)
    assert run_tests(engine, path) == (3, [])


def test_the_envelope_in_the_contract_is_valid_under_the_schema() -> None:
    blocks = CONTRACT.blocks("json")
    assert blocks
    for block in blocks:
        jsonschema.Draft202012Validator(dict(ENVELOPE_SCHEMA)).validate(json.loads(block))


@pytest.mark.parametrize(
    ("line", "whole"), [found for page in PAGES for found in dict.fromkeys(commands(page))], ids=str
)
def test_a_command_line_of_the_documents_is_one_that_the_program_takes(line: str, whole: bool) -> None:
    words = shlex.split(re.split(r"\s>\s", line)[0], comments=True)[1:]
    if words != ["…"]:
        parse(cli, words, whole=whole)


def parse(command: click.Command, words: list[str], *, whole: bool) -> None:
    """Let click take a command line apart, down to the last command; nothing is carried out."""
    if isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, f"there is no command {words[0]}"
        parse(found, words[1:], whole=whole)
    elif words or whole:
        command.make_context(command.name, words)


@pytest.mark.parametrize("page", [POLICIES, OPERATIONS], ids=lambda page: page.name)
def test_the_commands_of_a_page_that_need_no_id_run_in_the_order_in_which_they_stand(page: Page, home: Path) -> None:
    lines = [line for line, whole in commands(page) if whole]
    script = [line for line in lines if not re.search(r"\b[A-Z_]*ID\b|\$[A-Z]+|interlock serve", line)]
    assert len(script) >= 4
    path = f"{PROGRAM.parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    command = ["bash", "-euc", "\n".join(script)]
    done = subprocess.run(command, cwd=home, env=environment, timeout=RUN_SECONDS, check=False, capture_output=True)
    assert done.returncode == 0, (script, done.stdout.decode(), done.stderr.decode())


def test_the_verbs_of_make_in_the_readme_are_those_of_the_makefile() -> None:
    verbs = set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    used = set(re.findall(r"make ([a-z]+)", "\n".join(README.blocks("sh"))))
    assert {"demo", "test", "install"} <= used <= verbs


def test_every_file_of_the_state_folder_is_documented(home: Path) -> None:
    done = subprocess.run(
        [str(PROGRAM), "hosts", "list"], cwd=home, timeout=RUN_SECONDS, check=True, capture_output=True
    )
    assert b"sandbox" in done.stdout
    found = [path.name for path in (home / ".local/state/interlock").iterdir()]
    assert {"store.db", "audit.key"} <= set(found)
    table = OPERATIONS.section("The state folder")
    assert not [name for name in (*found, SOCKET_NAME) if f"`{name}" not in table]
