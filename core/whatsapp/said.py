"""What a message without text says, in words for whoever answers it; pure, and never raises whatever it holds."""

import json
from collections.abc import Callable, Mapping
from typing import Any

MOST = 1000  # characters


def words_of(kind: str, payload: Mapping[str, Any]) -> str | None:
    """A place, a contact card, an order, a filled-in form or an emoji in words; None for what has none."""
    reader = _READERS.get(kind)
    said = reader(payload.get(kind)) if reader else None
    return said[:MOST] if said else None


def _place(value: Any) -> str | None:
    if not isinstance(value, dict):
        return None
    names = [_text(value.get(name)) for name in ("name", "address")]
    where = [_text(value.get(name)) for name in ("latitude", "longitude")]
    return ", ".join(filter(None, names)) + (f" ({', '.join(filter(None, where))})" if all(where) else "")


def _cards(value: Any) -> str | None:
    return "\n".join(filter(None, map(_card, _list(value))))


def _card(value: Any) -> str | None:
    if not isinstance(value, dict):
        return None
    name = value.get("name")
    named = _text(name.get("formatted_name")) if isinstance(name, dict) else None
    reached = [
        _text(each.get(key))
        for part, key in (("phones", "phone"), ("emails", "email"))
        for each in _list(value.get(part))
        if isinstance(each, dict)
    ]
    return " · ".join(filter(None, [named, *reached]))


def _order(value: Any) -> str | None:
    if not isinstance(value, dict):
        return None
    items = [_item(each) for each in _list(value.get("product_items")) if isinstance(each, dict)]
    return "\n".join(filter(None, [_text(value.get("text")), *items]))


def _item(item: Mapping[str, Any]) -> str:
    price = " ".join(filter(None, (_text(item.get("item_price")), _text(item.get("currency")))))
    named = f"{_text(item.get('quantity')) or '1'} × {_text(item.get('product_retailer_id')) or '?'}"
    return f"{named}, {price} each" if price else named


def _form(value: Any) -> str | None:
    """What a person filled in, which comes as JSON inside a text; our own token is left out."""
    reply = value.get("nfm_reply") if isinstance(value, dict) else None
    if not isinstance(reply, dict):
        return None
    try:
        filled = json.loads(reply.get("response_json") or "")
    except (TypeError, ValueError, RecursionError):
        return _text(reply.get("body"))
    if not isinstance(filled, dict):
        return _text(reply.get("body"))
    lines = [f"{name}: {_text(each) or json.dumps(each)}" for name, each in filled.items() if name != "flow_token"]
    return "\n".join(lines) or _text(reply.get("body"))


def _reaction(value: Any) -> str | None:
    return _text(value.get("emoji")) if isinstance(value, dict) else None


def _text(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return str(value)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


_READERS: Mapping[str, Callable[[Any], str | None]] = {
    "location": _place,
    "contacts": _cards,
    "order": _order,
    "interactive": _form,
    "reaction": _reaction,
}
