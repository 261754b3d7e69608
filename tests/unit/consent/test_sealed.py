"""An event filled into the pattern of its kind is, byte for byte, what sealing its whole core gives."""

from copy import copy
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from core.consent.sealed import Core, Pattern, seal, unset

ID = "0190a4a1-7e2e-7c11-9d4d-%012d"
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=12) | st.sampled_from(
    ['"seq":9007199254740991,', '","prev":"', "100 %b %s %%", "\\", "日本", '"subject_event_no":9007199254740991,']
)


def a_core(n: int, said: dict[str, str], *, proof: bool, ends: bool) -> Core:
    """The nth of people who say this."""
    return Core(
        actor_type="import",
        channel="whatsapp",
        collection_point=unset(said.get("place")),
        controller_id="Our shop",
        event_id=ID % n,
        event_type="GRANTED",
        evidence_commit=sha256(b"proof %d" % n).hexdigest() if proof else UNSET,
        evidence_kinds=["phone"] if proof else UNSET,
        expires_at=f"2028-05-01T09:{n:02}:00.000000Z" if ends else UNSET,
        jurisdiction="DE",
        occurred_at=f"2026-05-01T09:{n:02}:00.000000Z",
        policy_hash="95f3",
        prev=sha256(b"before %d" % n).hexdigest(),
        purpose="marketing",
        reason=unset(said.get("reason")),
        received_at="2026-05-02T09:00:00.000000Z",
        recorded_at=f"2026-05-02T09:00:{n:02}.000000Z",
        refs={"import_batch": ID % 0, "seq": unset(said.get("ref")) or "9007199254740991"},
        rule_id="5",
        seq=10**n,
        source="import",
        source_event_ref=sha256(b"source %d" % n).hexdigest(),
        subject_event_no=n,
        subject_id=ID % (n + 50),
        tenant_id=ID % 99,
    )


def own(core: Core) -> list[str]:
    """What an event says of itself, in the order it is filled in."""
    said = (
        *(core.event_id, core.evidence_commit, core.expires_at, core.occurred_at, core.prev, core.recorded_at),
        *(str(core.seq), core.source_event_ref, str(core.subject_event_no), core.subject_id, core.tenant_id),
    )
    return [value for value in said if isinstance(value, str)]


@given(st.dictionaries(st.sampled_from(["place", "reason", "ref"]), TEXTS), st.booleans(), st.booleans())
def test_a_filled_pattern_is_the_sealed_core(said: dict[str, str], proof: bool, ends: bool) -> None:
    first = a_core(1, said, proof=proof, ends=ends)
    unplaced = copy(first)
    unplaced.prev = unplaced.recorded_at = unplaced.tenant_id = ""
    unplaced.seq = 0

    pattern = Pattern(unplaced)

    for core in (first, a_core(2, said, proof=proof, ends=ends), a_core(9, said, proof=proof, ends=ends)):
        assert pattern.fill(own(core)) == seal(core)


def test_an_event_that_says_more_than_its_kind_is_refused() -> None:
    pattern = Pattern(a_core(1, {}, proof=False, ends=True))

    with pytest.raises(ValueError, match="attempt to assign"):
        pattern.fill(own(a_core(2, {}, proof=True, ends=True)))


def test_a_pattern_in_another_normal_form_is_refused() -> None:
    core = a_core(1, {}, proof=True, ends=True)
    core.reason = "u\u0308"

    with pytest.raises(ValueError, match="normal form"):
        Pattern(core)
