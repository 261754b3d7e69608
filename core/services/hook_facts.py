"""Facts → deliveries: append-only tables read in windows of transactions, so that nothing committed is missed.

A row belongs to the transaction that wrote it. Everything older than the oldest transaction still running is complete,
so each run takes the rows between its cursor and that horizon, once; the cursor moves in the same transaction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import Text

from core.hooks import TEST_EVENT
from core.services import contacts

# A source's statement yields (key, kind of fact) of one window; the kinds become event types.
_SOURCES: dict[str, tuple[str, dict[str, str]]] = {
    "message": (
        "SELECT id::text AS key, kind FROM message_events"
        " WHERE xid >= :since AND xid < :until AND (kind <> 'rejected' OR reason IS DISTINCT FROM 'retry')",
        {
            "accepted": "message.accepted",
            "held": "message.held",
            "sent": "message.sent",
            "delivered": "message.delivered",
            "read": "message.read",
            "failed": "message.failed",
            "rejected": "message.failed",
            "suppressed": "message.skipped",
        },
    ),
    "consent": (
        "SELECT seq::text AS key, event_type AS kind FROM consent_events"
        " WHERE xid >= :since AND xid < :until AND (next_state, event_type IN ('GRANTED', 'CONFIRMED', 'REAFFIRMED'))"
        " IN (('subscribed', true), ('withdrawn', false))",
        {
            "GRANTED": "contact.opted_in",
            "CONFIRMED": "contact.opted_in",
            "REAFFIRMED": "contact.opted_in",
            "WITHDRAWN": "contact.opted_out",
            "OBJECTED": "contact.opted_out",
            "DECLINED": "contact.opted_out",
            "META_STOPPED": "contact.opted_out",
        },
    ),
    "inbound": (
        "SELECT id::text AS key, 'received' AS kind FROM inbound_messages WHERE xid >= :since AND xid < :until",
        {"received": "inbound.received"},
    ),
    "status": (
        "SELECT id::text AS key, kind FROM status_changes WHERE xid >= :since AND xid < :until",
        {"campaign": "campaign.status_changed", "template": "template.status_changed"},
    ),
}
# The horizon cannot lie before the cursor, but for a database that was restored into a younger server.
_WINDOW = text("""
    UPDATE hook_cursors c SET next_xid = pg_snapshot_xmin(pg_current_snapshot())
      FROM (SELECT source, least(next_xid, pg_snapshot_xmin(pg_current_snapshot())) AS since
              FROM hook_cursors WHERE source = :source FOR UPDATE SKIP LOCKED) before
     WHERE c.source = before.source
 RETURNING before.since::text AS since, c.next_xid::text AS until
""")


async def derive(session: AsyncSession) -> int:
    """Make the deliveries of everything that became final since the last run; returns how many."""
    wanted = await session.scalar(text("SELECT EXISTS (SELECT FROM hooks WHERE disabled_at IS NULL)"))
    made = 0
    for source, (rows, types) in _SOURCES.items():
        window = (await session.execute(_WINDOW, {"source": source})).one_or_none()
        if window is None or not wanted or window.since == window.until:
            continue
        found = rows.replace(":since", "CAST(CAST(:since AS text) AS xid8)")
        found = found.replace(":until", "CAST(CAST(:until AS text) AS xid8)")
        statement = text(
            "INSERT INTO hook_deliveries (hook_id, event_id, event_type, source, source_key, status, next_at)"  # noqa: S608 - constants
            " SELECT h.id, 'evt_' || :source || '_' || f.key, t.type, :source, f.key, 'waiting', now()"
            f" FROM ({found}) f JOIN unnest(:kinds, :types) AS t(kind, type) ON t.kind = f.kind"
            " JOIN hooks h ON h.disabled_at IS NULL AND jsonb_exists(h.events, t.type)"
            " ON CONFLICT (hook_id, event_id) DO NOTHING RETURNING 1"
        ).bindparams(bindparam("kinds", type_=ARRAY(Text())), bindparam("types", type_=ARRAY(Text())))
        asked = {"source": source, "since": window.since, "until": window.until}
        words = {"kinds": list(types), "types": list(types.values())}
        made += len((await session.execute(statement, {**asked, **words})).all())
    return made


_COMPLETED = text("""
    INSERT INTO status_changes (kind, subject_id, before, after)
    SELECT 'campaign', c.id, c.status, 'completed' FROM campaigns c
     WHERE c.status = 'sending' AND c.expanded_at IS NOT NULL
       AND NOT EXISTS (SELECT FROM status_changes s
                        WHERE s.kind = 'campaign' AND s.subject_id = c.id AND s.after = 'completed')
       AND (SELECT m.id FROM messages m WHERE m.campaign_id = c.id AND m.phase IN ('queued', 'sending')
             ORDER BY m.phase, m.id LIMIT 1) IS NULL
    ON CONFLICT DO NOTHING
""")


async def note_completed(session: AsyncSession) -> None:
    """A campaign is completed when no row is left to send: nobody writes that down, so it is looked up."""
    await session.execute(_COMPLETED)


@dataclass(frozen=True)
class Fact:
    """What a delivery says: RFC 3339 instant and the data, which hold for good."""

    at: str
    data: dict[str, Any]


_READ = {
    "message": """
        SELECT e.id::text AS key, e.occurred_at AS at, m.contact_id, jsonb_build_object(
               'message_id', m.id, 'campaign_id', m.campaign_id, 'contact_id', m.contact_id, 'kind', m.kind,
               'provider_message_id', m.wamid, 'status', e.kind, 'error_code', e.error_code, 'reason', e.reason) AS data
          FROM message_events e JOIN messages m ON m.id = e.message_id
         WHERE e.id = ANY(CAST(:keys AS bigint[]))""",
    "consent": """
        SELECT e.seq::text AS key, (e.core::jsonb->>'occurred_at')::timestamptz AS at, e.subject_id AS contact_id,
               jsonb_build_object('ledger_seq', e.seq, 'contact_id', e.subject_id, 'purpose', e.purpose,
               'event', e.event_type, 'state', e.next_state, 'method', e.method, 'reason', e.reason) AS data
          FROM consent_events e WHERE e.seq = ANY(CAST(:keys AS bigint[]))""",
    "inbound": """
        SELECT i.id::text AS key, i.occurred_at AS at, i.contact_id, jsonb_build_object(
               'inbound_id', i.id, 'contact_id', i.contact_id, 'sender_id', i.sender_id, 'type', i.type,
               'text', i.text, 'intent', i.intent, 'answers_message_id', i.message_id,
               'provider_message_id', i.provider_id) AS data
          FROM inbound_messages i WHERE i.id = ANY(CAST(:keys AS uuid[]))""",
    "status": """
        SELECT s.id::text AS key, s.created_at AS at, NULL::uuid AS contact_id, jsonb_build_object(
               s.kind || '_id', s.subject_id, 'before', s.before, 'after', s.after) AS data
          FROM status_changes s WHERE s.id = ANY(CAST(:keys AS bigint[]))""",
}


async def read(session: AsyncSession, source: str, keys: Sequence[str], *, with_phone: bool) -> Mapping[str, Fact]:
    """Facts by their key; a fact that erasure took is absent, and what it took from one is null."""
    if source == "test":
        return {key: Fact(key.partition("|")[2], {"type": TEST_EVENT}) for key in keys}
    shape = UUID if source == "inbound" else int
    rows = (await session.execute(text(_READ[source]), {"keys": [shape(key) for key in keys]})).all()
    phones: dict[UUID, str | None] = {}
    if with_phone:
        found = await contacts.addresses(session, [row.contact_id for row in rows if row.contact_id])
        phones = {
            contact_id: next((a.value for a in addresses if a.kind == "phone"), None)
            for contact_id, addresses in found.items()
        }
    return {
        row.key: Fact(
            row.at.isoformat(), row.data | ({"phone": phones.get(row.contact_id)} if row.contact_id in phones else {})
        )
        for row in rows
    }
