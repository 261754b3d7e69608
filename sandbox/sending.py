"""`POST /{phone_number_id}/messages`: validate, accept, log, and let the message live its life.

A 200 means accepted, nothing more; identical requests are separate messages (Cloud API has no idempotency key).
"""

import asyncio
import re
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from sandbox import bodies, outcomes
from sandbox.errors import GraphError, missing
from sandbox.limits import pair_admit
from sandbox.matching import ButtonValues, check_send
from sandbox.media import media_problem
from sandbox.phones import international, wa_id_of
from sandbox.simulation import Sandbox
from sandbox.state import Message, Number, Template
from sandbox.template_life import pause

_TYPES = (
    "audio", "contacts", "document", "image", "interactive", "location", "reaction", "sticker", "template", "text",
    "video",
)  # fmt: skip
_CALLBACK_LIMIT = 512
_BSUID = re.compile(r"[A-Z]{2}\.(ENT\.)?[A-Za-z0-9]{1,128}")
_EARLY_WAIT_S = 0.15
_encode = msgspec.json.Encoder().encode


class Accepted(NamedTuple):
    """An answer of the messages endpoint; `early` asks to hold it back so that a status overtakes it."""

    body: bytes
    early: bool = False
    drop: bool = False


class Checked(NamedTuple):
    """A request found right: its template, and the code it will fail with after all (0: none)."""

    template: Template | None = None
    buttons: ButtonValues | None = None
    fails_with: int = 0


async def answer(sandbox: Sandbox, number: Number, version: int, raw: bytes) -> bytes | None:
    """The 200 body for a request, or None when the connection is to be closed without an answer.

    Raises GraphError for every refusal, which is counted by code.
    """
    try:
        if not sandbox.faults.active:
            accepted = accept(sandbox, number, version, raw)
        else:
            accepted = await _through_faults(sandbox, number, version, raw)
    except GraphError as error:
        sandbox.store.refused[error.code] += 1
        raise
    if accepted.early:
        await asyncio.sleep(_EARLY_WAIT_S)
    return None if accepted.drop else accepted.body


async def _through_faults(sandbox: Sandbox, number: Number, version: int, raw: bytes) -> Accepted:
    faults, pnid = sandbox.faults, number.config.id
    if faults.strikes("account_locked", pnid):
        raise GraphError(131031, "Business Account has been locked")
    if limited := faults.strikes("rate_limited", pnid):
        raise GraphError(130429, "Cloud API message throughput has been reached.", http_status=limited.status or 429)
    if refused := faults.strikes("error", pnid):
        raise GraphError(refused.code, "Refused by a fault of the simulator", http_status=refused.status)
    slow = faults.strikes("slow_response", pnid)
    drop = faults.strikes("drop_response", pnid)
    accepted = accept(sandbox, number, version, raw)
    if slow:
        await asyncio.sleep(slow.delay_s)
    return accepted._replace(drop=True) if drop else accepted


def accept(sandbox: Sandbox, number: Number, version: int, raw: bytes) -> Accepted:
    """Check a request and, if it is right, log the message and start its life."""
    body = bodies.decode(raw)
    if body.messaging_product is None:
        raise missing("messaging_product")
    if body.messaging_product != "whatsapp":
        raise GraphError(100, message="(#100) Param messaging_product must be one of {WHATSAPP}.")
    if body.status is not None:
        return _mark_read(sandbox, body)
    return _accept_message(sandbox, number, version, body)


def _accept_message(sandbox: Sandbox, number: Number, version: int, body: bodies.Message) -> Accepted:
    _check_envelope(body)
    now = sandbox.clock.now()
    wa_id = _recipient(sandbox, number, body)
    if body.type == "template":
        checked = _check_template(sandbox, number, version, body)
    else:
        checked = _check_free_form(sandbox, number, body, wa_id, now)
    if not number.window.admit(now):
        raise GraphError(130429, "Cloud API message throughput has been reached.")
    thread = number.thread(wa_id)
    booked = pair_admit(thread.pair_busy_until, now)
    if booked is None:
        raise GraphError(
            131056, "Message failed to send because there were too many messages sent from this phone number to the"
            " same phone number in a short period of time.",
        )  # fmt: skip
    thread.pair_busy_until = booked
    return _log(sandbox, number, body, wa_id, checked)


def _log(sandbox: Sandbox, number: Number, body: bodies.Message, wa_id: str, checked: Checked) -> Accepted:
    store = sandbox.store
    person = store.person(wa_id)
    person.received += 1
    template = checked.template
    message = Message(
        sequence=len(store.messages),
        number=number,
        person=person,
        to=body.to or body.recipient or "",
        kind=body.type,
        template=template,
        callback_data=body.biz_opaque_callback_data,
        buttons=checked.buttons,
        accepted_at=sandbox.clock.now(),
        content=_content(body),
    )
    store.messages.append(message)
    forced = checked.fails_with or _media_failure(body)
    if template is not None:
        template.sent += 1
    if sandbox.faults.active:
        forced = forced or _faulted(sandbox, message)
    early = False
    store.moved(message, None)
    if not message.held:
        share = sandbox.transport.early_status_probability
        early = bool(share) and sandbox.dice.draws(wa_id, "early", person.received).happens(share or 0)
        outcomes.begin(sandbox, message, forced_code=forced, early=early)
    return Accepted(_accepted_body(sandbox, message, body), early)


def _content(body: bodies.Message) -> dict[str, object] | None:
    """What a person sees and taps on; a file is its id or link, and the words under it."""
    shown = body.text or body.interactive or body.image or body.video or body.document or body.audio or body.sticker
    found: dict[str, object] | None = msgspec.to_builtins(shown) if shown is not None else None
    return found


def _accepted_body(sandbox: Sandbox, message: Message, body: bodies.Message) -> bytes:
    entry: dict[str, object] = {"id": sandbox.store.wamid(message.sequence)}
    if message.template is not None and (message.held or sandbox.config.message_status == "always"):
        entry["message_status"] = "held_for_quality_assessment" if message.held else "accepted"
    person: dict[str, object] = {"input": message.to}
    person["wa_id" if body.to is not None else "user_id"] = message.person.wa_id if body.to is not None else message.to
    return _encode({"messaging_product": "whatsapp", "contacts": [person], "messages": [entry]})


def _faulted(sandbox: Sandbox, message: Message) -> int:
    """Hold the message back, or return the code it will fail with, if a fault says so."""
    pnid, template = message.number.config.id, message.template
    if template is not None and sandbox.faults.strikes("hold_for_quality", pnid, template.name):
        message.held, message.outcome = True, "held"
        template.held.append(message)
    return 131048 if sandbox.faults.strikes("portfolio_limit", pnid) else 0


# --- checks ---------------------------------------------------------------------------------------------------------


def _check_envelope(body: bodies.Message) -> None:
    if body.type not in _TYPES:
        names = ", ".join(name.upper() for name in _TYPES)
        raise GraphError(100, message=f'(#100) Param type must be one of {{{names}}} - got "{body.type}".')
    if body.recipient_type != "individual":
        raise GraphError(100, message="(#100) Param recipient_type must be one of {INDIVIDUAL}.")
    if body.biz_opaque_callback_data is not None and len(body.biz_opaque_callback_data) > _CALLBACK_LIMIT:
        raise GraphError(
            100, message=f"(#100) Param biz_opaque_callback_data must be at most {_CALLBACK_LIMIT} characters long."
        )
    if getattr(body, body.type) is None:
        raise GraphError(131008, f"Parameter {body.type} is required for type {body.type}")
    for other in _TYPES:
        if other != body.type and getattr(body, other) is not None:
            raise GraphError(100, message=f'(#100) Unexpected key "{other}" on param "body" of type {body.type}.')


def _recipient(sandbox: Sandbox, number: Number, body: bodies.Message) -> str:
    """The WhatsApp id the message is for; `to` wins over `recipient`."""
    if body.to is not None:
        digits = international(body.to, number.config.display_phone_number)
        if digits is None:
            raise GraphError(131009, "Parameter to is not a valid phone number")
        if digits == number.config.display_phone_number:
            raise GraphError(131021, "Recipient phone number cannot be sender phone number")
        return wa_id_of(digits)
    if body.recipient is None:
        raise missing("to")
    if not _BSUID.fullmatch(body.recipient):
        raise GraphError(131009, "Parameter recipient is not a valid user id")
    return sandbox.store.wa_id_of_user(body.recipient, number.waba.config.portfolio_id)


def _check_template(sandbox: Sandbox, number: Number, version: int, body: bodies.Message) -> Checked:
    sent = body.template
    assert sent is not None
    template = number.waba.templates.get((sent.name, sent.language.code))
    if template is None or template.status not in ("APPROVED", "PAUSED", "DISABLED"):
        raise GraphError(132001, f"template name ({sent.name}) does not exist in {sent.language.code}")
    if sandbox.faults.active and sandbox.faults.strikes("template_paused", number.config.id, template.name):
        pause(sandbox, template)
    if template.status == "PAUSED":
        raise GraphError(132015, f"Template {sent.name} is paused due to low quality")
    if template.status == "DISABLED":
        raise GraphError(132016, f"Template {sent.name} is disabled")
    buttons = check_send(template.compiled, sent.components, version)
    for component in sent.components:
        for parameter in component.parameters or ():
            media = parameter.image or parameter.video or parameter.document or parameter.gif
            if media is not None:
                _check_media(sandbox, number, media, parameter.type)
    return Checked(template, buttons)


def _check_free_form(sandbox: Sandbox, number: Number, body: bodies.Message, wa_id: str, now: float) -> Checked:
    """Refuse a malformed free-form message, or one outside the window when that is refused at once."""
    if (check := _CHECKS.get(body.type)) is not None:
        check(body)
    media = getattr(body, body.type)
    if isinstance(media, bodies.MediaObject):
        _check_media(sandbox, number, media, body.type)
    if body.reaction is not None and _known(sandbox, body.reaction.message_id) is None:
        return Checked(fails_with=131009)
    if number.thread(wa_id).window_until > now:
        return Checked()
    if sandbox.config.window_error == "sync":
        raise GraphError(131047, "Message failed to send because more than 24 hours have passed since the customer"
                         " last replied to this number.")  # fmt: skip
    return Checked(fails_with=131047)


def _check_text(body: bodies.Message) -> None:
    assert body.text is not None
    if not body.text.body.strip():
        raise GraphError(131008, "text.body is empty")
    if len(body.text.body) > 4096:
        raise GraphError(100, message="(#100) Param text['body'] must be at most 4096 characters long.")


def _check_media(sandbox: Sandbox, number: Number, media: bodies.MediaObject, kind: str) -> None:
    if (media.id is None) is (media.link is None):
        raise GraphError(131008, f"{kind}: either id or link is required")
    if media.caption is not None and (kind not in ("image", "video", "document") or len(media.caption) > 1024):
        raise GraphError(131009, f"{kind}: caption is not allowed or longer than 1024 characters")
    if media.link is not None and not media.link.startswith(("https://", "http://")):
        raise GraphError(131009, f"{kind}: link must be an http or https URL")
    if media.id is not None and (problem := media_problem(sandbox, number, media.id, kind)):
        raise GraphError(131009, problem)


def _check_interactive(body: bodies.Message) -> None:
    given = body.interactive
    assert given is not None
    limit = 4096 if given.type == "list" else 1024
    if given.body is None or not 1 <= len(given.body.text) <= limit:
        raise GraphError(131009, f"interactive: body text of 1 to {limit} characters is required")
    if given.footer is not None and len(given.footer.text) > 60:
        raise GraphError(131009, "interactive: footer is longer than 60 characters")
    if given.header is not None and given.header.type == "text" and not 1 <= len(given.header.text or "") <= 60:
        raise GraphError(131009, "interactive: header text of 1 to 60 characters is required")
    if given.type == "button":
        _check_reply_buttons(given.action)
    elif given.type == "list":
        _check_list(given)
    elif given.type == "cta_url":
        wanted, found = given.action.parameters or {}, given.action.name
        if found != "cta_url" or not all(isinstance(wanted.get(key), str) for key in ("display_text", "url")):
            raise GraphError(131009, "interactive: cta_url needs name, display_text and url")
        if len(str(wanted["display_text"])) > 20:
            raise GraphError(131009, "interactive: display_text is longer than 20 characters")
    else:
        raise GraphError(131009, f"interactive: type {given.type} is not supported")


def _check_reply_buttons(action: bodies.Action) -> None:
    replies = [button.reply for button in action.buttons or []]
    titles = {reply.title for reply in replies}
    if not 1 <= len(replies) <= 3 or len(titles) != len(replies):
        raise GraphError(131009, "interactive: 1 to 3 buttons with different titles are required")
    if any(not 1 <= len(reply.title) <= 20 or not 1 <= len(reply.id) <= 256 for reply in replies):
        raise GraphError(131009, "interactive: a title has 1 to 20 characters, an id 1 to 256")


def _check_list(given: bodies.Interactive) -> None:
    sections = given.action.sections or []
    rows = [row for section in sections for row in section.rows]
    if not 1 <= len(given.action.button or "") <= 20:
        raise GraphError(131009, "interactive: list button of 1 to 20 characters is required")
    if not 1 <= len(sections) <= 10 or not 1 <= len(rows) <= 10:
        raise GraphError(131009, "interactive: a list has 1 to 10 sections and 1 to 10 rows in all")
    if len(sections) > 1 and not all(section.title for section in sections):
        raise GraphError(131009, "interactive: with several sections each needs a title")
    if any(len(section.title or "") > 24 for section in sections) or any(
        not 1 <= len(row.title) <= 24 or not 1 <= len(row.id) <= 200 or len(row.description or "") > 72 for row in rows
    ):
        raise GraphError(131009, "interactive: a section title, row title, row id or description is too long")
    if len({row.id for row in rows}) != len(rows):
        raise GraphError(131009, "interactive: row ids must differ")
    if given.header is not None and given.header.type != "text":
        raise GraphError(131009, "interactive: a list has a text header only")


_CHECKS: dict[str, Callable[[bodies.Message], None]] = {"text": _check_text, "interactive": _check_interactive}


def _media_failure(body: bodies.Message) -> int:
    """131053 for a link whose path says it is broken: the simulator fetches no media."""
    links = [media.link for media in (body.image, body.video, body.audio, body.document, body.sticker) if media]
    for component in body.template.components if body.template else ():
        for parameter in component.parameters or ():
            media = parameter.image or parameter.video or parameter.document or parameter.gif
            links.append(media.link if media else None)
    return 131053 if any(link and "broken" in link for link in links) else 0


def _known(sandbox: Sandbox, wamid: str) -> object:
    return sandbox.store.inbound_of(wamid) or sandbox.store.message_of(wamid)


def _mark_read(sandbox: Sandbox, body: bodies.Message) -> Accepted:
    if body.status != "read":
        raise GraphError(100, message="(#100) Param status must be one of {READ}.")
    if body.message_id is None:
        raise missing("message_id")
    if sandbox.store.inbound_of(body.message_id) is None:
        raise GraphError(131009, "message_id names no message this business received")
    if body.typing_indicator is not None and body.typing_indicator.type != "text":
        raise GraphError(100, message="(#100) Param typing_indicator['type'] must be one of {TEXT}.")
    return Accepted(b'{"success":true}')
