"""The verifier replays consent by itself, and comes to the states that were sealed."""

import json
import unicodedata
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from core.consent import verify
from core.consent.canonical import timestamp
from core.consent.sealed import Core, seal
from core.consent.state import POSITIVE, Event, EventType, Fold, Grade
from tests.unit.consent.test_state import IMPORTED, T0, TYPED, event

KINDS = [
    *(EventType.GRANTED, EventType.CONFIRMED, EventType.REAFFIRMED, EventType.REQUESTED, EventType.DECLINED),
    *(EventType.WITHDRAWN, EventType.OBJECTED, EventType.META_STOPPED, EventType.META_RESUMED, EventType.SUPPRESSED),
    *(EventType.EXPIRED, EventType.INVALIDATED, EventType.TENURE_CLOSED, EventType.ERASED, EventType.HOLD_PLACED),
]
DAY = 86_400
INVALID = [
    *({}, {"import_batch": "1"}, {"import_batch": "2"}, {"notice_id": str(UUID(int=1))}, {"notice_id": "2"}),
    *({"collection_point": "shop"}, {"collection_point": "other"}, {"import_batch": "1", "invalidation": "9"}),
]


@st.composite
def told(draw: st.DrawFn) -> Event:
    kind = draw(st.sampled_from(KINDS))
    at = draw(st.sampled_from([0, 0, 60, 121, DAY, 2 * DAY + 1, 3 * DAY, 9 * DAY]))
    facts: dict[str, Any] = dict(
        draw(st.sampled_from([{}, {}, TYPED, IMPORTED, {"grade": Grade.A}, {"method": "wa_code"}]))
    )
    purposes = ["marketing", "marketing.events"] + ([] if kind in POSITIVE else ["marketing.*", "*"])
    if kind in POSITIVE:
        facts["expires_at"] = T0 + timedelta(days=draw(st.sampled_from([1, 3, 730])))
        facts["min_grade"] = draw(st.sampled_from([Grade.B, Grade.C]))
        facts["refs"] = draw(st.sampled_from([{}, {"import_batch": "1"}]))
    if kind in POSITIVE or kind is EventType.REQUESTED:
        facts["notice_id"] = draw(st.sampled_from([None, UUID(int=1)]))
        facts["collection_point"] = draw(st.sampled_from([None, "shop"]))
    if kind is EventType.INVALIDATED:
        facts["refs"] = draw(st.sampled_from(INVALID))
    return event(
        kind,
        at,
        heard=at + draw(st.sampled_from([0, DAY])),
        purpose=draw(st.sampled_from(purposes)),
        sender_scope=draw(st.sampled_from(["1", "1", "2"])),
        clock_flags=draw(st.sampled_from([(), ("untrusted_source",)])),
        **facts,
    )


def core_of(told: Event, number: int) -> verify.Event:
    kind: dict[str, str] = {
        "actor_type": told.actor_type,
        "event_type": told.event_type.value,
        "method": told.method or "",
        "purpose": told.purpose,
        "sender_scope": told.sender_scope,
        "source": told.source,
        "notice_id": str(told.notice_id or ""),
        "collection_point": told.collection_point or "",
    }
    if told.expires_at is not None:
        kind |= {"grade": told.grade.value, "min_grade": told.min_grade.value}
    return verify.Event(
        seq=str(number),
        number=str(number),
        event_id=str(told.event_id),
        commit="",
        at=timestamp(told.effective_at),
        received_at=timestamp(told.received_at),
        recorded_at="",
        expires_at="" if told.expires_at is None else timestamp(told.expires_at),
        refs=json.dumps(told.refs),
        kind=verify.Kind(**(dict.fromkeys(verify.Kind._fields, "") | kind)),
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(told(), max_size=9))
def test_two_programs_read_the_same_history_the_same_way(history: list[Event]) -> None:
    fold = Fold()
    person = verify.Person()

    for number, each in enumerate(history, start=1):
        change = fold.apply(structs.replace(each, subject_event_no=number))
        assert person.apply(core_of(each, number)) == (change.before, change.after)

    for purpose, permission in fold.permissions().items():
        standing = person.track(purpose).standing
        assert person.track(purpose).state() == permission.state
        if permission.grant_id is not None:
            assert standing is not None
            assert standing.event_id == str(permission.grant_id)


@pytest.mark.parametrize("apart", [-1, 0, 1, 119, 120, 121])
@pytest.mark.parametrize("source", ["wa_webhook", "pref_centre"])
def test_two_programs_agree_on_ties_and_on_the_tolerance(apart: int, source: str) -> None:
    history = [event(EventType.WITHDRAWN, 200), event(EventType.GRANTED, 200 + apart, source=source)]

    for order in (history, history[::-1]):
        fold = Fold()
        person = verify.Person()
        for number, each in enumerate(order, start=1):
            fold.apply(each)
            person.apply(core_of(each, number))
        assert person.track("marketing").state() == fold.state("marketing")


def test_the_better_grant_stands_whichever_came_first() -> None:
    person = verify.Person()
    good, weak = event(EventType.GRANTED, 0, grade=Grade.A), event(EventType.GRANTED, 60, grade=Grade.C)
    lasting = {"expires_at": T0 + timedelta(days=730)}

    for number, each in enumerate((good, weak), start=1):
        person.apply(core_of(structs.replace(each, **lasting), number))

    standing = person.track("marketing").standing
    assert standing is not None
    assert standing.event_id == str(good.event_id)


READER = verify.Reader()  # one for all, as in a ledger: what it has read must not change what it reads


def sealed_core(text: str = "web", **changes: Any) -> str:
    facts: dict[str, Any] = {
        "actor_type": "data_subject",
        "channel": text,
        "clock_flags": ["future_clamped", text],
        "controller_id": "acme",
        "event_id": "e1",
        "event_type": "GRANTED",
        "jurisdiction": "JP",
        "occurred_at": timestamp(T0),
        "policy_hash": "ab",
        "prev": "0" * 64,
        "purpose": "marketing",
        "reason": text,
        "received_at": timestamp(T0),
        "recorded_at": timestamp(T0),
        "refs": {"a": "1", "b": text},
        "seq": 12,
        "source": "web_form",
        "source_event_ref": "cd",
        "subject_event_no": 1,
        "tenant_id": "t",
    }
    return seal(Core(**(facts | changes)))[0]


def test_the_verifier_knows_every_field_of_a_core() -> None:
    assert verify.KEYS | verify.OWN.keys() == set(Core.__struct_fields__)


@given(st.text())
def test_every_sealed_core_is_read_as_it_was_written(text: str) -> None:
    text = unicodedata.normalize("NFC", text)
    try:
        line = sealed_core(text)
    except UnicodeEncodeError:  # half of a surrogate pair is no text
        return

    own, form = READER.read(line.encode())

    said, event = json.loads(line), dict(zip(verify.OWN, own, strict=True))
    assert (event["seq"], form.kind.purpose, event["subject_id"]) == (b"12", "marketing", b"")
    assert (json.loads(form.kind.clock_flags), json.loads(event["refs"])) == (said["clock_flags"], said["refs"])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('":"', '": "'),
        (',"', ', "'),
        ('"acme"', '"\\u0061cme"'),
        ('"acme"', '"ac\\/me"'),
        ('"acme"', '"ac\tme"'),
        ('"acme"', '"ac\\u001Fme"'),
        ('"acme"', '"ac\\u000ame"'),
        ('"channel":"web",', ""),
        ('"seq":12', '"seq":012'),
        ('"seq":12', '"seq":"12"'),
        ('"seq":12', '"seq":12.0'),
        ('{"a":"1","b":"web"}', '{"b":"web","a":"1"}'),
        ('{"a":"1","b":"web"}', '{"a":"1","b":"web",}'),
        ('"tenant_id":"t"', '"tenant_id":"t","tenant_id":"t"'),
        ('"tenant_id":"t"', '"tenant_id":"t","unknown":"x"'),
        ('"tenant_id":"t"', '"tenant_id":"t",'),
        ("Z", "+00:00"),
        ("2026", "202a"),
        ("2026-", "2026:"),
        ('"refs":{"a":"1"', '"refs":{"a":1'),
        ('"refs":{"a"', '"refs":{"c"'),
        ('"event_id":"e1"', '"event_id":"eg"'),
        ('"event_id":"e1"', '"event_id":"é"'),
        ('"jurisdiction":"JP"', '"jurisdiction":["JP"]'),
        ('"jurisdiction":"JP"', '"jurisdiction":1234'),
        ('"jurisdiction":"JP"', '"jurisdiction":NaN'),
        ('"t"}', '"t"}\n'),
        ('"t"}', '"t"} '),
    ],
)
def test_any_other_text_of_the_same_facts_is_not_canonical(before: str, after: str) -> None:
    line = sealed_core()
    changed = line.replace(before, after) if after else line.replace(before, "")[:-1] + f",{before[:-1]}}}"

    READER.read(line.encode())
    assert changed != line
    for reader in (READER, verify.Reader()):
        with pytest.raises(ValueError):
            reader.read(changed.encode())


def test_what_differs_in_its_own_values_only_is_read_without_a_parser() -> None:
    reader = verify.Reader()
    _, first = reader.read(sealed_core().encode())

    own, second = reader.read(sealed_core(event_id="e2", seq=13, refs={"a": "2", "b": "web"}).encode())

    assert second is first
    assert (own[0], own[8]) == (b"e2", b"13")
