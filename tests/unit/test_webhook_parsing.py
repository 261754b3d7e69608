"""Webhook bodies are read part by part: one odd part hides nothing, and nothing makes the parser raise."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.statuses import EventKind
from core.whatsapp.account_events import template_id
from core.whatsapp.payloads import instant
from core.whatsapp.webhooks import parse, speaks_for_people

NOW = datetime(2026, 11, 22, tzinfo=UTC)
DATA = Path(__file__).parent.parent / "data"
STATUS = {
    "id": "wamid.SIM1",
    "status": "failed",
    "timestamp": "1793500010",
    "recipient_id": "551188887777",
    "biz_opaque_callback_data": "01890a5d-ac96-774b-bcce-b302099a8057",
    "pricing": {"billable": True, "pricing_model": "PMP", "type": "regular", "category": "marketing"},
    "errors": [{"code": 131049, "title": "Ecosystem engagement", "error_data": {"details": "…"}}],
}
TAP = {
    "from_user_id": "BR.9a8b7c6d5e",
    "id": "wamid.SIMIN2",
    "timestamp": "1793500100",
    "type": "button",
    "button": {"payload": "stop:cmp42", "text": "Stop promotions"},
    "context": {"from": "15550001111", "id": "wamid.SIM1"},
}
TEXT = {"from": "551188887777", "id": "wamid.SIMIN3", "timestamp": "1793500101", "type": "text", "text": {"body": "Hi"}}
PREFERENCE = {"wa_id": "551188887777", "category": "marketing_messages", "value": "stop", "timestamp": 1793500200}
VALUE = {
    "messaging_product": "whatsapp",
    "metadata": {"display_phone_number": "15550001111", "phone_number_id": "200000000000002"},
    "contacts": [{"profile": {"name": "Ana"}, "wa_id": "551188887777", "user_id": "BR.9a8b7c6d5e"}],
    "statuses": [STATUS],
    "messages": [TAP, TEXT],
    "user_preferences": [PREFERENCE],
}
TEMPLATE = {"event": "PAUSED", "message_template_id": 300000000000003, "reason": "NONE"}
BODY = {
    "object": "whatsapp_business_account",
    "entry": [
        {"id": "1", "changes": [{"field": "messages", "value": VALUE}]},
        {"id": "1", "time": 1, "changes": [{"field": "message_template_status_update", "value": TEMPLATE}]},
    ],
}


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    pairs: Any = ()
    if isinstance(document, dict):
        pairs = document.items()
    elif isinstance(document, list):
        pairs = enumerate(document)
    for key, value in pairs:
        yield from places(value, (*path, key))


def put(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = dict(document) if isinstance(document, dict) else list(document)
    copy[path[0]] = put(document[path[0]], path[1:], value)
    return copy


def test_everything_a_body_says_is_found() -> None:
    parsed = parse(json.dumps(BODY).encode(), received_at=NOW)

    (report,) = parsed.reports
    assert (report.kind, report.error_code, report.wamid) == (EventKind.FAILED, 131049, "wamid.SIM1")
    assert (str(report.message_id), report.pricing_type) == (STATUS["biz_opaque_callback_data"], "regular")
    tap, words = parsed.inbound
    assert (tap.payload_id, tap.words, tap.user_id, tap.wa_id) == (
        "stop:cmp42",
        "Stop promotions",
        "BR.9a8b7c6d5e",
        None,
    )
    assert (words.words, words.user_id, words.profile_name) == ("Hi", "BR.9a8b7c6d5e", "Ana")
    assert [preference.value for preference in parsed.preferences] == ["stop"]
    assert [(event.word, template_id(event)) for event in parsed.account] == [("paused", "300000000000003")]
    assert all(known for _, known in parsed.fields) and parsed.problem is None


def reported_at(stamp: Any) -> list[datetime]:
    told = {**STATUS, "timestamp": stamp}
    body = json.dumps(put(BODY, ("entry", 0, "changes", 0, "value", "statuses"), [told])).encode()
    return [report.occurred_at for report in parse(body, received_at=NOW).reports]


def test_a_status_from_the_future_happened_when_it_came() -> None:
    assert reported_at("2793500010") == reported_at(2793500010000) == [NOW]
    slightly_ahead = int(NOW.timestamp()) + 60
    assert reported_at(str(slightly_ahead)) == [datetime.fromtimestamp(slightly_ahead, UTC)]


@pytest.mark.parametrize("stamp", ["garbage", "", None, 0, -1, 10**30, [], 1.5])
def test_a_status_with_a_garbled_time_happened_when_it_came(stamp: Any) -> None:
    assert reported_at(stamp) == [NOW]


VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10)
)
JUNK = st.recursive(
    VALUES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2)
)


@given(st.sampled_from(sorted(places(BODY), key=str)), JUNK)
def test_any_part_may_be_anything(place: tuple[Any, ...], junk: Any) -> None:
    parsed = parse(json.dumps(put(BODY, place, junk)).encode(), received_at=NOW)

    # What stands beside the odd part is still there.
    if place[:6] != ("entry", 0, "changes", 0, "value", "messages") and len(place) > 5:
        assert {"wamid.SIMIN2", "wamid.SIMIN3"} <= {inbound.provider_id for inbound in parsed.inbound}
    if place[:2] != ("entry", 1) and len(place) > 1:
        assert len(parsed.account) == 1
    for text in (each for inbound in parsed.inbound for each in (inbound.words, inbound.wa_id, inbound.user_id)):
        assert "\0" not in (text or "")


EXAMPLES = [json.loads(path.read_bytes()) for path in sorted((DATA / "webhooks").glob("*.json"))]


@given(st.data())
def test_any_part_of_any_example_may_be_anything(data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from(EXAMPLES))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(sorted(places(whole), key=str)))
        whole = put(whole, place, data.draw(JUNK))
    content = json.dumps(whole).encode()
    parsed = parse(content, received_at=NOW)
    parse(content[: data.draw(st.integers(0, len(content)))], received_at=NOW)

    # What came of it can be stored: keys fit their columns, values are JSON, instants are not after the fact.
    for event in parsed.account:
        assert len(event.subject) <= 200 and len(event.aspect) <= 200 and event.occurred_at <= NOW
        assert msgspec.json.decode(msgspec.json.encode(event.value)) is not None
    assert all(len(name) <= 100 for name, _ in parsed.fields)


@given(st.binary(max_size=200))
@example(b'{"entry":' + b"[" * 100_000)
@example(b'{"entry":[{"changes":[{"field":"messages","value":' + b'{"a":' * 5000)
@example(b'{"entry":[{"changes":[{"field":"messages","value":{"messages":[{"id":"\\ud800"}]}}]}]}')
def test_no_bytes_raise(body: bytes) -> None:
    parse(body, received_at=NOW)


@given(st.integers(0, len(json.dumps(BODY))), st.binary(max_size=3))
def test_no_damage_raises(at: int, damage: bytes) -> None:
    whole = json.dumps(BODY).encode()
    parse(whole[:at] + damage + whole[at + len(damage) :], received_at=NOW)
    parse(whole[:at], received_at=NOW)


def test_an_escaped_backslash_before_u0000_is_text() -> None:
    said = {**TEXT, "text": {"body": "a\\u0000b\0c\\"}}
    parsed = parse(
        json.dumps(put(BODY, ("entry", 0, "changes", 0, "value", "messages"), [said])).encode(), received_at=NOW
    )
    assert [inbound.words for inbound in parsed.inbound] == ["a\\u0000bc\\"]


@pytest.mark.parametrize("stamp", ["garbage", "", None, 0, -1, 10**30, "1" * 5000, [], 1.5])
def test_a_stop_with_a_garbled_time_still_counts_from_when_it_came(stamp: Any) -> None:
    said = {**TEXT, "timestamp": stamp}
    body = json.dumps(put(BODY, ("entry", 0, "changes", 0, "value", "messages"), [said])).encode()
    assert [inbound.occurred_at for inbound in parse(body, received_at=NOW).inbound] == [NOW]


def test_instants_are_seconds_or_milliseconds_of_this_century() -> None:
    assert instant("1793500010") == instant(1793500010) == instant("1793500010000") == instant(1793500010000)
    for wrong in ("", "x", "-1", 0, 99_999_999_999, 10**30, "1.5"):
        with pytest.raises(ValueError):
            instant(wrong)


def test_a_body_that_may_speak_for_people_is_never_taken_for_one_that_does_not() -> None:
    assert speaks_for_people(b'{"messages":[]}') and speaks_for_people(b'{"user_preferences" : []}')
    assert speaks_for_people(b'{"m\\u0065ssages":[]}')
    assert not speaks_for_people(b'{"field":"messages","value":{"statuses":[]}}')
