"""The audit chain: what a record's hash covers, and the signed heads. It writes no row itself.

A record's hash is SHA-256 over the previous record's hash and the record's own fields, one a line. A head is a record's
number and hash, signed with Ed25519: whoever keeps one off this machine can tell later whether history was rewritten.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

GENESIS = "0" * 64
_encode = json.JSONEncoder(separators=(",", ":")).encode

Record = tuple[int, float, str, str, str, str, str]  # seq, time, kind, subject, digest, detail, hash


@dataclass(frozen=True, slots=True)
class Head:
    """The last record of the chain: its number (0 = none yet) and its hash."""

    seq: int = 0
    hash: str = GENESIS


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A signed head. `time` in seconds since the epoch, `signature` in hex."""

    seq: int
    hash: str
    time: float
    signature: str


def row_digest(values: Sequence[object]) -> str:
    """SHA-256 (hex) over a row's values in their column order, as JSON."""
    return hashlib.sha256(_encode(values).encode()).hexdigest()


def text_digest(text: str) -> str:
    """SHA-256 (hex) of a text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def link(previous: str, seq: int, time: float, kind: str, subject: str, digest: str) -> str:
    """The hash (hex) of one record behind the record whose hash is `previous`."""
    # The subject alone may hold any character, so it stands last.
    return hashlib.sha256(f"{previous}\n{seq}\n{time!r}\n{kind}\n{digest}\n{subject}".encode()).hexdigest()


def _statement(seq: int, digest: str, time: float) -> bytes:
    return f"interlock audit head v1\n{seq}\n{digest}\n{time!r}".encode()


def sign_head(key: Ed25519PrivateKey, head: Head, now: float) -> Checkpoint:
    """Sign a head as it is now."""
    time = float(now)
    return Checkpoint(head.seq, head.hash, time, key.sign(_statement(head.seq, head.hash, time)).hex())


def is_signed(key: Ed25519PublicKey, checkpoint: Checkpoint) -> bool:
    """True where this checkpoint was signed with the key's private half."""
    try:
        signature = bytes.fromhex(checkpoint.signature)
        key.verify(signature, _statement(checkpoint.seq, checkpoint.hash, checkpoint.time))
    except (InvalidSignature, ValueError):
        return False
    return True


class Chain:
    """The growing end of the chain: the head, and the records of the running transaction that are not written yet."""

    def __init__(self, head: Head) -> None:
        self._head = head
        self._unwritten: list[Record] = []

    @property
    def head(self) -> Head:
        """The last record's number and hash, unwritten ones included."""
        return self._head

    def append(self, kind: str, subject: str, now: float, digest: str, detail: str = "") -> int:
        """Add a record; its number. Where `detail` is given, `digest` is the detail's own."""
        seq, time = self._head.seq + 1, float(now)
        if detail:
            digest = text_digest(detail)
        hashed = link(self._head.hash, seq, time, kind, subject, digest)
        self._unwritten.append((seq, time, kind, subject, digest, detail, hashed))
        self._head = Head(seq, hashed)
        return seq

    def mark(self) -> tuple[Head, int]:
        """Where the chain stands, for `rewind`."""
        return self._head, len(self._unwritten)

    def rewind(self, mark: tuple[Head, int]) -> None:
        """Forget every record since the mark: its job was rolled back."""
        self._head, length = mark
        del self._unwritten[length:]

    def take_unwritten(self) -> list[Record]:
        """The records still to be written; they are the caller's from now on."""
        records, self._unwritten = self._unwritten, []
        return records
