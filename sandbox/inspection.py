"""The inspection API under `/_sandbox/`: see what happened, make things happen. No token; for loopback use only.

Its OpenAPI description is at `/_sandbox/docs/openapi.json`.
"""

import base64
import binascii
from collections import Counter
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated

import msgspec
from litestar import Controller, get, post, put
from litestar.datastructures import State
from litestar.exceptions import NotFoundException, ValidationException
from litestar.params import FromPath, JSONBody, QueryParameter

from sandbox import humans, template_life
from sandbox.errors import GraphError
from sandbox.faults import FAULT_NAMES, Fault, FaultName, FaultState
from sandbox.inspection_shapes import (
    LASTING,
    ClockIn,
    InboundIn,
    MediaOut,
    MessageOut,
    Page,
    PinOut,
    ResetIn,
    StatusOut,
    TemplateIn,
    WebhookIn,
)
from sandbox.people import Pin
from sandbox.phones import digits_of, wa_id_of
from sandbox.simulation import Sandbox
from sandbox.state import Click, Inbound, Message, Number, Person, Waba
from sandbox.template_api import template_fields
from sandbox.webhooks import Attempt, sign

Limit = Annotated[int, QueryParameter(ge=1, le=10_000)]
After = Annotated[int, QueryParameter(ge=-1, description="Only items whose sequence is greater.")]


class Inspection(Controller):
    """Looking into the simulation and steering it."""

    path = "/_sandbox"

    @get("/health", sync_to_thread=False)
    def health(self, state: State) -> dict[str, object]:
        """Whether the simulator is up, and how the app's callback stands (null: no callback)."""
        target = _sandbox(state).webhooks.app_target
        return {
            "status": "ok",
            "now": _instant(_sandbox(state).clock.now()),
            "webhook": None
            if target is None
            else {"url": target.url, "state": target.state, "problem": target.problem},
        }

    @get("/messages", sync_to_thread=False)
    def messages(self, state: State, after: After = -1, limit: Limit = 1000) -> Page:
        """Every accepted message by sequence (from 0)."""
        sandbox = _sandbox(state)
        found = sandbox.store.messages
        items = [_message(sandbox, message) for message in found[after + 1 : after + 1 + limit]]
        more = bool(items) and items[-1].sequence < len(found) - 1
        return Page(items, items[-1].sequence if more else None)

    @get("/summary", sync_to_thread=False)
    def summary(self, state: State) -> dict[str, object]:
        """Counts: accepted and refused sends, last statuses, failures by code, repeats, webhooks, what is pending."""
        return summarise(_sandbox(state))

    @get("/clicks", sync_to_thread=False)
    def clicks(self, state: State, after: After = -1, limit: Limit = 1000) -> list[Click]:
        """Visits to links of URL buttons, by sequence."""
        return _sandbox(state).store.clicks[after + 1 : after + 1 + limit]

    @get("/inbound", sync_to_thread=False)
    def inbound(self, state: State, after: After = -1, limit: Limit = 1000) -> list[Inbound]:
        """What people wrote, tapped or reacted, by sequence."""
        return _sandbox(state).store.inbound[after + 1 : after + 1 + limit]

    @get("/webhooks", sync_to_thread=False)
    def attempts(self, state: State, limit: Limit = 1000) -> list[Attempt]:
        """The last delivery attempts (at most 1000 are kept), oldest first."""
        kept = _sandbox(state).webhooks.attempts
        return list(islice(kept, max(0, len(kept) - limit), None))

    @put("/people/{phone:str}", sync_to_thread=False)
    def pin(self, state: State, phone: FromPath[str], data: JSONBody[Pin]) -> PinOut:
        """Pin one person's behaviour; an empty object unpins."""
        person = _person(_sandbox(state), phone)
        person.pin, person.traits = None if data == Pin() else data, None
        return PinOut(person.wa_id, data)

    @post("/inbound", status_code=200)
    async def act(self, state: State, data: JSONBody[InboundIn]) -> dict[str, object]:
        """Make a person act now; answers with the inbound message's id if there is one."""
        sandbox = _sandbox(state)
        number = _number(sandbox, data.phone_number_id)
        person = _person(sandbox, data.phone)
        if data.kind in ("tap", "click", "reaction"):
            return await _on_message(sandbox, person, data)
        if data.kind in ("stop", "resume"):
            humans.prefer(sandbox, number, person, stop=data.kind == "stop")
            return {"wamid": None}
        if data.kind in LASTING:
            humans.pin(person, **LASTING[data.kind])
            return {"wamid": None}
        if data.kind == "change_number":
            digits = digits_of(data.new_phone or "")
            if digits is None:
                raise ValidationException("change_number needs new_phone, a phone number")
            return {"wamid": None, "wa_id": humans.change_number(sandbox, number, person, wa_id_of(digits)).wa_id}
        if data.kind == "opt_out":
            word = sandbox.people.stop_word(person)
            return {"wamid": humans.write(sandbox, number, person, word, in_reply_to=data.wamid).wamid, "text": word}
        if data.kind == "raw":
            if data.raw is None or not isinstance(data.raw.get("type"), str):
                raise ValidationException("raw needs an object with a type")
            written = humans.say(sandbox, number, person, data.raw, text=None, payload=None, in_reply_to=data.wamid)
        elif data.kind == "file":
            written = _send_file(sandbox, number, person, data)
        else:
            written = humans.write(sandbox, number, person, data.text or "", in_reply_to=data.wamid)
        return {"wamid": written.wamid}

    @post("/webhooks", status_code=202, sync_to_thread=False)
    def inject(self, state: State, data: JSONBody[WebhookIn]) -> dict[str, int]:
        """Send any webhook now, once per attempt rules; answers with the POST's id in `/_sandbox/webhooks`."""
        sandbox = _sandbox(state)
        target = sandbox.webhooks.app_target
        if target is None:
            raise ValidationException("there is no callback")
        if data.body is not None:
            body = data.body.encode()
        elif data.value is not None:
            body = sandbox.webhooks.wrap(_waba(sandbox, data.waba_id), data.field, data.value)
        else:
            raise ValidationException("value or body is required")
        right = sign(sandbox.config.app_secret, body)
        wrong = sign(sandbox.config.app_secret + "-wrong", body)
        signature = {"valid": right, "wrong": wrong, "missing": None}[data.signature]
        return {"post_id": sandbox.webhooks.say_raw(target, body, signature)}

    @post("/webhooks/verify", status_code=200)
    async def verify(self, state: State) -> dict[str, object]:
        """Repeat the handshake with the app's callback."""
        target = _sandbox(state).webhooks.app_target
        if target is None:
            raise ValidationException("there is no callback")
        verified = await _sandbox(state).webhooks.verify(target)
        return {"verified": verified, "problem": target.problem}

    @get("/templates", sync_to_thread=False)
    def templates(self, state: State) -> list[dict[str, object]]:
        """All templates of all accounts, with how often each was sent and how many messages are held."""
        return [
            template_fields(template) | {"sent": template.sent, "held": len(template.held)}
            for template in _sandbox(state).store.templates.values()
        ]

    @post("/templates/{template_id:str}", status_code=200, sync_to_thread=False)
    def steer_template(self, state: State, template_id: FromPath[str], data: JSONBody[TemplateIn]) -> dict[str, object]:
        """Approve, reject, pause, unpause, disable, rate or recategorise a template; release or drop held messages."""
        sandbox = _sandbox(state)
        template = sandbox.store.templates.get(template_id)
        if template is None:
            raise NotFoundException("no such template")
        touched = 0
        match data.action:
            case "approve":
                template_life.approve(sandbox, template)
            case "reject":
                template_life.reject(sandbox, template, data.reason, "Rejected through the inspection API.")
            case "pause":
                template_life.pause(sandbox, template)
            case "unpause":
                template_life.resume(sandbox, template)
            case "disable":
                template_life.disable(sandbox, template)
            case "quality":
                template_life.rate(sandbox, template, data.score)
            case "category":
                template_life.recategorise(sandbox, template, data.category)
            case "release_held":
                touched = template_life.release_held(sandbox, template)
            case "drop_held":
                touched = template_life.drop_held(sandbox, template)
        return template_fields(template) | {"messages_touched": touched}

    @get("/faults", sync_to_thread=False)
    def faults(self, state: State) -> dict[str, FaultState]:
        """The faults that are on, and how often each was asked for and struck."""
        return _faults(_sandbox(state))

    @put("/faults", sync_to_thread=False)
    def set_faults(self, state: State, data: JSONBody[dict[str, Fault]]) -> dict[str, FaultState]:
        """Switch exactly these faults on; an empty object switches all off."""
        chosen: dict[FaultName, Fault] = {name: data[name] for name in FAULT_NAMES if name in data}
        if unknown := sorted(set(data) - set(FAULT_NAMES)):
            raise ValidationException(f"unknown faults: {', '.join(unknown)}; known: {', '.join(FAULT_NAMES)}")
        _sandbox(state).faults.replace(chosen)
        return _faults(_sandbox(state))

    @post("/clock", status_code=200, sync_to_thread=False)
    def advance(self, state: State, data: JSONBody[ClockIn]) -> dict[str, str]:
        """Push the clock ahead: windows close, links and tokens expire, pauses end, what is due happens."""
        if data.advance_s < 0:
            raise ValidationException("the clock only goes forward")
        sandbox = _sandbox(state)
        sandbox.clock.advance(data.advance_s)
        sandbox.scheduler.wake()
        return {"now": _instant(sandbox.clock.now())}

    @post("/reset", status_code=200)
    async def reset(self, state: State, data: JSONBody[ResetIn | None] = None) -> dict[str, str]:
        """Forget messages, people, media, faults and deliveries, and templates unless `keep_templates`."""
        await _sandbox(state).reset(keep_templates=bool(data and data.keep_templates))
        return {"status": "ok"}


def summarise(sandbox: Sandbox) -> dict[str, object]:
    """What `GET /_sandbox/summary` answers.

    `settled` is true when nothing is due, waiting or under way; a pause of a template, too, is something due.
    """
    store, webhooks = sandbox.store, sandbox.webhooks
    labels = Counter(message.callback_data for message in store.messages if message.callback_data is not None)
    repeated = {person.wa_id: person.received for person in store.people.values() if person.received > 1}
    pending = {
        "events": len(sandbox.scheduler),
        "updates_waiting": len(webhooks.app_target.waiting) if webhooks.app_target else 0,
        "clicks": len(sandbox.tasks),
        **webhooks.pending(),
    }
    return {
        "accepted": len(store.messages),
        "outcomes": {outcome: count for outcome, count in store.outcomes.items() if count},
        "template_outcomes": {outcome: count for outcome, count in store.template_outcomes.items() if count},
        "failures_by_code": {str(code): count for code, count in sorted(store.failures.items())},
        "refused_by_code": {str(code): count for code, count in sorted(store.refused.items())},
        "recipients": sum(1 for person in store.people.values() if person.received),
        "recipients_sent_more_than_once": len(repeated),
        "most_sent_recipients": dict(Counter(repeated).most_common(20)),
        "callback_data_sent_more_than_once": sum(1 for count in labels.values() if count > 1),
        "inbound": dict(Counter(item.kind for item in store.inbound)),
        "clicks": dict(Counter("bot" if click.bot else "human" for click in store.clicks)),
        "webhooks": msgspec.to_builtins(webhooks.metrics) | webhooks.latencies(),
        "settled": not any(pending.values()),
        "pending": pending,
        "next_event_at": _instant(due) if (due := sandbox.scheduler.next_due_at()) is not None else None,
        "event_failures": sandbox.scheduler.failures,
    }


def _send_file(sandbox: Sandbox, number: Number, person: Person, data: InboundIn) -> Inbound:
    try:
        content = base64.b64decode(data.content_base64 or "", validate=True)
        return humans.send_file(sandbox, number, person, content, data.mime_type, data.filename, data.text)
    except (binascii.Error, GraphError) as wrong:
        raise ValidationException(f"a file needs content_base64 and a mime_type people can send: {wrong}") from wrong


async def _on_message(sandbox: Sandbox, person: Person, data: JSONBody[InboundIn]) -> dict[str, object]:
    message = sandbox.store.message_of(data.wamid) if data.wamid else _last_to(sandbox, person)
    if message is None or message.person is not person:
        raise NotFoundException("no such message to this person")
    if data.kind == "click":
        for url in humans.urls_of(message):
            await humans.visit(sandbox, message, url, bot=False)
        return {"clicks": [click.url for click in sandbox.store.clicks if click.wa_id == person.wa_id]}
    if data.kind == "reaction":
        return {"wamid": humans.react(sandbox, message, data.text).wamid}
    tapped = humans.tap(sandbox, message, data.button)
    if tapped is None:
        raise ValidationException("the message has no such quick reply")
    return {"wamid": tapped.wamid}


def _last_to(sandbox: Sandbox, person: Person) -> Message | None:
    return next((message for message in reversed(sandbox.store.messages) if message.person is person), None)


def _message(sandbox: Sandbox, message: Message) -> MessageOut:
    template = message.template
    return MessageOut(
        sequence=message.sequence,
        wamid=sandbox.store.wamid(message.sequence),
        to=message.to,
        wa_id=message.person.wa_id,
        type=message.kind,
        biz_opaque_callback_data=message.callback_data,
        template=template.name if template else None,
        language=template.language if template else None,
        phone_number_id=message.number.config.id,
        accepted_at=_instant(message.accepted_at),
        held=message.held,
        statuses=[StatusOut(status.word, _instant(at), code or None) for status, code, at in message.history()],
        text=_text_of(message),
        media=_media_of(sandbox, message),
        choices=[str(carried["title"]) for _, carried in humans.choices_of(message)],
    )


def _text_of(message: Message) -> str | None:
    """The words of a text or of an interactive message, or those under a file."""
    content = message.content or {}
    said = content.get("body") or content.get("caption")
    text = said.get("text") if isinstance(said, dict) else said
    return text if isinstance(text, str) else None


def _media_of(sandbox: Sandbox, message: Message) -> MediaOut | None:
    content = message.content or {}
    if message.kind not in ("image", "video", "document", "audio", "sticker"):
        return None
    media_id, link, filename = (_word(content.get(name)) for name in ("id", "link", "filename"))
    stored = sandbox.store.media.get(media_id or "")
    size = len(stored.content) if stored else None
    return MediaOut(media_id, link, filename, stored.mime_type if stored else None, size)


def _word(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _faults(sandbox: Sandbox) -> dict[str, FaultState]:
    return {str(name): fault for name, fault in sandbox.faults.active.items()}


def _sandbox(state: State) -> Sandbox:
    sandbox = state["sandbox"]
    assert isinstance(sandbox, Sandbox)
    return sandbox


def _instant(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _number(sandbox: Sandbox, phone_number_id: str | None) -> Number:
    numbers = sandbox.store.numbers
    number = numbers.get(phone_number_id) if phone_number_id else next(iter(numbers.values()))
    if number is None:
        raise NotFoundException("no such phone number id")
    return number


def _waba(sandbox: Sandbox, waba_id: str | None) -> Waba:
    wabas = sandbox.store.wabas
    waba = wabas.get(waba_id) if waba_id else next(iter(wabas.values()))
    if waba is None:
        raise NotFoundException("no such account")
    return waba


def _person(sandbox: Sandbox, phone: str) -> Person:
    user = sandbox.store.wa_id_of_user(phone, _waba(sandbox, None).config.portfolio_id)
    if user in sandbox.store.people:
        return sandbox.store.people[user]
    digits = digits_of(phone)
    if digits is None:
        raise ValidationException("not a phone number or a known user id")
    return sandbox.store.person(wa_id_of(digits))
