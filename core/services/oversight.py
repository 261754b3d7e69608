"""What compliance looks at: how consent stands, whether a campaign was lawful, and who did what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from core.consent.state import POSITIVE, REVOKING
from core.models import (
    ApiKey,
    Audience,
    AuditEntry,
    Campaign,
    Export,
    Hook,
    Import,
    Media,
    RoutingRule,
    Sender,
    Template,
    User,
)
from core.services import campaigns, exports, standing
from core.services.paging import Page, page

DAYS = 90

_BY = {
    "state": "SELECT s.purpose, s.state AS word, count(*) FROM consent_state s GROUP BY 1, 2",
    "grade": """SELECT s.purpose, coalesce(s.grade, '-') AS word, count(*) FROM consent_state s
                 WHERE s.state = 'subscribed' GROUP BY 1, 2""",
    "method": """SELECT s.purpose, coalesce(e.method, '-') AS word, count(*) FROM consent_state s
                   JOIN consent_events e ON e.seq = s.grant_seq WHERE s.state = 'subscribed' GROUP BY 1, 2""",
    "country": """SELECT s.purpose, coalesce(c.country, '-') AS word, count(*) FROM consent_state s
                    JOIN contacts c ON c.id = s.contact_id WHERE s.state = 'subscribed' GROUP BY 1, 2""",
}
_OVER_TIME = text("""
    SELECT left(recorded_at, 10) AS day,
           count(*) FILTER (WHERE event_type = ANY(CAST(:positive AS text[]))) AS given,
           count(*) FILTER (WHERE event_type IN ('WITHDRAWN', 'OBJECTED', 'META_STOPPED')) AS taken_back
      FROM consent_events
     WHERE recorded_at >= to_char(now() - make_interval(days => :days), 'YYYY-MM-DD') AND subject_id IS NOT NULL
     GROUP BY 1 ORDER BY 1
""")


@dataclass(frozen=True)
class Overview:
    """Counts of people: dimension → purpose → word → people; and per UTC day how much was given and taken back."""

    by: Mapping[str, dict[str, dict[str, int]]]
    days: list[dict[str, Any]]


async def overview(session: AsyncSession) -> Overview:
    """How consent stands now, and how it came and went."""
    by: dict[str, dict[str, dict[str, int]]] = {}
    for name, statement in _BY.items():
        found: dict[str, dict[str, int]] = {}
        for purpose, word, people in await session.execute(text(statement)):
            found.setdefault(purpose, {})[word] = people
        by[name] = found
    rows = await session.execute(_OVER_TIME, {"positive": sorted(POSITIVE), "days": DAYS})
    return Overview(by, [dict(row) for row in rows.mappings()])


@dataclass(frozen=True)
class Proof:
    """A campaign held against the ledger. What must be 0 is in `faults`; `by_reason` are the people it skipped."""

    recipients: int
    sent: int
    allowed: int
    unsent: int
    by_reason: dict[str, int]
    erased: int
    faults: dict[str, int]

    @property
    def holds(self) -> bool:
        return not any(self.faults.values())


# A message that left names the grant it relied on and the person's newest record at that moment. Looked up here: the
# grant is a grant of that person and purpose, nothing between it and that record took it back, nothing recorded before
# the send is missing from what was looked at, and it had not expired.
_PROOF = text("""
    WITH gone AS (
        SELECT m.id, m.contact_id, m.purpose, m.permit_seq, m.permit_head_seq, m.permitted_at, p.needs_consent,
               ARRAY[m.purpose, '*', split_part(m.purpose, '.', 1) || '.*'] AS scopes
          FROM messages m
          LEFT JOIN purposes p ON p.code = m.purpose AND p.retired_at IS NULL
         WHERE m.campaign_id = :campaign
           AND (m.accepted_at IS NOT NULL OR m.wamid IS NOT NULL
                OR m.status IN ('accepted', 'held', 'sent', 'delivered', 'read')))
    SELECT count(*) AS sent,
           count(*) FILTER (WHERE permitted_at IS NULL) AS without_permit,
           count(*) FILTER (WHERE permitted_at IS NOT NULL AND needs_consent IS NOT FALSE AND NOT EXISTS (
               SELECT FROM consent_events g
                WHERE g.seq = gone.permit_seq AND g.subject_id = gone.contact_id AND g.purpose = gone.purpose
                  AND g.event_type = ANY(CAST(:positive AS text[])))) AS without_grant,
           count(*) FILTER (WHERE EXISTS (
               SELECT FROM consent_events g
                WHERE g.seq = gone.permit_seq AND g.expires_at::timestamptz <= gone.permitted_at)) AS expired,
           count(*) FILTER (WHERE permit_seq IS NOT NULL AND EXISTS (
               SELECT FROM consent_events n
                WHERE n.subject_id = gone.contact_id AND n.seq > gone.permit_seq
                  AND (n.seq <= gone.permit_head_seq OR n.recorded_at::timestamptz < gone.permitted_at)
                  AND n.event_type = ANY(CAST(:revoking AS text[])) AND n.purpose = ANY(gone.scopes)
                  AND NOT coalesce(jsonb_exists(CAST(n.core AS jsonb)->'kept', gone.purpose), false)
           )) AS after_withdrawal,
           count(*) FILTER (WHERE EXISTS (
               SELECT FROM contacts c WHERE c.id = gone.contact_id AND c.erased_at IS NOT NULL)) AS erased
      FROM gone
""")
_TOTALS = text("""
    SELECT count(*) AS recipients, count(permitted_at) AS allowed,
           count(*) FILTER (WHERE status IN ('queued', 'sending', 'unknown')) AS unsent
      FROM messages WHERE campaign_id = :campaign
""")


async def campaign_proof(session: AsyncSession, campaign_id: UUID, *, now: datetime) -> Proof:
    """Whether everybody the campaign reached had consented when it reached them; raises NotFound."""
    await campaigns.get(session, campaign_id)
    words = {"positive": sorted(POSITIVE), "revoking": sorted(REVOKING)}
    found = (await session.execute(_PROOF, {"campaign": campaign_id, **words})).one()
    totals = (await session.execute(_TOTALS, {"campaign": campaign_id})).one()
    return Proof(
        recipients=totals.recipients,
        sent=found.sent,
        allowed=totals.allowed,
        unsent=totals.unsent,
        by_reason=(await standing.count(session, [campaign_id], now=now))[campaign_id].skipped,
        erased=found.erased,
        faults={
            "sent without a permit": found.without_permit,
            "sent without a consent on record": found.without_grant,
            "sent after the consent had expired": found.expired,
            "sent after a withdrawal": found.after_withdrawal,
        },
    )


# What an entry's object is called; people have no name here: the log holds none.
_NAMES: dict[str, tuple[type[Any], str]] = {
    "api_key": (ApiKey, "name"),
    "audience": (Audience, "name"),
    "campaign": (Campaign, "name"),
    "hook": (Hook, "url"),
    "import": (Import, "filename"),
    "media": (Media, "filename"),
    "routing_rule": (RoutingRule, "name"),
    "sender": (Sender, "name"),
    "template": (Template, "name"),
    "user": (User, "name"),
}


async def names_of(session: AsyncSession, entries: Sequence[AuditEntry]) -> dict[tuple[str, str], str]:
    """(kind, id) → what the object is called now; what was deleted, and people, are left out."""
    ids: dict[str, set[UUID]] = {}
    for entry in entries:
        if entry.object_kind in _NAMES and (number := _uuid(entry.object_id)):
            ids.setdefault(entry.object_kind, set()).add(number)
    found: dict[tuple[str, str], str] = {}
    for kind, wanted in ids.items():
        model, column = _NAMES[kind]
        for row in await session.execute(select(model.id, getattr(model, column)).where(model.id.in_(wanted))):
            found[kind, str(row[0])] = row[1]
    packages = {number for entry in entries if entry.object_kind == "export" and (number := _uuid(entry.object_id))}
    if packages:
        made = list(await session.scalars(select(Export).where(Export.id.in_(packages))))
        about = await exports.campaign_names(session, made)
        named = {export.id: about.get(str(export.filters.get("campaign_id"))) for export in made}
        found |= {("export", str(each)): f"of campaign {name}" for each, name in named.items() if name}
    return found


def _uuid(text_: str | None) -> UUID | None:
    try:
        return UUID(text_) if text_ else None
    except ValueError:  # such as `help/en`, which is a name already
        return None


async def audit_log(
    session: AsyncSession,
    *,
    action: str | None,
    object_kind: str | None,
    object_id: str | None,
    actor: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    cursor: str | None,
) -> Page[AuditEntry]:
    """Who did what, newest first; `action` may end in a star: `audit.*` is every export."""
    statement = select(AuditEntry)
    if action is not None:
        wanted = AuditEntry.action
        is_prefix = action.endswith("*")
        statement = statement.where(wanted.startswith(action[:-1], autoescape=True) if is_prefix else wanted == action)
    if object_kind is not None:
        statement = statement.where(AuditEntry.object_kind == object_kind)
    if object_id is not None:
        statement = statement.where(AuditEntry.object_id == object_id)
    if actor is not None:
        statement = statement.where(AuditEntry.actor.icontains(actor, autoescape=True))
    if since is not None:
        statement = statement.where(AuditEntry.created_at >= since)
    if until is not None:
        statement = statement.where(AuditEntry.created_at < until)
    return await page(session, statement, AuditEntry.id.expression, limit=limit, cursor=cursor)
