"""People on hold, and the wording of automatic answers."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from litestar import Controller, delete, get, post, put
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.response import Stream
from msgspec import Meta, Struct, field
from sqlalchemy.ext.asyncio import AsyncSession

from api import downloads
from api.auth import CONSENT, READ_PEOPLE, AuthedRequest, allow
from api.paging import Cursor, Limit, PageOut
from api.sentences import WORDS
from api.state import Db, Held, Now
from core.errors import NotFound
from core.services import contacts, holds, people, reply_texts
from core.services.holds import Hold
from core.services.paging import Page
from core.services.reply_texts import Wording
from core.statuses import ReplyKind, Role

Found = Annotated[str | None, QueryParameter(max_length=200, description="A name, a number, or what was said")]
WORDING = allow(Role.MARKETER, Role.COMPLIANCE)


class HoldOut(Struct):
    contact_id: UUID
    name: str | None
    phone_masked: str | None
    language: str | None
    purpose: str
    reason: str | None
    words: str | None
    placed_at: datetime | None
    decided_at: datetime | None  # when it becomes a withdrawal by itself

    @classmethod
    def of(cls, hold: Hold, number: str | None) -> Self:
        return cls(
            contact_id=hold.contact_id,
            name=hold.name,
            phone_masked=number,
            language=hold.language,
            purpose=hold.purpose,
            reason=hold.reason,
            words=hold.words,
            placed_at=hold.placed_at,
            decided_at=hold.decided_at,
        )


def _cells(hold: HoldOut) -> list[downloads.Cell]:
    return [
        str(hold.contact_id),
        hold.name,
        hold.phone_masked,
        hold.language,
        hold.purpose,
        hold.reason,
        hold.words,
        hold.placed_at,
        hold.decided_at,
    ]


class DecisionIn(Struct, forbid_unknown_fields=True):
    reason: Annotated[str, Meta(min_length=3, max_length=300, pattern=WORDS, description="Why; it is kept as evidence")]


class DecidedOut(Struct):
    contact_id: UUID
    state: str  # of the person's marketing consent now


class HoldController(Controller):
    path = "/holds"
    tags = ("Consent",)
    guards = (CONSENT,)

    @get()
    async def list_holds(
        self, parts: Held, session: Db, q: Found = None, limit: Limit = 50, cursor: Cursor = None
    ) -> PageOut[HoldOut]:
        """People who wrote something that may have been a stop, oldest first; after seven days it counts as one."""
        found = await holds.list_page(session, words=q, region=parts.settings.country, limit=limit, cursor=cursor)
        numbers = await contacts.masked_numbers(session, [hold.contact_id for hold in found.items])
        return PageOut([HoldOut.of(hold, numbers[hold.contact_id]) for hold in found.items], found.next)

    @post("/{contact_id:uuid}/place", status_code=200)
    async def place(
        self,
        contact_id: FromPath[UUID],
        data: JSONBody[DecisionIn],
        request: AuthedRequest,
        parts: Held,
        session: Db,
        now: Now,
    ) -> DecidedOut:
        """Send this person nothing until the hold is lifted: a restriction they asked for."""
        await holds.place(
            session,
            contact_id,
            reason=data.reason,
            actor=request.user,
            keyring=parts.keyring,
            settings=parts.settings,
            now=now,
        )
        await people.note(session, request.user, "hold.placed", "contact", contact_id, reason=data.reason)
        return await _state(session, contact_id)

    @get("/export.csv", media_type="text/csv")
    async def export(self, request: AuthedRequest, parts: Held, session: Db, q: Found = None) -> Stream:
        """The same people as CSV, with what they wrote; who took it along is on record."""
        await people.note(session, request.user, "holds.exported", "contact")

        async def read(own: AsyncSession, cursor: str | None) -> Page[HoldOut]:
            found = await holds.list_page(
                own, words=q, region=parts.settings.country, limit=downloads.LIMIT, cursor=cursor
            )
            numbers = await contacts.masked_numbers(own, [hold.contact_id for hold in found.items])
            return Page([HoldOut.of(hold, numbers[hold.contact_id]) for hold in found.items], found.next)

        return downloads.csv_file(parts.sessions, "on-hold", HoldOut.__struct_fields__, read, _cells)

    @post("/{contact_id:uuid}/release", status_code=200)
    async def release(
        self,
        contact_id: FromPath[UUID],
        data: JSONBody[DecisionIn],
        request: AuthedRequest,
        parts: Held,
        session: Db,
        now: Now,
    ) -> DecidedOut:
        """It was no stop: the person may be messaged again."""
        return await _decide(contact_id, data, request, parts, session, now, withdraws=False)

    @post("/{contact_id:uuid}/withdraw", status_code=200)
    async def withdraw(
        self,
        contact_id: FromPath[UUID],
        data: JSONBody[DecisionIn],
        request: AuthedRequest,
        parts: Held,
        session: Db,
        now: Now,
    ) -> DecidedOut:
        """It was a stop: the consent ends."""
        return await _decide(contact_id, data, request, parts, session, now, withdraws=True)


async def _decide(
    contact_id: UUID, data: DecisionIn, request: AuthedRequest, parts: Held, session: Db, now: Now, *, withdraws: bool
) -> DecidedOut:
    await holds.decide(
        session,
        contact_id,
        withdraws=withdraws,
        reason=data.reason,
        actor=request.user,
        keyring=parts.keyring,
        settings=parts.settings,
        now=now,
    )
    action = "hold.withdrawn" if withdraws else "hold.released"
    await people.note(session, request.user, action, "contact", contact_id, reason=data.reason)
    return await _state(session, contact_id)


async def _state(session: Db, contact_id: UUID) -> DecidedOut:
    states = {row.purpose: row.state for row in await contacts.consent_states(session, contact_id)}
    return DecidedOut(contact_id, states.get("marketing") or states.get("marketing.*") or "none")


class WordingOut(Struct):
    kind: ReplyKind
    language: str
    body: str
    buttons: list[str]
    is_own: bool  # false: the built-in wording
    placeholders: list[str]

    @classmethod
    def of(cls, wording: Wording) -> Self:
        return cls(
            wording.kind,
            wording.language,
            wording.body,
            list(wording.buttons),
            wording.is_own,
            sorted(reply_texts.HOLES[wording.kind]),
        )


class WordingIn(Struct, forbid_unknown_fields=True):
    body: Annotated[str, Meta(min_length=1, max_length=reply_texts.MOST_CHARACTERS)]
    buttons: list[str] = field(default_factory=list)


class WordingController(Controller):
    path = "/reply-texts"
    tags = ("Conversations",)

    @get(guards=[READ_PEOPLE])
    async def list_wordings(self, session: Db) -> PageOut[WordingOut]:
        """What automatic answers say, by kind and language."""
        return PageOut([WordingOut.of(wording) for wording in await reply_texts.list_wordings(session)], None)

    @put("/{kind:str}/{language:str}", guards=[WORDING])
    async def put_wording(
        self,
        kind: FromPath[str],
        language: FromPath[str],
        data: JSONBody[WordingIn],
        request: AuthedRequest,
        session: Db,
    ) -> WordingOut:
        """The organisation's own wording, in force for the next answer."""
        wording = await reply_texts.put(session, _kind(kind), language, data.body, data.buttons)
        await people.note(session, request.user, "reply_text.changed", "reply_text", f"{kind}/{language}")
        return WordingOut.of(wording)

    @delete("/{kind:str}/{language:str}", guards=[WORDING])
    async def reset(self, kind: FromPath[str], language: FromPath[str], request: AuthedRequest, session: Db) -> None:
        """Back to the built-in wording."""
        await reply_texts.reset(session, _kind(kind), language)
        await people.note(session, request.user, "reply_text.reset", "reply_text", f"{kind}/{language}")


def _kind(word: str) -> ReplyKind:
    if word not in set(reply_texts.EDITABLE):
        raise NotFound(f"there is no such answer: use one of {', '.join(reply_texts.EDITABLE)}")
    return ReplyKind(word)
