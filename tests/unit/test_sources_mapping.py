"""Other systems' JSON as contacts and orders: what is read, and what is refused with its reason."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import RuleViolation
from core.services import sources_mapping
from core.services.conversions import Sale
from core.services.sources_mapping import Person
from core.statuses import SourceMakes
from tests.unit.test_paths import json

PEOPLE = {"phone": "phone", "name": "name", "tags": "tags", "country": "country", "attributes.tier": "tier"}
ORDERS = {"order_id": "id", "occurred_at": "at", "amount": "total", "currency": "currency", "phone": "phone"}
PERSON = {"phone": "0170 1234567"}
ORDER = {"id": 7, "at": "2026-11-01T10:00:00Z", "total": "12.50", "currency": "usd"}


def a_person(**changes: Any) -> Person:
    reading = sources_mapping.compiled(SourceMakes.CONTACT, PEOPLE, None)
    item = sources_mapping.read(reading, PERSON | changes, region="DE")
    assert isinstance(item, Person)
    return item


def an_order(**changes: Any) -> Sale:
    reading = sources_mapping.compiled(SourceMakes.ORDER, ORDERS, None)
    item = sources_mapping.read(reading, ORDER | changes, region="DE")
    assert isinstance(item, Sale)
    return item


def test_what_is_missing_stays_and_what_is_null_is_emptied() -> None:
    assert a_person(name=None, tags="new, vip,") == Person(
        {"phone": "0170 1234567", "name": None, "tags": ["new", "vip"]}, None, "+491701234567"
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"phone": {"mobile": 1}}, "phone: the path leads to no text"),
        ({"phone": "nobody"}, "not a phone number"),
        ({"country": "Germany"}, "country's two capital letters"),
        ({"name": "x" * 201}, "at most 200 characters"),
        ({"tags": [1]}, "no list of texts"),
    ],
)
def test_a_person_who_cannot_be_read_is_refused_with_the_reason(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(RuleViolation, match=reason):
        a_person(**changes)


@pytest.mark.parametrize("at", ["2026-11-01T10:00:00Z", 1793527200, 1793527200000, "2026-11-01T11:00:00+01:00"])
def test_an_order_has_an_instant_and_an_exact_amount(at: Any) -> None:
    sale = an_order(at=at)

    assert (sale.order_id, sale.amount_micros, sale.currency) == ("7", 12_500_000, "USD")
    assert sale.occurred_at == datetime(2026, 11, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"at": "2026-11-01T10:00:00"}, "a time with its zone"),
        ({"at": 10**400}, "a time with its zone"),
        ({"at": True}, "leads to no text"),
        ({"at": "0001-01-01T00:00:00+14:00"}, "a time with its zone"),
        ({"total": "NaN"}, "amount must be a number"),
        ({"total": "1e999999"}, "amount must be a number"),
        ({"total": "12,50"}, "amount must be a number"),
        ({"total": None}, "amount is missing"),
        ({"currency": "EURO"}, "three capital letters"),
        ({"id": "x" * 201}, "1 to 200 characters"),
    ],
)
def test_an_order_that_cannot_be_read_is_refused_with_the_reason(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(RuleViolation, match=reason):
        an_order(**changes)


@pytest.mark.parametrize(
    ("makes", "mapping", "reason"),
    [
        (SourceMakes.CONTACT, {"name": "a"}, "map phone"),
        (SourceMakes.CONTACT, {"phone": "a", "user_id": "b"}, "map phone"),
        (SourceMakes.CONTACT, {"phone": "a", "consent": "b"}, "no field 'consent'"),
        (SourceMakes.CONTACT, {"phone": "a", "attributes.": "b"}, "no field"),
        (SourceMakes.ORDER, {"order_id": "a"}, "map occurred_at too"),
        (SourceMakes.ORDER, {**ORDERS, "attributes.x": "b"}, "no field"),
        (SourceMakes.ORDER, {**ORDERS, "phone": "a b"}, "no path"),
    ],
)
def test_a_mapping_that_cannot_work_is_refused(makes: SourceMakes, mapping: dict[str, str], reason: str) -> None:
    with pytest.raises(RuleViolation, match=reason):
        sources_mapping.compiled(makes, mapping, None)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("phone", "name", "tags", "country", "tier"), json)))
def test_a_person_is_read_or_refused_whatever_the_values(values: dict[str, Any]) -> None:
    reading = sources_mapping.compiled(SourceMakes.CONTACT, PEOPLE, None)
    try:
        sources_mapping.read(reading, values, region="DE")
    except RuleViolation:
        return


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("id", "at", "total", "currency", "phone"), json)))
def test_an_order_is_read_or_refused_whatever_the_values(values: dict[str, Any]) -> None:
    reading = sources_mapping.compiled(SourceMakes.ORDER, ORDERS, None)
    try:
        sources_mapping.read(reading, ORDER | values, region="DE")
    except RuleViolation:
        return


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b'"\xff"', "no JSON"),
        (b'{"a": "\\ud800"}', "no JSON"),
        (b"[" * 100_000, "nested too deep"),
        (b'{"a": ["x\\u0000"]}', "NUL"),
    ],
)
def test_a_body_that_is_no_json_is_refused_with_the_reason(body: bytes, reason: str) -> None:
    with pytest.raises(RuleViolation, match=reason):
        sources_mapping.decoded(body)
