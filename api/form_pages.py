"""Opt-in forms as anybody sees them: GET shows, POST asks for a code. Nobody is written to, nothing is granted here."""

import ipaddress
import re
from typing import Annotated
from uuid import UUID

from litestar import Controller, Request, Response, get, post
from litestar.datastructures import State
from litestar.params import FromPath, QueryParameter
from redis.exceptions import RedisError

from api import form_html
from api.auth import address_of
from api.state import Db, Held, Now, Parts
from core.errors import NotFound, RuleViolation, TooManyRequests
from core.models import OptInForm, Sender
from core.phone import PhoneError
from core.services import forms, links
from core.services.forms import NoticeChanged, Offer

WINDOW_S = 900
MOST_PER_ADDRESS = 30  # requests within the window: a shop's tablet or an office shares one address
SHOWN = "form:shown:"  # a counter per form in Valkey, so that showing a page writes no row
MOST_IN_BODY = 16 << 10
Visitor = Request[None, None, State]
Lang = Annotated[str | None, QueryParameter(name="lang", max_length=10)]
_ACCEPTED = re.compile(r"\s*([a-z]{2,3})(?:-[a-z0-9-]+)?\s*(?:;\s*q=([01](?:\.\d{1,3})?))?\s*", re.IGNORECASE)


class FormPageController(Controller):
    path = "/o"
    tags = ("Opt-in forms",)

    @get("/{slug:str}", exclude_from_auth=True)
    async def show(
        self, slug: FromPath[str], request: Visitor, parts: Held, session: Db, lang: Lang = None
    ) -> Response[str]:
        """The form in the visitor's language. Link previews fetch it too, so it changes nothing."""
        try:
            form = await forms.shown(session, slug)
        except NotFound:
            return _page(404, form_html.gone_page(language_of(request, lang, list(forms.LANGUAGES))), [])
        language = language_of(request, lang, form.languages)
        boxes = await forms.offers(session, form, language)
        if not boxes:
            return _page(404, form_html.gone_page(language), form.origins)
        await _count(parts, form, request)
        return _page(200, _form(form, language, boxes), form.origins)

    @post("/{slug:str}", exclude_from_auth=True, status_code=200, request_max_body_size=MOST_IN_BODY)
    async def ask(
        self, slug: FromPath[str], request: Visitor, parts: Held, session: Db, now: Now, lang: Lang = None
    ) -> Response[str]:
        """Keep what was ticked, and show the link and the QR code with which it is confirmed from WhatsApp."""
        try:
            form = await forms.shown(session, slug)
        except NotFound:
            return _page(404, form_html.gone_page(language_of(request, lang, list(forms.LANGUAGES))), [])
        language = language_of(request, lang, form.languages)
        address = visitor_of(request)
        try:
            await _refuse_the_hasty(parts, address)
        except TooManyRequests as hasty:
            answer = _page(429, form_html.wait_page(language, hasty.retry_after_s), form.origins)
            answer.set_header("retry-after", str(hasty.retry_after_s))
            return answer
        filled = await request.form()
        ticked = {
            purpose: _text(filled.get(f"notice.{purpose}")) for purpose in map(_text, filled.getall("purpose", []))
        }
        number = _text(filled.get("number")).strip() if form.asks_number else ""
        visitor = {
            "address_ref": parts.keyring.source_ref("form_visitor", address),
            "user_agent": (request.headers.get("user-agent") or "")[:300],
            "page": f"{parts.settings.links_url}/o/{form.slug}?lang={language}",
        }
        try:
            code = await forms.request(
                session,
                form,
                language=language,
                ticked=ticked,
                number=number,
                visitor=visitor,
                region=parts.settings.country,
                keyring=parts.keyring,
                now=now,
            )
        except (NoticeChanged, RuleViolation) as refused:
            wrong = {NoticeChanged: "changed", PhoneError: "bad_number"}.get(type(refused), "none_ticked")
            boxes = await forms.offers(session, form, language)
            kept = () if wrong == "changed" else tuple(ticked)  # a new wording is agreed to anew
            page = _form(form, language, boxes, wrong=wrong, ticked=kept, number=number[:40])
            return _page(refused.status, page, form.origins)
        sender = await session.get_one(Sender, form.sender_id)
        link = forms.chat_link(sender.display_number, form_html.message(language, code))
        return _page(200, form_html.confirm_page(language, link, code, sender.display_number), form.origins)


def _form(
    form: OptInForm,
    language: str,
    boxes: list[Offer],
    *,
    wrong: str = "",
    ticked: tuple[str, ...] = (),
    number: str = "",
) -> str:
    brand = " · ".join(dict.fromkeys(box.notice.controller for box in boxes))
    return form_html.form_page(
        language,
        form.languages,
        brand,
        boxes,
        asks_number=form.asks_number,
        wrong=wrong,
        ticked=ticked,
        number=number,
    )


def _page(status: int, html: str, origins: list[str]) -> Response[str]:
    media_type = "text/html; charset=utf-8"
    return Response(html, status_code=status, media_type=media_type, headers=form_html.headers(origins))


def _text(value: object) -> str:
    """A field as text PostgreSQL can hold; a file sent in its place counts as nothing."""
    return value.replace("\0", "") if isinstance(value, str) else ""


def language_of(request: Visitor, asked: str | None, spoken: list[str]) -> str:
    """`?lang=`, else what the browser prefers of the languages spoken, else the first of them."""
    if asked in spoken:
        return str(asked)
    header = (request.headers.get("accept-language") or "")[:500]
    named = [found for each in header.split(",") if (found := _ACCEPTED.fullmatch(each))]
    wanted = sorted(((float(found[2] or 1), found[1].lower()) for found in named), key=lambda one: -one[0])
    return next((word for quality, word in wanted if quality and word in spoken), spoken[0])


def visitor_of(request: Visitor) -> str:
    """The visitor's address: what a proxy in our own network says it is, else the caller's."""
    caller = address_of(request) or "unknown"
    last = (request.headers.get("x-forwarded-for") or "").rpartition(",")[2].strip()
    try:
        if last and ipaddress.ip_address(caller).is_private:
            return str(ipaddress.ip_address(last))
    except ValueError:  # the header is anybody's text
        return caller
    return caller


async def _refuse_the_hasty(parts: Parts, address: str) -> None:
    """Count this request before it is kept; raises TooManyRequests past the limit, or while it cannot be counted."""
    name = f"form:address:{parts.keyring.source_ref('form_visitor', address)}"
    try:
        asked = await parts.valkey.incr(name)
        await parts.valkey.expire(name, WINDOW_S, nx=True)
        if asked > MOST_PER_ADDRESS:
            raise TooManyRequests("too many forms", retry_after_s=max(1, await parts.valkey.ttl(name)))
    except RedisError as down:
        raise TooManyRequests("forms cannot be taken for a moment", retry_after_s=60) from down


async def _count(parts: Parts, form: OptInForm, request: Visitor) -> None:
    """One more look by a person; previews and programs are no persons. A lost count is only a lost count."""
    if links.is_bot(request.method, request.headers.get("user-agent")):
        return
    try:
        await parts.valkey.incr(f"{SHOWN}{form.id}")
    except RedisError:
        return


async def times_shown(parts: Parts, form_ids: list[UUID]) -> dict[UUID, int | None]:
    """How often people looked at each form; null while the counter cannot be read."""
    if not form_ids:
        return {}
    try:
        counts = await parts.valkey.mget([f"{SHOWN}{form_id}" for form_id in form_ids])
    except RedisError:
        return dict.fromkeys(form_ids)
    return {form_id: int(count or 0) for form_id, count in zip(form_ids, counts, strict=True)}
