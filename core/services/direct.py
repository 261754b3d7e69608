"""A template to one person, chosen by somebody who talks with them: the way to write when 24 hours have passed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy.ext.asyncio import AsyncSession

from core import template as rules
from core.consent import gate
from core.consent.gate import SendRequest
from core.db import Sessions
from core.errors import Conflict, RuleViolation
from core.keys import Keyring
from core.models import CampaignVariant, Conversation, Reply, Sender
from core.services import contacts, expansion, filling, media, templates
from core.services.filling import Arm
from core.services.people import Actor
from core.services.templates import Current
from core.settings import Settings
from core.statuses import ConversationStatus, MessageKind, ReplyKind, SkipReason, TemplateStatus


@dataclass(frozen=True)
class Offer:
    """A template that could be sent to this person; `refusal` says why the gate would let it not go."""

    current: Current
    refusal: SkipReason | None


async def offers(
    session: AsyncSession, sessions: Sessions, conversation: Conversation, sender: Sender, *, keyring: Keyring
) -> list[Offer]:
    """Every approved template of the number's account, with the gate's word on its purpose for this person."""
    found = [each for each in await templates.list_all(session) if _is_usable(each, sender)]
    purposes = sorted({each.template.purpose for each in found})
    refused = await refusals(sessions, conversation, sender, purposes, keyring=keyring)
    return [Offer(each, refused.get(each.template.purpose)) for each in found]


def _is_usable(current: Current, sender: Sender) -> bool:
    return current.template.waba_id == sender.waba_id and current.template.status is TemplateStatus.APPROVED


async def refusals(
    sessions: Sessions, conversation: Conversation, sender: Sender, purposes: Sequence[str], *, keyring: Keyring
) -> dict[str, SkipReason]:
    """Why the gate would refuse a message for each of the purposes; those it would allow are left out."""
    refused: dict[str, SkipReason] = {}
    for start in range(0, len(purposes), gate.BATCH):
        asked = {uuid4(): purpose for purpose in purposes[start : start + gate.BATCH]}
        requests = [
            SendRequest(number, conversation.contact_id, purpose, MessageKind.TRIGGERED, sender.phone_number_id)
            for number, purpose in asked.items()
        ]
        async with gate.permits(sessions, requests, keyring=keyring) as (_, those):
            refused |= {asked[refusal.message_id]: refusal.reason for refusal in those}
    return refused


async def queue_template(
    session: AsyncSession,
    conversation: Conversation,
    sender: Sender,
    current: Current,
    parameters: dict[str, Any],
    *,
    actor: Actor,
    settings: Settings,
) -> UUID:
    """Queue the template for this person, before everything in bulk; returns the message's id.

    `parameters` are written as a campaign's are: a text, a source with a fallback, a media_id, a link or a payload.
    Whoever sends in an unassigned conversation takes it. Raises Conflict for a template that may not be sent now, and
    RuleViolation for parameters that do not fit. The gate decides when it is sent.
    """
    template, version = current.template, current.version
    if template.waba_id != sender.waba_id:
        raise RuleViolation("this template belongs to another account than the number", field="template_id")
    if template.status is not TemplateStatus.APPROVED:
        raise Conflict(f"the template is {template.status.value}: only an approved one can be sent")
    holes = rules.placeholders(version.components)
    filling.check_parameters(holes, parameters)
    for value in parameters.values():
        if "media_id" in value:
            await _check_media(session, value["media_id"], sender)
    arm = Arm(
        CampaignVariant(template_version_id=version.id, parameters=parameters, label="A", weight=1),
        template.category,
        holes,
    )
    contact = await contacts.get(session, conversation.contact_id)
    message_id = await expansion.make_one(
        session,
        MessageKind.TRIGGERED,
        sender.id,
        template.purpose,
        arm,
        contact.id,
        default_zone=settings.time_zone,
    )
    session.add(Reply(message_id=message_id, contact_id=contact.id, kind=ReplyKind.PERSON, user_id=actor.user_id))
    conversation.unread, conversation.handed_over = 0, False
    conversation.status, conversation.closed_at = ConversationStatus.OPEN, None
    conversation.assignee_id = conversation.assignee_id or actor.user_id
    await session.flush()
    return message_id


async def _check_media(session: AsyncSession, given: Any, sender: Sender) -> None:
    try:
        found = await media.get(session, UUID(str(given)))
    except ValueError as wrong:
        raise RuleViolation("media_id is an id that POST /api/media gave", field="parameters") from wrong
    if found.sender_id != sender.id:
        raise RuleViolation("this file was uploaded for another number: upload it again", field="parameters")
