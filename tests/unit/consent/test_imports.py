"""Every row of an import gets one verdict, and no verdict revives anybody."""

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from msgspec.structs import replace

from core.consent.imports import ImportOutcome, RowFacts, classify
from core.consent.state import Grade

NOW = datetime(2026, 11, 22, tzinfo=UTC)
GOOD = RowFacts(
    is_opt_out=False,
    number_is_good=True,
    occurred_at=NOW - timedelta(days=10),
    received_at=NOW,
    is_complete=True,
    grade=Grade.C,
    min_grade=Grade.C,
    validity_days=730,
    is_suppressed=False,
    is_duplicate=False,
)


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, ImportOutcome.ACCEPTED),
        ({"is_opt_out": True}, ImportOutcome.OPT_OUT_APPLIED),
        ({"is_opt_out": True, "occurred_at": None, "is_complete": False}, ImportOutcome.OPT_OUT_APPLIED),
        ({"is_opt_out": True, "purpose_is_known": False}, ImportOutcome.OPT_OUT_APPLIED),
        ({"number_is_good": False}, ImportOutcome.REJECTED),
        ({"is_opt_out": True, "number_is_good": False}, ImportOutcome.REJECTED),
        ({"ids_are_clean": False}, ImportOutcome.REJECTED),
        ({"purpose_is_known": False}, ImportOutcome.REJECTED),
        ({"occurred_at": NOW + timedelta(seconds=1)}, ImportOutcome.REJECTED),
        ({"is_suppressed": True}, ImportOutcome.REFUSED_SUPPRESSED),
        ({"is_suppressed": True, "is_complete": False}, ImportOutcome.REFUSED_SUPPRESSED),
        ({"is_complete": False}, ImportOutcome.NOT_SENDABLE),
        ({"occurred_at": None}, ImportOutcome.NOT_SENDABLE),
        ({"grade": Grade.E}, ImportOutcome.NOT_SENDABLE),
        ({"occurred_at": NOW - timedelta(days=730)}, ImportOutcome.EXPIRED_ON_ARRIVAL),
        ({"grade": Grade.D}, ImportOutcome.PENDING_CONFIRM),
        ({"min_grade": Grade.B}, ImportOutcome.PENDING_CONFIRM),
        ({"is_duplicate": True}, ImportOutcome.DUPLICATE),
    ],
)
def test_a_row_gets_its_verdict(changes: dict[str, Any], outcome: ImportOutcome) -> None:
    assert classify(replace(GOOD, **changes)) is outcome


def test_nothing_suppressed_is_ever_accepted() -> None:
    for complete, grade, known in product([True, False], Grade, [True, False]):
        row = replace(GOOD, is_suppressed=True, is_complete=complete, grade=grade, purpose_is_known=known)
        assert classify(row) in (ImportOutcome.REFUSED_SUPPRESSED, ImportOutcome.REJECTED)
