"""Which fields of a node are shown, and lists of nodes in cursor pages, as Graph does them."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from sandbox.calls import Call
from sandbox.errors import GraphError


def selected(fields: Mapping[str, object], query: Mapping[str, str], default: Sequence[str]) -> dict[str, object]:
    """The requested fields, always with `id`; raises GraphError 100 for one that does not exist."""
    if not query.get("fields"):
        return {name: fields[name] for name in default if name in fields}
    optional = ("previous_category", "message_send_ttl_seconds")
    wanted = [name.strip() for name in query["fields"].split(",") if name.strip()]
    for name in wanted:
        if name not in fields and name not in optional:
            raise GraphError(100, message=f"(#100) Tried accessing nonexisting field ({name})")
    return {name: fields[name] for name in dict.fromkeys([*wanted, "id"]) if name in fields}


def page(call: Call, items: Sequence[dict[str, object]]) -> dict[str, object]:
    """A cursor page; a cursor names the item it stands after by id, so that deletions do not shift pages."""
    limit = call.query.get("limit", "25")
    if not limit.isdecimal() or int(limit) < 1:
        raise GraphError(100, message="(#100) Param limit must be a positive number.")
    start = 0
    if after := call.query.get("after"):
        start = _position(items, after) + 1
    shown = items[start : start + int(limit)]
    answer: dict[str, object] = {"data": list(shown)}
    if shown:
        cursors = {"before": _cursor(shown[0]), "after": _cursor(shown[-1])}
        paging: dict[str, object] = {"cursors": cursors}
        if start + len(shown) < len(items):
            query = dict(call.query) | {"after": cursors["after"]}
            query.pop("access_token", None)
            paging["next"] = f"{call.base_url}/v{call.version}.0/{call.node}/{_edge(items)}?{urlencode(query)}"
        answer["paging"] = paging
    return answer


def _edge(items: Sequence[dict[str, object]]) -> str:
    return "phone_numbers" if "display_phone_number" in items[0] else "message_templates"


def _cursor(item: Mapping[str, object]) -> str:
    return base64.urlsafe_b64encode(f"after:{item['id']}".encode()).decode().rstrip("=")


def _position(items: Sequence[dict[str, object]], cursor: str) -> int:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        word, _, wanted = base64.urlsafe_b64decode(padded).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise GraphError(131059, "The cursor is not valid") from error
    for position, item in enumerate(items):
        if word == "after" and item["id"] == wanted:
            return position
    raise GraphError(131059, "The cursor is not valid")
