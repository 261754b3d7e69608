"""What becomes of one row of a consent import; pure."""

from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import Struct

from core.consent.state import Grade


class ImportOutcome(StrEnum):
    """The verdict on a row; every row of a file gets exactly one."""

    OPT_OUT_APPLIED = "opt_out_applied"
    ACCEPTED = "accepted"
    PENDING_CONFIRM = "pending_confirm"  # complete, but proven too weakly to send on
    EXPIRED_ON_ARRIVAL = "expired_on_arrival"
    NOT_SENDABLE = "not_sendable"  # something required is missing: the contact is stored, the consent never counts
    REFUSED_SUPPRESSED = "refused_suppressed"
    REJECTED = "rejected"
    DUPLICATE = "duplicate"


class RowFacts(Struct, frozen=True, kw_only=True, gc=False):
    """What is known about a row once it has been read and looked up."""

    is_opt_out: bool
    number_is_good: bool
    ids_are_clean: bool = True  # no formula, no control character in identifiers
    purpose_is_known: bool = True
    occurred_at: datetime | None
    received_at: datetime
    is_complete: bool  # every required field, and the evidence with the right hash
    grade: Grade
    min_grade: Grade
    validity_days: int
    is_suppressed: bool  # withdrawn, or an equivalent address is suppressed
    is_duplicate: bool


def classify(row: RowFacts) -> ImportOutcome:
    """The row's verdict. An opt-out needs nothing but an address; an opt-in never revives anybody."""
    if not row.number_is_good or not row.ids_are_clean:
        return ImportOutcome.REJECTED
    if row.is_duplicate:
        return ImportOutcome.DUPLICATE
    if row.is_opt_out:
        return ImportOutcome.OPT_OUT_APPLIED
    is_future = row.occurred_at is not None and row.occurred_at > row.received_at
    if not row.purpose_is_known or is_future:
        return ImportOutcome.REJECTED
    return _opt_in(row)


def _opt_in(row: RowFacts) -> ImportOutcome:
    if row.is_suppressed:
        return ImportOutcome.REFUSED_SUPPRESSED
    if not row.is_complete or row.occurred_at is None or row.grade is Grade.E:
        return ImportOutcome.NOT_SENDABLE
    if row.occurred_at + timedelta(days=row.validity_days) <= row.received_at:
        return ImportOutcome.EXPIRED_ON_ARRIVAL
    if row.grade > row.min_grade or row.grade > Grade.C:
        return ImportOutcome.PENDING_CONFIRM
    return ImportOutcome.ACCEPTED
