"""Sealing bytes to an X25519 public key, so that only who has the private one opens them; pure.

An ephemeral key pair for each seal, HKDF-SHA-256 (RFC 5869) over the shared secret (RFC 7748), AES-256-GCM. Sealed
bytes are the ephemeral public key (32), the nonce (12) and the ciphertext; `about` is bound to them and not hidden.
"""

import hashlib
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from core.errors import RuleViolation

_KEY, _NONCE = 32, 12
_PURPOSE = b"kairan sealed record 1"


def fingerprint(key: X25519PublicKey) -> str:
    """SHA-256 of the raw public key, hex."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()


def seal(content: bytes, key: X25519PublicKey, about: bytes) -> bytes:
    """Bytes that nobody opens without the private key, and not as anything but `about`."""
    ephemeral = X25519PrivateKey.generate()
    sender, nonce = ephemeral.public_key().public_bytes_raw(), secrets.token_bytes(_NONCE)
    secret = _secret(ephemeral.exchange(key), sender, key)
    return sender + nonce + AESGCM(secret).encrypt(nonce, content, about)


def unseal(sealed: bytes, key: X25519PrivateKey, about: bytes) -> bytes:
    """What was sealed; raises RuleViolation when this is not the key, or something was changed."""
    sender, nonce = sealed[:_KEY], sealed[_KEY : _KEY + _NONCE]
    shared = key.exchange(X25519PublicKey.from_public_bytes(sender))
    try:
        return AESGCM(_secret(shared, sender, key.public_key())).decrypt(nonce, sealed[_KEY + _NONCE :], about)
    except InvalidTag as wrong:
        raise RuleViolation("this key does not open it") from wrong


def _secret(shared: bytes, sender: bytes, receiver: X25519PublicKey) -> bytes:
    return HKDF(SHA256(), 32, sender + receiver.public_bytes_raw(), _PURPOSE).derive(shared)


def read_public(pem: bytes) -> X25519PublicKey:
    """Raises ValueError with a sentence."""
    try:
        key = load_pem_public_key(pem)
    except ValueError as wrong:
        raise ValueError("is no public key in PEM form") from wrong
    if not isinstance(key, X25519PublicKey):
        raise ValueError("is no X25519 key: make one with openssl genpkey -algorithm X25519")
    return key


def read_private(pem: bytes) -> X25519PrivateKey:
    """Raises RuleViolation with a sentence."""
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError) as wrong:
        raise RuleViolation("this is no private key in PEM form without a password") from wrong
    if not isinstance(key, X25519PrivateKey):
        raise RuleViolation("this is no X25519 key")
    return key
