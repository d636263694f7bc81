"""The store's files: the directory (0700), the owner's lock, the database's place and the signing key (0600 each)."""

from __future__ import annotations

import fcntl
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from interlock.store.faults import StoreCorrupt, StoreOwned, StoreUnavailable

_PID_BYTES_MAX = 32


@dataclass(frozen=True, slots=True)
class StoreFiles:
    """Where everything of one store lies."""

    directory: Path

    @property
    def database(self) -> Path:
        """The SQLite database."""
        return self.directory / "store.db"

    @property
    def lock(self) -> Path:
        """Locked by the owner as long as it lives; holds its pid."""
        return self.directory / "store.lock"

    @property
    def key(self) -> Path:
        """The private key that signs the audit heads."""
        return self.directory / "audit.key"

    @property
    def public_key(self) -> Path:
        """Its public half; worth keeping off this machine."""
        return self.directory / "audit.pub"

    def prepare(self) -> None:
        """Make the directory, for nobody but us. One that others share is not ours to close: StoreUnavailable."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = self.directory.stat()
        if found.st_uid != os.geteuid():
            raise StoreUnavailable(reason=f"{self.directory} belongs to another user")
        if stat.S_IMODE(found.st_mode) == 0o700:
            return
        if any(self.directory.iterdir()) and not self.database.exists():
            reason = (
                f"{self.directory} holds other files and is open to others; choose a folder of its own or chmod 700 it"
            )
            raise StoreUnavailable(reason=reason)
        self.directory.chmod(0o700)

    def place_database(self) -> None:
        """Make an empty database file (0600) where there never was one.

        A key without a database means that the record was removed: StoreCorrupt, never a fresh one.
        """
        exists = self.database.exists() and self.database.stat().st_size > 0
        if not exists and self.key.exists():
            raise StoreCorrupt(path=str(self.database), reason="it is gone or empty, but its signing key is still here")
        os.close(os.open(self.database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self.database.chmod(0o600)

    def load_key(self) -> Ed25519PrivateKey | None:
        """The signing key, or None where there is none yet."""
        try:
            pem = self.key.read_bytes()
        except FileNotFoundError:
            return None
        try:
            key = load_pem_private_key(pem, password=None)
        except ValueError:
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise StoreCorrupt(path=str(self.key), reason="it is not an Ed25519 private key")
        return key

    def create_key(self) -> Ed25519PrivateKey:
        """Make and keep a new signing key, and its public half."""
        key = Ed25519PrivateKey.generate()
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self._replace(self.public_key, public)
        self._replace(self.key, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return key

    def _replace(self, path: Path, content: bytes) -> None:
        draft = path.with_suffix(path.suffix + ".new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        self.sync()

    def sync(self) -> None:
        """Make the directory's own entries durable."""
        descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def load_public_key(self) -> Ed25519PublicKey:
        """The public half, from its own file; StoreCorrupt where it is missing or something else."""
        try:
            key = load_pem_public_key(self.public_key.read_bytes())
        except (OSError, ValueError) as error:
            raise StoreCorrupt(path=str(self.public_key), reason="the public key cannot be read") from error
        if not isinstance(key, Ed25519PublicKey):
            raise StoreCorrupt(path=str(self.public_key), reason="it is not an Ed25519 public key")
        return key


class OwnerLock:
    """The exclusive lock of the one process that owns the store; the kernel drops it with the process."""

    def __init__(self, files: StoreFiles) -> None:
        self._files = files
        self._descriptor = -1

    def take(self) -> None:
        """Own the store; StoreOwned with the owner's pid where somebody else does."""
        descriptor = os.open(self._files.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(descriptor, _PID_BYTES_MAX, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            pid = int(owner) if owner.isdigit() else 0
            raise StoreOwned(directory=str(self._files.directory), pid=pid) from None
        except BaseException:
            os.close(descriptor)
            raise
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give it up. The file stays: removing it would let two owners lock two files of one name."""
        if self._descriptor < 0:
            return
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)
        self._descriptor = -1
