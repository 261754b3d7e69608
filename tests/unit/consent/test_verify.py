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
    core: dict[str, Any] = {
        "event_id": str(told.event_id),
        "event_type": told.event_type.value,
        "purpose": told.purpose,
        "occurred_at": timestamp(told.occurred_at),
        "received_at": timestamp(told.received_at),
        "source": told.source,
        "sender_scope": told.sender_scope,
        "actor_type": told.actor_type,
        "method": told.method or "",
        "notice_id": str(told.notice_id or ""),
        "collection_point": told.collection_point or "",
        "clock_flags": list(told.clock_flags),
        "refs": told.refs,
        "seq": number,
        "subject_event_no": number,
    }
    if told.expires_at is not None:
        core |= {"grade": told.grade.value, "min_grade": told.min_grade.value, "expires_at": timestamp(told.expires_at)}
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in core.items()}
    facts = verify.Facts(**(dict.fromkeys(verify.Facts._fields, "") | texts))
    return verify.Event(*verify.own(facts), *verify.shared(facts))


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
    assert verify.PROVING | set(verify.Facts._fields) == set(Core.__struct_fields__)


@given(st.text())
def test_every_sealed_core_is_read_as_it_was_written(text: str) -> None:
    text = unicodedata.normalize("NFC", text)
    try:
        line = sealed_core(text)
    except UnicodeEncodeError:  # half of a surrogate pair is no text
        return

    event = verify.read_core(line.encode())

    assert event is not None
    said = json.loads(line)
    assert (event.seq, event.purpose, event.subject_id) == ("12", "marketing", "")
    assert (json.loads(event.clock_flags), json.loads(event.refs)) == (said["clock_flags"], said["refs"])


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
        ('"t"}', '"t"}\n'),
        ('"t"}', '"t"} '),
    ],
)
def test_any_other_text_of_the_same_facts_is_not_canonical(before: str, after: str) -> None:
    line = sealed_core()
    changed = line.replace(before, after) if after else line.replace(before, "")[:-1] + f",{before[:-1]}}}"

    assert verify.read_core(line.encode()) is not None
    assert changed != line
    assert verify.read_core(changed.encode()) is None
