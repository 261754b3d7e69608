"""What became of messages: answers and the provider's reports, folded into rows; each a statement for the batch.

Reports come at least once, in any order. A status is the maximum of what was reported, every first instant is kept,
and every fact is kept once.
"""

from collections.abc import Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import BigInteger, Boolean, DateTime, Text, TypeEngine, Uuid

from core.db import Driver
from core.statuses import RANK, EventKind, RateCategory

_RANK_OF = " ".join(f"WHEN '{status}' THEN {rank}" for status, rank in RANK.items())


def rank_sql(column: str) -> str:
    """The rank of a status column, in SQL; the same table as `RANK`."""
    return f"CASE {column} {_RANK_OF} ELSE 100 END"


def event_key(subject: str, kind: EventKind, occurred_at: datetime, discriminator: str = "") -> UUID:
    """The identity of a fact: the same fact reported again has the same key, so it is kept once."""
    return UUID(hex=_key_text(subject, kind, occurred_at, discriminator))


def _key_text(subject: str, kind: EventKind, occurred_at: datetime, discriminator: object) -> str:
    milliseconds = int(occurred_at.timestamp() * 1000)
    return blake2b(f"{subject}|{kind}|{milliseconds}|{discriminator}".encode(), digest_size=16).hexdigest()


def array(name: str, kind: TypeEngine[Any]) -> Any:
    """A bound array for `unnest`."""
    return bindparam(name, type_=ARRAY(kind))


class Report(msgspec.Struct, frozen=True, gc=False):
    """One fact about one message, from our request's answer or from a webhook.

    Found by `message_id` (our id, which travelled along) or else by `wamid`.
    """

    kind: EventKind
    occurred_at: datetime
    message_id: UUID | None = None
    wamid: str | None = None
    error_code: int | None = None
    error: str | None = None
    pricing_type: str | None = None
    billable: bool | None = None
    received_at: datetime | None = None
    pricing_category: RateCategory | None = None  # what it was charged as
    phone_number_id: str | None = None  # the number it concerns, as the provider names it

    @property
    def key(self) -> UUID:
        return UUID(hex=self.key_text)

    @property
    def key_text(self) -> str:
        return _key_text(self.wamid or str(self.message_id), self.kind, self.occurred_at, self.error_code or "")


_ACCEPT = """
    WITH answer AS (SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[])
                        AS r(id, wamid, event_key, word)),
    locked AS MATERIALIZED (
        SELECT m.id FROM messages m WHERE m.id = ANY($1::uuid[]) ORDER BY m.id FOR UPDATE),
    moved AS (
        UPDATE messages m SET status = a.word, wamid = a.wamid, accepted_at = $5, lease_until = NULL,
                              error_code = NULL, error = NULL
          FROM answer a JOIN locked l ON l.id = a.id
         WHERE m.id = a.id AND m.status = 'sending' AND m.wamid IS NULL AND m.accepted_at IS NULL
     RETURNING m.id, m.queued_on, a.event_key, a.word),
    fact AS (
        INSERT INTO message_events (message_id, queued_on, kind, occurred_at, event_key)
        SELECT id, queued_on, word, $5, event_key FROM moved ON CONFLICT (message_id, event_key) DO NOTHING)
    SELECT id FROM moved
    """


async def accept(connection: Driver, reports: Sequence[Report], *, now: datetime) -> list[Report]:
    """Record answers of `now` for messages nothing else was heard of yet; returns the reports left for `fold`.

    Almost every answer is the first thing heard of its message, and then there is nothing to weigh. What a webhook
    has overtaken is left to the fold. Rows are locked in the order of their ids, as the fold does. Commits by itself.
    """
    rows = await connection.fetch(
        _ACCEPT,
        [report.message_id for report in reports],
        [report.wamid for report in reports],
        [report.key for report in reports],
        [report.kind.value for report in reports],
        now,
    )
    moved = {row[0] for row in rows}
    return [report for report in reports if report.message_id not in moved]


# One statement for any number of reports: find the messages, keep each new fact once, and raise each message to
# the highest rank reported. Rows are locked in the order of their ids, so that two folds never wait in a circle.
# Most reports differ in their message and instant only, so what else they say is sent once for all that say the same
# (`said`), prices are looked up once for each country, category and day, and only the reports that found no message
# come back.
_FOLD = text(
    f"""
    WITH said AS MATERIALIZED (
        SELECT s.*, to_char({rank_sql("word")}, 'FM000') || word AS ranked
          FROM (SELECT s.*, CASE kind WHEN 'rejected' THEN 'failed' WHEN 'played' THEN 'read' ELSE kind END AS word,
                       billable IS NOT FALSE AND pricing_type = 'regular' AS is_charged,
                       coalesce(charged_as, '') AS charged
                  FROM unnest(:kinds, :codes, :errors, :pricing, :charged, :billable, :received) WITH ORDINALITY
                    AS s(kind, error_code, error, pricing_type, charged_as, billable, received_at, number)) s),
    named AS MATERIALIZED (
        SELECT r.place, coalesce(r.id, (SELECT m.id FROM messages m WHERE m.wamid = r.wamid)) AS found,
               r.wamid, r.occurred_at, r.event_key, s.*
          FROM unnest(:ids, :wamids, :instants, :keys, :said) WITH ORDINALITY
            AS r(id, wamid, occurred_at, event_key, said, place) JOIN said s ON s.number = r.said),
    locked AS MATERIALIZED (
        SELECT m.id, m.queued_on, m.country, m.category, m.status, m.wamid, m.accepted_at, m.sent_at, m.delivered_at,
               m.read_at, m.failed_at, m.error_code, m.error, m.pricing_type, m.cost_micros,
               {rank_sql("m.status")} AS rank
          FROM messages m WHERE m.id IN (SELECT found FROM named) ORDER BY m.id FOR UPDATE),
    report AS MATERIALIZED (
        SELECT n.*, l.queued_on, coalesce(l.country, '') AS country, l.category,
               CASE WHEN n.is_charged THEN (n.occurred_at AT TIME ZONE 'UTC')::date END AS day
          FROM named n JOIN locked l ON l.id = n.found),
    price AS MATERIALIZED (
        SELECT country, charged, category, day,
               coalesce(price_micros(country, charged, day::timestamp AT TIME ZONE 'UTC'),
                        price_micros(country, category, day::timestamp AT TIME ZONE 'UTC')) AS micros
          FROM (SELECT DISTINCT country, charged, category, day FROM report WHERE is_charged) each),
    fact AS (
        INSERT INTO message_events (message_id, queued_on, kind, occurred_at, event_key, error_code, pricing_type,
                                    billable, cost_micros, created_at)
        SELECT DISTINCT ON (r.found, r.event_key)
               r.found, r.queued_on, r.kind, r.occurred_at, r.event_key, r.error_code, r.pricing_type, r.billable,
               CASE WHEN r.is_charged THEN p.micros WHEN r.pricing_type IS NOT NULL THEN 0 END,
               coalesce(r.received_at, clock_timestamp())
          FROM report r LEFT JOIN price p ON r.is_charged AND p.country = r.country AND p.charged = r.charged
                                         AND p.category = r.category AND p.day = r.day
            ON CONFLICT (message_id, event_key) DO NOTHING
     RETURNING message_id, cost_micros, pricing_type),
    raised AS (
        SELECT found, left(max(ranked COLLATE "C"), 3)::integer AS rank, substr(max(ranked COLLATE "C"), 4) AS word,
               max(wamid) AS wamid,
               min(occurred_at) FILTER (WHERE word IN ('accepted', 'held')) AS accepted_at,
               min(occurred_at) FILTER (WHERE word = 'sent') AS sent_at,
               min(occurred_at) FILTER (WHERE word = 'delivered') AS delivered_at,
               min(occurred_at) FILTER (WHERE word = 'read') AS read_at,
               min(occurred_at) FILTER (WHERE word = 'failed') AS failed_at,
               min(error_code) FILTER (WHERE word = 'failed') AS error_code,
               min(error) FILTER (WHERE word = 'failed') AS error
          FROM report WHERE word IN ('accepted', 'held', 'sent', 'delivered', 'read', 'failed') GROUP BY found),
    moved AS (
        UPDATE messages m SET
               status = CASE WHEN u.rank > l.rank THEN u.word ELSE l.status END,
               lease_until = NULL,
               wamid = coalesce(l.wamid, u.wamid),
               accepted_at = least(l.accepted_at, u.accepted_at),
               sent_at = least(l.sent_at, u.sent_at),
               delivered_at = least(l.delivered_at, u.delivered_at),
               read_at = least(l.read_at, u.read_at),
               failed_at = least(l.failed_at, u.failed_at),
               error_code = CASE WHEN u.rank > l.rank THEN u.error_code ELSE l.error_code END,
               error = CASE WHEN u.rank > l.rank THEN u.error ELSE l.error END,
               pricing_type = coalesce(l.pricing_type, f.pricing_type),
               cost_micros = coalesce(l.cost_micros, f.cost_micros)
          FROM raised u JOIN locked l ON l.id = u.found
          LEFT JOIN (SELECT message_id, max(cost_micros) AS cost_micros, max(pricing_type) AS pricing_type
                       FROM fact WHERE pricing_type IS NOT NULL GROUP BY message_id) f ON f.message_id = u.found
         WHERE m.id = u.found AND l.status NOT IN ('skipped', 'cancelled'))
    SELECT n.place FROM named n WHERE n.found IS NULL OR n.found NOT IN (SELECT id FROM locked)
    """  # noqa: S608 - built from our own status words
).bindparams(
    array("ids", Uuid()),
    array("wamids", Text()),
    array("instants", DateTime(timezone=True)),
    array("keys", Uuid()),
    array("said", BigInteger()),
    array("kinds", Text()),
    array("codes", BigInteger()),
    array("errors", Text()),
    array("pricing", Text()),
    array("charged", Text()),
    array("billable", Boolean()),
    array("received", DateTime(timezone=True)),
)


async def fold(session: AsyncSession, reports: Sequence[Report]) -> list[Report]:
    """Raise messages by what was reported and keep every new fact; in any order, any number of times.

    Returns the reports about messages nobody knows; those change nothing.
    """
    if not reports:
        return []
    numbers: dict[tuple[object, ...], int] = {}
    said = [numbers.setdefault(_said(report), len(numbers) + 1) for report in reports]
    kinds, codes, errors, pricing, charged, billable, received = map(list, zip(*numbers, strict=True))
    strangers = await session.scalars(
        _FOLD,
        {
            "ids": [report.message_id for report in reports],
            "wamids": [report.wamid for report in reports],
            "instants": [report.occurred_at for report in reports],
            "keys": [report.key_text for report in reports],
            "said": said,
            "kinds": kinds,
            "codes": codes,
            "errors": errors,
            "pricing": pricing,
            "charged": charged,
            "billable": billable,
            "received": received,
        },
    )
    return [reports[place - 1] for place in strangers]


def _said(report: Report) -> tuple[object, ...]:
    """What many reports have in common."""
    return (
        report.kind,
        report.error_code,
        report.error,
        report.pricing_type,
        report.pricing_category,
        report.billable,
        report.received_at,
    )
