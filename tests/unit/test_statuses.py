"""A report only ever raises a status, in any order and any number of times."""

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.statuses import RANK, DeliveryStatus, latest_delivery

REPORTED = [DeliveryStatus.ACCEPTED, DeliveryStatus.SENT, DeliveryStatus.DELIVERED, DeliveryStatus.READ]
REPORTED += [DeliveryStatus.HELD, DeliveryStatus.FAILED]


@given(st.lists(st.sampled_from(REPORTED), min_size=1), st.randoms())
def test_webhooks_may_come_twice_and_in_any_order(reported: list[DeliveryStatus], random: object) -> None:
    # accepted and held have the same rank: which of them is kept may depend on the order, nothing else may
    reported = [DeliveryStatus.ACCEPTED if word is DeliveryStatus.HELD else word for word in reported]
    again = random.sample(reported * 2, k=2 * len(reported))  # type: ignore[attr-defined]

    assert reduce(latest_delivery, again, DeliveryStatus.SENDING) == reduce(
        latest_delivery, reported, DeliveryStatus.SENDING
    )


@given(st.sampled_from(REPORTED), st.sampled_from(REPORTED))
def test_a_report_never_lowers(current: DeliveryStatus, reported: DeliveryStatus) -> None:
    assert RANK[latest_delivery(current, reported)] >= RANK[current]


@pytest.mark.parametrize(
    ("current", "reported", "expected"),
    [
        ("accepted", "failed", "failed"),
        ("sent", "failed", "failed"),
        ("failed", "sent", "failed"),
        ("failed", "delivered", "delivered"),
        ("delivered", "failed", "delivered"),
        ("read", "failed", "read"),
        ("read", "delivered", "read"),
        ("unknown", "accepted", "accepted"),
        ("sending", "delivered", "delivered"),
        ("skipped", "read", "skipped"),
        ("cancelled", "read", "cancelled"),
    ],
)
def test_delivered_beats_failed_and_what_never_left_stays(current: str, reported: str, expected: str) -> None:
    assert latest_delivery(DeliveryStatus(current), DeliveryStatus(reported)) == expected
