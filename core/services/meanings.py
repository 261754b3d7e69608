"""What an inbound message means for consent: by a button's payload first, then by its words; pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from core.consent import keywords
from core.consent.keywords import MARKETING
from core.form_code import code_in
from core.models import Contact, Message
from core.statuses import InboundIntent
from core.whatsapp.webhooks import Inbound

BUTTON_TYPES = frozenset({"button", "interactive"})


class Answer(StrEnum):
    """What somebody tapped under a question of ours; the words are the payloads' own."""

    AGREE = "agree"
    DECLINE = "decline"
    KEEP = "keep"


@dataclass(frozen=True)
class Meaning:
    """What an inbound message means, and by which word."""

    intent: InboundIntent
    scopes: tuple[str, ...] = (MARKETING,)  # what an opt-out ends
    reason: str | None = None
    language: str | None = None  # of the word
    answer: Answer | None = None
    notice_id: UUID | None = None  # of an answer to an offer
    code: str | None = None  # of a filled-in form


@dataclass(frozen=True)
class Heard:
    """An inbound message that was recorded just now."""

    inbound: Inbound
    inbound_id: UUID | None  # null for a choice in the app's settings
    contact: Contact
    sender_id: UUID | None  # of ours, when we know the number it was written to
    said: Meaning
    credited: Message | None  # the message it answers


def meaning(inbound: Inbound, language: str | None = None, purposes: Mapping[str, str] | None = None) -> Meaning:
    """A payload of ours decides before any text; other taps and words go through the keyword table.

    `language` is the contact's: weak stop words act in their own language only, elsewhere they are ambiguous.
    `purposes` are words that narrow a stop, as `narrowing` makes them.
    """
    if inbound.payload_id is not None:
        scope = keywords.classify_payload(inbound.payload_id)
        if scope is not None:
            return Meaning(InboundIntent.OPT_OUT, (scope,), "stop_button")
        if answered := _answer(inbound.payload_id):
            return answered
    if not inbound.words:
        return Meaning(InboundIntent.REPLY)
    found = keywords.classify(inbound.words, language=language, purposes=purposes)
    if found.intent not in (InboundIntent.OPT_OUT, InboundIntent.AMBIGUOUS) and (code := code_in(inbound.words)):
        return Meaning(InboundIntent.OPT_IN, language=found.language, code=code)
    by = "stop_button" if inbound.type in BUTTON_TYPES else "stop_word"
    reason = by if found.intent is InboundIntent.OPT_OUT else None
    return Meaning(found.intent, found.scopes or (MARKETING,), reason, found.language)


def payload(answer: Answer, notice_id: UUID | None = None) -> str:
    """The payload of a button of ours, as `meaning` reads it."""
    return f"kairan:{answer}:{notice_id}" if notice_id else f"kairan:{answer}"


def _answer(payload_id: str) -> Meaning | None:
    own, _, rest = payload_id.partition(":")
    word, _, about = rest.partition(":")
    if own != "kairan" or word not in set(Answer):
        return None
    intent = InboundIntent.OPT_IN if word == Answer.AGREE else InboundIntent.REPLY
    try:
        notice_id = UUID(about) if about else None
    except ValueError:
        notice_id = None
    return Meaning(intent, answer=Answer(word), notice_id=notice_id)


def narrowing(purposes: Mapping[str, object]) -> dict[str, str]:
    """The words that name one purpose among several of its kind: `marketing.events` is called events."""
    return {code.rsplit(".", 1)[-1].replace("_", " "): code for code in purposes if "." in code}


def evidence_of(inbound: Inbound) -> dict[str, object]:
    """What proves that somebody said something in a chat; personal data."""
    return {
        "wa_id": inbound.wa_id or "",
        "user_id": inbound.user_id or "",
        "message_text": inbound.words or "",
        "provider_message_id": inbound.provider_id,
        "webhook": inbound.raw.decode("utf-8", "replace"),
    }
