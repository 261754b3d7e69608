"""The ledger's bytes are the published ones."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from core.consent.canonical import (
    MerkleTree,
    checkpoint_body,
    evidence_commitment,
    evidence_text,
    inclusion_proof,
    is_included,
    jcs,
    leaf_hash,
    merkle_root,
    opened_note,
    public_bytes,
    signed_note,
    timestamp,
)

# The vector's keys and salt are the bytes 00..1f.
SEED = bytes(range(32))
EVIDENCE = {
    "address": "+819012345678",
    "address_kind": "e164",
    "message_text": "停止",
    "source_event_key": "wamid.TESTVECTOR1",
}
CORE = (
    '{"actor_type":"data_subject","channel":"whatsapp","controller_id":"acme",'
    '"event_id":"00000000-0000-7000-8000-0000000000e1","event_type":"WITHDRAWN",'
    '"evidence_commit":"7c4630067c2ad0d4ab4f790bf2c93ccafdedb8ad1375cf96138b478cbd4a8baf","jurisdiction":"JP",'
    '"method":"wa_keyword","occurred_at":"2026-01-02T03:04:05.000000Z",'
    '"prev":"0000000000000000000000000000000000000000000000000000000000000000","purpose":"mkt.*",'
    '"received_at":"2026-01-02T03:04:06.000000Z","recorded_at":"2026-01-02T03:04:06.120000Z",'
    '"schema":"consent-event/1","seq":1,"source":"wa_webhook",'
    '"source_event_ref":"0a53af36e3453a0e67ed796c4cbfd3d5eb0ad5eaf2d99a8689cd7599cad02a04","subject_event_no":1,'
    '"subject_id":"00000000-0000-7000-8000-0000000000aa","tenant_id":"00000000-0000-7000-8000-000000000001"}'
)
LEAF = "dac9609986d454fcc91852a1e90494259273e030c40d2fd422f83bdc27c40755"
NOTE = (
    "consent.example/acme\n1\n2slgmYbUVPzJGFKh6QSUJZJz4DDEDS/UIvg73CfEB1U=\n\n"
    "— consent.example/acme "
    "FkcBYYMq7RiFchvSYIIWwZ7nD1o81n4I7beygByU44Q6nU5oN7g2o6KZwo4mN9sP2QxJK8DSa1OvJikIZb391TrP5gM=\n"
)

plain = st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=8)
values = st.recursive(
    st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | plain.map(lambda text: evidence_text({"t": text})),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcXYZ_", max_size=4), inner, max_size=3),
    max_leaves=8,
)


def test_the_vector_holds_byte_for_byte() -> None:
    assert len(CORE.encode()) == 766
    assert jcs(json.loads(CORE)) == CORE
    assert evidence_commitment(SEED, evidence_text(EVIDENCE)) == json.loads(CORE)["evidence_commit"]
    assert leaf_hash(CORE) == LEAF
    assert merkle_root([bytes.fromhex(LEAF)]).hex() == LEAF
    reference = hmac.digest(SEED, b"wa_webhook\x1fwamid.TESTVECTOR1", "sha256").hex()
    assert reference == json.loads(CORE)["source_event_ref"]


def test_the_vectors_checkpoint_is_signed_and_opened() -> None:
    key = Ed25519PrivateKey.from_private_bytes(SEED)
    body = checkpoint_body("consent.example/acme", 1, bytes.fromhex(LEAF))

    assert signed_note(body, "consent.example/acme", key) == NOTE
    assert opened_note(NOTE, "consent.example/acme", public_bytes(key)) == body
    assert opened_note(NOTE.replace("\n1\n", "\n2\n"), "consent.example/acme", public_bytes(key)) is None
    assert opened_note(NOTE, "consent.example/other", public_bytes(key)) is None
    other = Ed25519PrivateKey.from_private_bytes(bytes(32))
    assert opened_note(NOTE, "consent.example/acme", public_bytes(other)) is None


@given(values)
def test_canonical_text_is_rfc_8785(value: object) -> None:
    assert jcs(value).encode() == rfc8785.dumps(value)  # type: ignore[arg-type]  # any JSON value


@given(st.dictionaries(plain, st.one_of(plain, st.integers(0, 9), st.none(), st.lists(plain, max_size=2)), max_size=6))
def test_evidence_of_any_script_is_canonical(payload: dict[str, object]) -> None:
    written = evidence_text(payload)

    assert rfc8785.dumps(json.loads(written)) == written.encode()


def test_odd_evidence_is_brought_inside_instead_of_refused() -> None:
    odd = {"f": 8.19e11, "none": None, "raw": b"\x00\xff", "half": "\ud83d", "at": datetime(2026, 1, 2, tzinfo=UTC)}

    assert json.loads(evidence_text(odd)) == {
        "at": "2026-01-02T00:00:00.000000Z",
        "f": "819000000000.0",
        "half": "\ufffd",
        "raw": base64.b64encode(b"\x00\xff").decode(),
    }


@pytest.mark.parametrize("value", [1.5, None, {"a": None}, 2**53, {"é": 1}, "e\u0301", object()])
def test_what_is_outside_the_profile_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        jcs(value)


def _root(leaves: list[bytes]) -> bytes:
    """RFC 9162 §2.1.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return hashlib.sha256(b"\x01" + _root(leaves[:half]) + _root(leaves[half:])).digest()


@given(st.integers(0, 70), st.integers(0, 70))
def test_a_tree_grown_in_two_goes_has_the_defined_root(first: int, second: int) -> None:
    leaves = [hashlib.sha256(bytes([number])).digest() for number in range(first + second)]
    begun = MerkleTree()
    begun.extend(leaves[:first])

    resumed = MerkleTree(begun.size, begun.peaks)
    resumed.extend(leaves[first:])

    assert (resumed.size, resumed.root) == (len(leaves), _root(leaves))


@given(st.integers(1, 40), st.data())
def test_inclusion_is_proved_and_nothing_else_is(size: int, data: st.DataObject) -> None:
    leaves = [hashlib.sha256(bytes([number])).digest() for number in range(size)]
    index = data.draw(st.integers(0, size - 1))
    proof, root = inclusion_proof(leaves, index), merkle_root(leaves)

    assert is_included(leaves[index], index, size, proof, root)
    assert not is_included(hashlib.sha256(b"other").digest(), index, size, proof, root)
    assert not is_included(leaves[index], index, size, [*proof, root], root)


def test_instants_are_utc_with_six_digits_and_never_naive() -> None:
    assert timestamp(datetime.fromisoformat("2026-01-02T03:04:05+09:00")) == "2026-01-01T18:04:05.000000Z"
    with pytest.raises(ValueError, match="time zone"):
        timestamp(datetime(2026, 1, 2))  # noqa: DTZ001  # the refusal is what is tested


@given(
    st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1)),  # noqa: DTZ001  # the zone comes next
    st.sampled_from([UTC, ZoneInfo("Asia/Tokyo"), timezone(timedelta(hours=-5, minutes=-30))]),
)
def test_instants_are_what_isoformat_writes(naive: datetime, zone: tzinfo) -> None:
    at = naive.replace(tzinfo=zone)

    for instant in (at, at.replace(microsecond=0), at.replace(microsecond=500_000)):
        assert timestamp(instant) == instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f").zfill(26) + "Z"
