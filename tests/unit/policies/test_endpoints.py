"""Endpoints: loopback, metadata and the rest, in every form in which they are written."""

import pytest

from interlock_policies.endpoints import classify_endpoint


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("http://localhost:8080/health", "loopback"),
        ("127.0.0.1", "loopback"),
        ("127.9.9.9:80", "loopback"),
        ("http://[::1]:9000/", "loopback"),
        ("http://[::ffff:127.0.0.1]/", "loopback"),
        ("0.0.0.0:80", "loopback"),
        ("api.localhost", "loopback"),
        ("http://169.254.169.254/latest/meta-data", "metadata"),
        ("http://[::ffff:169.254.169.254]/", "metadata"),
        ("http://metadata.google.internal./x", "metadata"),
        ("10.0.0.5", "private"),
        ("https://example.com/x", "outbound"),
        ("deploy@web-1:/srv", "outbound"),
        ("1e100.net", "outbound"),
        ("http://127.1/", "unknown"),
        ("http://2130706433/", "unknown"),
        ("http://0x7f000001/", "unknown"),
        ("?", "unknown"),
        ("", "unknown"),
        ("http://[broken", "unknown"),
        ("http://localhost@evil.example/", "outbound"),
    ],
)
def test_an_endpoint_is_what_it_reaches(target: str, kind: str) -> None:
    assert classify_endpoint(target) == kind
