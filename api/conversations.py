"""The inbox: what people wrote, who looks after it, and answers while the service window is open."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Self
from uuid import UUID, uuid4

from litestar import Controller, Response, get, post
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.response import Stream
from msgspec import Meta, Struct
from sqlalchemy.ext.asyncio import AsyncSession

from api import downloads
from api.auth import MARKETING, READ_PEOPLE, AuthedRequest
from api.idempotency import once
from api.paging import Cursor, Limit, PageOut
from api.state import Db, Held, Now
from api.state import Parts as ApiParts
from core.consent import gate
from core.consent.gate import SendRequest
from core.errors import Conflict, RuleViolation
from core.models import Conversation
from core.services import conversations, people, replies, senders, threads
from core.services.conversations import Shown
from core.services.paging import Page
from core.services.threads import Line
from core.statuses import ConversationStatus, DeliveryStatus, MessageKind, ReceivedStatus, SkipReason

# Why the gate lets nothing go to a person who wrote to us.
_REFUSALS = {
    SkipReason.WINDOW_CLOSED: "the 24 hours in which free text is allowed are over",
    SkipReason.SUPPRESSED: "this person has opted out",
    SkipReason.WITHDRAWN: "this person has opted out",
    SkipReason.ERASED: "this person asked to be erased",
    SkipReason.TENURE_CLOSED: "this number belongs to somebody else now",
    SkipReason.KILL_SWITCH: "answers are halted: the service purpose is switched off",
    SkipReason.HOLD: "a stop of this person is being recorded: try again in a few seconds",
    SkipReason.NO_ADDRESS: "there is no address left for this person",
    SkipReason.META_STOP: "this person stopped marketing messages inside WhatsApp",
    SkipReason.NO_CONSENT: "this person never agreed to this purpose",
    SkipReason.PENDING: "this person has not confirmed the agreement yet",
    SkipReason.EXPIRED: "the consent has expired",
    SkipReason.INVALID: "the consent on file is invalid",
    SkipReason.GRADE_TOO_LOW: "the proof of consent is too weak",
    SkipReason.REAFFIRM_DUE: "the consent must be renewed first",
    SkipReason.UNREACHABLE: "the number is not on WhatsApp",
}


def refusal_words(reason: SkipReason) -> str:
    """The gate's reason as the sentence whoever wants to write reads."""
    return _REFUSALS.get(reason, f"the consent gate refuses: {reason.value}")


Words = Annotated[str | None, QueryParameter(max_length=200, description="A name, a number, or what was said")]


class RefusedOut(Struct):
    purpose: str  # or a scope, such as marketing.* or *
    why: str  # withdrawn, hold or meta_stop


class FileOut(Struct):
    status: ReceivedStatus
    mime_type: str | None
    filename: str | None
    bytes: int | None
    error: str | None  # why it is not here


class ConversationOut(Struct):
    id: UUID
    contact_id: UUID
    name: str | None
    phone_masked: str | None
    sender_id: UUID
    sender: str
    status: ConversationStatus
    assignee_id: UUID | None
    assignee: str | None
    campaign_id: UUID | None
    campaign: str | None  # the latest campaign it answers
    unread: int
    handed_over: bool  # a rule asked for a person
    last_words: str | None
    last_type: str | None
    refusals: list[RefusedOut]  # what nothing may be sent to this person for
    last_inbound_at: datetime
    window_ends_at: datetime  # free text may be sent until then

    @classmethod
    def of(cls, shown: Shown) -> Self:
        row = shown.conversation
        return cls(
            id=row.id,
            contact_id=row.contact_id,
            name=shown.name,
            phone_masked=shown.phone_masked,
            sender_id=row.sender_id,
            sender=shown.sender_name,
            status=row.status,
            assignee_id=row.assignee_id,
            assignee=shown.assignee,
            campaign_id=row.campaign_id,
            campaign=shown.campaign_name,
            unread=row.unread,
            handed_over=row.handed_over,
            last_words=shown.last_words,
            last_type=shown.last_type,
            refusals=[RefusedOut(each.purpose, each.why) for each in shown.refusals],
            last_inbound_at=row.last_inbound_at,
            window_ends_at=shown.window_ends_at,
        )


_COLUMNS = (
    "conversation_id",
    "contact_id",
    "name",
    "number",
    "our_number",
    "status",
    "looked_after_by",
    "campaign",
    "unread",
    "wants_a_person",
    "nothing_may_be_sent_for",
    "last_message_at",
    "window_ends_at",
    "last_words",
)


def _cells(shown: Shown) -> list[downloads.Cell]:
    row = shown.conversation
    return [
        str(row.id),
        str(row.contact_id),
        shown.name,
        shown.phone_masked,
        shown.sender_name,
        row.status.value,
        shown.assignee,
        shown.campaign_name,
        row.unread,
        row.handed_over,
        ", ".join(f"{each.purpose} ({each.why})" for each in shown.refusals),
        row.last_inbound_at,
        shown.window_ends_at,
        shown.last_words,
    ]


class LineOut(Struct):
    id: UUID
    is_inbound: bool
    kind: str
    words: str | None
    status: str | None
    skip_reason: str | None
    error: str | None
    intent: str | None
    campaign: str | None
    author: str | None
    at: datetime
    file: FileOut | None

    @classmethod
    def of(cls, line: Line) -> Self:
        return cls(
            id=line.id,
            is_inbound=line.is_inbound,
            kind=line.kind,
            words=line.words,
            status=line.status,
            skip_reason=line.skip_reason,
            error=line.error,
            intent=line.intent,
            campaign=line.campaign_name,
            author=line.author,
            at=line.at,
            file=FileOut(**asdict(line.file)) if line.file else None,
        )


class AnswerIn(Struct, forbid_unknown_fields=True):
    """Words, or a file that `POST /api/media` took, with up to 1,024 characters under it."""

    text: Annotated[str, Meta(max_length=replies.TEXT_BODY)] = ""
    media_id: UUID | None = None


class AnsweredOut(Struct):
    message_id: UUID
    status: DeliveryStatus


class AssignIn(Struct, forbid_unknown_fields=True):
    user_id: UUID | None  # null: nobody


class AgentOut(Struct):
    id: UUID
    name: str


class ConversationController(Controller):
    path = "/conversations"
    tags = ("Conversations",)
    guards = (READ_PEOPLE,)

    @get()
    async def list_conversations(
        self,
        request: AuthedRequest,
        parts: Held,
        session: Db,
        status: Annotated[ConversationStatus | None, QueryParameter(description="open or closed")] = None,
        assignee: Annotated[str | None, QueryParameter(max_length=36, description="me, nobody, or a user's id")] = None,
        unread: Annotated[bool, QueryParameter(description="Only with unread messages")] = False,
        contact_id: Annotated[UUID | None, QueryParameter(description="Only with this person")] = None,
        q: Words = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> PageOut[ConversationOut]:
        """Conversations, the newest message first."""
        found = await conversations.list_page(
            session,
            status=status,
            assignee_id=_assignee(assignee, request),
            unassigned=assignee == "nobody",
            unread=unread,
            words=q,
            contact_id=contact_id,
            region=parts.settings.country,
            limit=limit,
            cursor=cursor,
        )
        return PageOut([ConversationOut.of(each) for each in found.items], found.next)

    @get("/export.csv", media_type="text/csv")
    async def export(
        self,
        request: AuthedRequest,
        parts: Held,
        session: Db,
        status: Annotated[ConversationStatus | None, QueryParameter(description="open or closed")] = None,
        assignee: Annotated[str | None, QueryParameter(max_length=36, description="me, nobody, or a user's id")] = None,
        unread: Annotated[bool, QueryParameter(description="Only with unread messages")] = False,
        q: Words = None,
    ) -> Stream:
        """The same conversations as CSV; who took them along is on record. Numbers are masked as in the list."""
        await people.note(session, request.user, "conversations.exported", "conversation")
        user_id = _assignee(assignee, request)

        async def read(own: AsyncSession, cursor: str | None) -> Page[Shown]:
            return await conversations.list_page(
                own,
                status=status,
                assignee_id=user_id,
                unassigned=assignee == "nobody",
                unread=unread,
                words=q,
                region=parts.settings.country,
                limit=downloads.LIMIT,
                cursor=cursor,
            )

        return downloads.csv_file(parts.sessions, "conversations", list(_COLUMNS), read, _cells)

    @get("/agents")
    async def list_agents(self, session: Db) -> PageOut[AgentOut]:
        """Everybody a conversation may be given to."""
        return PageOut([AgentOut(user.id, user.name) for user in await conversations.agents(session)], None)

    @get("/{conversation_id:uuid}")
    async def read(self, conversation_id: FromPath[UUID], session: Db) -> ConversationOut:
        return await _out(session, await conversations.get(session, conversation_id))

    @get("/{conversation_id:uuid}/messages")
    async def messages(
        self, conversation_id: FromPath[UUID], session: Db, limit: Limit = 50, cursor: Cursor = None
    ) -> PageOut[LineOut]:
        """What was said in both directions, newest first, campaigns included."""
        conversation = await conversations.get(session, conversation_id)
        found = await threads.thread(session, conversation, limit=limit, cursor=cursor)
        return PageOut([LineOut.of(line) for line in found.items], found.next)

    @post("/{conversation_id:uuid}/reply", status_code=202, guards=[MARKETING])
    async def reply(
        self,
        conversation_id: FromPath[UUID],
        data: JSONBody[AnswerIn],
        request: AuthedRequest,
        parts: Held,
        session: Db,
        now: Now,
    ) -> Response[AnsweredOut]:
        """Answer with words, a picture, a video or a document: sent through the consent gate before anything in bulk.

        Refused with the reason when the 24 hours after the person's last message are over, or nothing may be sent.
        """
        conversation = await conversations.get(session, conversation_id)
        sender = await senders.get(session, conversation.sender_id)
        await _refuse_what_the_gate_refuses(parts, conversation, sender.phone_number_id)

        async def make() -> AnsweredOut:
            message = await conversations.answer(
                session,
                conversation_id,
                data.text,
                media_id=data.media_id,
                actor=request.user,
                settings=parts.settings,
                now=now,
            )
            await people.note(session, request.user, "conversation.answered", "conversation", conversation_id)
            return AnsweredOut(message.id, message.status)

        return await once(request, session, AnsweredOut, make, status=202)

    @post("/{conversation_id:uuid}/read", status_code=200, guards=[MARKETING])
    async def mark_read(self, conversation_id: FromPath[UUID], session: Db) -> ConversationOut:
        return await _out(session, await conversations.read(session, conversation_id))

    @post("/{conversation_id:uuid}/close", status_code=200, guards=[MARKETING])
    async def close(
        self, conversation_id: FromPath[UUID], request: AuthedRequest, session: Db, now: Now
    ) -> ConversationOut:
        """Done; it opens again when the person writes."""
        conversation = await conversations.close(session, conversation_id, now=now)
        await people.note(session, request.user, "conversation.closed", "conversation", conversation_id)
        return await _out(session, conversation)

    @post("/{conversation_id:uuid}/reopen", status_code=200, guards=[MARKETING])
    async def reopen(
        self, conversation_id: FromPath[UUID], request: AuthedRequest, session: Db, now: Now
    ) -> ConversationOut:
        conversation = await conversations.reopen(session, conversation_id, now=now)
        await people.note(session, request.user, "conversation.reopened", "conversation", conversation_id)
        return await _out(session, conversation)

    @post("/{conversation_id:uuid}/assign", status_code=200, guards=[MARKETING])
    async def assign(
        self, conversation_id: FromPath[UUID], data: JSONBody[AssignIn], request: AuthedRequest, session: Db
    ) -> ConversationOut:
        """Give the conversation to somebody who may answer, or to nobody."""
        conversation = await conversations.assign(session, conversation_id, data.user_id)
        await people.note(session, request.user, "conversation.assigned", "conversation", conversation_id)
        return await _out(session, conversation)


async def _out(session: Db, conversation: Conversation) -> ConversationOut:
    await session.flush()
    return ConversationOut.of(await conversations.show(session, conversation))


def _assignee(asked: str | None, request: AuthedRequest) -> UUID | None:
    if asked in (None, "", "nobody"):
        return None
    if asked == "me":
        if request.user.user_id is None:
            raise RuleViolation("an API key has no conversations of its own: name a user's id", field="assignee")
        return request.user.user_id
    try:
        return UUID(asked)
    except ValueError as wrong:
        raise RuleViolation("assignee is me, nobody, or a user's id", field="assignee") from wrong


async def _refuse_what_the_gate_refuses(parts: ApiParts, conversation: Conversation, phone_number_id: str) -> None:
    """Ask the gate first, so that whoever writes learns at once; it is asked again when the answer is sent."""
    request = SendRequest(uuid4(), conversation.contact_id, replies.PURPOSE, MessageKind.REPLY, phone_number_id)
    async with gate.permits(parts.sessions, [request], keyring=parts.keyring) as (_, refused):
        reasons = [refusal.reason for refusal in refused]
    for reason in reasons:
        raise Conflict(refusal_words(reason), reason=reason.value)
