"""Whom we trust and how we log in, against real OpenSSH servers."""

# ruff: noqa: ASYNC110, ASYNC220, ASYNC221 - the host's disk and process table are looked at directly

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from interlock.hosts.trust import trust_line
from interlock.settings import HostSettings, SecretRef
from interlock_tools.errors import (
    AuthFailed,
    HostKeyMismatch,
)
from sshd import Sshd, needs_openssh

pytestmark = [pytest.mark.anyio, needs_openssh]


def logins(server: Sshd) -> int:
    return server.log.count("Accepted publickey")


# ── trust ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256"])
async def test_a_changed_host_key_is_refused_and_nothing_is_sent(
    own_sshd: Sshd, benches, tmp_path: Path, kind: str
) -> None:
    bench = await benches(own_sshd.settings())
    assert (await bench.sh("true")).refusal is None
    own_sshd.change_host_key(kind)
    await asyncio.sleep(0.2)  # that the old connection is gone has to be seen before
    before = own_sshd.log
    for _ in range(2):
        done = await bench.sh(f"touch {tmp_path}/ran")
        assert isinstance(done.refusal, HostKeyMismatch)
        assert "SHA256:" in done.refusal.reason
        assert not done.started
    assert not (tmp_path / "ran").exists()
    said = own_sshd.log[len(before) :]
    assert "Accepted" not in said
    assert "userauth" not in said
    assert "Failed publickey" not in said


async def test_an_unknown_host_is_not_trusted_at_first_sight(own_sshd: Sshd, benches, tmp_path: Path) -> None:
    empty = tmp_path / "known_hosts"
    for text in (None, "", "# nothing\n", "other.example ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ+\n"):
        if text is not None:
            empty.write_text(text)
        bench = await benches(own_sshd.settings(known_hosts=empty))
        done = await bench.sh("true")
        assert isinstance(done.refusal, HostKeyMismatch)
    assert logins(own_sshd) == 0
    assert not empty.read_text().strip().startswith("[127")  # and nothing was added


async def test_a_key_trusted_by_a_person_is_trusted_from_then_on(own_sshd: Sshd, benches) -> None:
    bench = await benches(own_sshd.settings(known_hosts=None))
    assert isinstance((await bench.sh("true")).refusal, HostKeyMismatch)
    shown = await bench.hosts.fingerprints("box")
    assert [key.algorithm for key in shown] == ["ssh-ed25519"]
    assert shown[0].fingerprint.startswith("SHA256:")
    assert not shown[0].trusted
    assert logins(own_sshd) == 0
    (bench.state / "known_hosts").write_text(shown[0].line + "\n")
    assert (await bench.sh("true")).refusal is None
    assert (await bench.hosts.fingerprints("box"))[0].trusted


async def test_a_revoked_key_is_refused(own_sshd: Sshd, benches) -> None:
    line = own_sshd.known_hosts.read_text()
    own_sshd.known_hosts.write_text(line + "\n@revoked " + line)
    bench = await benches(own_sshd.settings())
    assert isinstance((await bench.sh("true")).refusal, HostKeyMismatch)


# ── identities ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_key_the_host_does_not_know_is_auth_failed(own_sshd: Sshd, benches) -> None:
    (own_sshd.folder / "authorized_keys").write_text("")
    bench = await benches(own_sshd.settings())
    done = await bench.sh("true")
    assert isinstance(done.refusal, AuthFailed)
    assert not done.started


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        (SecretRef("file", "/no/such/key"), "No such file"),
        (SecretRef("env", "NO_SUCH_KEY"), "empty"),
        (SecretRef("env", "NOT_A_KEY"), "not a private key"),
        (SecretRef("agent"), "none answers"),
    ],
)
async def test_a_missing_identity_is_named_and_never_shown(sshd: Sshd, benches, reference, words) -> None:
    environment = {"NOT_A_KEY": "hunter2-not-a-key"}
    bench = await benches(sshd.settings(identities=(reference,)), environment=environment)
    done = await bench.sh("true")
    assert isinstance(done.refusal, AuthFailed)
    assert words in done.refusal.reason
    assert "hunter2" not in done.refusal.reason
    none = await benches(sshd.settings(identities=()))
    assert isinstance((await none.sh("true")).refusal, AuthFailed)


async def test_a_key_from_the_environment_logs_in(sshd: Sshd, benches) -> None:
    key = (sshd.folder / "client_key").read_text()
    bench = await benches(sshd.settings(identities=(SecretRef("env", "DEPLOY_KEY"),)), environment={"DEPLOY_KEY": key})
    assert (await bench.sh("true")).refusal is None


async def test_a_key_in_an_agent_logs_in_and_the_agent_is_not_forwarded(sshd: Sshd, benches, tmp_path: Path) -> None:
    path = tmp_path / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
    try:
        while not path.exists():
            await asyncio.sleep(0.01)
        environment = {**os.environ, "SSH_AUTH_SOCK": str(path)}
        subprocess.run(["ssh-add", "-q", str(sshd.folder / "client_key")], env=environment, check=True, timeout=10)
        settings = sshd.settings(identities=(SecretRef("agent"),))
        bench = await benches(settings, environment={"SSH_AUTH_SOCK": str(path)})
        done = await bench.sh("echo ${SSH_AUTH_SOCK-none}")
        assert done.result["stdout"] == "none\n"
    finally:
        agent.terminate()
        agent.wait(10)


def test_a_trust_line_names_address_and_port() -> None:
    import asyncssh

    key = asyncssh.generate_private_key("ssh-ed25519")
    assert trust_line(HostSettings("a", "h.example"), key).startswith("h.example ssh-ed25519 ")
    assert trust_line(HostSettings("a", "h.example", 2222), key).startswith("[h.example]:2222 ssh-ed25519 ")
