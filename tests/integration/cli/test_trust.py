"""A host's key is trusted only after a person compared its fingerprint, and a changed key only after another time."""

import json
import os
import pty
import select
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest
from click.testing import CliRunner, Result

from interlock.cli import ending
from interlock.cli.root import cli
from sshd import Sshd, current_user, needs_openssh, running_sshd

pytestmark = needs_openssh


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Sshd]:
    with running_sshd(tmp_path / "sshd") as running:
        yield running


def config_for(server: Sshd, folder: Path) -> Path:
    path = folder / "interlock.toml"
    key = server.folder / "client_key"
    path.write_text(
        f'[hosts.real]\naddress = "127.0.0.1"\nport = {server.port}\nuser = "{current_user()}"\n'
        f'identities = [{{file = "{key}"}}]\nlabels = {{env = "dev"}}\n'
        '[principals.agent]\nroles = ["operator"]\nhosts = ["*"]\n'
    )
    return path


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words), prog_name="interlock")


def fingerprint_of(server: Sshd) -> str:
    return asyncssh.read_private_key(str(server.folder / "host_key")).get_fingerprint()


def test_a_host_is_reached_only_once_its_fingerprint_was_confirmed(server: Sshd, tmp_path: Path, home: Path) -> None:
    config = str(config_for(server, tmp_path))
    before = run("doctor", "--config", config, "--json")
    assert before.exit_code == ending.NO
    assert "interlock hosts trust real" in before.stdout
    wrong = run("hosts", "trust", "real", "--fingerprint", "SHA256:AAAA", "--config", config)
    assert wrong.exit_code == ending.REFUSED
    assert "HOST_KEY_MISMATCH" in wrong.stderr
    fingerprint = fingerprint_of(server)
    done = run("hosts", "trust", "real", "--fingerprint", fingerprint, "--config", config, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["trusted"] == [fingerprint]
    known = home / ".local/state/interlock/known_hosts"
    assert known.stat().st_mode & 0o777 == 0o600
    again = run("hosts", "trust", "real", "--fingerprint", fingerprint, "--config", config)
    assert again.exit_code == 0
    assert len(known.read_text().splitlines()) == 1
    after = run("doctor", "--config", config)
    assert after.exit_code == 0, after.output


def test_a_changed_key_is_refused_until_a_person_trusts_it(server: Sshd, tmp_path: Path) -> None:
    config = str(config_for(server, tmp_path))
    assert run("hosts", "trust", "real", "--fingerprint", fingerprint_of(server), "--config", config).exit_code == 0
    server.change_host_key()
    changed = run("doctor", "--config", config)
    assert changed.exit_code == ending.NO
    assert "real: login" in changed.stdout
    assert run("hosts", "trust", "real", "--fingerprint", fingerprint_of(server), "--config", config).exit_code == 0
    assert run("doctor", "--config", config).exit_code == 0


@pytest.mark.parametrize(("typed", "exit_code"), [("yes", 0), ("y", ending.REFUSED), ("", ending.REFUSED)])
def test_in_a_terminal_a_person_types_yes(server: Sshd, tmp_path: Path, typed: str, exit_code: int) -> None:
    config = config_for(server, tmp_path)
    program = [sys.executable, "-c", "from interlock.cli import main; main()"]
    shown, code = in_terminal([*program, "hosts", "trust", "real", "--config", str(config)], f"{typed}\n")
    assert fingerprint_of(server) in shown
    assert code == exit_code


def in_terminal(words: list[str], typed: str) -> tuple[str, int]:
    """Run a program in a terminal of its own, type into it once it asks, and give what it showed."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(words[0], words)  # the child becomes the program
    shown = b""
    try:
        while True:
            readable, _, _ = select.select([terminal], [], [], 30)
            assert readable, shown
            chunk = os.read(terminal, 65_536)
            shown += chunk
            if typed and b"Type yes" in shown:
                os.write(terminal, typed.encode())
                typed = ""
    except OSError:  # the program has ended, and its terminal with it
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(terminal)
    return shown.decode(errors="replace").replace("\r\n", "\n"), os.waitstatus_to_exitcode(status)


def test_the_key_that_interlock_logs_in_with_is_out_of_reach_on_its_own_machine(server: Sshd, tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    config = str(config_for(server, tmp_path / "conf"))
    trusted = run("hosts", "trust", "real", "--fingerprint", fingerprint_of(server), "--config", config)
    assert trusted.exit_code == 0, trusted.output
    key = server.folder / "client_key"
    (tmp_path / "link").symlink_to(key)
    calls = [
        ("file_read", json.dumps({"path": str(key)})),
        ("file_read", json.dumps({"path": str(tmp_path / "link")})),
        ("shell_run", f"cat {key}"),
        ("shell_run", f"cp {tmp_path / 'link'} {tmp_path / 'copy'}"),
        ("shell_run", f"base64 < {config}"),
    ]
    for tool, arguments in calls:
        found = run("policy", "explain", tool, arguments, "--host", "real", "--config", config, "--json")
        assert found.exit_code == 0, found.output
        decision = json.loads(found.stdout)
        assert decision["verdict"] == "DENY", arguments
        assert "base.interlock" in {rule["id"] for rule in decision["rules"]}, arguments
