"""What the installation holds about one person, for that person: everything (access), or what they gave (portability).

Names of staff and other people's data are not in it. Sources of the lists: GDPR articles 15 and 20.
"""

from collections.abc import Mapping
from datetime import datetime
from html import escape
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from core.models import ContactAddress, DataRequest
from core.services import consents, contacts
from core.settings import Settings

Document = dict[str, Any]
_HIDDEN = frozenset({"actor_ref", "prev", "tenant_id", "schema", "policy_hash"})  # staff, and the chain's own fields

_MESSAGES = text("""
    SELECT m.id::text AS id, c.name AS campaign, t.name AS template, m.purpose, m.status::text AS status,
           m.skip_reason::text AS skip_reason, m.parameters, m.permit_seq, m.queued_at, m.accepted_at, m.delivered_at,
           m.read_at, m.failed_at
      FROM messages m
      LEFT JOIN campaigns c ON c.id = m.campaign_id
      LEFT JOIN template_versions v ON v.id = m.template_version_id
      LEFT JOIN templates t ON t.id = v.template_id
     WHERE m.contact_id = :contact ORDER BY m.queued_at, m.id
""")
_INBOUND = text("""
    SELECT i.provider_id AS id, i.type, i.intent::text AS intent, i.text, i.occurred_at, f.filename AS file_name,
           f.mime_type AS file_type, f.bytes AS file_bytes, f.sha256 AS file_sha256
      FROM inbound_messages i LEFT JOIN received_files f ON f.inbound_id = i.id AND f.status = 'stored'
     WHERE i.contact_id = :contact ORDER BY i.occurred_at, i.id
""")
_CLICKS = text("""
    SELECT l.url, h.created_at AS occurred_at, h.user_agent, h.is_bot
      FROM messages m JOIN links l ON l.message_id = m.id JOIN link_hits h ON h.code = l.code
     WHERE m.contact_id = :contact ORDER BY h.id
""")
_ORDERS = text("""
    SELECT kind::text AS kind, order_id, refund_id, occurred_at, amount_micros, currency
      FROM conversions WHERE contact_id = :contact ORDER BY occurred_at, id
""")
_EVENTS = text("""
    SELECT name AS event, occurred_at FROM contact_events WHERE contact_id = :contact ORDER BY occurred_at, id
""")
_AUDIENCES = text("""
    SELECT a.name, m.created_at AS since FROM audience_members m JOIN audiences a ON a.id = m.audience_id
     WHERE m.contact_id = :contact ORDER BY m.created_at
""")
_IMPORTS = text("""
    SELECT i.filename, r.row_number, r.verdict, r.raw, i.created_at
      FROM import_rows r JOIN imports i ON i.id = r.import_id
     WHERE r.contact_id = :contact ORDER BY i.created_at, r.row_number
""")


async def _rows(session: AsyncSession, statement: Any, contact_id: UUID) -> list[Document]:
    found = await session.execute(statement, {"contact": contact_id})
    return [{name: value for name, value in row.items() if value is not None} for row in found.mappings()]


async def access(session: AsyncSession, contact_id: UUID, *, settings: Settings, now: datetime) -> Document:
    """Everything that is held about the person; plain values, times in UTC. Raises NotFound."""
    own = await portability(session, contact_id, settings=settings, now=now)
    states = [
        {
            "purpose": row.purpose,
            "state": row.state,
            "grade": row.grade,
            "expires_at": row.expires_at,
            "reason": row.reason,
            "blocked_by": row.overlays,
        }
        for row in await contacts.consent_states(session, contact_id)
    ]
    events = [
        {
            **{name: value for name, value in entry.core.items() if name not in _HIDDEN},
            **({"evidence": entry.evidence} if entry.evidence else {}),
        }
        for entry in await consents.history(session, contact_id)
    ]
    asked = select(DataRequest).where(DataRequest.contact_id == contact_id).order_by(DataRequest.received_at)
    document: Document = {
        **own,
        "kind": "access",
        "recipients": [f"Meta Platforms (delivery over WhatsApp, {settings.whatsapp_url})"],
        "kept_for": {
            "raw messages of the provider": f"{settings.keep_webhooks_days} days",
            "files you sent, and files sent to you as answers": f"{settings.keep_media_days} days",
            "uploaded files": f"{settings.keep_uploads_days} days",
            "everything else": f"until consent has ended for {settings.keep_evidence_days} days, or you ask",
            "keyed hashes of addresses that must not be messaged": "as long as we send messages",
        },
        "permissions": states,
        "consent_records": events,
        "messages_to_you": await _rows(session, _MESSAGES, contact_id),
        "link_visits": await _rows(session, _CLICKS, contact_id),
        "orders": await _rows(session, _ORDERS, contact_id),
        "events": await _rows(session, _EVENTS, contact_id),
        "audiences": await _rows(session, _AUDIENCES, contact_id),
        "sources": await _rows(session, _IMPORTS, contact_id),
        "your_requests": [
            {
                "kind": each.kind.value,
                "status": each.status.value,
                "received_at": each.received_at,
                "due_at": each.due_at,
            }
            for each in await session.scalars(asked)
        ],
    }
    plain: Document = msgspec.to_builtins(document)
    return plain


async def portability(session: AsyncSession, contact_id: UUID, *, settings: Settings, now: datetime) -> Document:
    """What the person provided: their particulars, addresses, and what they wrote. Raises NotFound."""
    contact = await contacts.get(session, contact_id)
    held = select(ContactAddress).where(ContactAddress.contact_id == contact_id).order_by(ContactAddress.id)
    document: Document = {
        "kind": "portability",
        "made_at": now,
        "controller": settings.brand,
        "person": {
            "id": contact.id,
            "name": contact.name,
            "language": contact.language,
            "country": contact.country,
            "time_zone": contact.time_zone,
            "attributes": contact.attributes,
            "known_since": contact.created_at,
            "erased_at": contact.erased_at,
        },
        "addresses": [
            {"kind": row.kind, "value": row.value, "since": row.created_at, "until": row.closed_at}
            for row in await session.scalars(held)
        ],
        "messages_from_you": await _rows(session, _INBOUND, contact_id),
    }
    plain: Document = msgspec.to_builtins(document)
    return plain


_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;margin:.3rem 0 1.2rem}td,th{border:1px solid #bbb;padding:.25rem .6rem;"
    "text-align:left;vertical-align:top;overflow-wrap:anywhere}th{background:#f3f3f3;font-weight:600}"
    "h2{margin-top:2rem}@media print{body{margin:0}}"
)


def readable(document: Mapping[str, Any]) -> str:
    """The document as one HTML page that prints well and needs nothing from anywhere."""
    controller = escape(str(document["controller"]))
    sections = [
        f"<h2>{_title(name)}</h2>{_html(value)}"
        for name, value in document.items()
        if name not in ("kind", "made_at", "controller")
    ]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Your data at {controller}</title>'
        f"<style>{_STYLE}</style><h1>Your data at {controller}</h1>"
        f"<p>Made on {escape(str(document['made_at']))}. Times are UTC.</p>{''.join(sections)}</html>"
    )


def _title(name: str) -> str:
    return escape(name.replace("_", " ").capitalize())


def _html(value: Any) -> str:
    match value:
        case None | "" | [] | {}:
            return "<p>Nothing.</p>"
        case Mapping():
            rows = "".join(
                f"<tr><th>{_title(str(name))}</th><td>{_cell(each)}</td></tr>" for name, each in value.items()
            )
            return f"<table>{rows}</table>"
        case list() if all(isinstance(each, Mapping) for each in value):
            columns = list(dict.fromkeys(name for each in value for name in each))
            head = "".join(f"<th>{_title(name)}</th>" for name in columns)
            body = "".join(
                f"<tr>{''.join(f'<td>{_cell(each.get(name))}</td>' for name in columns)}</tr>" for each in value
            )
            return f"<table><tr>{head}</tr>{body}</table>"
        case list():
            return f"<p>{'; '.join(_cell(each) for each in value)}</p>"
        case _:
            return f"<p>{_cell(value)}</p>"


def _cell(value: Any) -> str:
    if isinstance(value, Mapping | list):
        return _html(value) if value else ""
    return "" if value is None else escape(str(value))
