"""JSON of what the webhooks say: statuses, inbound messages, contacts, template events.

Every function returns JSON text with non-ASCII characters as \\uXXXX, as Meta sends it. Shapes follow Meta's webhook
reference (https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages).
"""

import json

from sandbox.state import Message, Number, Person, Status, Template, bsuid

_encode = json.JSONEncoder(separators=(",", ":")).encode


def to_json(value: object) -> str:
    """Compact ASCII JSON."""
    return _encode(value)


def timestamp(at: float, milliseconds: bool) -> str:
    """Unix seconds, or milliseconds, as the string that webhooks carry."""
    return str(int(at * 1000) if milliseconds else int(at))


def contact(person: Person, name: str, number: Number, *, hidden: bool, username: bool) -> str:
    """An entry of `contacts[]`; `wa_id` is absent for people who hide their phone number."""
    profile: dict[str, object] = {"name": name}
    user_id = bsuid(person, number.waba.config.portfolio_id)
    if hidden and username:
        profile["username"] = f"user.{user_id[3:11].lower()}"
    value: dict[str, object] = {"profile": profile}
    if not hidden:
        value["wa_id"] = person.wa_id
    value["user_id"] = user_id
    return _encode(value)


def status(
    message: Message,
    wamid: str,
    reached: Status,
    when: str,
    *,
    hidden: bool,
    pricing: dict[str, object] | None,
    error: dict[str, object] | None,
) -> str:
    """An entry of `statuses[]`. A failure of a message sent to a phone number names no BSUID."""
    person = message.person
    value: dict[str, object] = {"id": wamid, "status": reached.word, "timestamp": when}
    if not hidden:
        value["recipient_id"] = person.wa_id
    if error is None or hidden:
        value["recipient_user_id"] = bsuid(person, message.number.waba.config.portfolio_id)
    if message.callback_data is not None:
        value["biz_opaque_callback_data"] = message.callback_data
    if pricing is not None:
        value["pricing"] = pricing
    if error is not None:
        value["errors"] = [error]
    return _encode(value)


def inbound(
    person: Person,
    number: Number,
    wamid: str,
    when: str,
    content: dict[str, object],
    *,
    hidden: bool,
    in_reply_to: str | None,
) -> str:
    """An entry of `messages[]`; `content` has `type` and the member it names."""
    value: dict[str, object] = {}
    if in_reply_to is not None:
        value["context"] = {"from": number.config.display_phone_number, "id": in_reply_to}
    if not hidden:
        value["from"] = person.wa_id
    value |= {"from_user_id": bsuid(person, number.waba.config.portfolio_id), "id": wamid, "timestamp": when}
    return _encode(value | content)


def preference(person: Person, number: Number, contact_json: str, at: float, *, stop: bool, hidden: bool) -> str:
    """The whole `value` of a `user_preferences` change; its `timestamp` is a number, unlike elsewhere."""
    entry: dict[str, object] = {} if hidden else {"wa_id": person.wa_id}
    entry |= {
        "user_id": bsuid(person, number.waba.config.portfolio_id),
        "detail": f"User requested to {'stop' if stop else 'resume'} marketing messages",
        "category": "marketing_messages",
        "value": "stop" if stop else "resume",
        "timestamp": int(at),
    }
    return _encode(
        {
            "messaging_product": "whatsapp",
            "metadata": metadata(number),
            "contacts": [json.loads(contact_json)],
            "user_preferences": [entry],
        }
    )


def metadata(number: Number) -> dict[str, str]:
    """Which business number a change is about."""
    return {
        "display_phone_number": number.config.display_phone_number,
        "phone_number_id": number.config.id,
    }


def template_status(template: Template, event: str, reason: str | None, extra: dict[str, object]) -> str:
    """The `value` of `message_template_status_update`; the template id is an integer here."""
    return _encode(
        {
            "event": event,
            "message_template_id": int(template.id),
            "message_template_name": template.name,
            "message_template_language": template.language,
            "reason": reason,
            "message_template_category": template.category,
            **extra,
        }
    )


def template_quality(template: Template, previous: str) -> str:
    """The `value` of `message_template_quality_update`."""
    return _encode(
        {
            "previous_quality_score": previous,
            "new_quality_score": template.quality,
            "message_template_id": int(template.id),
            "message_template_name": template.name,
            "message_template_language": template.language,
        }
    )
