"""The ledger's bytes: canonical JSON, hashes, the Merkle tree and the signed note; pure.

Canonical JSON is RFC 8785 within a profile (no floats, no nulls, integers below 2^53, NFC strings), leaves and nodes
are RFC 9162 §2.1, checkpoints are C2SP signed notes (c2sp.org/signed-note, c2sp.org/tlog-checkpoint) with Ed25519.
"""

import base64
import hashlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import cast

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

NO_LEAF = "0" * 64  # what the first event's `prev` says
_SORTED = msgspec.json.Encoder(order="sorted")
_ED25519 = b"\x01"  # signature type of a signed note


def timestamp(instant: datetime) -> str:
    """`2026-01-02T03:04:05.000000Z`; naive instants are refused."""
    if instant.tzinfo is None:
        raise ValueError("an instant needs its time zone")
    text = msgspec.json.encode(instant.astimezone(UTC)).decode()  # several times as fast as isoformat()
    return text[1:-1] if instant.microsecond else f"{text[1:-2]}.000000Z"


def jcs(value: object) -> str:
    """RFC 8785 text of a value inside the profile; raises ValueError outside of it."""
    _check(value)
    return msgspec.json.encode(value, order="sorted").decode()


def _check(value: object) -> None:
    match value:
        case bool():
            return
        case str():
            if not value.isascii() and not unicodedata.is_normalized("NFC", value):
                raise ValueError("text is not in normal form C")
        case int():
            if abs(value) >= 2**53:
                raise ValueError("an integer is too large for every JSON reader")
        case Mapping():
            for key, item in value.items():
                if not isinstance(key, str) or not key.isascii():
                    raise ValueError("keys are ASCII")
                _check(item)
        case list() | tuple():
            for item in value:
                _check(item)
        case _:
            raise ValueError(f"{type(value).__name__} is outside the profile")


def evidence_text(payload: Mapping[str, object]) -> str:
    """Canonical JSON of whatever proves an event; what lies outside the profile is brought inside.

    Never refuses: a withdrawal must not fail because its evidence is odd. Nulls are left out, floats and dates become
    text, bytes base64, text is brought to NFC, lone surrogates become U+FFFD. Keys may be of any script.
    """
    return _SORTED.encode(payload).decode() if _is_plain(payload) else msgspec.json.encode(_plain(payload)).decode()


def _is_plain(payload: Mapping[str, object]) -> bool:
    """Whether it is ASCII text throughout, as most is, and so inside the profile as it stands."""
    try:
        return "".join((*payload, *cast("Iterable[str]", payload.values()))).isascii()
    except TypeError:  # something else than text, which is the quickest way to find that out
        return False


def _plain(value: object) -> object:
    match value:
        case str():
            plain: object = _text(value)
        case bool():
            plain = value
        case int():
            plain = value if abs(value) < 2**53 else str(value)
        case Mapping():
            items = {_text(str(key)): _plain(item) for key, item in value.items() if item is not None}
            plain = dict(sorted(items.items(), key=lambda item: item[0].encode("utf-16-be")))
        case list() | tuple():
            plain = [_plain(item) for item in value if item is not None]
        case datetime() if value.tzinfo is not None:
            plain = timestamp(value)
        case date():
            plain = value.isoformat()
        case bytes():
            plain = base64.b64encode(value).decode()
        case _:
            plain = str(value)
    return plain


def _text(value: str) -> str:
    if value.isascii():
        return value
    return unicodedata.normalize("NFC", value.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def leaf_hash(core: str) -> str:
    """SHA-256(0x00 ‖ UTF-8 of the core), hex."""
    return hashlib.sha256(b"\x00" + core.encode()).hexdigest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def evidence_commitment(salt: bytes, payload: str) -> str:
    """SHA-256(0x02 ‖ 32-byte salt ‖ canonical payload), hex; opening it needs both."""
    if len(salt) != 32:
        raise ValueError("the salt has 32 bytes")
    return hashlib.sha256(b"\x02" + salt + payload.encode()).hexdigest()


class MerkleTree:
    """An RFC 9162 tree that only keeps its peaks: appending and rooting cost log n."""

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        if len(peaks) != size.bit_count():
            raise ValueError("a tree has one peak per set bit of its size")
        self.size = size
        self._peaks = list(peaks)  # largest subtree first

    def append(self, leaf: bytes) -> None:
        node, size = leaf, self.size
        while size & 1:
            node, size = node_hash(self._peaks.pop(), node), size >> 1
        self._peaks.append(node)
        self.size += 1

    def extend(self, leaves: Iterable[bytes]) -> None:
        for leaf in leaves:
            self.append(leaf)

    @property
    def peaks(self) -> list[bytes]:
        return list(self._peaks)

    @property
    def root(self) -> bytes:
        if not self._peaks:
            return hashlib.sha256(b"").digest()
        *left, root = self._peaks
        for peak in reversed(left):
            root = node_hash(peak, root)
        return root


def merkle_root(leaves: Iterable[bytes]) -> bytes:
    tree = MerkleTree()
    tree.extend(leaves)
    return tree.root


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """RFC 9162 §2.1.3.1: the nodes that lead from leaf `index` to the root of all the leaves."""
    if not 0 <= index < len(leaves):
        raise ValueError("there is no such leaf")
    if len(leaves) == 1:
        return []
    half = 1 << ((len(leaves) - 1).bit_length() - 1)
    if index < half:
        return [*inclusion_proof(leaves[:half], index), merkle_root(leaves[half:])]
    return [*inclusion_proof(leaves[half:], index - half), merkle_root(leaves[:half])]


def is_included(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """RFC 9162 §2.1.3.2: whether the proof leads from the leaf to the root of a tree of that size."""
    if not 0 <= index < size:
        return False
    position, last, node = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if position & 1 or position == last:
            node = node_hash(sibling, node)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and node == root


def checkpoint_body(origin: str, size: int, root: bytes) -> str:
    """The three lines a checkpoint's signature covers, each with its newline."""
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"


def key_id(name: str, public_key: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public_key).digest()[:4]


def public_bytes(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def signed_note(body: str, name: str, key: Ed25519PrivateKey) -> str:
    """The body, an empty line and one signature line; `body` ends with a newline."""
    if not body.endswith("\n") or not name or any(character in "+ \n" for character in name):
        raise ValueError("a note ends with a newline and its signer's name has no space or plus")
    signature = key_id(name, public_bytes(key)) + key.sign(body.encode())
    return f"{body}\n— {name} {base64.b64encode(signature).decode()}\n"


def opened_note(note: str, name: str, public_key: bytes) -> str | None:
    """The note's body when it carries a good signature of that name and key, otherwise None."""
    body, _, signatures = note.rpartition("\n\n")
    body += "\n"
    for line in signatures.splitlines():
        if not line.startswith(f"— {name} "):
            continue
        blob = base64.b64decode(line.rsplit(" ", 1)[1])
        if blob[:4] != key_id(name, public_key):
            continue
        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(blob[4:], body.encode())
        except InvalidSignature:
            continue
        return body
    return None
