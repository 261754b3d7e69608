"""Rows that say the same are the acts that each of them alone would be."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from core.consent.acts import Method
from core.consent.registry import Registry
from core.consent.state import EventType
from core.models import Import
from core.services.imports_acts import Notices, Sayings, act_of
from core.services.imports_rows import Row

NOW = datetime(2026, 5, 2, 9, tzinfo=UTC)
JOB = Import(id=uuid4(), sha256="ab" * 32)
NOBODY_ELSE = Registry({}, {})
FIELDS = (
    *("phone", "name", "language", "country", "action", "purpose", "method", "collection_point", "notice_id"),
    *("source_system", "source_record_id", "evidence_ref", "occurred_at"),
)
SAID = st.text(min_size=1, max_size=8) | st.sampled_from(
    ["web_form", "it's", 'a "b"', "\\", "紙", "marketing", "\u200d"]
)


@st.composite
def rows(draw: st.DrawFn) -> Row:
    values = draw(st.dictionaries(st.sampled_from(FIELDS), SAID))
    action = draw(st.sampled_from(["opt_in", "opt_out"]))
    at = NOW - timedelta(minutes=draw(st.integers(1, 10)))
    number = draw(st.integers(2, 99))
    return Row(number, action, values, {}, match_key=f"+49{number}", occurred_at=at if action == "opt_in" else None)


@given(st.lists(rows(), max_size=6))
def test_what_rows_say_alike_changes_no_act(different: list[Row]) -> None:
    alike = [structs.replace(row, number=row.number + 100, match_key="+81") for row in different]
    renamed = [structs.replace(row, values={**row.values, "name": "N", "evidence_ref": "it's"}) for row in different]
    sayings, contact_id = Sayings(JOB, NOBODY_ELSE, NOW), uuid4()

    for row in [*different, *alike, *renamed, *different]:
        act, saying = sayings.act_of(row, contact_id)

        alone = act_of(JOB, row, contact_id, {"import_batch": str(JOB.id)}, Notices(NOBODY_ELSE), NOW)
        assert structs.replace(act, kind=None) == alone
        assert act.kind == saying.act.kind


@pytest.mark.parametrize(
    ("changes", "is_alike"),
    [
        ({"phone": "+49", "source_record_id": "2", "evidence_ref": "b", "occurred_at": "2026-05-01"}, True),
        ({"method": "paper"}, False),
        ({"collection_point": "till"}, False),
        ({"source_system": "other"}, False),
    ],
)
def test_rows_are_alike_that_differ_in_who_when_and_proof(changes: dict[str, str], is_alike: bool) -> None:
    common = {"phone": "+4", "method": "web_form", "source_record_id": "1", "evidence_ref": "a", "occurred_at": "x"}
    row = Row(2, "opt_in", {**common, "collection_point": "checkout", "source_system": "shop"}, {}, occurred_at=NOW)
    other = structs.replace(row, values={**row.values, **changes})
    sayings = Sayings(JOB, NOBODY_ELSE, NOW)

    acts = [sayings.act_of(each, uuid4())[0] for each in (row, other)]

    assert acts[0].event_type is EventType.GRANTED
    assert acts[0].method is Method.WEB_FORM
    assert (acts[0].kind == acts[1].kind) is is_alike
