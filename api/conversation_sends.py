"""What goes beyond words in a conversation: templates to the person, and files in both directions."""

from dataclasses import asdict
from typing import Any
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.params import FromPath, JSONBody
from litestar.response import File
from msgspec import Struct, field

from api.auth import MARKETING, READ_PEOPLE, AuthedRequest
from api.conversations import AnsweredOut, refusal_words
from api.idempotency import once
from api.paging import PageOut
from api.state import Db, Held
from api.templates import PlaceholderOut
from core import template as rules
from core.errors import Conflict
from core.services import conversations, direct, media, people, received, senders, templates
from core.services.direct import Offer
from core.statuses import Category, DeliveryStatus, SkipReason

# Shown by a browser as what they are; everything else is only saved.
SAFE_TYPES = frozenset({"image/jpeg", "image/png", "image/webp", "audio/ogg", "audio/mpeg", "audio/mp4", "audio/aac",
                        "audio/amr", "video/mp4", "video/3gpp", "application/pdf", "text/plain"})  # fmt: skip


class OfferOut(Struct):
    """A template for this person; `refusal` is null when it may be sent."""

    template_id: UUID
    name: str
    language: str
    category: Category
    purpose: str
    components: list[Any]
    placeholders: list[PlaceholderOut]
    refusal: SkipReason | None
    refusal_words: str | None

    @classmethod
    def of(cls, offer: Offer) -> "OfferOut":
        template, version = offer.current.template, offer.current.version
        return cls(
            template_id=template.id,
            name=template.name,
            language=template.language,
            category=template.category,
            purpose=template.purpose,
            components=version.components,
            placeholders=[PlaceholderOut(**asdict(hole)) for hole in rules.placeholders(version.components)],
            refusal=offer.refusal,
            refusal_words=refusal_words(offer.refusal) if offer.refusal else None,
        )


class SendTemplateIn(Struct, forbid_unknown_fields=True):
    """`parameters` by placeholder, as in a campaign: {"text"}, {"source", "fallback"}, {"media_id"}, {"link"}, …"""

    template_id: UUID
    parameters: dict[str, dict[str, Any]] = field(default_factory=dict)


class ConversationSendController(Controller):
    path = "/conversations/{conversation_id:uuid}"
    tags = ("Conversations",)
    guards = (READ_PEOPLE,)

    @get("/templates")
    async def list_offers(self, conversation_id: FromPath[UUID], parts: Held, session: Db) -> PageOut[OfferOut]:
        """The account's approved templates, and for each whether this person allows its purpose."""
        conversation = await conversations.get(session, conversation_id)
        sender = await senders.get(session, conversation.sender_id)
        found = await direct.offers(session, parts.sessions, conversation, sender, keyring=parts.keyring)
        return PageOut([OfferOut.of(offer) for offer in found], None)

    @post("/template", status_code=202, guards=[MARKETING])
    async def send_template(
        self,
        conversation_id: FromPath[UUID],
        data: JSONBody[SendTemplateIn],
        request: AuthedRequest,
        parts: Held,
        session: Db,
    ) -> Response[AnsweredOut]:
        """Send a template, also when the 24 hours for free text are over: through the consent gate, before bulk.

        Refused with the reason when the person does not allow the template's purpose.
        """
        conversation = await conversations.get(session, conversation_id)
        sender = await senders.get(session, conversation.sender_id)
        current = await templates.get(session, data.template_id)
        purpose = current.template.purpose
        refused = await direct.refusals(parts.sessions, conversation, sender, [purpose], keyring=parts.keyring)
        if purpose in refused:
            raise Conflict(refusal_words(refused[purpose]), reason=refused[purpose].value)

        async def make() -> AnsweredOut:
            locked = await conversations.get(session, conversation_id, lock=True)
            message_id = await direct.queue_template(
                session, locked, sender, current, data.parameters, actor=request.user, settings=parts.settings
            )
            await people.note(
                session,
                request.user,
                "conversation.template_sent",
                "conversation",
                conversation_id,
                template=current.template.name,
            )
            return AnsweredOut(message_id, DeliveryStatus.QUEUED)

        return await once(request, session, AnsweredOut, make, status=202)

    @get("/messages/{line_id:uuid}/file")
    async def read_file(self, conversation_id: FromPath[UUID], line_id: FromPath[UUID], session: Db) -> File:
        """The picture, voice message or document a message brought; 409 with the reason while it is not here."""
        conversation = await conversations.get(session, conversation_id)
        ours = await media.of_answer(session, conversation, line_id)
        if ours is not None:
            path, name, mime_type = str(media.path_of(ours)), ours.filename, ours.mime_type
        else:
            theirs = await received.of_message(session, conversation, line_id)
            path, name, mime_type = str(theirs.path), received.name_of(theirs), theirs.mime_type or ""
        media_type = mime_type if mime_type in SAFE_TYPES else "application/octet-stream"
        return File(
            path,
            filename=name,
            media_type=media_type,
            content_disposition_type="attachment",
            headers={"x-content-type-options": "nosniff", "cache-control": "private, no-store"},
        )
