"""Opt-in forms for those who make them: list, make, change, take down, what came of them."""

import io
from datetime import datetime
from typing import Annotated, Self, TypeVar
from uuid import UUID

import segno
from litestar import Controller, Response, get, patch, post
from litestar.params import FromPath, JSONBody
from msgspec import UNSET, Meta, Struct, UnsetType, field
from sqlalchemy.ext.asyncio import AsyncSession

from api.auth import CONSENT, AuthedRequest, allow
from api.form_pages import times_shown
from api.idempotency import once
from api.paging import Cursor, Limit, PageOut, Words
from api.state import Db, Held, Parts
from core.models import OptInForm
from core.services import forms, people
from core.services.forms import Figures
from core.statuses import Role

READ = allow(Role.MARKETER, Role.COMPLIANCE)

Name = Annotated[str, Meta(min_length=1, max_length=100)]
Languages = Annotated[list[str], Meta(min_length=1, max_length=len(forms.LANGUAGES))]
Origins = Annotated[list[str], Meta(max_length=20)]


class OfferIn(Struct, forbid_unknown_fields=True):
    """One box: a purpose, and the notice (by its code) people are shown beside it."""

    purpose: str
    notice: str


Offers = Annotated[list[OfferIn], Meta(min_length=1, max_length=10)]


class FormIn(Struct, forbid_unknown_fields=True):
    slug: Annotated[str, Meta(min_length=1, max_length=60, description="Of the address /o/SLUG; it never changes")]
    name: Name
    sender_id: UUID
    offers: Offers
    languages: Languages = field(default_factory=lambda: ["en"])
    origins: Origins = field(default_factory=list)
    asks_number: bool = False


class FormChangeIn(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What is left out stays."""

    name: Name | UnsetType = UNSET
    sender_id: UUID | UnsetType = UNSET
    offers: Offers | UnsetType = UNSET
    languages: Languages | UnsetType = UNSET
    origins: Origins | UnsetType = UNSET
    asks_number: bool | UnsetType = UNSET
    is_active: bool | UnsetType = UNSET


class FormOut(Struct):
    id: UUID
    slug: str
    name: str
    url: str
    sender_id: UUID
    offers: list[OfferIn]
    languages: list[str]
    origins: list[str]
    asks_number: bool
    is_active: bool
    shown: int | None  # times people looked at it, about; null while that cannot be read
    requested: int
    confirmed: int  # from WhatsApp: only these are consents
    refused: int  # codes that came and did not count
    created_at: datetime

    @classmethod
    def of(cls, form: OptInForm, base: str, shown: int | None, figures: Figures) -> Self:
        return cls(
            id=form.id,
            slug=form.slug,
            name=form.name,
            url=f"{base}/o/{form.slug}",
            sender_id=form.sender_id,
            offers=[OfferIn(each["purpose"], each["notice"]) for each in form.offers],
            languages=form.languages,
            origins=form.origins,
            asks_number=form.asks_number,
            is_active=form.is_active,
            shown=shown,
            requested=figures.requested,
            confirmed=figures.confirmed,
            refused=figures.refused,
            created_at=form.created_at,
        )


Given = TypeVar("Given")


def _given(value: Given | UnsetType) -> Given | None:
    return None if isinstance(value, UnsetType) else value


async def _out(parts: Parts, session: AsyncSession, those: list[OptInForm]) -> list[FormOut]:
    ids = [form.id for form in those]
    shown, figures = await times_shown(parts, ids), await forms.figures(session, ids)
    return [FormOut.of(form, parts.settings.links_url, shown[form.id], figures[form.id]) for form in those]


def _plain(offers: list[OfferIn]) -> list[dict[str, str]]:
    return [{"purpose": each.purpose, "notice": each.notice} for each in offers]


class FormController(Controller):
    path = "/forms"
    tags = ("Opt-in forms",)

    @get(guards=[READ])
    async def list_forms(
        self, parts: Held, session: Db, q: Words = None, limit: Limit = 50, cursor: Cursor = None
    ) -> PageOut[FormOut]:
        """Newest first, with what came of each."""
        found = await forms.list_page(session, words=q, limit=limit, cursor=cursor)
        return PageOut(await _out(parts, session, list(found.items)), found.next)

    @post(guards=[CONSENT])
    async def create(
        self, data: JSONBody[FormIn], request: AuthedRequest, parts: Held, session: Db
    ) -> Response[FormOut]:
        """A form that anybody can open at once."""

        async def make() -> FormOut:
            form = await forms.create(
                session,
                slug=data.slug,
                name=data.name,
                sender_id=data.sender_id,
                offers=_plain(data.offers),
                languages=data.languages,
                origins=data.origins,
                asks_number=data.asks_number,
            )
            await people.note(session, request.user, "form.created", "form", form.id, slug=form.slug)
            (made,) = await _out(parts, session, [form])
            return made

        return await once(request, session, FormOut, make)

    @get("/{form_id:uuid}", guards=[READ])
    async def read(self, form_id: FromPath[UUID], parts: Held, session: Db) -> FormOut:
        (found,) = await _out(parts, session, [await forms.get(session, form_id)])
        return found

    @patch("/{form_id:uuid}", guards=[CONSENT])
    async def change(
        self,
        form_id: FromPath[UUID],
        data: JSONBody[FormChangeIn],
        request: AuthedRequest,
        parts: Held,
        session: Db,
    ) -> FormOut:
        """Change a form; `is_active: false` takes it down, and its codes stop counting."""
        form = await forms.change(
            session,
            form_id,
            name=_given(data.name),
            sender_id=_given(data.sender_id),
            offers=None if data.offers is UNSET else _plain(data.offers),
            languages=_given(data.languages),
            origins=_given(data.origins),
            asks_number=_given(data.asks_number),
            is_active=_given(data.is_active),
        )
        fields = sorted(name for name in data.__struct_fields__ if getattr(data, name) is not UNSET)
        await people.note(session, request.user, "form.changed", "form", form_id, fields=fields)
        (changed,) = await _out(parts, session, [form])
        return changed

    @get("/{form_id:uuid}/qr.svg", guards=[READ])
    async def picture(self, form_id: FromPath[UUID], parts: Held, session: Db) -> Response[bytes]:
        """A QR code of the form's address, to print."""
        form = await forms.get(session, form_id)
        target = io.BytesIO()
        segno.make(f"{parts.settings.links_url}/o/{form.slug}", error="m").save(target, kind="svg", scale=10)
        headers = {"content-disposition": f'attachment; filename="{form.slug}.svg"'}
        return Response(target.getvalue(), media_type="image/svg+xml", headers=headers)
