"""Stored words in plain language: statuses, reasons, verdicts."""

from core.statuses import CampaignStatus, DeliveryStatus

# In the order a message goes through them; they add up to the audience.
DELIVERY: dict[DeliveryStatus, tuple[str, str]] = {
    DeliveryStatus.QUEUED: ("Queued", "waiting for its turn"),
    DeliveryStatus.SENDING: ("Sending", "on its way to WhatsApp now"),
    DeliveryStatus.ACCEPTED: ("Accepted", "WhatsApp took it, nothing reported yet"),
    DeliveryStatus.HELD: ("Held", "WhatsApp is checking the template's quality first"),
    DeliveryStatus.SENT: ("Sent", "left WhatsApp's servers, no receipt yet"),
    DeliveryStatus.DELIVERED: ("Delivered", "arrived on the phone"),
    DeliveryStatus.READ: ("Read", "opened, with read receipts on"),
    DeliveryStatus.FAILED: ("Failed", "did not arrive; see the reasons"),
    DeliveryStatus.SKIPPED: ("Skipped", "we did not send it; see the reasons"),
    DeliveryStatus.UNKNOWN: ("Unknown", "sent without an answer; never sent again on doubt"),
    DeliveryStatus.CANCELLED: ("Cancelled", "the campaign was cancelled first"),
}

CAMPAIGN: dict[CampaignStatus, str] = {
    CampaignStatus.DRAFT: "Draft",
    CampaignStatus.IN_REVIEW: "In review",
    CampaignStatus.SCHEDULED: "Scheduled",
    CampaignStatus.EXPANDING: "Preparing",
    CampaignStatus.SENDING: "Sending",
    CampaignStatus.PAUSED: "Paused",
    CampaignStatus.COMPLETED: "Completed",
    CampaignStatus.CANCELLED: "Cancelled",
}

ACCOUNT_EVENTS = {
    "template_status": "Template",
    "template_quality": "Template quality",
    "template_category": "Template category",
    "template_category_notice": "Template category will be",
    "template_content": "Template text",
    "number_limit": "Number",
    "number_name": "Name",
    "capability": "Account limits",
    "alert": "Alert",
    "review": "Account review",
    "account": "Account",
    "security": "Security",
    "orphans": "Not our message",
}

REASONS = {
    "holdout": "Kept as holdout, to measure what the campaign causes",
    "no_address": "No WhatsApp number on file",
    "unknown_purpose": "The purpose of this campaign is not defined",
    "kill_switch": "Sending for this purpose is halted",
    "tenure_closed": "The number belongs to somebody else now",
    "suppressed": "Opted out",
    "meta_stop": "Stopped marketing messages inside WhatsApp",
    "hold": "A hold was placed on this person",
    "no_consent": "Never agreed to this purpose",
    "pending": "Agreement not confirmed yet",
    "withdrawn": "Opted out",
    "invalid": "The consent on file is invalid",
    "expired": "The consent has expired",
    "grade_too_low": "The proof of consent is too weak",
    "unreachable": "The number is not on WhatsApp",
    "reaffirm_due": "The consent must be renewed first",
    "ledger_mismatch": "The consent record did not match the ledger",
    "window_closed": "It was too late to answer",
    "bad_parameters": "The message could not be filled in for this person",
    "country_paused": "Sending to this country is paused",
    "erased": "The person asked to be erased",
}

WAITING = {
    "paused": "The campaign is paused",
    "late": "It is late",
    "no_worker": "No worker is running",
    "scheduled": "It is scheduled",
    "sender_paused": "The sender is paused",
    "ledger_unsigned": "The ledger of consents is not being signed",
    "canary": "The first few people have been messaged",
    "quiet_hours": "It is quiet hours where the people live who are left",
    "retry": "The remaining messages are tried again",
    "not_before": "The remaining messages may only go out later",
}

VERDICTS = {
    "accepted": ("Accepted", "contact saved, consent recorded"),
    "opt_out_applied": ("Opt-out applied", "the person will get nothing"),
    "contact_only": ("Contact only", "saved without consent; cannot be messaged yet"),
    "pending_confirm": ("To be confirmed", "the consent needs the person's confirmation"),
    "expired_on_arrival": ("Expired on arrival", "the consent is too old to rely on"),
    "not_sendable": ("Not sendable", "the proof of consent is incomplete"),
    "refused_suppressed": ("Refused, opted out", "opted out before; never revived by an import"),
    "duplicate": ("Duplicate", "said before, in this file or an earlier one"),
    "rejected": ("Rejected", "the row cannot be used; see the reason"),
}

FIELDS = {
    "phone": "Phone",
    "name": "Name",
    "language": "Language",
    "country": "Country",
    "time_zone": "Time zone",
    "action": "Opt-in or opt-out",
    "purpose": "Purpose",
    "occurred_at": "When they agreed",
    "method": "How they agreed",
    "collection_point": "Where they agreed",
    "notice_id": "Notice shown",
    "source_system": "Source system",
    "source_record_id": "Record in that system",
    "evidence_ref": "Where the proof is",
    "evidence_sha256": "SHA-256 of the proof",
    "collected_by": "Who collected it",
    "confirmed_at": "When they confirmed",
}
MENDED = {
    "lost_plus": "had lost the plus",
    "lost_zero": "had lost the leading zero",
    "decimal_point": "had been turned into a decimal",
}
MERGES = {
    "fill": "Fill in what is blank",
    "overwrite": "Replace with what the file says",
    "skip": "Leave people we know as they are",
}
ENCODINGS = {
    "utf-8": "UTF-8",
    "utf-8-sig": "UTF-8",
    "utf-16": "UTF-16",
    "cp932": "Shift-JIS",
    "shift_jis": "Shift-JIS",
    "euc_jp": "EUC-JP",
    "cp1252": "Windows Latin",
    "latin_1": "Latin-1",
    "utf-16-le": "UTF-16, little end first",
    "utf-16-be": "UTF-16, big end first",
    "iso2022_jp": "JIS (ISO-2022-JP)",
    "gb18030": "Chinese, simplified (GB)",
    "big5": "Chinese, traditional (Big5)",
    "euc_kr": "Korean (EUC-KR)",
    "cp1250": "Windows Central European",
    "cp1251": "Windows Cyrillic",
    "cp1253": "Windows Greek",
    "cp1254": "Windows Turkish",
    "cp1255": "Windows Hebrew",
    "cp1256": "Windows Arabic",
    "cp1258": "Windows Vietnamese",
    "cp874": "Windows Thai",
    "mac_roman": "Mac Roman",
}
ENCODINGS_CHOSEN = [name for name in ENCODINGS if name not in ("utf-8-sig", "utf-16", "shift_jis", "latin_1")]
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}

CONSENT_STATES = {
    "none": "No consent",
    "pending": "Waiting for confirmation",
    "subscribed": "Agreed",
    "withdrawn": "Opted out",
    "expired": "Expired",
    "invalid": "Invalid",
    "closed": "Closed",
}

# How consent was given or taken back, and by what.
METHODS = {
    "wa_keyword": "Wrote it in WhatsApp",
    "wa_button": "Tapped a button in WhatsApp",
    "wa_flow": "Form in WhatsApp",
    "wa_code": "Code sent from WhatsApp",
    "meta_pref": "Setting in WhatsApp",
    "pref_centre": "Preference centre",
    "dsar": "Data-subject request",
    "api": "Through the API",
}
CONSENT_REASONS = {
    "stop_word": "a stop word",
    "stop_button": "the stop button",
    "meta_stop": "stopped marketing inside WhatsApp",
    "meta_resume": "resumed marketing inside WhatsApp",
    "ambiguous_reply": "an unclear reply",
    "ambiguous_unresolved": "an unclear reply nobody resolved in 7 days",
    "doubtful_clock": "a doubtful time in the record",
    "kept_by_person": "the person chose to keep the messages",
    "answered": "the person answered clearly",
    "declined": "the person said no",
    "reviewed_as_stop": "a reviewer read it as a stop",
    "reviewed_as_no_stop": "a reviewer read it as no stop",
    "import": "an import",
    "restriction": "a restriction the person asked for",
    "erasure": "an erasure",
    "invalid_import": "the import turned out bad",
    "invalid_notice": "the notice turned out defective",
    "invalid_point": "the place where they agreed turned out bad",
}
INVALIDATED = {"import": "Import", "notice": "Notice", "collection_point": "Place where they agreed"}

# What the log's entries are about.
OBJECTS = {
    "api_key": "API key",
    "contact": "Person",
    "data_request": "Request",
    "export": "Audit package",
    "hook": "Webhook to",
    "invalidation": "Invalid consents",
    "media": "File",
    "rates": "Rate card",
    "reply_text": "Wording",
    "routing_rule": "Rule",
    "sender": "Number",
    "source": "Webhook source",
}

REPLIES = {
    "stop_confirmed": ("Confirmation of a stop", "sent once, within five minutes; no promotion"),
    "hold_question": ("Question after an unclear message", "asked once; marketing pauses until it is answered"),
    "hold_kept": ("After *keep them*", "the pause is over"),
    "notice_offer": ("Notice with a button", "after START; only a tap on the first button subscribes"),
    "opted_in": ("Welcome", "after the person agreed"),
    "already_in": ("Already subscribed", "after START of somebody who gets messages anyway"),
    "declined": ("After *no*", "the person did not agree to the notice"),
    "help": ("Help", "who you are, and how to stop"),
    "form_confirmed": ("After an opt-in form", "the person sent the form's code: what they get, and how to stop"),
    "code_refused": ("A form's code that does not count", "used, too old, or of another number; nothing changed"),
    "rule": ("Automatic answer", "by a rule"),
    "person": ("Answer", "by one of you"),
}

WORK = {
    "waiting": "Waiting",
    "running": "Running",
    "paused": "Paused",
    "checked": "Checked, nothing written yet",
    "awaiting": "Waits for an approval, only its opt-outs are written",
    "undoing": "Being undone",
    "undone": "Undone",
    "done": "Done",
    "failed": "Failed",
    "cancelled": "Cancelled",
}

OPERATORS = {
    "eq": "is",
    "ne": "is not",
    "in": "is one of",
    "not_in": "is none of",
    "contains": "contains",
    "starts_with": "starts with",
    "gt": "is after",
    "gte": "is on or after",
    "lt": "is before",
    "lte": "is before or at",
    "exists": "is known",
    "within_days": "in the last days",
    "before_days": "more than days ago",
}


def plain(word: str) -> str:
    """A stored word nobody translated, still readable: `bad_thing` → `Bad thing`."""
    return word.replace("_", " ").capitalize()


def consent_state(word: str | None) -> str:
    return CONSENT_STATES.get(word.lower(), plain(word)) if word else "No change"


def method(word: str | None) -> str:
    return METHODS.get(word, plain(word)) if word else "–"


def consent_reason(word: str | None) -> str:
    return CONSENT_REASONS.get(word, plain(word)) if word else "–"


def purpose(code: str) -> str:
    """A purpose, or the scope of a withdrawal: `marketing.*` is all marketing."""
    if code == "*":
        return "Everything"
    kind, _, rest = code.partition(".")
    return f"All {kind}" if rest == "*" else plain(code.replace(".", ", "))


def waiting(word: str, detail: str) -> str:
    """Why nothing moves, as a sentence; a detail that is one already stands alone."""
    if detail.endswith("."):
        return detail
    known = WAITING.get(word, plain(word))
    return f"{known}: {detail}." if detail else f"{known}."


def refusal(purpose_code: str, why: str) -> str:
    """What a person refused, such as `Opted out of all marketing`."""
    about = purpose(purpose_code).lower()
    if why == "withdrawn":
        return f"Opted out of {about}"
    if why == "meta_stop":
        return f"Stopped {about} inside WhatsApp"
    return f"On hold for {about}"


def reason(word: str) -> str:
    """Why somebody is not messaged; what follows a colon (which sender) is left out."""
    kind = word.partition(":")[0]
    return REASONS.get(kind, plain(kind))


def campaign_status(word: str) -> str:
    return CAMPAIGN.get(CampaignStatus(word), plain(word)) if word in set(CampaignStatus) else plain(word)


def account_event(kind: str) -> str:
    return ACCOUNT_EVENTS.get(kind, plain(kind))
