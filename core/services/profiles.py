"""One contact's profile: edited with types checked, and everything that happened to them in one timeline."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID
from zoneinfo import available_timezones

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from core.attributes import Definition, cleaned
from core.errors import Conflict, RuleViolation
from core.models import Audience, AudienceMember, Contact
from core.services import contacts
from core.services.paging import Page

FIELDS = ("name", "language", "country", "time_zone")
MAX_TAGS = 100
MAX_TAG = 60


@cache
def zones() -> frozenset[str]:
    return frozenset(available_timezones())


def clean_tags(tags: Sequence[str], *, place: str = "tags") -> list[str]:
    """Tags sorted, each once, without blanks around them; raises RuleViolation."""
    found = sorted({tag.strip() for tag in tags})
    if len(found) > MAX_TAGS or any(not 1 <= len(tag) <= MAX_TAG or not tag.isprintable() for tag in found):
        raise RuleViolation(f"{place} are at most {MAX_TAGS} texts of 1 to {MAX_TAG} characters", field=place)
    return found


def change(
    contact: Contact,
    given: Mapping[str, Any],
    definitions: Mapping[str, Definition],
    *,
    place: str = "",
) -> list[str]:
    """Apply what was given to the contact; returns the names of what really changed. Raises RuleViolation.

    Attributes are merged into those there are, null removes one; tags are replaced.
    """
    zone = given.get("time_zone")
    if zone is not None and zone not in zones():
        raise RuleViolation(f"{place}time_zone is no zone such as Europe/Berlin", field=f"{place}time_zone")
    fresh: dict[str, Any] = {name: given[name] for name in FIELDS if name in given}
    if "tags" in given:
        fresh["tags"] = clean_tags(given["tags"], place=f"{place}tags")
    known = contact.attributes or {}
    if "attributes" in given:
        merged = known | cleaned(given["attributes"], definitions, place=f"{place}attributes")
        fresh["attributes"] = {name: value for name, value in merged.items() if value is not None}
    changed = [name for name, value in fresh.items() if getattr(contact, name) != value]
    for name in changed:
        setattr(contact, name, fresh[name])
    if "attributes" not in changed:
        return changed
    names = sorted(name for name in {*fresh["attributes"], *known} if fresh["attributes"].get(name) != known.get(name))
    return [name for name in changed if name != "attributes"] + [f"attributes.{name}" for name in names]


async def edit(
    session: AsyncSession, contact_id: UUID, given: Mapping[str, Any], definitions: Mapping[str, Definition]
) -> tuple[Contact, list[str]]:
    """Change a living contact; raises NotFound, Conflict for one who is erased or merged, RuleViolation."""
    contact = await contacts.get(session, contact_id, lock=True)
    if contact.erased_at is not None or contact.closed_at is not None:
        raise Conflict("this contact is closed: it can be looked at, not changed")
    changed = change(contact, given, definitions)
    await session.flush()
    return contact, changed


@dataclass(frozen=True)
class Counts:
    """How much there is about one person."""

    messages: int
    delivered: int
    read: int
    clicks: int
    inbound: int
    orders: int
    revenue_micros: int  # orders less refunds


_COUNTS = text("""
    SELECT count(*), count(delivered_at), count(read_at),
           (SELECT count(*) FROM message_events e JOIN messages o ON o.id = e.message_id
             WHERE o.contact_id = ANY(:ids) AND e.kind = 'click' AND NOT coalesce(e.is_bot, false)),
           (SELECT count(*) FROM inbound_messages WHERE contact_id = ANY(:ids)),
           (SELECT count(*) FROM conversions WHERE contact_id = ANY(:ids) AND kind = 'order'),
           (SELECT coalesce(sum(CASE kind WHEN 'order' THEN amount_micros ELSE -amount_micros END), 0)::bigint
              FROM conversions WHERE contact_id = ANY(:ids))
      FROM messages WHERE contact_id = ANY(:ids)
""")


async def same_person(session: AsyncSession, contact_id: UUID) -> list[UUID]:
    """The contact, and those merged into it, however long ago."""
    found, fresh = [contact_id], [contact_id]
    while fresh:
        fresh = list(await session.scalars(select(Contact.id).where(Contact.merged_into.in_(fresh))))
        found += fresh
    return found


async def counts(session: AsyncSession, ids: Sequence[UUID]) -> Counts:
    return Counts(*(await session.execute(_COUNTS, {"ids": list(ids)})).one())


async def lists_of(session: AsyncSession, contact_id: UUID) -> list[Audience]:
    """The static lists the person is on."""
    on = select(Audience).join(AudienceMember, AudienceMember.audience_id == Audience.id)
    return list(await session.scalars(on.where(AudienceMember.contact_id == contact_id).order_by(Audience.name)))


@dataclass(frozen=True)
class Happening:
    """One entry of a timeline; `facts` are plain values that depend on the kind."""

    at: datetime
    kind: str
    key: str
    facts: dict[str, Any]


# Each leg gives (at, kind, key, facts); the key makes the order of what happened at the same instant fixed.
_LEGS = (
    """SELECT created_at, 'created', id::text, jsonb_build_object('import_id', import_id)
         FROM contacts WHERE id = ANY(:ids)""",
    """SELECT (recorded_at)::timestamptz, 'consent', lpad(seq::text, 15, '0'),
              jsonb_build_object('event_type', event_type, 'purpose', purpose, 'state', next_state, 'grade', grade,
                                 'reason', reason, 'method', method, 'seq', seq,
                                 'occurred_at', core::jsonb->>'occurred_at')
         FROM consent_events WHERE subject_id = ANY(:ids)""",
    """SELECT m.queued_at, 'queued', m.id::text,
              jsonb_build_object('message_id', m.id, 'campaign', c.name, 'purpose', m.purpose, 'kind', m.kind)
         FROM messages m LEFT JOIN campaigns c ON c.id = m.campaign_id WHERE m.contact_id = ANY(:ids)""",
    """SELECT e.occurred_at, e.kind::text, lpad(e.id::text, 15, '0'),
              jsonb_build_object('message_id', e.message_id, 'campaign', c.name, 'reason', e.reason,
                                 'error_code', e.error_code, 'attempt', e.attempt,
                                 'is_bot', e.is_bot, 'button_index', e.button_index)
         FROM messages m JOIN message_events e ON e.message_id = m.id LEFT JOIN campaigns c ON c.id = m.campaign_id
        WHERE m.contact_id = ANY(:ids)""",
    """SELECT occurred_at, 'inbound', id::text,
              jsonb_build_object('type', type, 'intent', intent, 'text', left(text, 500))
         FROM inbound_messages WHERE contact_id = ANY(:ids)""",
    """SELECT occurred_at, kind::text, lpad(id::text, 15, '0'),
              jsonb_build_object('order_id', order_id, 'refund_id', refund_id, 'amount_micros', amount_micros,
                                 'currency', currency)
         FROM conversions WHERE contact_id = ANY(:ids)""",
    """SELECT occurred_at, 'event', id::text, jsonb_build_object('event', name)
         FROM contact_events WHERE contact_id = ANY(:ids)""",
    """SELECT i.created_at, 'import', i.id::text || '/' || lpad(r.row_number::text, 9, '0'),
              jsonb_build_object('import_id', i.id, 'filename', i.filename, 'verdict', r.verdict)
         FROM import_rows r JOIN imports i ON i.id = r.import_id WHERE r.contact_id = ANY(:ids)""",
    """SELECT received_at, 'data_request', id::text, jsonb_build_object('kind', kind, 'status', status)
         FROM data_requests WHERE contact_id = ANY(:ids)""",
)
_TIMELINE = f"""
    SELECT at, kind, key, facts FROM ({" UNION ALL ".join(_LEGS)}) AS legs (at, kind, key, facts)
     WHERE (:before_at IS NULL OR (at, kind, key) < (:before_at, :before_kind, :before_key))
     ORDER BY at DESC, kind DESC, key DESC LIMIT :limit
"""  # noqa: S608 - the legs are the constants above
_TYPED = _TIMELINE.replace(":before_at IS", "CAST(:before_at AS timestamptz) IS").replace(
    "(:before_at,", "(CAST(:before_at AS timestamptz),"
)


async def timeline(session: AsyncSession, contact_id: UUID, *, limit: int, cursor: str | None) -> Page[Happening]:
    """Everything that happened to the person and those merged into them, newest first; facts without nulls."""
    ids = await same_person(session, contact_id)
    at, kind, key = _position(cursor)
    rows = await session.execute(
        text(_TYPED),
        {"ids": ids, "before_at": at, "before_kind": kind, "before_key": key, "limit": limit + 1},
    )
    found = [
        Happening(row.at, row.kind, row.key, {name: fact for name, fact in row.facts.items() if fact is not None})
        for row in rows
    ]
    more = len(found) > limit
    return Page(found[:limit], _cursor(found[limit - 1]) if more else None)


def _cursor(last: Happening) -> str:
    return base64.urlsafe_b64encode(f"{last.at.isoformat()}|{last.kind}|{last.key}".encode()).decode()


def _position(cursor: str | None) -> tuple[datetime | None, str, str]:
    if cursor is None:
        return None, "", ""
    try:
        at, kind, key = base64.urlsafe_b64decode(cursor).decode().split("|")
        return datetime.fromisoformat(at), kind, key
    except (binascii.Error, ValueError) as wrong:
        raise RuleViolation("the cursor is not one of ours", field="cursor") from wrong
