"""The installation's keys: the one that signs the ledger, and those that hash addresses and references.

They live in `DATA_DIR/keys` (folder 700, files 600) and are made at the first start. Losing them makes suppressed
addresses unrecognisable and old signatures unrepeatable, so they belong in every backup.
"""

import fcntl
import hashlib
import hmac
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from core.consent.canonical import checkpoint_body, opened_note, public_bytes, signed_note
from core.errors import SettingsError
from core.witness import Witness

_SIGNING, _IDEMPOTENCY = "signing.key", "idempotency.key"
_ADDRESS = re.compile(r"address-([1-9]\d*)\.key")
_SEPARATOR = b"\x1f"


class _Hmac:
    """HMAC-SHA-256 (RFC 2104) under one key, whose two pads are hashed once instead of with every message."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        block = (hashlib.sha256(key).digest() if len(key) > 64 else key).ljust(64, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    def hex(self, message: bytes) -> str:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer.hexdigest()


@dataclass(frozen=True, slots=True)
class Keyring:
    """Every key, in memory; nothing of it is ever shown but the fingerprint of the signing key."""

    _signing: Ed25519PrivateKey = field(repr=False)
    _idempotency: bytes = field(repr=False)
    _addresses: Mapping[int, bytes] = field(repr=False)  # version → key
    witness: Witness = field(repr=False)  # what the ledger was when it was last signed with these keys
    _sources: _Hmac = field(init=False, repr=False, compare=False)
    _hashers: Sequence[_Hmac] = field(init=False, repr=False, compare=False)  # of addresses, newest first

    def __post_init__(self) -> None:
        object.__setattr__(self, "_sources", _Hmac(self._idempotency))
        object.__setattr__(self, "_hashers", tuple(map(_Hmac, self._addresses.values())))

    @classmethod
    def load(cls, data_dir: Path) -> Self:
        """The keys under `data_dir`, made when there is no folder of them; two processes starting at once agree.

        Raises SettingsError when somebody else may read a key, or one is missing or damaged.
        """
        data_dir.mkdir(parents=True, exist_ok=True)
        folder = data_dir / "keys"
        with _only_one(data_dir):
            if not folder.exists():
                _make(folder)
        folder.chmod(0o700)
        versions = {
            int(found[1]): _read(entry) for entry in folder.iterdir() if (found := _ADDRESS.fullmatch(entry.name))
        }
        if sorted(versions) != list(range(1, len(versions) + 1)) or not versions:
            raise SettingsError(f"An address key is missing in {folder}: restore the folder from a backup.")
        signing = Ed25519PrivateKey.from_private_bytes(_read(folder / _SIGNING))
        addresses = dict(sorted(versions.items(), reverse=True))
        return cls(signing, _read(folder / _IDEMPOTENCY), addresses, Witness(folder))

    @classmethod
    def rotate_addresses(cls, data_dir: Path) -> Self:
        """A ring with a new address key in front; the old ones stay, to recognise what they hashed."""
        ring, folder = cls.load(data_dir), data_dir / "keys"
        with _only_one(data_dir):
            _write(folder / f"address-{ring.address_version + 1}.key")
        return cls.load(data_dir)

    @property
    def public_key(self) -> bytes:
        return public_bytes(self._signing)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the public signing key, hex: what an auditor is told by another way than the package."""
        return hashlib.sha256(self.public_key).hexdigest()

    @property
    def address_version(self) -> int:
        """Version of the key new address references are made with."""
        return next(iter(self._addresses))

    def address_refs(self, match_key: str) -> list[str]:
        """References of an address under every key version, newest first (hex HMAC-SHA-256).

        Numbers start with + and share one space; everything else is a business-scoped user id.
        """
        kind = "number" if match_key.startswith("+") else "bsuid"
        message = f"cp1|{kind}|{match_key}".encode()
        return [hasher.hex(message) for hasher in self._hashers]

    def source_ref(self, source: str, key: str) -> str:
        """Reference of the thing an event came from, the same every time it comes (hex HMAC-SHA-256)."""
        return self._sources.hex(source.encode() + _SEPARATOR + key.encode())

    def hook_secret(self, hook_id: str, version: int) -> bytes:
        """The key that signs what is sent to a webhook address: derived, so that no database holds it."""
        message = _SEPARATOR.join((b"hook", hook_id.encode(), str(version).encode()))
        return hmac.digest(self._idempotency, message, "sha256")

    def source_secret(self, source_id: str, version: int) -> bytes:
        """The key another system signs with when it writes to us; derived like those of webhooks we send."""
        message = _SEPARATOR.join((b"source", source_id.encode(), str(version).encode()))
        return hmac.digest(self._idempotency, message, "sha256")

    def seal_secret(self, source_id: str, secret: str) -> bytes:
        """Another system's own secret so that only this keyring opens it (AES-256-GCM, nonce first)."""
        nonce = secrets.token_bytes(12)
        return nonce + AESGCM(self._sealing()).encrypt(nonce, secret.encode(), source_id.encode())

    def open_secret(self, source_id: str, sealed: bytes) -> str:
        """What `seal_secret` sealed for this source; raises InvalidTag for anything else."""
        return AESGCM(self._sealing()).decrypt(sealed[:12], sealed[12:], source_id.encode()).decode()

    def _sealing(self) -> bytes:
        return hmac.digest(self._idempotency, b"seal" + _SEPARATOR + b"source", "sha256")

    def sealing_key(self) -> X25519PrivateKey:
        """What records of erased people are sealed to where the operator has given no key of their own."""
        return X25519PrivateKey.from_private_bytes(
            hmac.digest(self._idempotency, b"seal" + _SEPARATOR + b"erased", "sha256")
        )

    def sign(self, message: bytes) -> bytes:
        return self._signing.sign(message)

    def sign_checkpoint(self, origin: str, size: int, root: bytes) -> str:
        """A signed note that the ledger `origin` has this size and root."""
        return signed_note(checkpoint_body(origin, size, root), origin, self._signing)

    def signed_by_us(self, note: str, origin: str) -> bool:
        return opened_note(note, origin, self.public_key) is not None


@contextmanager
def _only_one(data_dir: Path) -> Iterator[None]:
    handle = os.open(data_dir / ".keys.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)  # lets go of the lock


def _make(folder: Path) -> None:
    """All keys or, after a crash, none: a folder in which some are missing is never completed silently."""
    unfinished = folder.with_name("keys.new")
    if unfinished.exists():
        shutil.rmtree(unfinished)
    unfinished.mkdir(mode=0o700)
    for name in (_SIGNING, _IDEMPOTENCY, "address-1.key"):
        _write(unfinished / name)
    unfinished.rename(folder)


def _write(path: Path) -> None:
    unfinished = path.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    handle = os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        os.write(handle, secrets.token_hex(32).encode() + b"\n")
        os.fsync(handle)
    finally:
        os.close(handle)
    unfinished.rename(path)


def _read(path: Path) -> bytes:
    if not path.exists():
        raise SettingsError(f"The key {path} is missing: restore it from a backup.")
    if path.stat().st_mode & 0o077:
        raise SettingsError(f"The key {path} may be read by others: run chmod 600 on it.")
    try:
        key = bytes.fromhex(path.read_text("ascii").strip())
    except ValueError as damaged:
        raise SettingsError(f"The key {path} is damaged: restore it from a backup.") from damaged
    if len(key) != 32:
        raise SettingsError(f"The key {path} is damaged: restore it from a backup.")
    return key
