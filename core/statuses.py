"""Status words and the moves between them; pure.

queued ─claim─▶ sending ─200─▶ accepted ─▶ sent ─▶ delivered ─▶ read
   │               ├─ 200 held ─▶ held ─▶ sent… | failed
   │               ├─ refused, retryable ─▶ queued (not_before, attempt+1)
   │               ├─ refused, final ─▶ failed
   │               └─ no answer, crash ─▶ unknown ─webhook─▶ accepted… | ─person decides─▶ failed
   ├─ gate, caps, holdout, quiet hours over, budget ─▶ skipped
   └─ campaign cancelled ─▶ cancelled
"""

from enum import StrEnum


class Role(StrEnum):
    """What a signed-in person may do."""

    ADMIN = "admin"
    MARKETER = "marketer"
    APPROVER = "approver"
    ANALYST = "analyst"
    COMPLIANCE = "compliance"
    AUDITOR = "auditor"


class DeliveryStatus(StrEnum):
    """How far one message got. The order of the provider's words is `RANK`."""

    QUEUED = "queued"
    SENDING = "sending"
    ACCEPTED = "accepted"
    HELD = "held"
    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"
    FAILED = "failed"
    SKIPPED = "skipped"
    UNKNOWN = "unknown"
    CANCELLED = "cancelled"


# What a report from the provider may raise; `failed` stands between sent and delivered because it replaces
# accepted, held and sent only, and a later delivered or read beats it (several devices produce both).
RANK: dict[DeliveryStatus, int] = {
    DeliveryStatus.QUEUED: 0,
    DeliveryStatus.SENDING: 0,
    DeliveryStatus.UNKNOWN: 0,
    DeliveryStatus.ACCEPTED: 1,
    DeliveryStatus.HELD: 1,
    DeliveryStatus.SENT: 2,
    DeliveryStatus.FAILED: 3,
    DeliveryStatus.DELIVERED: 4,
    DeliveryStatus.READ: 5,
}

# With the provider: from here on only its reports move a row.
OUT = "out"
WITH_PROVIDER = (
    DeliveryStatus.ACCEPTED,
    DeliveryStatus.HELD,
    DeliveryStatus.SENT,
    DeliveryStatus.DELIVERED,
    DeliveryStatus.READ,
)


def phase_of(status: DeliveryStatus) -> str:
    """The coarser word that indexes use: reports that come in do not move a row in them."""
    return OUT if status in WITH_PROVIDER else status.value


# Rows in which work is left: a campaign with none of them is completed.
OPEN = frozenset({DeliveryStatus.QUEUED, DeliveryStatus.SENDING})


def latest_delivery(current: DeliveryStatus, reported: DeliveryStatus) -> DeliveryStatus:
    """The status after a report from the provider: a maximum, so order and repetition do not matter.

    Skipped and cancelled rows never went out and are left alone.
    """
    if current not in RANK or reported not in RANK:
        return current
    return reported if RANK[reported] > RANK[current] else current


class SkipReason(StrEnum):
    """Why a person in the audience got no message."""

    HOLDOUT = "holdout"
    NO_ADDRESS = "no_address"
    UNKNOWN_PURPOSE = "unknown_purpose"
    KILL_SWITCH = "kill_switch"
    TENURE_CLOSED = "tenure_closed"
    SUPPRESSED = "suppressed"
    META_STOP = "meta_stop"
    HOLD = "hold"
    NO_CONSENT = "no_consent"
    PENDING = "pending"
    WITHDRAWN = "withdrawn"
    INVALID = "invalid"
    EXPIRED = "expired"
    GRADE_TOO_LOW = "grade_too_low"
    UNREACHABLE = "unreachable"
    REAFFIRM_DUE = "reaffirm_due"
    LEDGER_MISMATCH = "ledger_mismatch"
    WINDOW_CLOSED = "window_closed"
    BAD_PARAMETERS = "bad_parameters"
    COUNTRY_PAUSED = "country_paused"
    ERASED = "erased"


class CampaignStatus(StrEnum):
    """Stored words of a campaign; `completed` is derived from its rows and never stored.

    draft → in_review → scheduled → expanding → sending ⇄ paused → (completed), or cancelled
    """

    DRAFT = "draft"
    IN_REVIEW = "in_review"
    SCHEDULED = "scheduled"
    EXPANDING = "expanding"
    SENDING = "sending"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    COMPLETED = "completed"


class MessageKind(StrEnum):
    """Why a message exists; replies and tests go before bulk."""

    CAMPAIGN = "campaign"
    TEST = "test"
    TRIGGERED = "triggered"
    REPLY = "reply"


PRIORITY: dict[MessageKind, int] = {
    MessageKind.REPLY: 0,
    MessageKind.TEST: 1,
    MessageKind.TRIGGERED: 2,
    MessageKind.CAMPAIGN: 5,
}
CANARY_PRIORITY = 4  # of a campaign's first few, which go before its other rows


class CanaryVerdict(StrEnum):
    """What was said about a campaign's rest once its first few were out."""

    GO = "go"
    STOP = "stop"


class EventKind(StrEnum):
    """Facts about one message, append-only."""

    ACCEPTED = "accepted"
    HELD = "held"
    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"
    FAILED = "failed"
    REJECTED = "rejected"
    PLAYED = "played"
    SUPPRESSED = "suppressed"
    DELETED = "deleted"
    CLICK = "click"
    REPLY = "reply"
    OPT_OUT = "opt_out"


class TemplateStatus(StrEnum):
    """The provider's words, lower case; `draft` exists only on our side."""

    DRAFT = "draft"
    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    PAUSED = "paused"
    DISABLED = "disabled"
    IN_APPEAL = "in_appeal"
    PENDING_DELETION = "pending_deletion"
    DELETED = "deleted"
    ARCHIVED = "archived"
    LIMIT_EXCEEDED = "limit_exceeded"
    FLAGGED = "flagged"
    LOCKED = "locked"


class Category(StrEnum):
    """What the provider charges a template as."""

    MARKETING = "marketing"
    UTILITY = "utility"
    AUTHENTICATION = "authentication"
    SERVICE = "service"


class RateCategory(StrEnum):
    """What a price is for: the categories, and the dearer authentication from abroad some markets have."""

    MARKETING = "marketing"
    UTILITY = "utility"
    AUTHENTICATION = "authentication"
    AUTHENTICATION_ABROAD = "authentication_abroad"
    SERVICE = "service"


class AttributeKind(StrEnum):
    """What an attribute of contacts holds."""

    TEXT = "text"
    NUMBER = "number"
    DATE = "date"
    BOOLEAN = "boolean"
    CHOICE = "choice"


class AudienceKind(StrEnum):
    STATIC = "static"
    RULE = "rule"


class ImportStatus(StrEnum):
    """A file on its way in; whoever is not `running` or `undoing` is left alone by the worker.

    waiting ─▶ running ─▶ done | failed          running ⇄ paused, and either ─▶ cancelled, between two chunks
    waiting ─▶ running ─▶ checked ─confirmed─▶ waiting          (asked for a check first: nothing is written)
                 └─▶ or checked ─confirmed─▶ awaiting ─approved─▶ waiting     (many opt-ins: a second person decides)
    done, failed, cancelled ─within 7 days─▶ undoing ─▶ undone
    """

    WAITING = "waiting"
    RUNNING = "running"
    PAUSED = "paused"
    CHECKED = "checked"
    AWAITING = "awaiting"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNDOING = "undoing"
    UNDONE = "undone"


class Finding(StrEnum):
    """What somebody found who opened the proof of a consent in a file."""

    PROVEN = "proven"
    UNPROVEN = "unproven"


class MergePolicy(StrEnum):
    """What a file may change about people who are known already."""

    FILL = "fill"  # what is blank
    OVERWRITE = "overwrite"  # whatever the file knows; a blank cell changes nothing
    SKIP = "skip"  # nothing


class WorkStatus(StrEnum):
    """Exports: long work in the background."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class InvalidationKind(StrEnum):
    """What turned out bad, so that every consent that rests on it is made invalid."""

    IMPORT = "import"
    NOTICE = "notice"
    COLLECTION_POINT = "collection_point"


class WebhookStatus(StrEnum):
    """A raw webhook body: waiting for the worker, folded into rows, or set aside with a reason."""

    WAITING = "waiting"
    RECORDED = "recorded"
    SET_ASIDE = "set_aside"


class AccountEventKind(StrEnum):
    """What the provider tells about templates, numbers and the account; the last is our own finding."""

    TEMPLATE_STATUS = "template_status"
    TEMPLATE_QUALITY = "template_quality"
    TEMPLATE_CATEGORY = "template_category"
    TEMPLATE_CATEGORY_NOTICE = "template_category_notice"
    TEMPLATE_CONTENT = "template_content"
    NUMBER_LIMIT = "number_limit"
    NUMBER_NAME = "number_name"
    CAPABILITY = "capability"
    ALERT = "alert"
    REVIEW = "review"
    ACCOUNT = "account"
    SECURITY = "security"
    ORPHANS = "orphans"  # statuses of messages nobody here has sent

    @property
    def is_about_template(self) -> bool:
        return self.value.startswith("template_")


class Severity(StrEnum):
    """How soon a person should look."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class ConversionKind(StrEnum):
    ORDER = "order"
    REFUND = "refund"


class InboundIntent(StrEnum):
    """What an inbound message means for consent."""

    REPLY = "reply"
    OPT_OUT = "opt_out"
    OPT_IN = "opt_in"
    HELP = "help"
    AMBIGUOUS = "ambiguous"


class ReplyKind(StrEnum):
    """Why a free-form answer was written to somebody who wrote to us first."""

    STOP_CONFIRMED = "stop_confirmed"
    HOLD_QUESTION = "hold_question"
    HOLD_KEPT = "hold_kept"
    NOTICE_OFFER = "notice_offer"
    OPTED_IN = "opted_in"
    ALREADY_IN = "already_in"
    DECLINED = "declined"
    HELP = "help"
    FORM_CONFIRMED = "form_confirmed"
    CODE_REFUSED = "code_refused"
    RULE = "rule"
    PERSON = "person"


class ReceivedStatus(StrEnum):
    """A file a person sent: to be fetched, here, or why it is not."""

    WAITING = "waiting"
    STORED = "stored"
    TOO_LARGE = "too_large"
    LOST = "lost"  # the provider did not give it
    REMOVED = "removed"  # its time is over


class ConversationStatus(StrEnum):
    OPEN = "open"
    CLOSED = "closed"


class HookStatus(StrEnum):
    """A delivery to somebody else's server: waiting for its next try, taken, or given up."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"


class SourceScheme(StrEnum):
    """How another system signs what it posts to us."""

    STANDARD = "standard"  # Standard Webhooks: id, timestamp and body
    HMAC_HEX = "hmac_hex"  # the body alone, as GitHub does: `sha256=<hex>`
    HMAC_BASE64 = "hmac_base64"  # the body alone, as Shopify does


class SourceMakes(StrEnum):
    """What another system's webhook becomes here."""

    CONTACT = "contact"
    ORDER = "order"
    EVENT = "event"  # something people did: a cart left, a visit


class Membership(StrEnum):
    """What a webhook does with its people's place on a list; mapped: its field `member` says it."""

    ADD = "add"
    REMOVE = "remove"
    MAPPED = "mapped"


class TakenStatus(StrEnum):
    """A webhook another system sent: everything in it took effect, some of it, or nothing."""

    APPLIED = "applied"
    PARTLY = "partly"
    FAILED = "failed"


class RequestKind(StrEnum):
    """What a person may ask about their data (GDPR articles 15 to 18, 20 and 21)."""

    ACCESS = "access"
    PORTABILITY = "portability"
    ERASURE = "erasure"
    OBJECTION = "objection"
    RECTIFICATION = "rectification"
    RESTRICTION = "restriction"


class RequestStatus(StrEnum):
    OPEN = "open"
    DONE = "done"
    REFUSED = "refused"
