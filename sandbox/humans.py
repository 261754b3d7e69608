"""What people do with a message: read, tap, visit links, write back, ask to stop.

Inbound shapes follow Meta's webhook reference: a tap on a template's quick reply is type `button` with `payload` and
`text`; stopping marketing in the app is a `user_preferences` change and no message.
"""

import asyncio
import base64
from urllib.parse import urlsplit

import httpx
import msgspec

from sandbox import media, payloads
from sandbox.people import Pin, Plan, hash_of
from sandbox.simulation import Sandbox
from sandbox.state import Click, Inbound, Message, Number, Person, bsuid
from sandbox.webhooks import Update

WINDOW_S = 24 * 3600
_CRAWLER = "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)"
_WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
_BROWSERS = (
    f"Mozilla/5.0 (Linux; Android 16; Pixel 9) {_WEBKIT} Chrome/142.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.1"
    " Mobile/15E148 Safari/604.1",
    f"Mozilla/5.0 (Linux; Android 14; SM-A155F) {_WEBKIT} SamsungBrowser/27.0 Chrome/132.0.0.0 Mobile Safari/537.36",
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_WEBKIT} Chrome/142.0.0.0 Safari/537.36",
)
_CLICK_TIMEOUT_S = 10


def on_delivered(sandbox: Sandbox, message: Message, plan: Plan) -> None:
    """Right after delivery a crawler may look at the links."""
    if plan.bot_clicks:
        for url in urls_of(message):
            _visit(sandbox, message, url, bot=True)


def on_read(sandbox: Sandbox, message: Message, plan: Plan) -> None:
    """Plan what the reader does next."""
    if plan.clicks or plan.tap is not None or plan.reply or plan.reaction or plan.stops_in_app:
        sandbox.scheduler.at(sandbox.later(plan.act_s), _act, sandbox, message, plan)


def _act(sandbox: Sandbox, message: Message, plan: Plan) -> None:
    number, person = message.number, message.person
    urls = urls_of(message)
    if urls:
        for turn in range(plan.clicks):
            url = urls[hash_of(person.wa_id) % len(urls)]
            sandbox.scheduler.at(sandbox.later(turn * (1 + plan.act_s)), _visit, sandbox, message, url, False)
    if plan.tap is not None:
        tap(sandbox, message, plan.tap)
    if plan.reply:
        write(sandbox, number, person, plan.reply, in_reply_to=None)
    if plan.reaction:
        react(sandbox, message, plan.reaction)
    if plan.stops_in_app and message.marketing:
        prefer(sandbox, number, person, stop=True)


def urls_of(message: Message) -> list[str]:
    """The links of a template's URL buttons with the suffixes of this message filled in."""
    if message.template is None:
        return []
    given, buttons = message.buttons or (), message.template.compiled.buttons
    return [
        button.url + ((given[at] or "") if button.dynamic and at < len(given) else "")
        for at, button in enumerate(buttons)
        if button.type == "URL"
    ]


def tap(sandbox: Sandbox, message: Message, index: int) -> Inbound | None:
    """Tap the quick reply at `index` among all buttons (-1: any); None when there is no such quick reply."""
    if message.template is None:
        return _choose(sandbox, message, index)
    buttons = message.template.compiled.buttons
    quick = [at for at, button in enumerate(buttons) if button.type == "QUICK_REPLY"]
    if index == -1 and quick:
        index = quick[hash_of(message.person.wa_id) % len(quick)]
    if index not in quick:
        return None
    label = buttons[index].text
    payload = (message.buttons[index] if message.buttons else None) or label
    return say(
        sandbox, message.number, message.person, {"type": "button", "button": {"payload": payload, "text": label}},
        text=label, payload=payload, in_reply_to=sandbox.store.wamid(message.sequence),
    )  # fmt: skip


def choices_of(message: Message) -> list[tuple[str, dict[str, str]]]:
    """The answers an interactive message offers, as the type of the reply and what it carries."""
    content = message.content if message.kind == "interactive" else None
    action = content.get("action") if content else None
    if not isinstance(action, dict):
        return []
    buttons = [("button_reply", button["reply"]) for button in action.get("buttons") or []]
    rows = [("list_reply", row) for section in action.get("sections") or [] for row in section["rows"]]
    return [
        (kind, {name: value for name, value in carried.items() if value is not None})
        for kind, carried in buttons + rows
    ]


def _choose(sandbox: Sandbox, message: Message, index: int) -> Inbound | None:
    """Tap an answer of an interactive message; the reply is of type `interactive`."""
    choices = choices_of(message)
    if index == -1 and choices:
        index = hash_of(message.person.wa_id) % len(choices)
    if not 0 <= index < len(choices):
        return None
    kind, carried = choices[index]
    return say(
        sandbox, message.number, message.person, {"type": "interactive", "interactive": {"type": kind, kind: carried}},
        text=carried["title"], payload=carried["id"], in_reply_to=sandbox.store.wamid(message.sequence),
    )  # fmt: skip


def write(sandbox: Sandbox, number: Number, person: Person, text: str, *, in_reply_to: str | None) -> Inbound:
    """Write a text to the business."""
    content: dict[str, object] = {"type": "text", "text": {"body": text}}
    return say(sandbox, number, person, content, text=text, payload=None, in_reply_to=in_reply_to)


def send_file(
    sandbox: Sandbox, number: Number, person: Person, content: bytes, mime_type: str, filename: str | None,
    caption: str | None,
) -> Inbound:  # fmt: skip
    """Send a picture, a voice message, a document; the webhook names it by an id. Raises GraphError as an upload does.

    The webhook spells the hash in base64, the media endpoint in hex, as Meta does.
    """
    media_id = media.store_media(sandbox, number, {"messaging_product": "whatsapp"}, content, mime_type)
    stored = sandbox.store.media[media_id]
    kind = media.TYPES[stored.mime_type][0]
    digest = base64.b64encode(bytes.fromhex(stored.sha256)).decode()
    named: dict[str, object] = {"id": media_id, "mime_type": stored.mime_type, "sha256": digest}
    if kind == "audio":
        named["voice"] = True
    if caption and kind in ("image", "video", "document"):
        named["caption"] = caption
    if kind == "document":
        named["filename"] = filename or "document"
    return say(sandbox, number, person, {"type": kind, kind: named}, text=caption, payload=None, in_reply_to=None)


def react(sandbox: Sandbox, message: Message, emoji: str | None) -> Inbound:
    """React to a message; without emoji the reaction is removed."""
    wamid = sandbox.store.wamid(message.sequence)
    reaction = {"message_id": wamid} | ({"emoji": emoji} if emoji else {})
    content: dict[str, object] = {"type": "reaction", "reaction": reaction}
    return say(sandbox, message.number, message.person, content, text=emoji, payload=None, in_reply_to=None)


def say(
    sandbox: Sandbox, number: Number, person: Person, content: dict[str, object], *, text: str | None,
    payload: str | None, in_reply_to: str | None, speaks: bool = True,
) -> Inbound:  # fmt: skip
    """Any inbound message: `content` has `type` and the member it names. Who speaks opens the 24-hour window."""
    now = sandbox.clock.now()
    sequence = len(sandbox.store.inbound)
    wamid = sandbox.store.wamid(sequence, inbound=True)
    inbound = Inbound(
        sequence, wamid, person.wa_id, number.config.id, str(content["type"]), text, payload, in_reply_to, now
    )
    sandbox.store.inbound.append(inbound)
    number.window.count(now)  # throughput counts messages in both directions
    if speaks:
        number.thread(person.wa_id).window_until = now + WINDOW_S
    hidden = sandbox.hidden(person)
    item = payloads.inbound(
        person, number, wamid, payloads.timestamp(now, sandbox.transport.millisecond_timestamps), content,
        hidden=hidden, in_reply_to=in_reply_to,
    )  # fmt: skip
    contact = sandbox.contact_json(person, number, username=True)
    sandbox.webhooks.say(Update(number.waba, number, "messages", "messages", item, contact, now), may_disorder=True)
    return inbound


def change_number(sandbox: Sandbox, number: Number, person: Person, wa_id: str) -> Person:
    """Move to another phone number: the business is told, the old number is on WhatsApp no more.

    The new number has a user id of its own, as the provider says. Returns the person under the new number.
    """
    portfolio = number.waba.config.portfolio_id
    moved = sandbox.store.person(wa_id)
    old_pin = person.pin or Pin()
    moved.pin, moved.traits = person.pin, None
    name = sandbox.people.name(person)
    system = {
        "body": f"User {name} changed from {person.wa_id} to {wa_id}", "type": "user_changed_number", "wa_id": wa_id,
        "user_id": bsuid(moved, portfolio), "previous_user_id": bsuid(person, portfolio),
    }  # fmt: skip
    say(
        sandbox, number, person, {"type": "system", "system": system}, text=None, payload=None, in_reply_to=None,
        speaks=False,
    )  # fmt: skip
    person.pin, person.traits = msgspec.structs.replace(old_pin, on_whatsapp=False), None
    return moved


def pin(person: Person, **changes: object) -> None:
    """Change some of what a person is pinned to, and keep the rest."""
    person.pin, person.traits = msgspec.structs.replace(person.pin or Pin(), **changes), None


def prefer(sandbox: Sandbox, number: Number, person: Person, *, stop: bool) -> None:
    """Stop or resume marketing from this business number, in the app's own settings."""
    number.thread(person.wa_id).stopped_marketing = stop
    contact = sandbox.contact_json(person, number, username=True)
    value = payloads.preference(person, number, contact, sandbox.clock.now(), stop=stop, hidden=sandbox.hidden(person))
    sandbox.say_value(number.waba, number, "user_preferences", value)


def _visit(sandbox: Sandbox, message: Message, url: str, bot: bool) -> None:
    task = asyncio.get_running_loop().create_task(visit(sandbox, message, url, bot=bot))
    sandbox.tasks.add(task)
    task.add_done_callback(sandbox.tasks.discard)


async def visit(sandbox: Sandbox, message: Message, url: str, *, bot: bool) -> None:
    """Open a link like a phone's browser would, except that redirects are noted and not followed."""
    agent = _CRAWLER if bot else _BROWSERS[hash_of(message.person.wa_id) % len(_BROWSERS)]
    status, location, note = None, None, None
    at = sandbox.clock.now()
    if sandbox.may_visit(url):
        try:
            async with sandbox.visits:
                response = await _get(sandbox, url, agent)
            status, location = response.status_code, response.headers.get("location")
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            note = f"{type(error).__name__}: {error}"
    else:
        note = "not visited: neither loopback nor an allowed host"
    store = sandbox.store
    store.clicks.append(
        Click(
            len(store.clicks), store.wamid(message.sequence), message.person.wa_id, url, bot, agent, at, status,
            location, note,
        )
    )  # fmt: skip


async def _get(sandbox: Sandbox, url: str, agent: str) -> httpx.Response:
    headers = {"user-agent": agent, "accept": "text/html"}
    base = sandbox.config.click_base_url
    if base is not None:
        parts = urlsplit(url)
        headers["host"] = parts.netloc
        url = base.rstrip("/") + (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return await sandbox.click_client.get(url, headers=headers, follow_redirects=False, timeout=_CLICK_TIMEOUT_S)
