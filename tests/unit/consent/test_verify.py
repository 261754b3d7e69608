"""The verifier replays consent by itself, and comes to the states that were sealed."""

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from core.consent import verify
from core.consent.canonical import timestamp
from core.consent.state import POSITIVE, Event, EventType, Fold, Grade
from tests.unit.consent.test_state import IMPORTED, T0, TYPED, event

KINDS = [
    *(EventType.GRANTED, EventType.CONFIRMED, EventType.REAFFIRMED, EventType.REQUESTED, EventType.DECLINED),
    *(EventType.WITHDRAWN, EventType.OBJECTED, EventType.META_STOPPED, EventType.META_RESUMED, EventType.SUPPRESSED),
    *(EventType.EXPIRED, EventType.INVALIDATED, EventType.TENURE_CLOSED, EventType.ERASED, EventType.HOLD_PLACED),
]
DAY = 86_400


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
    if kind is EventType.INVALIDATED:
        facts["refs"] = draw(st.sampled_from([{}, {"import_batch": "1"}, {"import_batch": "2"}]))
    return event(
        kind,
        at,
        heard=at + draw(st.sampled_from([0, DAY])),
        purpose=draw(st.sampled_from(purposes)),
        sender_scope=draw(st.sampled_from(["1", "1", "2"])),
        clock_flags=draw(st.sampled_from([(), ("untrusted_source",)])),
        **facts,
    )


def core_of(told: Event, number: int) -> bytes:
    core: dict[str, Any] = {
        "event_id": str(told.event_id),
        "event_type": told.event_type.value,
        "purpose": told.purpose,
        "occurred_at": timestamp(told.occurred_at),
        "received_at": timestamp(told.received_at),
        "source": told.source,
        "sender_scope": told.sender_scope,
        "actor_type": told.actor_type,
        "method": told.method,
        "clock_flags": list(told.clock_flags),
        "refs": told.refs,
        "seq": number,
        "subject_event_no": number,
    }
    if told.expires_at is not None:
        core |= {"grade": told.grade.value, "min_grade": told.min_grade.value, "expires_at": timestamp(told.expires_at)}
    return json.dumps(core).encode()


@settings(max_examples=150, deadline=None)
@given(st.lists(told(), max_size=9))
def test_two_programs_read_the_same_history_the_same_way(history: list[Event]) -> None:
    fold = Fold()
    tracks: dict[str, verify.Track] = {}

    for number, each in enumerate(history, start=1):
        change = fold.apply(structs.replace(each, subject_event_no=number))
        assert verify.apply(tracks, verify.Event(core_of(each, number))) == (change.before, change.after)

    for purpose, permission in fold.permissions().items():
        standing = tracks[purpose].standing()
        assert tracks[purpose].state() == permission.state
        if permission.grant_id is not None:
            assert standing is not None
            assert standing["event_id"] == str(permission.grant_id)


@pytest.mark.parametrize("apart", [-1, 0, 1, 119, 120, 121])
@pytest.mark.parametrize("source", ["wa_webhook", "pref_centre"])
def test_two_programs_agree_on_ties_and_on_the_tolerance(apart: int, source: str) -> None:
    history = [event(EventType.WITHDRAWN, 200), event(EventType.GRANTED, 200 + apart, source=source)]

    for order in (history, history[::-1]):
        fold = Fold()
        tracks: dict[str, verify.Track] = {}
        for number, each in enumerate(order, start=1):
            fold.apply(each)
            verify.apply(tracks, verify.Event(core_of(each, number)))
        assert tracks["marketing"].state() == fold.state("marketing")
