"""The words of consent, in the ledger's spelling: states, events and what kind each is of, grades, overlays."""

from enum import StrEnum


class State(StrEnum):
    NONE = "none"
    PENDING = "pending"
    SUBSCRIBED = "subscribed"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    INVALID = "invalid"
    CLOSED = "closed"


class EventType(StrEnum):
    """What happened, in the ledger's spelling."""

    GRANTED = "GRANTED"
    CONFIRMED = "CONFIRMED"
    REAFFIRMED = "REAFFIRMED"
    REQUESTED = "REQUESTED"
    DECLINED = "DECLINED"
    CORRECTION = "CORRECTION"
    IDENTIFIER_LINKED = "IDENTIFIER_LINKED"
    WITHDRAWN = "WITHDRAWN"
    OBJECTED = "OBJECTED"
    META_STOPPED = "META_STOPPED"
    META_RESUMED = "META_RESUMED"
    SUPPRESSED = "SUPPRESSED"  # a withdrawal the address brought along from an earlier contact
    EXPIRED = "EXPIRED"
    INVALIDATED = "INVALIDATED"
    TENURE_CLOSED = "TENURE_CLOSED"
    ERASED = "ERASED"
    HOLD_PLACED = "HOLD_PLACED"
    HOLD_RELEASED = "HOLD_RELEASED"
    UNREACHABLE_SET = "UNREACHABLE_SET"
    UNREACHABLE_CLEARED = "UNREACHABLE_CLEARED"
    REAFFIRM_DUE = "REAFFIRM_DUE"
    NOTICE_PUBLISHED = "NOTICE_PUBLISHED"
    PURPOSE_CHANGED = "PURPOSE_CHANGED"
    IMPORT_BATCH = "IMPORT_BATCH"
    EXPORT_CREATED = "EXPORT_CREATED"
    INTEGRITY_ALERT = "INTEGRITY_ALERT"  # something was sent that no decision here allowed
    RECOVERY = "RECOVERY"  # an older ledger was accepted: what stood behind its last record is lost


POSITIVE = frozenset({EventType.GRANTED, EventType.CONFIRMED, EventType.REAFFIRMED})
NEGATIVE = frozenset(
    {EventType.WITHDRAWN, EventType.OBJECTED, EventType.DECLINED, EventType.META_STOPPED, EventType.SUPPRESSED}
)
ENDING = frozenset({EventType.TENURE_CLOSED, EventType.ERASED})
# A grant is worth nothing at the gate once one of these stands above it in the ledger.
REVOKING = NEGATIVE | ENDING | {EventType.INVALIDATED, EventType.EXPIRED}
SYSTEM = frozenset(
    {EventType.NOTICE_PUBLISHED, EventType.PURPOSE_CHANGED, EventType.IMPORT_BATCH, EventType.EXPORT_CREATED}
    | {EventType.INTEGRITY_ALERT, EventType.RECOVERY}
)


class Grade(StrEnum):
    """How well a grant is proven: A best; D and E can never be sent on."""

    A = "A"  # form or staffed capture, and confirmed from the WhatsApp account itself
    B = "B"  # one affirmative act inside that account, with the notice shown
    C = "C"  # first-party capture, account not proven
    D = "D"  # third-party or back-dated
    E = "E"  # something required is missing


HOLD, UNREACHABLE, REAFFIRM_DUE, META_STOP = "hold", "unreachable", "reaffirm_due", "meta_stop"
