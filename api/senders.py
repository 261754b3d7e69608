"""Senders: the organisation's own numbers."""

import re
from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from litestar import Controller, Response, get, patch, post
from litestar.params import FromPath, JSONBody
from msgspec import UNSET, Meta, Struct, UnsetType, to_builtins

from api.auth import MARKETING, READ_MARKETING, AuthedRequest
from api.idempotency import once
from api.paging import PageOut
from api.sentences import DIGITS, SPELLED_NUMBER, WORDS
from api.state import Db, Held, Now
from core.errors import RuleViolation
from core.models import Sender
from core.services import people, senders
from core.services.stops import paused_by
from core.whatsapp import numbers


class SenderIn(Struct, forbid_unknown_fields=True):
    phone_number_id: Annotated[str, Meta(pattern=DIGITS)]
    waba_id: Annotated[str, Meta(pattern=DIGITS)]
    name: Annotated[str, Meta(min_length=1, max_length=100)]
    messages_per_second: Annotated[int, Meta(ge=1, le=1000)] | None = None  # null: as fast as the provider allows
    display_number: (
        Annotated[
            str,
            Meta(pattern=SPELLED_NUMBER, description="Only compared, in any spelling, with what the provider says"),
        ]
        | None
    ) = None


class SenderChangeIn(Struct, forbid_unknown_fields=True):
    """What changes; what is left out stays."""

    name: Annotated[str, Meta(min_length=1, max_length=100)] | UnsetType = UNSET
    messages_per_second: Annotated[int, Meta(ge=1, le=1000)] | UnsetType = UNSET
    pause_on_red: Annotated[bool, Meta(description="Stop when the provider flags the number's quality")] | UnsetType = (
        UNSET
    )
    pause_on_orphans: (
        Annotated[bool, Meta(description="Stop when messages are reported on that Kairan did not send")] | UnsetType
    ) = UNSET


class ReasonIn(Struct, forbid_unknown_fields=True):
    reason: Annotated[str, Meta(min_length=1, max_length=300, pattern=WORDS)]


class SenderOut(Struct):
    id: UUID
    phone_number_id: str
    waba_id: str
    display_number: str
    name: str
    verified_name: str | None
    quality: str
    limit_tier: str | None
    messages_per_second: int
    paused_at: datetime | None
    pause_reason: str | None
    pause_code: str | None  # provider:CODE, quality:red, account:…, integrity:orphans; null when a person did
    pause_on_red: bool
    pause_on_orphans: bool

    @classmethod
    def of(cls, sender: Sender) -> Self:
        return cls(
            sender.id,
            sender.phone_number_id,
            sender.waba_id,
            sender.display_number,
            sender.name,
            sender.verified_name,
            sender.quality,
            sender.limit_tier,
            sender.messages_per_second,
            sender.paused_at,
            sender.pause_reason,
            sender.pause_code,
            sender.pause_on_red,
            sender.pause_on_orphans,
        )


def _digits(number: str) -> str:
    return re.sub(r"\D", "", number)


class SenderController(Controller):
    path = "/senders"
    tags = ("Senders",)

    @get(guards=[READ_MARKETING])
    async def list_senders(self, session: Db) -> PageOut[SenderOut]:
        return PageOut([SenderOut.of(sender) for sender in await senders.list_all(session)], None)

    @post(guards=[MARKETING])
    async def register(
        self, data: JSONBody[SenderIn], request: AuthedRequest, parts: Held, session: Db
    ) -> Response[SenderOut]:
        """Register a number of the Cloud API. The provider is asked first: an id it does not know is refused."""

        async def make() -> SenderOut:
            known = await numbers.read(parts.whatsapp, data.waba_id, data.phone_number_id)
            if data.display_number and _digits(data.display_number) != _digits(known.display_phone_number):
                raise RuleViolation(
                    f"this id belongs to {known.display_phone_number}, not to the number given", field="display_number"
                )
            sender = await senders.add(
                session,
                phone_number_id=data.phone_number_id,
                waba_id=data.waba_id,
                known=known,
                name=data.name,
                messages_per_second=data.messages_per_second or known.most_per_second,
            )
            await people.note(session, request.user, "sender.registered", "sender", sender.id)
            return SenderOut.of(sender)

        return await once(request, session, SenderOut, make)

    @patch("/{sender_id:uuid}", guards=[MARKETING])
    async def change(
        self, sender_id: FromPath[UUID], data: JSONBody[SenderChangeIn], request: AuthedRequest, session: Db
    ) -> SenderOut:
        """Change the label, the pace, or what pauses the number by itself."""
        changes = to_builtins(data)
        sender = await senders.change(session, sender_id, changes)
        await people.note(session, request.user, "sender.changed", "sender", sender.id, changes=changes)
        return SenderOut.of(sender)

    @post("/{sender_id:uuid}/subscribe", guards=[MARKETING], status_code=200)
    async def subscribe(self, sender_id: FromPath[UUID], request: AuthedRequest, parts: Held, session: Db) -> SenderOut:
        """Ask the provider to deliver webhooks here; it performs its handshake at once."""
        sender = await senders.get(session, sender_id)
        if not parts.settings.whatsapp_verify_token:
            raise RuleViolation("set KAIRAN_WHATSAPP_VERIFY_TOKEN first: the handshake needs it")
        callback = f"{parts.settings.links_url}/webhooks/whatsapp"
        secrets = parts.settings.app_secrets
        await parts.whatsapp.subscribe(
            sender.waba_id, callback, parts.settings.whatsapp_verify_token, secrets[0] if secrets else ""
        )
        await people.note(session, request.user, "sender.subscribed", "sender", sender.id)
        return SenderOut.of(sender)

    @post("/{sender_id:uuid}/pause", guards=[MARKETING], status_code=200)
    async def pause(
        self, sender_id: FromPath[UUID], data: JSONBody[ReasonIn], request: AuthedRequest, session: Db, now: Now
    ) -> SenderOut:
        """Start no new request from this number; who paused it is kept with the reason."""
        sender = await senders.pause(session, sender_id, reason=paused_by(request.user.name, data.reason), now=now)
        await people.note(session, request.user, "sender.paused", "sender", sender.id, reason=data.reason)
        return SenderOut.of(sender)

    @post("/{sender_id:uuid}/resume", guards=[MARKETING], status_code=200)
    async def resume(self, sender_id: FromPath[UUID], request: AuthedRequest, session: Db, now: Now) -> SenderOut:
        sender = await senders.resume(session, sender_id, now=now)
        await people.note(session, request.user, "sender.resumed", "sender", sender.id)
        return SenderOut.of(sender)
