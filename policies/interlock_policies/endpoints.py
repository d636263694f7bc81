"""Endpoint classes: what kind of place a network effect reaches. Lexical only; it never resolves a name."""

from __future__ import annotations

import ipaddress
from enum import StrEnum
from urllib.parse import urlsplit


class EndpointClass(StrEnum):
    """What kind of place on the network."""

    LOOPBACK = "loopback"
    METADATA = "metadata"  # a cloud's instance metadata: it hands out credentials
    PRIVATE = "private"  # an address of a private range
    OUTBOUND = "outbound"
    UNKNOWN = "unknown"  # it cannot be read from the call


_METADATA_NAMES = frozenset({"metadata.google.internal", "metadata", "instance-data", "metadata.azure.internal"})
_METADATA = frozenset(
    map(ipaddress.ip_address, ("169.254.169.254", "169.254.170.2", "100.100.100.200", "fd00:ec2::254"))
)
_NUMERIC = frozenset("0123456789abcdefx.")
_TARGET_CHARS_MAX = 4_096


def host_of(target: str) -> str:
    """The host's name or address in a URL, `user@host`, `host:port` or `host:path`; "" where there is none."""
    text = target.strip()[:_TARGET_CHARS_MAX]
    try:
        name = urlsplit(text if "://" in text else f"//{text}").hostname or ""
    except ValueError:
        return ""
    return name.rstrip(".").lower()


def classify_endpoint(target: str) -> EndpointClass:
    """The class of one network target. Forms of an address that only some resolvers read are `unknown`."""
    name = host_of(target)
    if not name or not all(char.isalnum() or char in ".-_:%" for char in name):
        return EndpointClass.UNKNOWN
    if name in _METADATA_NAMES:
        return EndpointClass.METADATA
    if name == "localhost" or name.endswith(".localhost"):
        return EndpointClass.LOOPBACK
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        # 127.1, 0x7f000001, 2130706433: numbers that are no plain address, and that some resolvers read as one.
        numeric = name[0].isdigit() and set(name) <= _NUMERIC
        return EndpointClass.UNKNOWN if numeric else EndpointClass.OUTBOUND
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    if address in _METADATA:
        return EndpointClass.METADATA
    if address.is_loopback or address.is_unspecified:
        return EndpointClass.LOOPBACK
    return EndpointClass.PRIVATE if address.is_private else EndpointClass.OUTBOUND
