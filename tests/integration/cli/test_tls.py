"""Beyond loopback: a real client over TLS with a token, served by the real program, until the token is revoked."""

import datetime as dt
import ipaddress
import json
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

pytestmark = pytest.mark.anyio

SECONDS_MAX = 30
INTERLOCK = [sys.executable, "-c", "from interlock.cli import main; main()"]
CONFIG = """
[hosts.sandbox]
embedded = true
[principals.agent]
roles = ["operator"]
hosts = ["*"]
[http]
listen = "127.0.0.1"
tls_certificate = "tls.pem"
tls_key = "tls.key"
"""


def certify(folder: Path) -> None:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8
    (folder / "tls.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "tls.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    (folder / "tls.key").chmod(0o600)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The URL that a server with TLS says it listens on, and its configuration."""
    config = tmp_path / "conf" / "interlock.toml"  # a folder of its own: no tool may touch what lies in it
    config.parent.mkdir()
    certify(config.parent)
    config.write_text(CONFIG)
    words = [*INTERLOCK, "serve", "--transport", "http", "--port", "0", "--config", str(config)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        watch = threading.Timer(SECONDS_MAX, process.kill)
        watch.start()
        assert process.stderr
        line = process.stderr.readline()
        assert "/mcp" in line, line
        yield line.split()[2].removesuffix("/mcp"), str(config)
        process.send_signal(signal.SIGTERM)
        process.wait(SECONDS_MAX)
        watch.cancel()


def command(*words: str) -> str:
    run = [*INTERLOCK, *words]
    return subprocess.run(run, capture_output=True, text=True, timeout=SECONDS_MAX, check=True).stdout


async def test_tools_are_listed_over_tls_until_the_token_is_revoked(served: tuple[str, str], tmp_path: Path) -> None:
    url, config = served
    assert url.startswith("https://127.0.0.1:")
    made = json.loads(command("token", "create", "agent", "--json", "--config", config))
    trust = ssl.create_default_context(cafile=str(tmp_path / "conf" / "tls.pem"))
    headers = {"Authorization": f"Bearer {made['secret']}"}
    async with httpx2.AsyncClient(headers=headers, timeout=SECONDS_MAX, verify=trust) as http:
        async with Client(streamable_http_client(f"{url}/mcp", http_client=http)) as client:
            assert "shell_run" in {tool.name for tool in (await client.list_tools()).tools}
        command("token", "revoke", made["token"]["token_id"], "--config", config)
        assert (await http.post(f"{url}/mcp", json={})).status_code == 401


async def test_a_client_that_does_not_know_the_certificate_does_not_connect(served: tuple[str, str]) -> None:
    url, _ = served
    async with httpx2.AsyncClient(timeout=SECONDS_MAX) as http:
        with pytest.raises(httpx2.ConnectError):
            await http.get(f"{url}/healthz")
