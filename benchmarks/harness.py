"""The ground that measurements stand on: a real OpenSSH server on loopback, and the two servers as commands."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from mcp import Client, StdioServerParameters, stdio_client

ROOT = Path(__file__).resolve().parent.parent
LISTEN_SECONDS = 10.0
CALL_SECONDS = 60.0
BENCH_HOST = "bench"
PRIVILEGE_SEPARATION = Path("/run/sshd")  # an sshd that root starts wants this empty folder


@dataclass(frozen=True, slots=True)
class Ground:
    """One OpenSSH server that accepts one key, and a folder for everything that a measurement leaves behind."""

    folder: Path
    port: int
    user: str

    @property
    def key(self) -> Path:
        """The private key it lets in."""
        return self.folder / "client_key"

    @property
    def known_hosts(self) -> Path:
        """The file that vouches for its host key."""
        return self.folder / "known_hosts"


@contextmanager
def ground() -> Iterator[Ground]:
    """A running sshd. Raises RuntimeError where this machine has none, or where it does not start in time."""
    program = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin")
    if program is None:
        raise RuntimeError("there is no sshd here: install openssh-server")
    with tempfile.TemporaryDirectory(prefix="interlock-bench-", ignore_cleanup_errors=True) as name:
        here = Ground(Path(name), free_port(), pwd.getpwuid(os.getuid()).pw_name)
        _write_sshd_files(here)
        if os.getuid() == 0:
            PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)
        with (here.folder / "sshd.log").open("wb") as log:
            process = subprocess.Popen([program, "-D", "-e", "-f", here.folder / "sshd_config"], stderr=log)
        try:
            wait_until_it_listens(here.port, process, here.folder / "sshd.log")
            yield here
        finally:
            end(process)


def free_port() -> int:
    """A port of loopback that nobody listens on right now."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def _write_sshd_files(here: Ground) -> None:
    for name in ("host_key", "client_key"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(here.folder / name)]
        subprocess.run(command, check=True, timeout=LISTEN_SECONDS)
    host_key = (here.folder / "host_key.pub").read_text()
    here.known_hosts.write_text(f"[127.0.0.1]:{here.port} {host_key}")
    # A home without start-up files: a shell that reads some adds the same to both sides and hides what is compared.
    (here.folder / "sshd_config").write_text(
        f"Port {here.port}\nListenAddress 127.0.0.1\nHostKey {here.folder}/host_key\n"
        f"AuthorizedKeysFile {here.folder}/client_key.pub\nPidFile none\nUsePAM no\nStrictModes no\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n"
        f"MaxSessions 10\nMaxStartups 100\nPrintMotd no\nSubsystem sftp internal-sftp\nSetEnv HOME={here.folder}\n"
    )


def wait_until_it_listens(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return as soon as a connection is accepted. Raises RuntimeError with the log where none is within the limit."""
    deadline = time.monotonic() + LISTEN_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError(f"{log.stem} did not start: {log.read_text()}")


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started here; killed where it does not end by itself."""
    process.terminate()
    try:
        process.wait(LISTEN_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def unguarded_command(here: Ground) -> list[str]:
    """The server that guards nothing."""
    options = ["--port", str(here.port), "--user", here.user, "--key", str(here.key)]
    return [sys.executable, "-m", "benchmarks.unguarded", *options, "--known-hosts", str(here.known_hosts)]


def guarded_command(here: Ground, *arguments: str, containment: str = "none", hosts: int = 1) -> list[str]:
    """Interlock over the same host, with every limit so wide that only its work is measured, never a refusal.

    `hosts`: under how many names it is reached, each with a connection of its own.
    """
    name = f"interlock-{here.port}-{containment}-{hosts}"
    config = here.folder / "conf" / f"{name}.toml"  # a folder of its own: no tool may touch what lies in it
    config.parent.mkdir(exist_ok=True)
    if not config.exists():
        config.write_text(_guarded_config(here, here.folder / f"{name}-state", containment, hosts))
        config.chmod(0o600)
    return [str(Path(sys.executable).with_name("interlock")), "serve", "--config", str(config), *arguments]


@contextmanager
def guarded_http(here: Ground) -> Iterator[str]:
    """Interlock over Streamable HTTP on loopback, without tokens; its URL."""
    log = here.folder / "http.log"
    port = free_port()
    with log.open("wb") as output:
        command = guarded_command(here, "--transport", "http", "--port", str(port))
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        wait_until_it_listens(port, process, log)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        end(process)


def host_names(hosts: int) -> list[str]:
    """The names of a guarded server's hosts."""
    return [BENCH_HOST, *(f"{BENCH_HOST}-{number}" for number in range(2, hosts + 1))]


def _host_config(here: Ground, name: str, containment: str) -> str:
    return f"""
[hosts.{name}]
address = "127.0.0.1"
port = {here.port}
user = "{here.user}"
identities = [{{ file = "{here.key}" }}]
known_hosts = "{here.known_hosts}"
labels = {{ env = "dev" }}
workspace = ["{here.folder}/work"]
containment = "{containment}"
"""


def _guarded_config(here: Ground, state: Path, containment: str, hosts: int) -> str:
    entries = "".join(_host_config(here, name, containment) for name in host_names(hosts))
    return f"""
[server]
state_dir = "{state}"
principal = "bench"
{entries}
[principals.bench]
roles = ["operator"]
hosts = ["*"]

[http]
tokens = false

[limits]
budget_units_per_day = 1_000_000_000
rate_calls_per_minute = 1_000_000
rate_burst_calls = 1_000_000
host_calls_max = 10_000
principal_calls_max = 10_000
loop_repeats_max = 1_000
loop_pause_repeats_max = 1_000
"""


@asynccontextmanager
async def client_of(command: list[str], here: Ground, mode: str = "auto") -> AsyncIterator[Client]:
    """An MCP client that started this command as its stdio server. What the server logs goes into the folder."""
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    server = StdioServerParameters(command=command[0], args=command[1:], cwd=ROOT, env=environment)
    with (here.folder / "server.log").open("a") as log:
        async with Client(stdio_client(server, log), mode=mode, read_timeout_seconds=CALL_SECONDS) as client:
            yield client
